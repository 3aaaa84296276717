"""fromImage in a registry: what is fetched, what is not, and what is refused."""

import gzip
import json
import os
import signal
import ssl
import subprocess

import quarrytest
import fake_registry as fake
from fake_registry import Registry
from quarrytest import Base, OciLayout, make_store, need, sha256
from test_base_image import image_config, layer_tar, oci_layout

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TYPES = {
    "oci": (OCI + "manifest.v1+json", OCI + "config.v1+json",
            OCI + "layer.v1.tar+gzip", OCI + "index.v1+json"),
    "docker": (DOCKER + "distribution.manifest.v2+json",
               DOCKER + "container.image.v1+json",
               DOCKER + "image.rootfs.diff.tar.gzip",
               DOCKER + "distribution.manifest.list.v2+json"),
}


def zipped(data):
    return gzip.compress(data, mtime=0)


class RegistryBase(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=3)

    def setUp(self):
        super().setUp()
        self.closure = self.closure_file(self.store)
        self.layers = [layer_tar(("etc/os", b"base\n" * 1000)),
                       layer_tar(("bin/x", b"x" * 5000), ("y", b""))]

    def registry(self, *args, **kw):
        r = Registry(*args, **kw)
        self.addCleanup(r.close)
        return r

    def put_manifest(self, r, doc, media_type=None, tag=None, repo="b/base"):
        data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        digest = fake.sha256(data)
        repo = r.repo(repo)
        repo["manifests"][digest] = (media_type or doc["mediaType"], data)
        if tag:
            repo["tags"][tag] = digest
        return {"mediaType": media_type or doc["mediaType"],
                "digest": digest, "size": len(data)}

    def put_blob(self, r, media_type, data, repo="b/base"):
        digest = fake.sha256(data)
        r.blobs[digest] = data
        r.repo(repo)["blobs"].add(digest)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put(self, r, tag="1", form="oci", layers=None, repo="b/base",
            config=None, **more):
        """A base image; its descriptor."""
        layers = self.layers if layers is None else layers
        manifest, conf, layer, _ = TYPES[form]
        doc = {"schemaVersion": 2, "mediaType": manifest,
               "config": self.put_blob(r, conf, image_config(
                   layers, Env=["A=1"]) if config is None else config, repo),
               "layers": [self.put_blob(r, layer, zipped(l), repo)
                          for l in layers]}
        return self.put_manifest(r, dict(doc, **more), tag=tag, repo=repo)

    def args(self, r, *more, base="b/base:1"):
        return ("--name", "x", "--tag", "1", "--closure", self.closure,
                "--store-root", self.store.root,
                "--from-image", "docker://%s/%s" % (r.name, base), *more)

    def refused(self, r, why, *more, status=2, base="b/base:1", to="none"):
        got = self.build(*self.args(r, *more, base=base), "--to", to,
                         status=status)
        self.assertIn(why, got.errors)
        return got

    def layer_requests(self, r, method="GET"):
        wanted = {fake.sha256(zipped(l)) for l in self.layers}
        return [x for x in r.requests if x["step"] == method + " stored" and
                x["path"].rpartition("/")[2] in wanted]

    def layout(self, *more, name="want"):
        """The same image on a layout of the same base."""
        base = oci_layout(self.path(name + "-base"), self.layers, zipped,
                          "+gzip", image_config(self.layers, Env=["A=1"]))
        self.build("--name", "x", "--tag", "1", "--closure", self.closure,
                   "--store-root", self.store.root, "--from-image", base,
                   "--encoding", "gzip", "--to", "oci:" + self.path(name),
                   *more)
        return OciLayout(self.path(name))

    def pushed(self, r, repo, tag="1"):
        found = r.repo(repo)
        return found["manifests"][found["tags"][tag]][1]


