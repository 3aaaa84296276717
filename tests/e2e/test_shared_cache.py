"""--cache-repo: layers that one machine has made are not made by another."""

import json
import os
import shutil
import urllib.parse

import quarrytest
import fake_registry as fake
from ports import free_ports
from quarrytest import DockerArchive, OciLayout, make_store, need, sha256
from test_registry import RegistryBase as RealRegistry

REPO = "c/layers"
TYPE = "application/vnd.quarry.layer.v1+json"


class Shared(quarrytest.Base):
    cache = True  # each machine has its own, beside the shared one

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=6)

    def registry(self, *args, **kw):
        r = fake.Registry(*args, **kw)
        self.addCleanup(r.close)
        return r

    def machine(self, name, r, *more, **kw):
        """A build by a machine that has nothing but the shared cache."""
        to = kw.pop("to", "oci:" + self.path("out", name))
        cache = [] if "--no-cache" in more else [
            "--cache", self.path("cache-" + name)]
        self.messages = self.quarry(
            "build", "--progress", "plain", "--verbose", "--name", "x",
            "--tag", "1", "--closure", self.closure_file(self.store),
            "--store-root", self.store.root, "--encoding", "gzip", *cache,
            "--cache-repo", "%s/%s" % (r.name, REPO), "--to", to,
            "--metadata-file", self.path("meta"), *more, **kw).errors
        with open(self.path("meta"), encoding="utf-8") as f:
            self.totals = json.load(f)["totals"]
        return self.totals["cached_layers"]

    def layout(self, name):
        return OciLayout(self.path("out", name)).manifest_bytes

    def records(self, r):
        found = r.repo(REPO)
        return {tag: json.loads(found["manifests"][digest][1])
                for tag, digest in found["tags"].items()}


