"""fromImage: base images of every kind, kept byte for byte."""

import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
import zlib

import quarrytest
from quarrytest import (Base, DockerArchive, OciLayout, make_store, need,
                        reference, sha256)

LAYER = "application/vnd.oci.image.layer.v1.tar"


def layer_tar(*files):
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w") as tar:
        for name, data in files:
            ti = tarfile.TarInfo(name)
            ti.size = len(data)
            tar.addfile(ti, io.BytesIO(data))
    return buf.getvalue()


def image_config(layers, **config):
    return json.dumps({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers",
                   "diff_ids": ["sha256:" + sha256(l) for l in layers]},
        "history": [{"created_by": "x"}] * len(layers)}).encode()


def tar_of(path, files, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in files:
            ti = tarfile.TarInfo(name)
            ti.size = len(data)
            tar.addfile(ti, io.BytesIO(data))
    return path


def docker_archive(path, layers, config=None, names=None, tags=("b:1",)):
    config = image_config(layers) if config is None else config
    names = names or ["l%d/layer.tar" % i for i in range(len(layers))]
    files = dict(zip(names, layers))
    files[sha256(config) + ".json"] = config
    files["manifest.json"] = json.dumps([{
        "Config": sha256(config) + ".json", "RepoTags": list(tags),
        "Layers": names}]).encode()
    return tar_of(path, files.items())


def oci_layout(folder, layers, encode=bytes, suffix="", config=None):
    blobs = folder + "/blobs/sha256"
    os.makedirs(blobs)
    config = image_config(layers) if config is None else config

    def put(media_type, data, **more):
        quarrytest.write(blobs + "/" + sha256(data), data)
        return dict({"mediaType": media_type, "size": len(data),
                     "digest": "sha256:" + sha256(data)}, **more)

    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put("application/vnd.oci.image.config.v1+json", config),
        "layers": [put(LAYER + suffix, encode(l)) for l in layers],
    }).encode()
    index = {"schemaVersion": 2, "manifests": [put(
        "application/vnd.oci.image.manifest.v1+json", manifest,
        annotations={"org.opencontainers.image.ref.name": "latest"})]}
    quarrytest.write(folder + "/index.json", json.dumps(index))
    quarrytest.write(folder + "/oci-layout",
                     '{"imageLayoutVersion": "1.0.0"}')
    return folder


def oci_archive(path, folder):
    with tarfile.open(path, "w") as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(os.path.join(folder, name), name)
    return path


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, check=True,
                          stdout=subprocess.PIPE).stdout


def greedy_xz(data):
    """Its header asks for a dictionary of 4 GiB."""
    out = bytearray(lzma.compress(data))
    end = 12 + (out[12] + 1) * 4 - 4
    out[out.index(b"\x21\x01", 12, end) + 2] = 40
    out[end:end + 4] = zlib.crc32(out[12:end]).to_bytes(4, "little")
    return bytes(out)


