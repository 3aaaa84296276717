"""Where a closure comes from: every file format, standard input, Nix."""

import json
import os
import shutil
import subprocess
import unittest

import quarrytest
from quarrytest import Base, make_store, second_plan


class TestClosureFiles(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=9)

    def plan(self, *args, **kw):
        r = self.quarry("plan", "--json", *args, **kw)
        return json.loads(r.stdout)

    def paths(self, *args, **kw):
        """The store paths of a plan, sorted."""
        return sorted(sum(self.plan(*args, **kw)["store_layers"], []))

    def test_every_shape_gives_one_plan(self):
        want = second_plan.plan(self.store.closure(), "popularity")
        for shape in make_store.SHAPES:
            with self.subTest(shape):
                file = self.closure_file(self.store, shape=shape, name=shape)
                self.assertEqual(
                    self.plan("--closure", file)["store_layers"], want)
                with open(file, "rb") as f:
                    self.assertEqual(self.plan(
                        "--closure", "-", stdin=f)["store_layers"], want)
                r = self.quarry("plan", "--json", "--closure", "-",
                                input=quarrytest.read(file))
                self.assertEqual(json.loads(r.stdout)["store_layers"], want)

    def test_every_shape_gives_one_image(self):
        images = set()
        for shape in make_store.SHAPES:
            file = self.closure_file(self.store, shape=shape, name=shape)
            data = self.metadata("--name", "x", "--closure", file,
                                 "--store-root", self.store.root,
                                 "--to", "none")
            images.add(data["image_id"])
        self.assertEqual(len(images), 1)

    def test_json_as_people_store_it(self):
        """Indented, with other keys, CRLF, escapes."""
        want = self.paths("--closure", self.closure_file(self.store))
        infos = self.store.closure()
        texts = [
            json.dumps(infos, indent=2),
            json.dumps(infos, indent=2).replace("\n", "\r\n"),
            json.dumps([dict(i, zz={"deep": [[1, {}]]}, url="x", valid=True,
                             closureSize=1 << 40) for i in infos]),
            json.dumps(infos).replace("/", "\\/").replace("n", "\\u006e", 3),
            "\n\n\t " + json.dumps(infos) + "\n\n",
        ]
        for i, text in enumerate(texts):
            with self.subTest(i):
                file = quarrytest.write(self.path("text%d" % i), text)
                self.assertEqual(self.paths("--closure", file), want)

    def test_hash_spellings(self):
        """SRI, base 32 with and without its type, base 16: one plan, and
        --verify-store passes with each."""
        for spell in (make_store.sri,
                      lambda h: "sha256:" + make_store.base32(h),
                      lambda h: make_store.base32(h),
                      lambda h: "sha256:" + h.hex(), lambda h: h.hex()):
            file = quarrytest.write(self.path("h.json"), json.dumps([
                dict(i, narHash=spell(i["narHash"]))
                for i in self.store.infos]))
            self.build("--name", "x", "--closure", file, "--store-root",
                       self.store.root, "--verify-store", "--to", "none")

    def test_roots(self):
        """Only what the roots reach is in the image."""
        file = self.closure_file(self.store)
        infos = self.store.closure()
        for i in (0, 3, 8):
            path = infos[i]["path"]
            want = sorted(r["path"] for r in
                          second_plan.retain(infos, [path]))
            self.assertEqual(self.paths(path, "--closure", file), want)
            self.assertEqual(
                self.paths("--path", path, "--closure", file), want)
            request = quarrytest.write(self.path("r.json"), json.dumps(
                {"name": "x", "contents": [path]}))
            self.assertEqual(self.paths(request, "--closure", file), want)
        two = [infos[1]["path"], infos[2]["path"]]
        want = sorted(r["path"] for r in second_plan.retain(infos, two))
        self.assertEqual(self.paths(two[0], "--path", two[1],
                                    "--closure", file), want)
        self.assertEqual(self.paths("--closure", file),
                         sorted(i["path"] for i in infos))

    def test_config_names_roots(self):
        """Store paths anywhere in the config, keys and Env lists too."""
        infos = self.store.closure()
        a, b, c = (infos[i]["path"] for i in (1, 2, 4))
        file = self.closure_file(self.store)
        config = {"Cmd": ["sh", "-c", "exec %s/bin/x --y=%s:/z" % (a, b)],
                  "Labels": {c: "v"},
                  "Env": ["NO=/nix/store/not-a-path", "X=/nix/store/"]}
        request = quarrytest.write(self.path("r.json"), json.dumps(
            {"name": "x", "config": config}))
        want = sorted(r["path"] for r in second_plan.retain(
            infos, [a, b, c]))
        self.assertEqual(self.paths(request, "--closure", file), want)
        config_file = quarrytest.write(
            self.path("config.json"), json.dumps(config))
        self.assertEqual(self.paths(
            infos[0]["path"], "--config", config_file, "--closure", file),
            sorted(r["path"] for r in second_plan.retain(
                infos, [infos[0]["path"], a, b, c])))

    def test_include_store_paths_false(self):
        infos = self.store.closure()
        file = self.closure_file(self.store)
        request = quarrytest.write(self.path("r.json"), json.dumps(
            {"name": "x", "contents": [infos[-1]["path"]],
             "includeStorePaths": False}))
        r = self.build(request, "--closure", file, "--store-root",
                       self.store.root, "--to", "docker-archive:-")
        image = quarrytest.DockerArchive(r.stdout)
        self.assertEqual(len(image.layers), 1)
        self.assertIn(b"/bin/tool-8", image.layers[0])

    def test_a_million_references(self):
        """Large files are read element by element, in little memory."""
        n = 20000
        names = ["/nix/store/%032d-p" % i for i in range(n)]
        infos = [{"path": p, "narHash": bytes(32), "narSize": 1000 + i,
                  "references": sorted({names[(i * 31 + j * j) % i]
                                        for j in range(20)} if i else [])}
                 for i, p in enumerate(names)]
        for shape in ("array", "map", "registration"):
            file = self.closure_file(None, infos, shape, "many")
            plan = self.plan("--closure", file)
            self.assertEqual(sum(map(len, plan["store_layers"])), n)
            self.assertEqual(len(plan["store_layers"]), 99)

    def test_plan_table(self):
        file = self.closure_file(self.store)
        r = self.quarry("plan", "--closure", file)
        out = r.stdout.decode()
        for info in self.store.infos:
            self.assertIn(info["path"].split("-", 1)[1], out)
        self.assertNotIn("warning", out + r.errors)

    def test_plan_warns_of_runtimes(self):
        infos = [{"path": "/nix/store/%032d-p" % i, "narHash": bytes(32),
                  "narSize": 100, "references": []} for i in range(200)]
        file = self.closure_file(None, infos)
        for most, words in ((64, []), (65, ["sysbox"]),
                            (126, ["sysbox", "docker"]),
                            (128, ["sysbox", "docker", "overlay"])):
            r = self.quarry("plan", "--closure", file, "--max-layers",
                            str(most))
            said = r.stdout.decode().lower() + r.errors.lower()
            for word in ("sysbox", "docker", "overlay"):
                self.assertEqual(word in said, word in words,
                                 (most, word, said[-500:]))

    def test_plan_json(self):
        file = self.closure_file(self.store)
        plan = self.plan("--closure", file, "--max-layers", "4")
        sizes = {i["path"]: i["narSize"] for i in self.store.infos}
        self.assertEqual(len(plan["layers"]), len(plan["store_layers"]))
        keys = set()
        for layer, paths in zip(plan["layers"], plan["store_layers"]):
            self.assertEqual(layer["paths"], paths)
            self.assertEqual(layer["narSize"], sum(sizes[p] for p in paths))
            keys.add(layer["key"])
        self.assertEqual(len(keys), len(plan["layers"]))
        again = self.plan("--closure", file, "--max-layers", "4")
        self.assertEqual(again, plan)
        other = self.plan("--closure", file, "--max-layers", "4",
                          "--uid", "5")
        self.assertEqual(other["store_layers"], plan["store_layers"])
        self.assertFalse({l["key"] for l in other["layers"]} & keys,
                         "owner is not in the key")