class TestShared(Shared):
    def test_the_second_machine_makes_none(self):
        r = self.registry()
        self.assertEqual(self.machine("a", r), 0)
        self.assertIn("shared   0 layers found, 6 put", self.messages)
        self.assertEqual(len(self.records(r)), 6)
        self.assertEqual(self.machine("b", r), 6)
        self.assertIn("shared   6 layers found, 0 put", self.messages)
        self.assertEqual(self.layout("a"), self.layout("b"))
        # And has them in its own cache from then on.
        before = len(r.requests)
        self.assertEqual(self.machine("b", r), 6)
        asked = [q["step"] for q in r.requests[before:]]
        self.assertNotIn("GET stored", asked)
        self.assertNotIn("PUT manifest", asked)

    def test_records(self):
        """What they are is what OCI calls an artifact."""
        r = self.registry()
        self.machine("a", r)
        for tag, doc in self.records(r).items():
            self.assertRegex(tag, r"\Alayer-[0-9a-f]{64}\Z")
            self.assertEqual(doc["artifactType"], TYPE)
            self.assertEqual(doc["config"]["mediaType"],
                             "application/vnd.oci.empty.v1+json")
            self.assertEqual(r.blobs[doc["config"]["digest"]], b"{}")
            layer, = doc["layers"]
            self.assertEqual(len(r.blobs[layer["digest"]]), layer["size"])

    def test_without_a_cache_of_its_own(self):
        r = self.registry()
        self.machine("a", r, "--no-cache")
        self.assertEqual(len(self.records(r)), 6)
        self.assertEqual(self.machine("b", r, "--no-cache"), 6)
        self.assertEqual(self.layout("a"), self.layout("b"))
        self.assertFalse(os.path.exists(self.path("cache-b")))

    def test_same_registry(self):
        """Layers are mounted there, and not fetched."""
        for more in ((), ("--no-cache",)):
            self.check_same_registry(self.registry(), *more)

    def check_same_registry(self, r, *more):
        for name in "ab":
            shutil.rmtree(self.path("cache-" + name), ignore_errors=True)
        to = "docker://%s/t/%%s:1" % r.name
        self.machine("a", r, *more, to=to % "a")
        self.assertEqual(r.count("PUT blob"), 6 + 3)  # root, config, empty
        self.assertEqual(self.machine("b", r, *more, to=to % "b"), 6)
        self.assertEqual(r.count("GET stored"), 0)
        # The root layer and the config were the first image's as well.
        self.assertEqual(r.count("PUT blob"), 6 + 3 + 2)
        one, two = (r.repo("t/" + x)["manifests"] for x in "ab")
        self.assertEqual(one, two)
        # What the first one's workers have pushed the cache takes from there.
        for repo, source in ((REPO, "t/a"), ("t/b", REPO)):
            mounts = [q for q in r.requests
                      if "/%s/" % repo in q["path"] and
                      "from=" + source in urllib.parse.unquote(q["path"])]
            self.assertEqual([q["status"] for q in mounts], [201] * 6)

    def test_what_the_image_has_is_mounted(self):
        """Into the cache, where the image was pushed before."""
        r, other = self.registry(), self.registry()
        to = "docker://%s/t/a:1" % r.name
        self.machine("a", other, to=to)
        before = r.count("PUT blob")
        self.assertEqual(self.machine("a", r, to=to), 6)
        self.assertEqual(len(self.records(r)), 6)
        self.assertEqual(r.count("PUT blob"), before + 1)  # the empty one
        self.assertEqual(self.machine("b", r), 6)

    def test_archives(self):
        r = self.registry()
        plain = ("--encoding", "none")
        self.machine("a", r, *plain)
        self.assertEqual(self.machine(
            "b", r, *plain, to="docker-archive:" + self.path("d")), 6)
        self.assertEqual(DockerArchive(self.path("d")).id,
                         OciLayout(self.path("out", "a")).id)
        # Compressed ones are of no use to it.
        self.machine("c", r)
        self.assertEqual(self.machine(
            "d", r, "--to", "docker-archive:" + self.path("e")), 0)
        self.assertEqual(DockerArchive(self.path("e")).id,
                         OciLayout(self.path("out", "d")).id)

    def test_what_was_made_before_is_shared_later(self):
        r, other = self.registry(), self.registry()
        self.machine("a", r)
        self.assertEqual(self.machine("a", other), 6)
        self.assertEqual(self.records(r), self.records(other))
        self.assertEqual(self.machine("b", other), 6)

    def test_verified(self):
        r = self.registry()
        self.machine("a", r)
        self.assertEqual(self.machine("b", r, "--verify-store"), 0)
        self.assertEqual(self.machine("c", r, "--verify-store"), 6)

    def test_another_encoding_is_another_layer(self):
        r = self.registry()
        self.machine("a", r)
        for encoding in ("gzip:2", "zstd", "none"):
            self.assertEqual(self.machine(
                "x" + encoding.replace(":", ""), r, "--encoding", encoding), 0)
        self.assertEqual(len(self.records(r)), 4 * 6)

    def test_bad_names(self):
        for name, why in (("x", "HOST[:PORT]"), ("h.x/A", "no repository"),
                          ("h.x/a:t", "without tag"),
                          ("h.x/a@sha256:" + "0" * 64, "without tag")):
            got = self.quarry("build", "--to", "none", "/nix/store/x",
                              "--cache-repo", name, status=2)
            self.assertIn(why, got.errors)