class TestStays(RegistryBase):
    """Where the output is the same registry, layers are not fetched."""

    def test_same_repository(self):
        r = self.registry()
        for form in ("oci", "docker"):
            self.put(r, form=form, repo="x/" + form)
            self.build(*self.args(r, base="x/%s:1" % form), "--to",
                       "docker://%s/x/%s:2" % (r.name, form))
            self.assertEqual(self.layer_requests(r), [])
            self.assertEqual(self.pushed(r, "x/" + form, "2"),
                             self.layout(name=form).manifest_bytes)
        # Its own blobs only: store layers, root layer, config.
        self.assertEqual(r.count("PUT blob"), 2 * (3 + 1 + 1))

    def test_other_repository(self):
        r = self.registry()
        self.put(r)
        for form, name in (("oci", "t/x"), ("docker", "t/y")):
            self.build(*self.args(r), "--to", "docker://%s/%s:1" % (
                r.name, name), "--format", form, "--to", "none")
        self.assertEqual(self.layer_requests(r), [])
        self.assertEqual(self.pushed(r, "t/x"), self.layout().manifest_bytes)
        mounts = [q for q in r.requests if "mount=" in q["path"]]
        self.assertEqual([q["status"] for q in mounts], [201] * 4)
        for q in mounts:
            self.assertIn("from=b/base", q["path"])

    def test_what_is_not_mounted_goes_by_way_of_us(self):
        r = self.registry()
        self.put(r)
        r.rule("POST start", fake.no_mount, times=100)
        self.build(*self.args(r), "--to", "docker://%s/t/x:1" % r.name)
        self.assertEqual(self.pushed(r, "t/x"), self.layout().manifest_bytes)
        self.assertEqual(len(self.layer_requests(r)), 2)
        self.assertEqual(r.repo("t/x")["sessions"], {})

    def test_lost_by_its_own_repository(self):
        r = self.registry()
        self.put(r, repo="t/x")
        del r.blobs[fake.sha256(zipped(self.layers[1]))]
        self.refused(r, "it has lost sha256:", status=1, base="t/x:1",
                     to="docker://%s/t/x:2" % r.name)

    def test_scopes(self):
        r = self.registry(bearer=("me", "secret"))
        self.put(r)
        auth = quarrytest.write(self.path("auth.json"), json.dumps({
            "auths": {r.name: {"auth": fake.basic("me", "secret")[6:]}}}))
        self.build(*self.args(r, "--authfile", auth), "--to", "none")
        asked = [q["path"] for q in r.requests if q["step"] == "GET token"]
        self.assertTrue(asked)
        for path in asked:
            self.assertIn("b%2fbase%3apull", path.lower())
            self.assertNotIn("push", path)
        self.build(*self.args(r, "--authfile", auth), "--to",
                   "docker://%s/t/x:1" % r.name)
        self.assertEqual(self.layer_requests(r), [])


class TestFetched(RegistryBase):
    """For other outputs they are, once."""

    def test_layout_and_archives(self):
        r = self.registry()
        self.put(r)
        want = self.layout()
        self.build(*self.args(r), "--encoding", "gzip", "--to",
                   "oci:" + self.path("a"), "--to",
                   "oci-archive:" + self.path("b"), "--to",
                   "docker-archive:" + self.path("c"), "--to",
                   "docker://%s/t/x:1" % r.name)
        self.assertEqual(OciLayout(self.path("a")).manifest_bytes,
                         want.manifest_bytes)
        self.assertEqual(self.pushed(r, "t/x"), want.manifest_bytes)
        self.assertEqual(len(self.layer_requests(r)), 2)

    def test_other_registry(self):
        r, other = self.registry(), self.registry()
        self.put(r)
        self.build(*self.args(r), "--to", "docker://%s/t/x:1" % other.name)
        self.assertEqual(self.pushed(other, "t/x"),
                         self.layout().manifest_bytes)
        self.assertEqual(len(self.layer_requests(r)), 2)

    def test_the_same_blob_twice(self):
        r = self.registry()
        self.layers = self.layers[:1] * 3
        self.put(r)
        self.build(*self.args(r), "--encoding", "gzip", "--to",
                   "oci:" + self.path("a"))
        OciLayout(self.path("a"))
        self.assertEqual(len(self.layer_requests(r)), 1)

    def test_names(self):
        r = self.registry()
        digest = self.put(r, tag="latest")["digest"]
        for name in ("b/base", "b/base:latest", "b/base@" + digest,
                     "b/base:other@" + digest):
            self.build(*self.args(r, base=name), "--to", "none")
        request = quarrytest.write(self.path("r.json"), json.dumps({
            "name": "x", "fromImage": "docker://%s/b/base" % r.name}))
        plan = self.quarry("plan", request, "--closure", self.closure)
        self.assertIn(b"2", plan.stdout)
        self.assertEqual(self.layer_requests(r), [])

    def test_connection_that_breaks(self):
        r = self.registry()
        self.layers = [layer_tar(("r", bytes(range(256)) * 40000)),
                       layer_tar(("s", os.urandom(3 << 20)))]
        self.put(r)
        r.rule("GET stored", fake.cut_after(2 << 20), times=2, skip=1)
        self.build(*self.args(r), "--encoding", "gzip", "--to",
                   "oci:" + self.path("a"))
        OciLayout(self.path("a"))
        ranges = [q["headers"].get("range")
                  for q in self.layer_requests(r)]
        self.assertTrue(any(ranges), ranges)

    def test_server_that_knows_no_ranges(self):
        r = self.registry()
        self.layers = [layer_tar(("s", os.urandom(3 << 20)))]
        self.put(r)
        r.rule("GET stored", fake.cut_after(2 << 20), times=1, skip=1)
        r.rule("GET stored", fake.no_range, times=100)
        self.build(*self.args(r), "--encoding", "gzip", "--to",
                   "oci:" + self.path("a"))
        OciLayout(self.path("a"))
        self.assertEqual(len(self.layer_requests(r)), 2)

    def test_errors_that_pass(self):
        r = self.registry()
        self.put(r)
        r.rule("GET stored", fake.status(503), times=2)
        r.rule("GET manifest", fake.status(429), times=1)
        self.build(*self.args(r), "--to", "docker-archive:-")

    def test_redirects(self):
        r, other = self.registry(basic=("me", "secret")), self.registry()
        self.put(r)
        other.repos, other.blobs = r.repos, r.blobs
        auth = quarrytest.write(self.path("auth.json"), json.dumps({
            "auths": {r.name: {"auth": fake.basic("me", "secret")[6:]}}}))
        r.rule("GET stored", fake.redirect(other.url + "{path}"), times=100)
        self.build(*self.args(r, "--authfile", auth), "--to",
                   "docker-archive:-")
        self.assertEqual(len(self.layer_requests(other)), 2)
        for request in other.requests:
            self.assertNotIn("authorization", request["headers"])


