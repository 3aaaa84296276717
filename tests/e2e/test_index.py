"""quarry index: images of several architectures under one name."""

import json
import os
import shutil

import quarrytest
import fake_registry as fake
from quarrytest import need, need_root, read, sha256
from test_base_image import image_config, layer_tar, oci_layout
from test_base_registry import OCI, TYPES, RegistryBase, zipped
from test_registry import RegistryBase as RealRegistry


def config(arch, layers, **more):
    return json.dumps(dict(json.loads(image_config(layers)),
                           architecture=arch, **more)).encode()


class TestIndex(RegistryBase):
    def image(self, r, arch, repo="b/x", form="oci", tag=None, **more):
        layers = [layer_tar(("arch", arch.encode()))]
        self.put(r, tag or arch, form, layers, repo,
                 config(arch, layers, **more))
        return "docker://%s/%s:%s" % (r.name, repo, tag or arch)

    def layout(self, arch, name):
        layers = [layer_tar(("arch", arch.encode()))]
        oci_layout(self.path(name), layers, zipped, "+gzip",
                   config(arch, layers))
        return "oci:" + self.path(name)

    def index(self, name, *images, status=0, more=()):
        args = [x for i in images for x in ("--manifest", i)]
        return self.quarry("index", *more, name, *args, status=status)

    def check(self, r, got, platforms, repo="b/x", tag="all"):
        """Under the tag is an index of these, each of them whole."""
        found = r.repo(repo)
        digest = found["tags"][tag]
        self.assertEqual(got.stdout.decode(), digest + "\n")
        media_type, data = found["manifests"][digest]
        doc = json.loads(data)
        self.assertEqual(media_type, TYPES["oci"][3])
        self.assertEqual(doc["mediaType"], media_type)
        self.assertEqual([d["platform"] for d in doc["manifests"]],
                         platforms)
        for d in doc["manifests"]:
            kind, one = found["manifests"][d["digest"]]
            self.assertEqual((kind, len(one)), (d["mediaType"], d["size"]))
            one = json.loads(one)
            for part in [one["config"]] + one["layers"]:
                self.assertIn(part["digest"], found["blobs"])
                self.assertEqual(fake.sha256(r.blobs[part["digest"]]),
                                 part["digest"])
            conf = json.loads(r.blobs[one["config"]["digest"]])
            self.assertEqual(conf["architecture"],
                             d["platform"]["architecture"])
        return doc

    def platform(self, arch, **more):
        return dict({"architecture": arch, "os": "linux"}, **more)

    def test_same_repository(self):
        r = self.registry()
        got = self.index("docker://%s/b/x:all" % r.name,
                         self.image(r, "amd64"), self.image(r, "arm64"))
        self.check(r, got, [self.platform("amd64"), self.platform("arm64")])
        self.assertEqual(r.count("POST start"), 0)
        # Configs are read; layers are not.
        self.assertEqual(r.count("GET stored"), 2)

    def test_other_repository(self):
        r = self.registry()
        got = self.index("docker://%s/b/x:all" % r.name,
                         self.image(r, "amd64", "b/one"),
                         self.image(r, "arm64", "b/two", "docker"))
        doc = self.check(
            r, got, [self.platform("amd64"), self.platform("arm64")])
        self.assertEqual(r.count("PUT blob"), 0)
        self.assertEqual([d["mediaType"] for d in doc["manifests"]],
                         [TYPES["oci"][0], TYPES["docker"][0]])

    def test_other_registry_and_layouts(self):
        r, other = self.registry(), self.registry()
        got = self.index("docker://%s/b/x:all" % r.name,
                         self.image(other, "s390x"),
                         self.layout("riscv64", "l"),
                         self.image(r, "amd64"))
        self.check(r, got, [self.platform(a) for a in (
            "s390x", "riscv64", "amd64")])
        again = self.index("docker://%s/b/x:again" % r.name,
                           self.image(other, "s390x"),
                           self.layout("riscv64", "m"),
                           self.image(r, "amd64"))
        self.assertEqual(again.stdout, got.stdout)
        self.assertEqual(r.count("PUT blob"), 4)

    def test_to_a_layout(self):
        r = self.registry()
        got = self.index("oci:%s:v1" % self.path("all"),
                         self.image(r, "amd64"), self.layout("arm64", "l"))
        top = json.loads(read(self.path("all/index.json")))
        self.assertEqual(top["manifests"][0]["annotations"],
                         {"org.opencontainers.image.ref.name": "v1"})
        self.assertEqual(top["manifests"][0]["digest"],
                         got.stdout.decode().strip())
        names = os.listdir(self.path("all/blobs/sha256"))
        self.assertEqual(len(names), 1 + 2 * 3)
        for name in names:
            self.assertEqual(
                sha256(read(self.path("all/blobs/sha256", name))), name)
        # What was made is a layout whose images can be taken one by one.
        for arch in ("amd64", "arm64"):
            data = self.metadata(
                "--name", "x", "--closure", self.closure, "--store-root",
                self.store.root, "--from-image", self.path("all"), "--arch",
                arch, "--to", "none")
            self.assertEqual(
                data["layers"][0]["diff_id"],
                "sha256:" + sha256(layer_tar(("arch", arch.encode()))))

    def test_variants(self):
        r = self.registry()
        got = self.index("docker://%s/b/x:all" % r.name,
                         self.image(r, "arm", tag="v6", variant="v6"),
                         self.image(r, "arm", tag="v7", variant="v7"))
        self.check(r, got, [self.platform("arm", variant="v6"),
                            self.platform("arm", variant="v7")])

    def test_two_of_one_platform(self):
        r = self.registry()
        got = self.index("docker://%s/b/x:all" % r.name,
                         self.image(r, "amd64"),
                         self.image(r, "amd64", tag="other", created="x"),
                         status=2)
        self.assertIn("are both for linux/amd64", got.errors)
        self.assertNotIn("all", r.repo("b/x")["tags"])

    def test_what_is_refused(self):
        r = self.registry()
        name = "docker://%s/b/x:all" % r.name
        good = self.image(r, "amd64")
        self.index(name, good, self.image(r, "arm64"))
        for args, why in (
                ((name,), "--manifest is missing"),
                (("docker://%s/b/x" % r.name, good), "a tag is missing"),
                (("b/x:1", good), "is wanted"),
                ((name, name), "2 images, and one is wanted"),
                ((name, good + "x"), "has no manifest amd64x"),
                ((name, "oci:" + self.path("none")), "is no OCI layout"),
                ((name, self.layout("arm64", "l") + ":x"),
                 "no image called x"),
                (("oci:" + self.path("l") + ":a/b", good), "is wanted")):
            got = self.index(*args, status=2)
            self.assertIn(why, got.errors)
        no_arch = self.image(r, "x", tag="y", os="")
        self.assertIn("does not say", self.index(
            name, no_arch, status=2).errors)

    def test_damaged_layout(self):
        r = self.registry()
        image = self.layout("arm64", "l")
        layer = self.path("l/blobs/sha256", sha256(zipped(
            layer_tar(("arch", b"arm64")))))
        data = read(layer)
        quarrytest.write(layer, data[:-1] + b"x")
        got = self.index("docker://%s/b/x:all" % r.name, image, status=2)
        self.assertIn("is damaged", got.errors)
        self.assertEqual(r.repo("b/x")["tags"], {})

    def test_a_blob_that_is_gone(self):
        r = self.registry()
        image = self.image(r, "amd64")
        del r.blobs[fake.sha256(zipped(layer_tar(("arch", b"amd64"))))]
        got = self.index("docker://%s/b/x:all" % r.name, image, status=1)
        self.assertIn("it has lost", got.errors)
        self.assertNotIn("all", r.repo("b/x")["tags"])