class TestDamage(Shared):
    """Nothing that is wrong there is an error, or gets into an image."""

    def setUp(self):
        super().setUp()
        self.r = self.registry()
        self.machine("a", self.r)

    def blobs(self):
        return [d["layers"][0]["digest"]
                for d in self.records(self.r).values()]

    def again(self, want, name="b", **kw):
        self.assertEqual(self.machine(name, self.r, **kw), want)
        self.assertEqual(self.layout(name), self.layout("a"))

    def test_lost_blob(self):
        for digest in self.blobs()[:2]:
            del self.r.blobs[digest]
        self.again(4)
        # They are there again.
        self.again(6, "c")

    def test_short_blob(self):
        """It cannot be put right, which is not in the way of others."""
        short, *lost = self.blobs()
        self.r.blobs[short] = self.r.blobs[short][:-1]
        for digest in lost:
            del self.r.blobs[digest]
        self.again(0)
        self.assertIn("not all layers are shared", self.messages)
        self.again(5, "c")

    def test_short_blob_elsewhere(self):
        """Where the registry keeps blobs in another place."""
        other = self.registry()
        other.repos, other.blobs = self.r.repos, dict(self.r.blobs)
        digest = self.blobs()[0]
        other.blobs[digest] = other.blobs[digest][:-1]
        self.r.rule("HEAD stored", fake.redirect(other.url + "{path}"),
                    times=1000)
        self.again(5)
        self.r.rules.clear()
        for where in ("", "{path}", "file:///etc/passwd"):
            self.r.rule("HEAD stored", fake.redirect(where), times=1000)
            self.again(0, "x%d" % len(where))
            self.r.rules.clear()

    def test_changed_blob(self):
        digest = self.blobs()[0]
        data = self.r.blobs[digest]
        self.r.blobs[digest] = data[:-1] + bytes([data[-1] ^ 1])
        self.again(5)

    def test_blob_that_breaks_off(self):
        self.r.rule("GET stored", fake.cut_after(10), times=1)
        self.again(6)

    def change(self, tag, change):
        found = self.r.repo(REPO)
        media_type, data = found["manifests"][found["tags"][tag]]
        doc = json.loads(data)
        data = change(doc)
        data = json.dumps(doc).encode() if data is None else data
        digest = fake.sha256(data)
        found["manifests"][digest] = (media_type, data)
        found["tags"][tag] = digest

    def test_records(self):
        def record(**more):
            def change(doc):
                name = "vnd.quarry.layer.record"
                doc["annotations"][name] = json.dumps(dict(json.loads(
                    doc["annotations"][name]), **more))
            return change

        changes = [
            lambda d: b"{", lambda d: b"[" * 100000, lambda d: b"x" * 20000,
            lambda d: d.pop("artifactType") and None,
            lambda d: d["annotations"].clear(),
            lambda d: d["layers"].append(d["layers"][0]),
            lambda d: d["layers"][0].update(size=1),
            lambda d: d["layers"][0].update(mediaType="text/plain"),
            record(version=99), record(size=-1), record(diff_id="x"),
            record(digest="sha256:" + "0" * 64)]
        for i, change in enumerate(changes):
            tag = sorted(self.records(self.r))[0]
            before = dict(self.r.repo(REPO)["tags"])
            self.change(tag, change)
            self.again(5, "m%d" % i)
            # It was put right.
            self.assertEqual(self.r.repo(REPO)["tags"], before)

    def test_record_of_another_layer(self):
        tags = self.r.repo(REPO)["tags"]
        one, two = sorted(tags)[:2]
        tags[one], tags[two] = tags[two], tags[one]
        self.again(4)

    def test_manifest_with_another_digest(self):
        self.r.rule("GET manifest", fake.wrong_digest, times=1)
        self.again(5)


