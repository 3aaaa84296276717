"""Every kind of output, and the tools that people feed them to."""

import io
import json
import os
import subprocess
import tarfile

import quarrytest
from quarrytest import (Base, DockerArchive, OciLayout, make_store, need,
                        need_root, read)

CONFIG = {
    "Env": ["PATH=/bin", "GREETING=gr\u00fc\u00df dich"],
    "Cmd": ["/bin/hello"], "WorkingDir": "/srv",
    "Labels": {"org.example.label": "x y"},
    "ExposedPorts": {"80/tcp": {}}, "User": "0:0",
}
MEDIA = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


class Outputs(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.runnable_store(cls.folder())

    def setUp(self):
        super().setUp()
        self.request = quarrytest.write(self.path("request.json"), json.dumps({
            "name": "hello", "tag": "1", "config": CONFIG,
            "contents": [self.store.infos[-1]["path"],
                         self.store.infos[0]["path"]],
            "directories": [{"path": "/tmp", "mode": "1777"},
                            {"path": "/srv", "mode": "0755"}]}))
        self.common = [self.request, "--closure",
                       self.closure_file(self.store), "--store-root",
                       self.store.root]

    def image(self, *args, **kw):
        return self.build(*self.common, *args, **kw)


class TestOutputs(Outputs):
    def test_pipe_is_the_file(self):
        name = self.path("out/i.tar")
        self.image("--to", "docker-archive:" + name)
        for kind in ("docker-archive", "oci-archive"):
            file = self.path("out/%s.tar" % kind)
            self.image("--to", "%s:%s" % (kind, file))
            r = self.image("--to", kind + ":-")
            self.same_bytes(r.stdout, read(file), kind)

    def test_sha256sum_of_what_went_through(self):
        """coreutils' sha256sum agrees with every digest we state."""
        out = self.path("out/oci")
        tar = self.path("out/i.tar")
        data = self.metadata(*self.common, "--to", "oci:" + out,
                             "--to", "docker-archive:" + tar,
                             "--encoding", "gzip")
        blobs = out + "/blobs/sha256"
        sums = self.command("sha256sum", *[
            os.path.join(blobs, b) for b in sorted(os.listdir(blobs))])
        for line in sums.decode().splitlines():
            digits, name = line.split()
            self.assertEqual(digits, os.path.basename(name))
        archive = DockerArchive(tar)
        self.assertEqual(data["image_id"], "sha256:" + archive.id)
        manifest = OciLayout(out).descriptor["digest"]
        self.assertEqual(data["manifest_digest"], manifest)
        for layer, info in zip(archive.layers, data["layers"]):
            sums = subprocess.run(["sha256sum"], input=layer, check=True,
                                  stdout=subprocess.PIPE).stdout.split()[0]
            self.assertEqual("sha256:" + sums.decode(), info["diff_id"])
            self.assertEqual(len(layer), info["tar_size"])
            blob = os.path.join(blobs, info["digest"].split(":")[1])
            self.assertEqual(os.path.getsize(blob), info["size"])

    def test_metadata_file(self):
        data = self.metadata(*self.common, "--to", "none")
        self.assertRegex(data["image_id"], "^sha256:[0-9a-f]{64}$")
        self.assertRegex(data["manifest_digest"], "^sha256:[0-9a-f]{64}$")
        self.assertEqual(len(data["layers"]), 4)
        paths = []
        for layer in data["layers"]:
            for key in ("diff_id", "tar_size", "digest", "size",
                        "media_type", "paths", "worker", "seconds",
                        "cached"):
                self.assertIn(key, layer)
            self.assertEqual(layer["tar_size"] % 10240, 0)
            self.assertIs(layer["cached"], False)
            self.assertGreaterEqual(layer["seconds"], 0)
            paths += layer["paths"]
        self.assertEqual(sorted(p for p in paths if "/nix/store/" in p),
                         sorted(i["path"] for i in self.store.infos))
        r = self.image("--to", "none", "--metadata-file", "-")
        self.assertEqual(json.loads(r.stdout)["image_id"], data["image_id"])

    def test_all_at_once_are_each_alone(self):
        kinds = ["docker-archive:%s/d.tar", "oci:%s/oci",
                 "oci-archive:%s/o.tar"]
        for encoding in ("none", "gzip", "zstd"):
            together = self.path("out", encoding)
            alone = self.path("out", encoding + "-alone")
            os.mkdir(together)
            os.mkdir(alone)
            args = ["--encoding", encoding]
            for kind in kinds:
                self.image("--encoding", encoding, "--to", kind % alone)
                args += ["--to", kind % together]
            self.image(*args)
            self.command("diff", "-r", together, alone)

    def test_two_of_a_kind(self):
        out = self.out
        self.image("--to", "docker-archive:%s/a" % out,
                   "--to", "docker-archive:%s/b" % out, "--to", "none",
                   "--to", "oci:%s/c" % out, "--to", "oci:%s/d" % out)
        self.same_bytes(read(out + "/a"), read(out + "/b"))
        self.command("diff", "-r", out + "/c", out + "/d")

    def test_several_builds_of_one_place(self):
        """It has one of their images, whole; nothing else is left."""
        tags = "1", "2", "3", "4"
        os.mkdir(self.path("one"))
        for tag in tags:
            self.image("--tag", tag, "--to", "oci:" + self.path("out", tag))
        either = [quarrytest.tree_bytes(self.path("out", t)) for t in tags]
        running = [self.start("build", *self.common, "--tag", tag, "--to",
                              "oci:" + self.path("one/oci")) for tag in tags]
        for p in running:
            self.assertEqual(self.finish(p).status, 0)
        self.assertIn(quarrytest.tree_bytes(self.path("one/oci")), either)
        self.assertEqual(os.listdir(self.path("one")), ["oci"])

    @need("zstd")
    def test_oci_layout(self):
        plain = DockerArchive(self.image("--to", "docker-archive:-").stdout)
        for encoding in MEDIA:
            out = self.path("out", encoding)
            self.image("--to", "oci:" + out, "--encoding", encoding)
            oci = OciLayout(out)
            self.assertEqual(oci.layout, {"imageLayoutVersion": "1.0.0"})
            self.assertEqual(oci.index["schemaVersion"], 2)
            self.assertEqual(oci.manifest["schemaVersion"], 2)
            self.assertEqual(
                oci.descriptor["mediaType"],
                "application/vnd.oci.image.manifest.v1+json")
            self.assertEqual(
                oci.descriptor["annotations"]
                ["org.opencontainers.image.ref.name"], "1")
            self.assertEqual(
                oci.manifest["config"]["mediaType"],
                "application/vnd.oci.image.config.v1+json")
            for layer in oci.manifest["layers"]:
                self.assertEqual(layer["mediaType"], MEDIA[encoding])
            self.assertEqual(oci.config_bytes, plain.config_bytes)
            self.assertEqual(oci.layers, plain.layers)
            self.assertEqual(oci.unnamed(), set())

    def test_oci_archive_is_the_layout(self):
        """And its manifest.json names its blobs, for docker load."""
        self.image("--to", "oci:" + self.path("out/oci"), "--to",
                   "oci-archive:" + self.path("out/o.tar"),
                   "--encoding", "gzip")
        folder = quarrytest.untar(self.path("out/o.tar"), self.path("out/x"))
        oci = OciLayout(folder)
        self.assertEqual(oci.unnamed(), {"manifest.json"})
        manifest, = json.loads(read(folder + "/manifest.json"))
        self.assertEqual(
            manifest["Config"],
            "blobs/sha256/" + oci.manifest["config"]["digest"][7:])
        self.assertEqual(manifest["Layers"], [
            "blobs/sha256/" + l["digest"][7:]
            for l in oci.manifest["layers"]])
        self.assertEqual(manifest["RepoTags"], ["hello:1"])
        os.unlink(folder + "/manifest.json")
        self.command("diff", "-r", folder, self.path("out/oci"))

    def test_empty_image(self):
        """A folder of nothing but the root layer."""
        request = quarrytest.write(self.path("e.json"), json.dumps({
            "name": "empty", "includeStorePaths": False,
            "directories": [{"path": "/tmp", "mode": "1777"}]}))
        closure = quarrytest.write(self.path("none.json"), "[]")
        r = self.build(request, "--closure", closure,
                       "--to", "docker-archive:-")
        image = DockerArchive(r.stdout)
        self.assertEqual(len(image.layers), 1)
        with tarfile.open(fileobj=io.BytesIO(image.layers[0])) as tar:
            names = ["/" + n.strip("./") for n in tar.getnames()]
        self.assertIn("/tmp", names)

    def test_existing_is_replaced_when_complete(self):
        tar, oci = self.path("out/i.tar"), self.path("out/oci")
        to = ["--to", "docker-archive:" + tar, "--to", "oci:" + oci,
              "--metadata-file", self.path("out/m.json")]
        self.image(*to, "--max-layers", "2")
        before = read(tar), read(oci + "/index.json")
        # A build that fails at the end of its work changes nothing.
        bad = make_store.Store(self.path("bad"))
        path = bad.add("gone", {"f": b"x"})
        closure = self.closure_file(bad, name="badc")
        subprocess.run(["rm", "-rf", bad.real(path)], check=True)
        self.build("--name", "x", "--closure", closure, "--store-root",
                   bad.root, *to, status=None)
        self.assertEqual((read(tar), read(oci + "/index.json")), before)
        OciLayout(oci)
        # One that ends well replaces all; the old blobs are gone or unnamed
        # by nothing that counts.
        self.image(*to)
        self.assertNotEqual((read(tar), read(oci + "/index.json")), before)
        DockerArchive(tar)
        OciLayout(oci)
        self.assertEqual(OciLayout(oci).unnamed(), set())

    def test_what_is_not_ours_is_not_replaced(self):
        """A folder that is no OCI layout is left alone."""
        mine = self.path("out/mine")
        os.mkdir(mine)
        quarrytest.write(mine + "/precious", "data")
        r = self.image("--to", "oci:" + mine, status=2)
        self.assertIn(mine, r.errors)
        self.assertEqual(os.listdir(mine), ["precious"])

    def test_output_beside_the_way(self):
        """Relative names, odd names, and a link to a file."""
        self.image("--to", "docker-archive:i.tar", cwd=self.out)
        want = read(self.path("out/i.tar"))
        odd = self.path("out/o d:d\n\u00fc.tar")
        self.image("--to", "docker-archive:" + odd)
        self.same_bytes(read(odd), want)


class TestTools(Outputs):
    """skopeo, umoci and podman on what came out."""

    @need("skopeo", "zstd")
    def test_skopeo(self):
        for encoding in MEDIA:
            with self.subTest(encoding):
                out = self.path("out", encoding)
                os.mkdir(out)
                self.image("--to", "docker-archive:%s/d.tar" % out,
                           "--to", "oci:%s/oci" % out,
                           "--to", "oci-archive:%s/o.tar" % out,
                           "--encoding", encoding)
                plain = DockerArchive(out + "/d.tar")
                for source in ("docker-archive:%s/d.tar" % out,
                               "docker-archive:%s/o.tar" % out,
                               "oci:%s/oci:1" % out,
                               "oci-archive:%s/o.tar:1" % out):
                    config = self.command("skopeo", "inspect", "--config",
                                          "--raw", source)
                    self.assertEqual(config, plain.config_bytes, source)
                    seen = json.loads(self.command(
                        "skopeo", "inspect", source))
                    self.assertEqual(seen["Env"], CONFIG["Env"])
                    self.assertEqual(seen["Labels"], CONFIG["Labels"])
                    self.assertEqual(len(seen["Layers"]), 4)
                    copy = "%s/copy-%d" % (out, len(os.listdir(out)))
                    self.command("skopeo", "--insecure-policy", "copy", "-q",
                                 source, "dir:" + copy)
                self.command("skopeo", "--insecure-policy", "copy", "-q",
                             "--preserve-digests", "oci:%s/oci:1" % out,
                             "oci:%s/again:1" % out)
                again = OciLayout(out + "/again")
                self.assertEqual(again.descriptor["digest"],
                                 OciLayout(out + "/oci").descriptor["digest"])

    @need("umoci")
    @need_root()
    def test_umoci(self):
        for encoding in ("none", "gzip"):
            out = self.path("out", encoding)
            self.image("--to", "oci:" + out, "--encoding", encoding)
            bundle = self.path("out", "bundle-" + encoding)
            self.command("umoci", "unpack", "--image", out + ":1", bundle)
            root = bundle + "/rootfs"
            for info in self.store.infos:
                real = self.store.real(info["path"])
                self.command("diff", "-r", "--no-dereference", real,
                             root + info["path"])
            self.assertEqual(os.readlink(root + "/bin/hello"),
                             self.store.infos[-1]["path"] + "/bin/hello")
            self.assertEqual(os.stat(root + "/tmp").st_mode & 0o7777, 0o1777)

    @need("podman", "runc")
    @need_root()
    def test_podman(self):
        conf = quarrytest.write(self.path("containers.conf"), (
            '[containers]\n'
            'default_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n'))
        env = dict(self.env, CONTAINERS_CONF=conf,
                   TMPDIR=self.path("ptmp"),
                   XDG_RUNTIME_DIR=self.path("ptmp"))
        podman = ["podman", "--root", self.path("root"), "--runroot",
                  self.path("runroot"), "--tmpdir", self.path("ptmp"),
                  "--storage-driver", "vfs", "--runtime", "runc",
                  "--cgroup-manager", "cgroupfs",
                  "--events-backend", "none"]
        os.mkdir(self.path("ptmp"))
        out = self.out
        self.image("--to", "docker-archive:%s/docker.tar" % out,
                   "--to", "oci-archive:%s/plain.tar" % out)
        self.image("--to", "oci-archive:%s/gzip.tar" % out,
                   "--encoding", "gzip")
        self.image("--to", "oci-archive:%s/zstd.tar" % out,
                   "--encoding", "zstd")
        want = DockerArchive(out + "/docker.tar").id
        script = ("hello; echo $GREETING; readlink /bin/hello; pwd;"
                  "ls -ld /tmp")
        try:
            for name in ("docker", "plain", "gzip", "zstd"):
                loaded = self.command(
                    *podman, "load", "-i", "%s/%s.tar" % (out, name),
                    env=env).decode()
                # localhost/hello:1 or docker.io/library/hello:1.
                self.assertIn("/hello:1", loaded, name)
                loaded = loaded.split()[-1]
                id_ = self.command(*podman, "image", "inspect", "--format",
                                   "{{.Id}}", loaded, env=env)
                self.assertEqual(id_.decode().strip(), want)
                said = self.command(
                    *podman, "run", "--rm", "--network=none",
                    loaded, "/bin/sh", "-c", script, env=env)
                lines = said.decode().splitlines()
                self.assertEqual(lines[:4], [
                    "made of a closure", "gr\u00fc\u00df dich",
                    self.store.infos[-1]["path"] + "/bin/hello", "/srv"])
                self.assertTrue(lines[4].startswith("drwxrwxrwt"))
                self.command(*podman, "rmi", "-f", loaded, env=env)
            # Through a pipe, and the image's own command.
            build = self.start("build", "--progress", "none", *self.common,
                               "--to", "docker-archive:-")
            self.command(*podman, "load", env=env, stdin=build.stdout)
            self.assertEqual(build.wait(), 0)
            said = self.command(*podman, "run", "--rm", "--network=none",
                                "localhost/hello:1", env=env)
            self.assertEqual(said, b"made of a closure\n")
        finally:
            subprocess.run([*podman, "rmi", "-af"], env=env,
                           stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    quarrytest.main()
