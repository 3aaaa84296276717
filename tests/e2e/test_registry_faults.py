"""Pushing to registries that fail, differ from each other, or are hostile."""

import json
import os

import quarrytest
import fake_registry as fake
from fake_registry import Registry
from quarrytest import Base, OciLayout, make_store, read, sha256

PASSWORD, TOKEN, IDENTITY = "canary-pass", "canary-token", "canary-identity"
CANARIES = (PASSWORD, TOKEN, IDENTITY,
            fake.basic("me", PASSWORD).split()[1])


class Pushes(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=4)

    def registry(self, *args, **kw):
        r = Registry(*args, **kw)
        r.token_text = TOKEN
        self.addCleanup(r.close)
        return r

    def args(self, to, *more):
        return ("--progress", "none", "--verbose", "--name", "x", "--tag",
                "1", "--closure", self.closure_file(self.store),
                "--store-root", self.store.root, "--max-layers", "6",
                "--to", to, *more)

    def push(self, r, *more, status=0, repo="a/b", tags=("t",)):
        """Pushes; no secret may be in what is said."""
        got = self.quarry("build", *self.args(
            "docker://%s/%s:t" % (r.name, repo), *more), status=status)
        for secret in CANARIES:
            self.assertNotIn(secret, got.errors)
            self.assertNotIn(secret.encode(), got.stdout)
        if status == 0:
            self.check(r, repo, tags)
        else:
            self.assertEqual(r.repo(repo)["tags"], {}, got.errors)
        return got

    def check(self, r, repo="a/b", tags=("t",)):
        """What is there is what --to oci: makes, whole."""
        if not os.path.exists(self.path("want")):
            self.quarry("build", *self.args("oci:" + self.path("want"),
                                            "--encoding", "gzip"))
        want = OciLayout(self.path("want"))
        found = r.repo(repo)
        self.assertEqual(list(found["tags"]), list(tags))
        media_type, data = found["manifests"][found["tags"]["t"]]
        self.assertEqual(json.loads(data), want.manifest)
        self.assertEqual(data, want.manifest_bytes)
        self.assertEqual(media_type, want.manifest["mediaType"])
        for d in [want.manifest["config"], *want.manifest["layers"]]:
            self.assertEqual(sha256(r.blobs[d["digest"]]),
                             d["digest"].split(":")[1])

    def authfile(self, r, **entry):
        entry = entry or {"auth": fake.basic("me", PASSWORD).split()[1]}
        return "--authfile", quarrytest.write(
            self.path("auth.json"), json.dumps({"auths": {r.name: entry}}),
            0o600)