class TestNix(Base):
    """Nix is asked where no closure file is given."""

    @classmethod
    def setUpClass(cls):
        if not quarrytest.have("nix", "nix-store"):
            raise unittest.SkipTest("needs nix")
        cls.store = make_store.small_store(cls.folder(), n=6)
        make_store.register(cls.store, dict(
            os.environ, NIX_CONFIG="build-users-group =\n",
            HOME=cls.store.root))

    def id_of(self, *args, **kw):
        return self.metadata("--name", "x", *args, "--to", "none",
                             **kw)["image_id"]

    def wants(self):
        top = self.store.infos[-1]["path"]
        return top, self.id_of(
            top, "--closure", self.closure_file(self.store),
            "--store-root", self.store.root)

    def test_store_is_what_nix_says(self):
        """Our store maker's hashes are right: Nix verifies them."""
        self.command("nix-store", "--store",
                     "local?root=" + self.store.root, "--verify",
                     "--check-contents")

    def test_path_info(self):
        top, want = self.wants()
        self.assertEqual(self.id_of(top, "--store-root", self.store.root,
                                    "--verify-store"), want)

    def test_nix_store_where_the_new_command_is_off(self):
        top, want = self.wants()
        env = dict(self.env, NIX_CONFIG="build-users-group =\n"
                   "experimental-features =\n")
        self.assertEqual(self.id_of(
            top, "--store-root", self.store.root, "--verify-store",
            env=env), want)

    def test_nix_store_where_the_new_command_is_missing(self):
        top, want = self.wants()
        bin_ = self.path("bin")
        os.mkdir(bin_)
        os.symlink(shutil.which("nix-store"), bin_ + "/nix-store")
        env = dict(self.env, PATH=bin_)
        self.assertEqual(self.id_of(
            top, "--store-root", self.store.root, env=env), want)

    def test_config_pulls_in_its_closure(self):
        top, want = self.wants()
        config = quarrytest.write(self.path("c.json"), json.dumps(
            {"Entrypoint": [top + "/bin/tool-5"]}))
        data = self.metadata("--name", "x", "--config", config,
                             "--store-root", self.store.root, "--to", "none")
        paths = sum((l["paths"] for l in data["layers"]), [])
        self.assertEqual(sorted(p for p in paths if p in set(
            i["path"] for i in self.store.infos)),
            sorted(i["path"] for i in self.store.infos))

    def test_same_plan_as_from_the_file(self):
        top, _ = self.wants()
        plans = [json.loads(self.quarry(
            "plan", top, "--json", "--strategy", "size", *more).stdout)
            for more in (["--store-root", self.store.root],
                         ["--closure", self.closure_file(self.store)])]
        self.assertEqual(plans[0], plans[1])

    @quarrytest.need_root()
    def test_without_store_root(self):
        """The real /nix/store, in a mount namespace of this test."""
        if not os.path.isdir("/nix"):
            self.skipTest("needs /nix")
        top, want = self.wants()
        meta = self.path("m.json")
        script = ('mount --make-rprivate / && mount --bind "$1/nix" /nix && '
                  'shift && exec "$@"')
        probe = subprocess.run(["unshare", "-m", "true"])
        if probe.returncode:
            self.skipTest("needs mount namespaces")
        r = self.finish(self.start(
            quarrytest.QUARRY, "build", top, "--name", "x", "--to", "none",
            "--progress", "none", "--metadata-file", meta, "--verify-store",
            program=["unshare", "-m", "sh", "-c", script, "sh",
                     self.store.root]))
        self.assertEqual(r.status, 0, r.errors)
        self.assertEqual(json.loads(quarrytest.read(meta))["image_id"], want)

    def test_path_that_nix_does_not_know(self):
        path = self.store.dir + "/" + "1" * 32 + "-unknown"
        r = self.build(path, "--name", "x", "--store-root", self.store.root,
                       "--to", "none", status=2)
        self.assertIn(path, r.errors)

    def test_no_nix_at_all(self):
        os.mkdir(self.path("bin"))
        r = self.build(self.store.infos[0]["path"], "--name", "x",
                       "--store-root", self.store.root, "--to", "none",
                       env=dict(self.env, PATH=self.path("bin")),
                       status=None)
        self.assertIn(r.status, (1, 2))
        self.assertIn("nix", r.errors)
        self.assertIn("--closure", r.errors)


if __name__ == "__main__":
    quarrytest.main()
