"""The reference's own request, and planned closures: the oracle's bytes."""

import datetime
import io
import json
import os
import random
import subprocess
import tarfile

import quarrytest
from quarrytest import Base, DockerArchive, make_store, reference, sha256


class SameAsOracle(Base):
    def compare(self, store, request, *args):
        """Whole docker-archive, image ID and diffIDs equal the oracle's."""
        image = self.oracle(store, request)
        theirs = quarrytest.oracle_tar(image)
        r = self.build(request, "--store-root", store.root,
                       "--to", "docker-archive:-", *args)
        ours = DockerArchive(r.stdout)
        self.assertEqual(ours.config_bytes.decode(),
                         image.config_json().decode())
        self.assertEqual(ours.diff_ids(), [l[0] for l in image.layers])
        for i, layer in enumerate(ours.layers):
            self.assertEqual(sha256(layer), image.layers[i][0])
        self.same_bytes(r.stdout, theirs, "docker-archive")
        return ours


class TestTraps(SameAsOracle):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.trap_store(cls.folder())
        cls.custom = quarrytest.customisation_layer(cls.store)
        cls.paths = [i["path"] for i in cls.store.infos[:-1]]

    def run_with(self, layers=None, **over):
        over.setdefault("customisation_layer", self.custom)
        layers = [self.paths] if layers is None else layers
        return self.compare(self.store, self.reference_request(
            self.store, layers, **over))

    def test_one_layer(self):
        self.run_with()

    def test_a_layer_each(self):
        self.run_with([[p] for p in self.paths])

    def test_any_order(self):
        paths = list(self.paths)
        random.Random(1).shuffle(paths)
        self.run_with([paths[:3], paths[3:]])

    def test_no_store_layers(self):
        self.run_with([])

    def test_owner(self):
        self.run_with(uid=1000, gid=100, uname="user", gname="users")

    def test_owner_beyond_octal(self):
        self.run_with(uid=8 ** 7 - 1, gid=8 ** 7)
        self.run_with(uid=4294967294, gid=2097152)

    def test_names_of_owners(self):
        for n in (31, 32, 33, 100, 255):
            self.run_with([self.paths[:2]], uname="u" * n, gname="g" * n)
        self.run_with([self.paths[:2]], uname="j\u00fcrgen", gname="\u65e5")
        self.run_with([self.paths[:2]], uname="\u00fc" * 32, gname="a\u00fc")

    def test_mtime(self):
        for when in ("1970-01-01T00:00:00+00:00", "2038-01-19T03:14:08+00:00",
                     "2242-03-16T12:56:31+00:00", "2242-03-16T12:56:32+00:00",
                     "9999-12-31T23:59:59+00:00",
                     "1969-12-31T23:59:59+00:00",
                     "2024-02-29T23:59:59-11:30"):
            with self.subTest(when):
                self.run_with([self.paths[:3]], mtime=when)

    def test_created(self):
        for when in ("2024-02-29T12:34:56+01:00", "2024-02-29T12:34:56Z",
                     "2024-02-29T12:34:56.123456+00:00",
                     "2024-02-29T12:34:56.120000-03:30",
                     "0001-01-01T00:00:00+00:00",
                     "9999-12-31T23:59:59+14:00"):
            with self.subTest(when):
                self.run_with([self.paths[:1]], created=when)

    def test_architecture(self):
        self.run_with([self.paths[:1]], architecture="arm64")

    def test_config_as_python_writes_it(self):
        self.run_with([self.paths[:1]], config={
            "Zulu": 1, "Alpha": [], "Empty": {}, "Nested": {"a": [{}, [[]]]},
            "Env": ["PATH=/bin", "A=\u00fc\u65e5\U0001f600", "E="],
            "Escapes": "\"\\/\b\f\n\r\t\u0001\u001f\u007f\u0080\u2028",
            "Numbers": [0, -1, 1 << 53, -(1 << 63), (1 << 63) - 1],
            "Reals": [0.1, 1.0, -0.5, 1e100, 1e-7, 123456789.125, 1e16, 1e15],
            "Words": [True, False, None],
            "\u00fcber": "key", "": "empty key",
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
        })

    def test_config_null(self):
        self.run_with([self.paths[:1]], config={})

    def test_other_store_dir(self):
        store = make_store.small_store(self.path("s"), "/gnu/deep/er/store", 3)
        paths = [i["path"] for i in store.infos]
        # The customisation layer may lie anywhere.
        folder = store.real(quarrytest.customisation_layer(store))
        self.compare(store, self.reference_request(
            store, [paths], customisation_layer=folder))

    def test_now(self):
        request = self.reference_request(
            self.store, [self.paths[:1]], customisation_layer=self.custom,
            created="now", mtime="now")
        before = datetime.datetime.now(datetime.timezone.utc)
        r = self.build(request, "--store-root", self.store.root,
                       "--to", "docker-archive:-")
        after = datetime.datetime.now(datetime.timezone.utc)
        image = DockerArchive(r.stdout)
        created = datetime.datetime.fromisoformat(image.config["created"])
        second = datetime.timedelta(seconds=1)
        self.assertTrue(before - second <= created <= after)
        self.assertEqual(created.isoformat(), image.config["created"])
        mtime = image.infos["manifest.json"].mtime
        self.assertTrue(int(before.timestamp()) <= mtime
                        <= after.timestamp())

    def test_request_on_stdin(self):
        request = self.reference_request(
            self.store, [self.paths], customisation_layer=self.custom)
        with open(request, "rb") as f:
            r = self.build("-", "--store-root", self.store.root, "--to",
                           "docker-archive:-", stdin=f)
        self.same_bytes(r.stdout, quarrytest.oracle_tar(
            self.oracle(self.store, request)), "docker-archive")