class TestReal(RealRegistry):
    @need("podman")
    @need_root()
    def test_skopeo_and_podman(self):
        host = self.serve()
        name = "docker://%s/m/x:1" % host
        for arch, form in (("amd64", "oci"), ("arm64", "docker")):
            self.push("%s/m/x:%s" % (host, arch), "--arch", arch, "--format",
                      form)
        images = [x for a in ("amd64", "arm64") for x in (
            "--manifest", "docker://%s/m/x:%s" % (host, a))]
        said = self.quarry("index", name, *images).stdout.decode().strip()
        raw = self.command("skopeo", "inspect", "--raw",
                           "--tls-verify=false", name)
        self.assertEqual("sha256:" + sha256(raw), said)
        self.assertEqual(json.loads(raw)["mediaType"], OCI + "index.v1+json")
        for arch in ("amd64", "arm64"):
            shown = json.loads(self.command(
                "skopeo", "--override-arch", arch, "inspect",
                "--tls-verify=false", name))
            self.assertEqual(shown["Architecture"], arch)
            one = json.loads(self.command(
                "skopeo", "inspect", "--raw", "--tls-verify=false",
                "docker://%s/m/x:%s" % (host, arch)))
            self.assertEqual(shown["Layers"],
                             [l["digest"] for l in one["layers"]])
        self.command("skopeo", "copy", "--all", "--src-tls-verify=false",
                     name, "dir:" + self.path("all"))
        # The same index as a layout, which skopeo reads as well.
        layout = "oci:%s:v" % self.path("layout")
        self.assertEqual(
            self.quarry("index", layout, *images).stdout.decode().strip(),
            said)
        self.assertEqual(raw, self.command(
            "skopeo", "inspect", "--raw", layout))
        shutil.rmtree(self.path("all"))
        podman = ["podman", "--root", self.path("pod"), "--runroot",
                  self.path("podrun"), "--storage-driver", "vfs"]
        self.command(*podman, "pull", "--tls-verify=false",
                     "--platform=linux/amd64", name)
        found = json.loads(self.command(
            *podman, "image", "inspect", host + "/m/x:1"))
        self.assertEqual(found[0]["Architecture"], "amd64")
        self.command(*podman, "system", "reset", "--force")


if __name__ == "__main__":
    quarrytest.main()