class TestFaults(Pushes):
    steps = ("HEAD stored", "POST start", "PUT blob", "PUT manifest")

    def test_5xx_at_each_step(self):
        for code in (500, 502, 503, 504):
            r = self.registry()
            for step in self.steps:
                r.rule(step, fake.status(code))
            self.push(r)
            self.assertEqual(r.manifests_put, 1)
            self.assertEqual(r.uploads_done, len(r.blobs))

    def test_5xx_for_good(self):
        r = self.registry()
        r.rule("PUT blob", fake.status(503), times=1000)
        got = self.push(r, status=1)
        self.assertIn("503", got.errors)
        # Each of four threads gives up after four uploads of its blob: the
        # worker's, which may begin with a fifth one, and the coordinator's.
        self.assertLessEqual(r.count("PUT blob"), 20 + 16)
        r = self.registry()
        r.rule("PUT blob", fake.status(503), times=1000)
        self.push(r, "--push-from", "coordinator", status=1)
        self.assertLessEqual(r.count("PUT blob"), 16)

    def test_429(self):
        r = self.registry()
        for step in self.steps:
            r.rule(step, fake.status(429))
        self.push(r)

    def test_retry_after(self):
        for code in (429, 503):
            r = self.registry()
            r.rule("PUT manifest", fake.status(code, Retry_After="3"))
            self.push(r)
            first, second = [x["time"] for x in r.requests
                             if x["step"] == "PUT manifest"]
            self.assertGreaterEqual(second - first, 2.9)

    def test_retry_after_of_an_upload(self):
        r = self.registry()
        r.rule("PUT blob", fake.status(503, Retry_After="3"), times=4)
        got = self.push(r)
        self.assertGreaterEqual(got.seconds, 2.9)

    def test_hangs(self):
        for action in (fake.hang(), fake.hang(after=100),
                       fake.hang_in_answer):
            r = self.registry()
            r.rule("PUT blob", action)
            self.push(r, "--registry-timeout", "5")
            self.assertEqual(r.manifests_put, 1)

    def test_reset(self):
        r = self.registry()
        for step in self.steps:
            r.rule(step, fake.reset)
        self.push(r)

    def test_lost_answers(self):
        for action in (fake.lose_answer, fake.slow_answer):
            r = self.registry()
            r.rule("PUT blob", action)
            self.push(r, "--registry-timeout", "5")
            # HEAD found it: nothing was sent twice.
            self.assertEqual(r.uploads_done, len(r.blobs))

    def test_lost_answer_to_the_manifest(self):
        r = self.registry()
        r.rule("PUT manifest", fake.lose_answer)
        self.push(r)
        self.assertEqual(len(r.repo("a/b")["manifests"]), 1)

    def test_blob_is_lost(self):
        r = self.registry()
        r.rule("PUT manifest", fake.lose_blobs)
        got = self.push(r)
        self.assertIn("lost a blob", got.errors)
        self.assertEqual(r.uploads_done, len(r.blobs) + 1)

    def test_blobs_are_lost_again_and_again(self):
        r = self.registry()
        r.rule("PUT manifest", fake.lose_blobs, times=100)
        self.push(r, status=1)
        self.assertEqual(r.count("PUT manifest"), 2)

    def test_wrong_digest(self):
        for step in ("PUT blob", "PUT manifest"):
            r = self.registry()
            r.rule(step, fake.wrong_digest)
            got = self.quarry("build", *self.args(
                "docker://%s/a/b:t" % r.name, "--push-from", "coordinator"),
                status=1)
            self.assertIn("in place of", got.errors)
        # What a worker is told once is said aloud, and looked at.
        r = self.registry()
        r.rule("PUT blob", fake.wrong_digest)
        self.assertIn("in place of", self.push(r).errors)
        r = self.registry()
        r.rule("PUT blob", fake.wrong_digest, times=1000)
        r.rule("HEAD stored", fake.wrong_digest, times=1000)
        self.push(r, status=1)


class TestProducts(Pushes):
    def test_each(self):
        for name in filter(None, fake.PROFILES):
            with self.subTest(name):
                self.push(self.registry(name))

    def test_large_layers_in_parts(self):
        big = make_store.Store(self.folder())
        big.add("big", {"f": os.urandom(9 << 20)})
        self.store = big
        for name in ("ghcr", "acr", "cloudflare", "artifactory"):
            with self.subTest(name):
                r = self.registry(name)
                self.push(r)
                self.assertGreaterEqual(r.count("PATCH blob"), 3)
                self.assertEqual(r.repo("a/b")["sessions"], {})

    def test_least_size_of_parts(self):
        r = self.registry("acr")
        r.chunk_min = 5 << 20
        self.store = make_store.Store(self.folder())
        self.store.add("big", {"f": os.urandom(11 << 20)})
        self.push(r)

    def test_failures_do_not_end_in_parts_where_there_are_none(self):
        r = self.registry("gar")
        r.rule("PUT blob", fake.status(503), times=8)
        self.push(r)


class TestLocations(Pushes):
    def test_kinds(self):
        for where in ("{path}", "{url}{path}", "{path}&a=b%2Fc"):
            r = self.registry()
            r.location = where
            self.push(r)

    def test_other_host_gets_no_credentials(self):
        r = self.registry(basic=("me", PASSWORD))
        other = self.registry()
        # One store of uploads, behind two addresses.
        other.repos, other.blobs = r.repos, r.blobs
        r.location = other.url + "{path}"
        self.push(r, *self.authfile(r))
        self.assertGreater(other.count("PUT blob"), 0)
        for request in other.requests:
            self.assertNotIn("authorization", request["headers"])

    def test_no_url(self):
        for where in ("ftp://{url}{path}", "file:///etc/passwd"):
            r = self.registry()
            r.location = where
            self.push(r, status=1)