class TestLarge(SameAsOracle):
    def test_more_than_8_gib(self):
        """The size needs an extended header."""
        size = (1 << 33) + 1
        store = make_store.Store(self.path("s"))
        path = store.add("large", {"f": make_store.Sparse(size)},
                         hashed=False)
        request = self.reference_request(store, [[path]])
        data = self.metadata(request, "--store-root", store.root,
                             "--to", "none")
        layer = data["layers"][0]
        expect = subprocess.Popen(
            [quarrytest.PYTHON, os.path.join(
                quarrytest.TESTS, "oracle/reference.py"), "diffids",
             "--store-root", store.root, request],
            stdout=subprocess.PIPE)
        theirs = expect.communicate(timeout=120)[0].split()[0].decode()
        self.assertEqual(layer["diff_id"].split(":")[-1], theirs)
        self.assertGreater(layer["tar_size"], size)


class TestBase(SameAsOracle):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=5)
        cls.paths = [i["path"] for i in cls.store.infos]
        cls.custom = quarrytest.customisation_layer(cls.store)
        cls.base_custom = quarrytest.customisation_layer(cls.store, "base")
        cls.second_custom = quarrytest.customisation_layer(cls.store, "2nd")

    def base(self, name="base.tar", **over):
        image = reference.Image(quarrytest.reference_request(
            self.store, [self.paths[:1], self.paths[1:2]],
            customisation_layer=self.base_custom, repo_tag="base:1", **over),
            self.store.root)
        with open(self.path(name), "wb") as f:
            image.write(f)
        return self.path(name)

    def with_base(self, base, **over):
        return self.compare(self.store, self.reference_request(
            self.store, [self.paths[2:4], self.paths[4:]],
            customisation_layer=self.custom, from_image=base, **over))

    def test_base(self):
        base = self.base(config={})
        image = self.with_base(base)
        self.assertEqual(len(image.layers), 6)

    def test_env_is_merged(self):
        base = self.base(config={"Env": ["A=1", "PATH=/base", "B=2", "A=3"],
                                 "Cmd": ["/base"], "User": "u"})
        self.with_base(base, config={})
        self.with_base(base, config={"Env": []})
        image = self.with_base(base, config={
            "Cmd": ["x"], "Env": ["C=", "PATH=/ours", "NOVALUE", "B=4=5"],
            "WorkingDir": "/"})
        self.assertEqual(image.config["config"]["Env"], [
            "A=3", "PATH=/ours", "B=4=5", "C=", "NOVALUE"])

    def test_base_on_base(self):
        first = self.base(config={"Env": ["A=1"]})
        image = reference.Image(quarrytest.reference_request(
            self.store, [self.paths[2:3]],
            customisation_layer=self.second_custom,
            from_image=first, config={"Env": ["B=2"]}), self.store.root)
        with open(self.path("second.tar"), "wb") as f:
            image.write(f)
        self.with_base(self.path("second.tar"))

    def test_names_of_base_layers(self):
        """The history names a base layer as Python's repr does."""
        data = self.base()
        names = ["plain/layer.tar", "it's.tar", "\u00fcber-\u65e5.tar",
                 "both'\".tar", "back\\slash.tar", "d/e/f"]
        archive = DockerArchive(data)
        layers = {}
        for i, name in enumerate(names):
            buf = io.BytesIO()
            with tarfile.open(fileobj=buf, mode="w") as tar:
                ti = tarfile.TarInfo("file-%d" % i)
                ti.size = 3
                tar.addfile(ti, io.BytesIO(b"abc"))
            layers[name] = buf.getvalue()
        config = dict(archive.config, rootfs={
            "type": "layers",
            "diff_ids": ["sha256:" + sha256(x) for x in layers.values()]})
        files = dict(layers)
        files["c.json"] = json.dumps(config).encode()
        files["manifest.json"] = json.dumps([{
            "Config": "c.json", "RepoTags": None,
            "Layers": list(layers)}]).encode()
        with tarfile.open(self.path("named.tar"), "w") as tar:
            for name, content in files.items():
                ti = tarfile.TarInfo(name)
                ti.size = len(content)
                tar.addfile(ti, io.BytesIO(content))
        image = self.with_base(self.path("named.tar"))
        self.assertEqual(image.manifest["Layers"][:len(names)], names)