class TestInterrupted(RegistryBase):
    def test_while_layers_are_fetched(self):
        """Nothing stays, as Base sees to."""
        r = self.registry()
        self.put(r)
        for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
            r.requests.clear()
            r.rules.clear()
            r.rule("GET stored", fake.hang(), times=100, skip=1)
            p = self.start("build", *self.args(r), "--to",
                           "oci:" + self.path("a"))
            self.assertTrue(quarrytest.wait_for(
                lambda: len(self.layer_requests(r)) >= 2))
            p.send_signal(number)
            self.assertEqual(self.finish(p).status, status)
        self.assertFalse(os.path.exists(self.path("a")))


class TestCached(RegistryBase):
    cache = True

    def test_fetched_once_for_all_builds(self):
        r = self.registry()
        self.put(r)
        for i in range(3):
            self.build(*self.args(r), "--encoding", "gzip", "--cache",
                       self.path("cache"), "--to",
                       "oci:" + self.path("a%d" % i))
            self.assertEqual(len(self.layer_requests(r)), 2)
        self.assertEqual(OciLayout(self.path("a2")).manifest_bytes,
                         OciLayout(self.path("a0")).manifest_bytes)
        # A blob that is damaged is fetched again.
        name = self.path("cache/blobs/sha256",
                         sha256(zipped(self.layers[0])))
        os.truncate(name, 100)
        self.build(*self.args(r), "--encoding", "gzip", "--cache",
                   self.path("cache"), "--to", "oci:" + self.path("b"))
        OciLayout(self.path("b"))
        self.assertEqual(len(self.layer_requests(r)), 3)


class TestIndex(RegistryBase):
    def index(self, r, platforms, form="oci"):
        return self.put_manifest(r, {
            "schemaVersion": 2, "mediaType": TYPES[form][3],
            "manifests": [dict(self.put(
                r, tag=None, form=form,
                layers=[layer_tar((arch, arch.encode()))]),
                platform={"os": system, "architecture": arch})
                for system, arch in platforms]}, tag="1")

    def layer_of(self, arch):
        return "sha256:" + sha256(layer_tar((arch, arch.encode())))

    def test_architecture(self):
        r = self.registry()
        for form in ("oci", "docker"):
            self.index(r, [("linux", "amd64"), ("linux", "arm64"),
                           ("windows", "amd64"), ("unknown", "unknown")],
                       form)
            for arch in ("amd64", "arm64"):
                data = self.metadata(*self.args(r, "--arch", arch), "--to",
                                     "none")
                self.assertEqual(data["layers"][0]["diff_id"],
                                 self.layer_of(arch))

    def test_none_for_it(self):
        r = self.registry()
        self.index(r, [("linux", "amd64"), ("linux", "arm64")])
        self.refused(r, "none of them for linux/s390x", "--arch", "s390x")

    def test_lost_manifest(self):
        r = self.registry()
        self.index(r, [("linux", "amd64"), ("linux", "arm64")])
        found = r.repo("b/base")
        for digest in set(found["manifests"]) - set(found["tags"].values()):
            del found["manifests"][digest]
        self.refused(r, "lacks the manifest", "--arch", "amd64")

    def test_wrong_size(self):
        r = self.registry()
        one = self.put(r, tag=None)
        one["size"] += 1
        self.put_manifest(r, {
            "schemaVersion": 2, "mediaType": TYPES["oci"][3],
            "manifests": [one]}, tag="1")
        self.refused(r, "but the manifest says")