class TestBaseImage(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=4)

    def setUp(self):
        super().setUp()
        self.closure = self.closure_file(self.store)
        self.layers = [layer_tar(("etc/os", b"base\n")),
                       layer_tar(("bin/x", b"x" * 5000), ("y", b""))]

    def with_base(self, base, *args, config=None, to="docker-archive:-",
                  **kw):
        request = quarrytest.write(self.path("r.json"), json.dumps({
            "name": "x", "tag": "1", "fromImage": base,
            "config": config or {}, "contents": [
                self.store.infos[-1]["path"]]}))
        return self.build(request, "--closure", self.closure,
                          "--store-root", self.store.root, "--to", to,
                          *args, **kw)

    def check(self, base, names=None):
        """The base's layers are at the bottom, byte for byte."""
        image = DockerArchive(self.with_base(base).stdout)
        n = len(self.layers)
        self.assertEqual(image.diff_ids()[:n],
                         [sha256(l) for l in self.layers])
        if names:
            self.assertEqual(image.manifest["Layers"][:n], names)
            for i, name in enumerate(names):
                self.assertEqual(image.config["history"][i]["comment"],
                                 "store paths: %r" % ([name],))
        self.assertEqual(len(image.layers), n + 5)
        self.assertEqual(len(image.config["history"]), n + 5)
        return image

    def test_docker_archive(self):
        base = docker_archive(self.path("b.tar"), self.layers)
        image = self.check(base, ["l0/layer.tar", "l1/layer.tar"])
        self.assertEqual(image.layers[:2], self.layers)

    def test_docker_archive_by_option(self):
        base = docker_archive(self.path("b.tar"), self.layers)
        r = self.build("--name", "x", "--from-image", base, "--closure",
                       self.closure, "--store-root", self.store.root,
                       "--to", "docker-archive:-")
        self.assertEqual(DockerArchive(r.stdout).layers[:2], self.layers)

    @need("xz", "zstd", "bzip2")
    def test_compressed_archives(self):
        base = docker_archive(self.path("b.tar"), self.layers)
        want = self.with_base(base).stdout
        for tool in ("gzip", "xz", "zstd", "bzip2"):
            data = subprocess.run([tool, "-c", base], check=True,
                                  stdout=subprocess.PIPE).stdout
            packed = quarrytest.write(self.path("b." + tool), data)
            self.same_bytes(self.with_base(packed).stdout, want, tool)

    @need("zstd")
    def test_oci(self):
        for suffix, encode in (("", bytes), ("+gzip", gzip.compress),
                               ("+zstd", zstd)):
            folder = oci_layout(self.path("l" + suffix), self.layers,
                                encode, suffix)
            archive = oci_archive(self.path("a%s.tar" % suffix), folder)
            for base in (folder, archive):
                with self.subTest(base):
                    self.check(base)
                    out = self.path("out", os.path.basename(base))
                    self.with_base(base, to="oci:" + out)
                    oci = OciLayout(out)
                    self.assertEqual(
                        [l["mediaType"] for l in oci.manifest["layers"]],
                        [LAYER + suffix] * 2 + [LAYER] * 5)
                    self.assertEqual(oci.layers[:2], self.layers)
            packed = quarrytest.write(self.path("p%s.tar.gz" % suffix),
                                      gzip.compress(quarrytest.read(archive)))
            self.check(packed)

    def test_xz_that_wants_too_much_memory(self):
        config = image_config(self.layers)

        def layers(name, pack):
            return docker_archive(self.path(name), [pack(l) for l in
                                                    self.layers], config)

        base = docker_archive(self.path("b.tar"), self.layers)
        whole = quarrytest.write(self.path("b.xz"),
                                 greedy_xz(quarrytest.read(base)))
        for base in (whole, layers("l.tar", greedy_xz)):
            r = self.with_base(base, status=2)
            self.assertIn(b"MiB of memory, more than 128", r.stderr)
        image = DockerArchive(
            self.with_base(layers("m.tar", lzma.compress)).stdout)
        self.assertEqual(image.diff_ids()[:2],
                         [sha256(l) for l in self.layers])

    def test_gzip_layers_are_kept(self):
        """Byte for byte, also where our own layers are zstd."""
        packed = [gzip.compress(l, 1, mtime=77) for l in self.layers]
        by_plain = dict(zip(self.layers, packed))
        folder = oci_layout(self.path("base"), self.layers,
                            by_plain.__getitem__, "+gzip")
        out = self.path("out/oci")
        self.with_base(folder, "--encoding", "zstd", to="oci:" + out)
        manifest = OciLayout(out).manifest
        self.assertEqual([l["digest"] for l in manifest["layers"][:2]],
                         ["sha256:" + sha256(p) for p in packed])
        self.assertTrue(manifest["layers"][2]["mediaType"].endswith("+zstd"))

    def test_same_layer_twice(self):
        self.layers = [self.layers[0], self.layers[1], self.layers[0]]
        names = ["a/layer.tar", "b/layer.tar", "a/layer.tar"]
        base = docker_archive(self.path("b.tar"), self.layers, names=names)
        image = self.check(base, names)
        self.assertEqual(image.layers[:3], self.layers)
        folder = oci_layout(self.path("oci"), self.layers)
        self.check(folder)
        out = self.path("out/oci")
        self.with_base(folder, to="oci:" + out)
        oci = OciLayout(out)
        self.assertEqual(oci.layers[:3], self.layers)
        # Two names for the same bytes, as some tools write.
        base = docker_archive(self.path("c.tar"), self.layers)
        self.check(base)
        self.with_base(base, to="oci-archive:" + self.path("out/o.tar"))

    @need("skopeo")
    def test_same_layer_twice_is_loaded(self):
        self.layers = [self.layers[0], self.layers[0]]
        base = docker_archive(self.path("b.tar"), self.layers,
                              names=["a/layer.tar"] * 2)
        for kind, ref in (("docker-archive", ""), ("oci-archive", ":1")):
            out = self.path("out/%s.tar" % kind)
            self.with_base(base, to="%s:%s" % (kind, out))
            self.command("skopeo", "--insecure-policy", "copy", "-q",
                         "%s:%s%s" % (kind, out, ref),
                         "dir:" + self.path("out/%s.dir" % kind))

    def test_layers_are_links_in_old_archives(self):
        """docker save of 1.10 to 24: a repeated layer is a link."""
        config = image_config([self.layers[0]] * 2)
        path = self.path("b.tar")
        with tarfile.open(path, "w") as tar:
            ti = tarfile.TarInfo("a/layer.tar")
            ti.size = len(self.layers[0])
            tar.addfile(ti, io.BytesIO(self.layers[0]))
            ti = tarfile.TarInfo("b/layer.tar")
            ti.type, ti.linkname = tarfile.SYMTYPE, "../a/layer.tar"
            tar.addfile(ti)
            for name, data in (("c.json", config), ("manifest.json",
                               json.dumps([{
                                   "Config": "c.json", "RepoTags": ["x:1"],
                                   "Layers": ["a/layer.tar", "b/layer.tar"]
                               }]).encode())):
                ti = tarfile.TarInfo(name)
                ti.size = len(data)
                tar.addfile(ti, io.BytesIO(data))
        self.layers = [self.layers[0]] * 2
        image = self.check(path)
        self.assertEqual(image.layers[:2], self.layers)

    def test_manifest_first(self):
        """The order of entries in the archive does not count."""
        config = image_config(self.layers)
        files = [("manifest.json", json.dumps([{
            "Config": "c.json", "RepoTags": None,
            "Layers": ["x", "y"]}]).encode()), ("c.json", config),
            ("repositories", b"{}"), ("y", self.layers[1]),
            ("x", self.layers[0])]
        self.check(tar_of(self.path("b.tar"), files), ["x", "y"])

    def test_env(self):
        config = image_config(self.layers, Env=["A=1", "P=/b", "A=2"],
                              User="base", Cmd=["/base"])
        base = docker_archive(self.path("b.tar"), self.layers, config)
        for ours in ({}, {"Env": ["P=/o", "N=1"], "Cmd": ["c"]},
                     {"Cmd": ["c"], "Env": []}):
            image = DockerArchive(self.with_base(base, config=ours).stdout)
            self.assertEqual(image.config["config"], reference.merge_env(
                {"Env": ["A=1", "P=/b", "A=2"]}, ours))

    def test_without_env_or_config(self):
        for config in ({}, None, {"Env": None}, {"Env": []}):
            data = json.loads(image_config(self.layers))
            if config is None:
                del data["config"]
            else:
                data["config"] = config
            base = docker_archive(self.path("b.tar"), self.layers,
                                  json.dumps(data).encode())
            image = DockerArchive(self.with_base(
                base, config={"Env": ["A=1"]}).stdout)
            self.assertEqual(image.config["config"], {"Env": ["A=1"]})

    def test_layers_are_counted(self):
        base = docker_archive(self.path("b.tar"), self.layers)
        for most, store in ((4, 1), (5, 2), (7, 4), (100, 4)):
            data = self.metadata(
                "--name", "x", "--from-image", base, "--closure",
                self.closure, "--store-root", self.store.root,
                "--max-layers", str(most), "--to", "none")
            self.assertEqual(len(data["layers"]), 2 + store + 1)
        r = self.build("--name", "x", "--from-image", base, "--closure",
                       self.closure, "--store-root", self.store.root,
                       "--max-layers", "3", "--to", "none", status=2)
        self.assertRegex(r.errors, r"\b2\b.*")
        plan = json.loads(self.quarry(
            "plan", "--from-image", base, "--closure", self.closure,
            "--max-layers", "5", "--json").stdout)
        self.assertEqual(plan["store_layers"], quarrytest.second_plan.plan(
            self.store.closure(), "popularity", 5, 2))

    def test_our_own_outputs_as_base(self):
        """Each kind we write can be read again."""
        out = self.out
        for encoding in ("none", "gzip", "zstd"):
            self.build("--name", "b", "--closure", self.closure,
                       "--store-root", self.store.root,
                       "--to", "docker-archive:%s/d.tar" % out,
                       "--to", "oci-archive:%s/o.tar" % out,
                       "--to", "oci:%s/oci" % out, "--encoding", encoding)
            self.layers = DockerArchive(out + "/d.tar").layers
            for base in ("d.tar", "o.tar", "oci"):
                self.check(out + "/" + base)

    @need("skopeo")
    def test_skopeo_made_bases(self):
        """What skopeo writes is read: docker-archive, OCI, compressed."""
        base = docker_archive(self.path("b.tar"), self.layers)
        for to in ("docker-archive:%s:x:1" % self.path("s.tar"),
                   "oci:%s:1" % self.path("s.oci"),
                   "oci-archive:%s:1" % self.path("s.oci.tar")):
            self.command("skopeo", "--insecure-policy", "copy", "-q",
                         "docker-archive:" + base, to)
            self.check(to.split(":")[1])


if __name__ == "__main__":
    quarrytest.main()