class TestPlanned(SameAsOracle):
    """Our own request: the plan, and so the store layers, of the oracle."""

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=25, size=600)
        cls.custom = None

    def layers_of(self, strategy, max_layers):
        return quarrytest.second_plan.plan(
            self.store.closure(), strategy, max_layers)

    def test_same_store_layers(self):
        closure = self.closure_file(self.store)
        top = self.store.infos[-1]["path"]
        for strategy in ("popularity", "size"):
            for most in (2, 3, 9, 25, 26, 27, 100):
                with self.subTest(strategy=strategy, most=most):
                    layers = self.layers_of(strategy, most)
                    image = reference.Image(dict(
                        quarrytest.REFERENCE_DEFAULTS, store_layers=layers,
                        customisation_layer=self.empty_layer()),
                        self.store.root)
                    data = self.metadata(
                        top, "--name", "x", "--closure", closure,
                        "--store-root", self.store.root, "--strategy",
                        strategy, "--max-layers", str(most), "--to", "none")
                    ours = data["layers"]
                    self.assertEqual([l["paths"] for l in ours[:-1]], layers)
                    self.assertEqual(
                        [l["diff_id"].split(":")[-1] for l in ours[:-1]],
                        [l[0] for l in image.layers[:-1]])
                    self.assertEqual(
                        [l["tar_size"] for l in ours[:-1]],
                        [l[3] for l in image.layers[:-1]])

    def empty_layer(self):
        folder = self.path("empty-layer")
        os.makedirs(folder, exist_ok=True)
        quarrytest.write(folder + "/layer.tar", bytes(10240))
        quarrytest.write(folder + "/checksum", sha256(bytes(10240)))
        return folder

    def test_whole_archive_of_planned(self):
        for strategy in ("popularity", "size"):
            layers = self.layers_of(strategy, 12)
            self.compare(self.store, self.reference_request(
                self.store, layers, customisation_layer=self.empty_layer()))

    def test_plan_command(self):
        closure = self.closure_file(self.store)
        for strategy in ("popularity", "size"):
            for most in (2, 5, 30):
                r = self.quarry("plan", "--closure", closure, "--strategy",
                                strategy, "--max-layers", str(most), "--json")
                plan = json.loads(r.stdout)
                self.assertEqual(plan["store_layers"],
                                 self.layers_of(strategy, most))

    def test_plan_feeds_the_reference(self):
        """store_layers of `quarry plan --json` in the reference's request
        gives the store layers that `quarry build` makes."""
        closure = self.closure_file(self.store)
        plan = json.loads(self.quarry(
            "plan", "--closure", closure, "--max-layers", "7",
            "--json").stdout)
        image = self.compare(self.store, self.reference_request(
            self.store, plan["store_layers"],
            customisation_layer=self.empty_layer()))
        data = self.metadata(
            "--name", "x", "--closure", closure, "--max-layers", "7",
            "--store-root", self.store.root, "--to", "none")
        self.assertEqual([l["diff_id"].split(":")[-1]
                          for l in data["layers"][:-1]],
                         image.diff_ids()[:-1])

    def test_random_graphs(self):
        random.seed(7)
        for round_ in range(12):
            n = random.randrange(1, 40)
            names = ["/nix/store/%s-p%d" % (
                make_store.base32(bytes(random.randrange(256)
                                        for _ in range(20))), i % 7)
                for i in range(n)]
            infos = [{
                "path": names[i], "narHash": bytes(32),
                "narSize": random.choice([1, 8, 8, 100, 1 << 40, i + 1]),
                "references": sorted(set(random.choices(
                    names[:i + 1], k=random.randrange(6)))) if i else []}
                for i in range(n)]
            closure = self.closure_file(None, infos)
            for strategy in ("popularity", "size"):
                for most in (2, 3, 6, 20, 100):
                    r = self.quarry(
                        "plan", "--closure", closure, "--json",
                        "--strategy", strategy, "--max-layers", str(most))
                    self.assertEqual(
                        json.loads(r.stdout)["store_layers"],
                        quarrytest.second_plan.plan(infos, strategy, most),
                        (round_, strategy, most))

    def test_ways_beyond_64_bits(self):
        """A ladder: ways to the foot double with each of 200 rungs."""
        infos, last = [], []
        for i in range(200):
            rung = ["/nix/store/%032d-r%d%s" % (i * 2 + j, i, "ab"[j])
                    for j in range(2)]
            infos += [{"path": p, "narHash": bytes(32), "narSize": 8,
                       "references": last} for p in rung]
            last = rung
        closure = self.closure_file(None, infos)
        r = self.quarry("plan", "--closure", closure, "--json")
        self.assertEqual(json.loads(r.stdout)["store_layers"],
                         quarrytest.second_plan.plan(infos, "popularity"))