class TestRefused(RegistryBase):
    def test_missing(self):
        r = self.registry()
        self.refused(r, "has no manifest 1 there")
        self.refused(r, "has no manifest latest", base="b/base")
        self.refused(r, "'B' is no repository", base="B")

    def test_other_bytes_than_were_named(self):
        r = self.registry()
        digest = self.put(r)["digest"]
        found = r.repo("b/base")["manifests"]
        media_type, data = found[digest]
        found[digest] = (media_type, data + b" ")
        self.refused(r, "it has sent", base="b/base@" + digest, status=1)
        self.refused(r, "it has sent", status=1)

    def test_layers(self):
        for bad in (lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:-1],
                    lambda b: b + b"x"):
            r = self.registry()
            self.put(r)
            digest = fake.sha256(zipped(self.layers[1]))
            r.blobs[digest] = bad(r.blobs[digest])
            self.refused(r, digest, status=1, to="docker-archive:-")

    def test_config(self):
        r = self.registry()
        self.put(r, config=image_config(self.layers)[:-1])
        self.refused(r, "line 1, column")
        self.put(r, config=image_config(self.layers[:1]))
        self.refused(r, "names 2 layers, its config 1")
        self.put(r, config=b'{"a": "' + b"x" * (4 << 20) + b'"}')
        self.refused(r, "is larger than 4194304")

    def test_diff_ids(self):
        r = self.registry()
        self.put(r, config=image_config(self.layers[::-1]))
        self.refused(r, "is damaged: its tar's SHA-256",
                     to="docker-archive:-")

    def test_manifests(self):
        deep = b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"
        one = {"schemaVersion": 2, "layers": []}
        for doc, media_type, why, status in (
                (b"no json", TYPES["oci"][0], "not a JSON object", 2),
                (b"[]", TYPES["oci"][0], "not a JSON object", 2),
                (deep, TYPES["oci"][0], "nests deeper", 2),
                (one, "text/html", "and not an image", 2),
                (one, DOCKER + "distribution.manifest.v1+prettyjws",
                 "of Docker's schema 2 or OCI", 2),
                (dict(one, mediaType=TYPES["oci"][3]), TYPES["oci"][0],
                 "the registry says", 2),
                (one, TYPES["oci"][0], "digest and size", 2),
                (b'{"a":"' + b"x" * (5 << 20) + b'"}', TYPES["oci"][0],
                 "too large", 1)):
            r = self.registry()
            self.put_manifest(r, doc, media_type, "1")
            self.refused(r, why, status=status)

    def test_artifact(self):
        r = self.registry()
        doc = {"schemaVersion": 2, "mediaType": TYPES["oci"][0],
               "config": self.put_blob(r, "application/x", b"{}"),
               "layers": [self.put_blob(r, "text/plain", b"x")]}
        self.put_manifest(r, doc, tag="1")
        self.refused(r, "which is not one of a layer")

    def test_redirects(self):
        r = self.registry()
        self.put(r)
        for where, why in (("{path}", "more than 5 times"),
                           ("{url}{path}", "more than 5 times"),
                           ("file:///etc/passwd", "not http or https"),
                           ("", "does not say where")):
            r.rules.clear()
            r.rule("GET stored", fake.redirect(where), times=1000)
            before = r.count("GET stored")
            self.refused(r, why, status=1)
            self.assertLessEqual(r.count("GET stored") - before, 6)

    def test_manifests_are_not_followed(self):
        r, other = self.registry(), self.registry()
        self.put(r)
        r.rule("GET manifest", fake.redirect(other.url + "{path}"), times=9)
        self.refused(r, "307", status=1)
        self.assertEqual(other.requests, [])

    @need("openssl")
    def test_from_https_to_http(self):
        key, cert = self.path("k.pem"), self.path("c.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
             cert, "-days", "2", "-subj", "/CN=localhost"], check=True,
            capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        r, other = self.registry(tls=tls), self.registry()
        self.put(r)
        r.rule("GET stored", fake.redirect(other.url + "{path}"), times=9)
        self.refused(r, "from https to http", "--tls-verify", "false",
                     status=1)
        self.assertEqual(other.requests, [])


if __name__ == "__main__":
    quarrytest.main()