class TestWhoAsks(Pushes):
    def test_basic(self):
        r = self.registry(basic=("me", PASSWORD))
        self.push(r, *self.authfile(r))

    def test_tokens(self):
        r = self.registry(bearer=("me", PASSWORD))
        self.push(r, *self.authfile(r))
        self.assertLessEqual(r.n_tokens, 2)

    def test_identity_token(self):
        r = self.registry(bearer=("me", "other"), identity=IDENTITY)
        self.push(r, *self.authfile(r, identitytoken=IDENTITY))
        self.assertGreater(r.count("POST token", 200), 0)

    def test_token_ends_meanwhile(self):
        r = self.registry(bearer=("me", PASSWORD))
        r.rule("PUT blob", fake.forget_token)
        self.push(r, *self.authfile(r))
        self.assertLessEqual(r.n_tokens, 3)

    def test_token_server_fails(self):
        r = self.registry(bearer=("me", PASSWORD))
        r.rule("GET token", fake.status(503), times=2)
        self.push(r, *self.authfile(r))

    def test_one_registry_is_found_and_asked_once(self):
        """However many outputs go there; a blob goes there once."""
        for kw in ({"basic": ("me", PASSWORD)}, {"bearer": ("me", PASSWORD)}):
            r = self.registry(**kw)
            self.push(r, *self.authfile(r), "--to",
                      "docker://%s/c/d:t" % r.name, "--to",
                      "docker://%s/a/b:u" % r.name, tags=["t", "u"])
            self.check(r, "c/d")
            self.assertEqual(r.count("GET base"), 1)
            self.assertEqual(r.uploads_done, len(r.blobs))
            asked = [q["path"] for q in r.requests
                     if q["step"] == "GET token"]
            self.assertEqual(len(asked), len(set(asked)))

    def test_another_user_for_another_repository(self):
        """Is not taken for the first one."""
        r = self.registry(basic=("me", PASSWORD))
        auth = quarrytest.write(self.path("auth.json"), json.dumps({"auths": {
            r.name + "/a": {"auth": CANARIES[3]},
            r.name: {"auth": fake.basic("me", "wrong").split()[1]}}}), 0o600)
        got = self.quarry("build", *self.args(
            "docker://%s/a/b:t" % r.name, "--authfile", auth, "--to",
            "docker://%s/c/d:t" % r.name), status=1)
        self.assertIn("refuses the user or password", got.errors)
        self.assertIn("c/d", got.errors)

    def test_wrong_password(self):
        for how in ("basic", "bearer"):
            r = self.registry(**{how: ("me", "other")})
            got = self.push(r, *self.authfile(r), status=1)
            self.assertIn("refuses the user or password", got.errors)
            self.assertEqual(r.count("POST start"), 0)

    def test_realm_elsewhere(self):
        other = self.registry()
        for realm in ("http://169.254.169.254/token",
                      "https://169.254.169.254/token",
                      "http://localhost:%d/token" % other.port,
                      "ftp://127.0.0.1/token", "nothing"):
            r = self.registry(bearer=("me", PASSWORD))
            r.realm = realm
            got = self.push(r, *self.authfile(r), status=1)
            self.assertIn("token server", got.errors)
        self.assertEqual(other.requests, [])


class TestSecrets(Pushes):
    def test_processes_know_none(self):
        r = self.registry(bearer=("me", PASSWORD))
        r.rule("PUT blob", fake.hang(1), times=4)
        p = self.start("build", *self.args(
            "docker://%s/a/b:t" % r.name, *self.authfile(r)))
        self.assertTrue(quarrytest.wait_for(lambda: r.count("PUT blob")))
        seen = b""
        for pid in self.processes():
            for name in ("cmdline", "environ"):
                try:
                    seen += read("/proc/%d/%s" % (pid, name))
                except OSError:
                    pass
        self.assertIn(b"docker://", seen)
        for secret in CANARIES:
            self.assertNotIn(secret.encode(), seen)
        self.assertEqual(self.finish(p).status, 0)


if __name__ == "__main__":
    quarrytest.main()