class TestOwnRequest(Base):
    """Our own request file: its config, key by key."""

    def test_config_key_by_key(self):
        store = make_store.small_store(self.path("s"), n=6)
        closure = self.closure_file(store)
        top = store.infos[-1]["path"]
        config = {"Zulu": "z", "Cmd": [top + "/bin/tool-5"],
                  "Env": ["A=\u00fc"], "Alpha": {}}
        request = quarrytest.write(self.path("r.json"), json.dumps({
            "name": "key", "tag": "by-key", "contents": [top],
            "config": config, "created": "2020-02-02T02:02:02+02:00",
            "mtime": "2001-02-03T04:05:06+00:00", "uid": 12, "gid": 34,
            "uname": "uu", "gname": "gg", "architecture": "riscv64",
            "maxLayers": 4, "strategy": "size"}))
        r = self.build(request, "--closure", closure, "--store-root",
                       store.root, "--to", "docker-archive:-")
        image = DockerArchive(r.stdout)
        layers = quarrytest.second_plan.plan(store.closure(), "size", 4)
        theirs = reference.Image(dict(
            quarrytest.REFERENCE_DEFAULTS, store_layers=layers, uid=12,
            gid=34, uname="uu", gname="gg", architecture="riscv64",
            mtime="2001-02-03T04:05:06+00:00", config=config,
            created="2020-02-02T02:02:02+02:00",
            customisation_layer=self.path("none")), store.root) \
            if self.empty("none") else None
        c = image.config
        self.assertEqual(list(c), ["created", "architecture", "os", "config",
                                   "rootfs", "history"])
        self.assertEqual(c["created"], "2020-02-02T02:02:02+02:00")
        self.assertEqual(c["architecture"], "riscv64")
        self.assertEqual(c["os"], "linux")
        self.assertEqual(c["config"], config)
        self.assertEqual(list(c["config"]), list(config))
        self.assertEqual(list(c["rootfs"]), ["diff_ids", "type"])
        self.assertEqual(image.diff_ids()[:-1],
                         [l[0] for l in theirs.layers[:-1]])
        self.assertEqual(c["rootfs"]["type"], "layers")
        self.assertEqual(len(c["history"]), len(c["rootfs"]["diff_ids"]))
        for i, paths in enumerate(layers):
            self.assertEqual(c["history"][i], {
                "created": c["created"],
                "comment": "store paths: %r" % (paths,)})
        self.assertEqual(c["history"][-1]["created"], c["created"])
        self.assertEqual(image.config_bytes.decode(),
                         json.dumps(c, indent=4))
        self.assertEqual(image.manifest["RepoTags"], ["key:by-key"])
        for ti in image.infos.values():
            self.assertEqual((ti.mtime, ti.mode, ti.uid, ti.gid),
                             (981173106, 0o644, 0, 0))
        for layer in image.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                for ti in tar:
                    self.assertEqual(
                        (ti.mtime, ti.uid, ti.gid, ti.uname, ti.gname),
                        (981173106, 12, 34, "uu", "gg"), ti.name)

    def empty(self, name):
        os.makedirs(self.path(name))
        quarrytest.write(self.path(name, "layer.tar"), bytes(10240))
        return True

    def test_default_tag_and_defaults(self):
        store = make_store.small_store(self.path("s"), n=3)
        closure = self.closure_file(store)
        r = self.build("--name", "plain", "--closure", closure,
                       "--store-root", store.root,
                       "--to", "docker-archive:-")
        image = DockerArchive(r.stdout)
        self.assertEqual(image.manifest["RepoTags"],
                         ["plain:" + image.id[:32]])
        self.assertEqual(image.config["created"],
                         "1970-01-01T00:00:01+00:00")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}
        self.assertEqual(image.config["architecture"], machine.get(
            os.uname().machine, image.config["architecture"]))
        self.assertEqual(image.config["config"], {})
        self.assertEqual(image.infos["manifest.json"].mtime, 1)

    def test_command_line_is_the_request(self):
        """The same by file and by options gives the same bytes."""
        store = make_store.small_store(self.path("s"), n=6)
        closure = self.closure_file(store)
        a, b = store.infos[-1]["path"], store.infos[2]["path"]
        request = quarrytest.write(self.path("r.json"), json.dumps({
            "name": "n", "tag": "t", "contents": [a], "paths": [b],
            "config": {"Cmd": ["x"]}, "maxLayers": 5, "uid": 7,
            "created": "2020-01-01T00:00:00+00:00"}))
        config = quarrytest.write(self.path("config.json"), '{"Cmd":["x"]}')
        common = ["--closure", closure, "--store-root", store.root,
                  "--to", "docker-archive:-"]
        one = self.build(request, *common)
        two = self.build(a, "--path", b, "--name", "n", "--tag", "t",
                         "--config", config, "--max-layers", "5", "--uid",
                         "7", "--created", "2020-01-01T00:00:00+00:00",
                         *common)
        self.same_bytes(one.stdout, two.stdout, "file and options")

    def test_deep_root_tree(self):
        """Deeper than the kernel takes in one path."""
        here = os.open(".", os.O_RDONLY)
        self.addCleanup(os.close, here)
        os.mkdir(self.path("tree"))
        name = "d" * 200
        try:
            os.chdir(self.path("tree"))
            for _ in range(30):
                os.mkdir(name)
                os.chdir(name)
            quarrytest.write("file", b"deep")
            os.symlink("t" * 3000, "link")
        finally:
            os.fchdir(here)
        r = self.build("--name", "n", "--include-store-paths=false",
                       "--root-tree", "tree", "--to", "docker-archive:-")
        layer, = DockerArchive(r.stdout).layers
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            at = "/" + "/".join([name] * 30)
            file, link = tar.getmember(at + "/file"), \
                tar.getmember(at + "/link")
            self.assertEqual(tar.extractfile(file).read(), b"deep")
            self.assertEqual(link.linkname, "t" * 3000)
        subprocess.run(["rm", "-rf", self.path("tree")], check=True)

    def test_root_layer(self):
        """contents at / (first wins, a warning names both), then rootTree,
        then directories; owners and modes by rule."""
        store = make_store.Store(self.path("s"))
        one = store.add("one", {
            "bin": {"both": b"1", "one": b"1"}, "etc": {"dir": {"x": b""}},
            "link": make_store.Link("bin/one"), "share": b"file"})
        two = store.add("two", {
            "bin": {"both": b"2", "two": b"2"}, "etc": {"dir": {"y": b""}},
            "share": {"z": b""}})
        tree = self.path("tree")
        make_store.write_tree(tree.encode(), make_store.Dir({
            "etc": make_store.Dir({
                "passwd": make_store.File(b"root:x:0:0::/:/bin/sh\n", 0o644)},
                0o755),
            "run.sh": make_store.File(b"#!/bin/sh\n", 0o755),
            "l": make_store.Link("etc/passwd")}, 0o755))
        request = quarrytest.write(self.path("r.json"), json.dumps({
            "name": "n", "contents": [one, two], "rootTree": tree,
            "directories": [
                {"path": "/tmp", "mode": "1777"},
                {"path": "/home/me", "mode": "0700", "uid": 1000,
                 "gid": 100}]}))
        r = self.build(request, "--closure", self.closure_file(store),
                       "--store-root", store.root,
                       "--to", "docker-archive:-")
        self.assertRegex(r.errors, r"warning.*")
        for name in ("bin/both", "share"):
            line = [l for l in r.errors.splitlines() if name in l]
            self.assertTrue(line, r.errors)
            self.assertTrue(any(one in l and two in l for l in line), line)
        got = {}
        image = DockerArchive(r.stdout)
        with tarfile.open(fileobj=io.BytesIO(image.layers[-1])) as tar:
            for ti in tar:
                name = "/" + ti.name.strip("./")
                self.assertNotIn(name, got, "twice in the root layer")
                data = (tar.extractfile(ti).read() if ti.isreg()
                        else ti.linkname)
                got[name] = (ti.type, ti.mode, ti.uid, ti.gid, data)
                self.assertEqual(ti.mtime, 1)
        d, f, l = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE
        links = {"/bin/both": one, "/bin/one": one, "/bin/two": two,
                 "/etc/dir/x": one, "/etc/dir/y": two, "/share": one,
                 "/link": one}
        for name, path in links.items():
            self.assertEqual((got[name][0], got[name][4]),
                             (l, path + name), name)
            self.assertEqual(got[name][1:4], (0o777, 0, 0))
        self.assertNotIn("/share/z", got)
        self.assertEqual(got["/etc/passwd"][0], f)
        self.assertEqual(got["/etc/passwd"][4], b"root:x:0:0::/:/bin/sh\n")
        self.assertEqual(got["/etc/passwd"][2:4], (0, 0))
        self.assertEqual(got["/run.sh"][0], f)
        self.assertTrue(got["/run.sh"][1] & 0o111)
        self.assertFalse(got["/etc/passwd"][1] & 0o111)
        self.assertEqual(got["/l"][0], l)
        self.assertEqual(got["/tmp"][:4], (d, 0o1777, 0, 0))
        self.assertEqual(got["/home/me"][:4], (d, 0o700, 1000, 100))
        for name in ("/bin", "/etc", "/etc/dir", "/home"):
            self.assertEqual(got[name][0], d, name)
            self.assertEqual(got[name][1] & 0o555, 0o555)


if __name__ == "__main__":
    quarrytest.main()