class TestAway(Shared):
    """A warning, and the build goes on."""

    def check(self, r, why, *more, name="a", cached=0):
        self.assertEqual(self.machine(name, r, *more), cached)
        self.assertIn("WARNING", self.messages.upper())
        self.assertIn(why, self.messages)
        self.assertEqual(self.messages.count("shared cache %s" % r.name), 1)
        OciLayout(self.path("out", name))

    def test_nobody_there(self):
        r = self.registry()
        r.name = "127.0.0.1:%d" % free_ports(1)
        self.check(r, "layers are made instead")

    def test_fails(self):
        for action in (fake.status(503), fake.hang(), fake.reset):
            r = self.registry()
            r.rule("GET manifest", action, times=1000)
            self.check(r, "layers are made instead", "--registry-timeout",
                       "2", name="a%d" % id(r))
            self.assertEqual(r.count("PUT blob"), 0)

    def test_wants_us_to_wait(self):
        r = self.registry()
        r.rule("GET manifest", fake.status(429, Retry_After="600"),
               times=1000)
        self.check(r, "asks for a pause of 600 s")

    def test_wants_a_password(self):
        self.check(self.registry(basic=("me", "secret")), "password")

    def test_may_not_be_written(self):
        r = self.registry()
        self.machine("a", r)
        r.rule("POST start", fake.status(403), times=1000)
        tags = r.repo(REPO)["tags"]
        del tags[sorted(tags)[0]]
        r.repo(REPO)["blobs"].clear()
        self.check(r, "not all layers are shared", name="b")

    def test_refuses_all(self):
        r = self.registry()
        r.rule("PUT manifest", fake.status(403), times=1000)
        self.check(r, "not all layers are shared")
        self.assertLess(r.count("PUT manifest"), 4 + 8)

    def test_goes_away_meanwhile(self):
        r = self.registry()
        r.rule("PUT blob", fake.status(503), times=1000)
        self.check(r, "not all layers are shared")


@need("skopeo")
class TestReal(RealRegistry):
    cache = True

    def build_by(self, name, host, *more):
        out = self.path("meta-" + name)
        self.push("%s/t/%s:1" % (host, name), "--cache",
                  self.path("cache-" + name), "--cache-repo",
                  host + "/c/layers", "--metadata-file", out, *more)
        with open(out, encoding="utf-8") as f:
            return json.load(f)["totals"]["cached_layers"]

    def test_two_machines(self):
        host = self.serve()
        self.assertEqual(self.build_by("a", host), 0)
        self.assertEqual(self.build_by("b", host), 8)
        one, two = (self.pulled("%s/t/%s:1" % (host, x),
                                "--src-tls-verify=false") for x in "ab")
        self.assertEqual(one, two)
        # Another image's output is elsewhere: fetched.
        folder = self.path("out", "layout")
        self.build(*self.args(), "--encoding", "gzip", "--cache",
                   self.path("cache-c"), "--cache-repo", host + "/c/layers",
                   "--to", "oci:" + folder, "--metadata-file",
                   self.path("meta"))
        with open(self.path("meta"), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["totals"]["cached_layers"], 8)
        self.assertEqual(OciLayout(folder).manifest_bytes, one[1])
        # A record is something that other tools can show.
        tags = json.loads(self.command(
            "skopeo", "list-tags", "--tls-verify=false",
            "docker://%s/c/layers" % host))["Tags"]
        self.assertEqual(len(tags), 8)
        raw = json.loads(self.command(
            "skopeo", "inspect", "--raw", "--tls-verify=false",
            "docker://%s/c/layers:%s" % (host, tags[0])))
        self.assertEqual(raw["artifactType"], TYPE)

    def test_tls_and_password(self):
        host = self.serve(tls=True, auth=True)
        way = ["--cert-dir", self.path("certs"), *self.logged_in(host)]
        self.assertEqual(self.build_by("a", host, *way), 0)
        self.assertEqual(self.build_by("b", host, *way), 8)

    def test_garbage_collection_keeps_blobs(self):
        host = self.serve()
        self.build_by("a", host)
        port = int(host.rpartition(":")[2])
        self.stop_server()
        self.command("docker-registry", "garbage-collect", "--delete-untagged",
                     self.path("registry.yml"),
                     env={k: v for k, v in self.env.items()
                          if k != "AWS_CA_BUNDLE"})
        self.serve(port=port)
        self.assertEqual(self.build_by("b", host), 8)


if __name__ == "__main__":
    quarrytest.main()
