"""Layers that go into a registry while they are made (--stream)."""

import json
import os
import re
import signal
import threading

import fake_registry as fake
import quarrytest
from quarrytest import make_store, need, wait_for
from test_push import PASSWORD, Pushes, TestElsewhere as Elsewhere
from test_registry import RegistryBase
from token_server import TokenServer

MIB = 1 << 20
PART = 8 * MIB
AGAIN = "the layer is made again, to be sent as a whole"
ALONE = r"layer \d+ \(\S+\) is in the registries alone"


def no_files(program):
    """No file may have more than a MiB."""
    return ["prlimit", "--fsize=%d" % MIB, *program]


class Streams(Pushes):
    """One layer of three parts, and small ones."""

    encoding = "none"

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=3, size=50000)
        cls.store.add("large", {"f%d" % i: os.urandom(3 * MIB)
                                for i in range(6)})

    def args(self, r, *more, **kw):
        return super().args(r, "--encoding", self.encoding, *more, **kw)

    def push(self, r, *more, status=0, check=True, program=None,
             timeout=quarrytest.TIMEOUT, **kw):
        got = self.quarry(
            "build", *self.args(r, *more, **kw), status=status,
            program=program or [quarrytest.QUARRY], timeout=timeout)
        self.secret(got.errors)
        if check:
            self.check(r, **kw)
        return got

    def stream(self, r, *more, whole=0, **kw):
        """So many layers do not go that way."""
        got = self.push(r, "--stream", *more, **kw)
        self.assertEqual(got.errors.count(AGAIN), whole)
        alone = len(re.findall(ALONE, got.errors))
        # Once it is known that it takes no parts none goes that way.
        if "takes no layers in parts" in got.errors:
            self.assertLess(alone, self.layers())
        else:
            self.assertEqual(alone, self.layers() - whole, got.errors)
        return got

    def parts(self, r):
        """Sizes of the large layer's parts that were taken."""
        return [q["length"] for q in r.requests
                if q["step"] == "PATCH blob" and q["length"] > MIB and
                q["status"] in (201, 202)]


class TestHere(Streams):
    def test_no_file(self):
        """Neither spool nor output; the image is the same."""
        program = no_files([quarrytest.QUARRY])
        r = self.registry()
        got = self.stream(r, program=program)
        size = sum(len(b) for b in r.blobs.values())
        self.assertEqual(sum(q["length"] for q in r.requests
                             if q["step"] in ("PUT blob", "PATCH blob")), size)
        self.assertEqual(r.uploads_done, self.layers() + 1)
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)
        self.assertEqual(self.parts(r)[:2], [PART, PART])
        self.assertEqual(r.repo("a/b")["sessions"], {})
        # What is there, and fits one part, is not sent again.
        got = self.stream(r, "--metadata-file", self.path("m.json"))
        self.assertEqual(self.uploaded(got.errors), 1)
        with open(self.path("m.json"), encoding="utf-8") as f:
            self.assertEqual(len(json.load(f)["layers"]), self.layers())
        # Else there are files.
        self.push(self.registry(), program=program, status=1, check=False)

    def test_compressed(self):
        for self.encoding in "gzip", "zstd":
            r = self.registry()
            self.stream(r)
            self.assertEqual(self.parts(r)[:2], [PART, PART])

    def test_two_repositories(self):
        r = self.registry()
        self.stream(r, "--to", "docker://%s/c:t" % r.name)
        self.check(r, repo="c")
        self.assertEqual(r.uploads_done, self.layers() + 1)
        # Where nothing is mounted the layers come here after all.
        r = self.registry()
        r.rule("POST start", fake.no_mount, times=1000)
        got = self.push(r, "--stream", "--to", "docker://%s/c:t" % r.name)
        self.check(r, repo="c")
        self.assertIn("it is made again", got.errors)

    def test_products(self):
        """As each wants it, in parts; or not."""
        for name in filter(None, fake.PROFILES):
            with self.subTest(name):
                r = self.registry(name)
                got = self.stream(r, whole=name == "gar")
                sizes = self.parts(r)
                if name == "gar":
                    self.assertEqual(sizes, [])
                    self.assertEqual(
                        got.errors.count("takes no layers in parts"), 1)
                elif name in ("ghcr", "cloudflare"):
                    self.assertEqual(set(sizes[:-1]), {PART // 2})
                else:
                    self.assertEqual(sizes[:2], [PART, PART])
                self.assertEqual(r.repo("a/b")["sessions"], {})

    def test_least_sizes(self):
        r = self.registry("acr")
        r.chunk_min = 9 * MIB
        self.stream(r)
        self.assertEqual(self.parts(r)[0], 9 * MIB)
        r = self.registry()
        r.chunk_min = 100 * MIB
        self.stream(r, whole=1)

    def test_locations(self):
        r = self.registry()
        for r.location in "{url}{path}", "{path}&a=b%2Fc":
            self.stream(r, repo=r.location.strip("{}")[:3])


class TestFaults(Streams):
    def faults(self, *rules, whole=0, profile=None, more=(), **kw):
        """Each rule: step, which of them, what happens."""
        r = self.registry(profile)
        for step, skip, act in rules:
            r.rule(step, act, skip=skip)
        got = self.stream(r, *more, whole=whole, **kw)
        for rule in r.rules:
            self.assertGreater(rule.used, rule.skip, got.errors)
        return r

    def test_gone_on_with(self):
        """Each is answered by another try, of no more than that part."""
        r = self.faults(
            ("POST start", 0, fake.status(503)),
            ("PATCH blob", 0, fake.status(500)),
            ("PATCH blob", 1, fake.status(429)),
            ("PATCH blob", 2, fake.status(429, Retry_After="1")),
            ("PATCH blob", 4, fake.lose_answer),
            ("GET blob", 1, fake.status(502)),
            ("PUT blob", 0, fake.status(504)))
        self.assertEqual(self.parts(r)[0], PART)
        r = self.faults(
            ("PATCH blob", 0, fake.reset),
            ("PATCH blob", 1, fake.break_off(5 * MIB)),
            ("PATCH blob", 3, fake.break_off(0)))
        self.assertIn(3 * MIB, self.parts(r))

    def test_lost_answer_to_the_last(self):
        """Nothing is sent twice."""
        r = self.registry()

        def lose(h):
            return fake.lose_answer(h) if h.length() == 0 else False

        r.rule("PUT blob", lose, times=100)
        self.stream(r)
        self.assertEqual(r.uploads_done, self.layers() + 1)

    def test_hangs(self):
        self.faults(("PATCH blob", 1, fake.hang(after=MIB)),
                    more=("--registry-timeout", "5"))

    def test_made_again(self):
        """What cannot be gone on with is sent as a whole."""
        for rule, profile in (
                (("PATCH blob", 1, fake.lose_upload), None),
                (("PATCH blob", 0, fake.status(403)), None),
                (("PATCH blob", 0, fake.status(501)), None),
                (("PATCH blob", 1, fake.lose_answer), "distribution"),
                (("PATCH blob", 1, fake.break_off(MIB)), "ecr")):
            with self.subTest(rule):
                self.faults(rule, whole=1, profile=profile)

    def test_wrong_digest(self):
        def wrong(h):
            return fake.wrong_digest(h) if h.length() == 0 else False

        r = self.registry()
        r.rule("PUT blob", wrong, times=100)
        self.stream(r, whole=1)

    def test_again_and_again(self):
        """Then it is not tried any more."""
        store = make_store.Store(self.folder())
        for i in range(6):
            store.add("l%d" % i, {"f": os.urandom(9 * MIB)})
        r = self.registry()
        r.rule("PATCH blob", fake.lose_upload, times=1000)
        got = self.push(r, "--stream", "--slots", "1", store=store)
        self.assertIn("has broken off again and again", got.errors)
        self.assertIn(r.count("POST start", 202) - r.uploads_done, (3, 4))

    def test_lost_blobs(self):
        """Before it was confirmed; and before the manifest."""
        r = self.registry()
        seen = set()

        def lose(h):
            digest = h.match["digest"]
            with r.lock:
                if digest in r.blobs and len(seen) == 0 and \
                        len(r.blobs[digest]) > PART:
                    seen.add(digest)
                    del r.blobs[digest]
            return False

        r.rule("HEAD stored", lose, times=1000)
        got = self.push(r, "--stream")
        self.assertIn("it is made again", got.errors)
        r = self.registry()
        self.lose_one(r)
        got = self.push(r, "--stream")
        self.assertIn("has lost 1 layers", got.errors)

    def test_worker_dies(self):
        r = self.registry()
        r.rule("PATCH blob", fake.hang(600, after=1), skip=1)
        p = self.start("build", *self.args(
            r, "--stream", "--workers", "2", "--slots", "2",
            "--registry-timeout", "600"))
        self.assertTrue(wait_for(lambda: r.rules[0].used > 1))
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        got = self.finish(p)
        self.assertEqual(got.status, 0, got.errors)
        # One of them may not have come up yet.
        self.assertRegex(got.errors, r"joined, \d lost\)")
        self.assertEqual(len(re.findall(ALONE, got.errors)), self.layers())
        self.check(r)

    if os.environ.get("QUARRY_LONG"):
        def test_slow_registry(self):
            """No lease runs out while it takes a part."""
            def delay(h):
                h.drain()
                h.server.registry.stop.wait(150)
                return fake.status(503)(h)

            r = self.registry()
            r.rule("PATCH blob", delay, skip=1)
            got = self.stream(r, "--registry-timeout", "600", timeout=280)
            self.assertNotIn("attempt=2", got.errors)

    def test_interrupted(self):
        r = self.registry()
        r.rule("PATCH blob", fake.hang(600, after=1), times=100)
        p = self.start("build", *self.args(
            r, "--stream", "--registry-timeout", "600"))
        self.assertTrue(wait_for(lambda: r.rules[0].used > 0))
        p.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(p).status, 143)
        self.assertEqual(r.manifests_put, 0)


class TestWhoAsks(Streams):
    def test_token_ends_meanwhile(self):
        r = self.registry(bearer=("me", PASSWORD))
        for step, skip in (("POST start", 1), ("PATCH blob", 1),
                           ("PATCH blob", 3), ("PUT blob", 0)):
            r.rule(step, fake.forget_token, skip=skip)
        got = self.stream(r, *self.authfile(r), "--slots", "1")
        self.assertIn("has ended", got.errors)

    def test_password_stays_here(self):
        r = self.registry(basic=("me", PASSWORD))
        got = self.push(r, *self.authfile(r), "--stream")
        self.assertEqual(
            got.errors.count("a password, which workers are not given"), 1)
        self.assertEqual(self.parts(r), [])

    def test_from_coordinator(self):
        r = self.registry()
        got = self.push(r, "--stream", "--push-from", "coordinator")
        self.assertIn("layers are not streamed", got.errors)

    def test_what_does_not_go_with_it(self):
        r = self.registry()
        for more, why in (
                (["--to", "oci:" + self.path("x")], "is for registries"),
                (["--to", "docker://other:5000/a"], "is for one registry"),
                (["--audit", "5"], "--audit does not go with --stream"),
                (["--cache-repo", r.name + "/c"], "--cache-repo does not"),
                (["--coordinator", "tcp://127.0.0.1:1"], "--coordinator")):
            got = self.push(r, "--stream", *more, status=2, check=False)
            self.assertIn(why, got.errors)
        self.cache = True
        got = self.push(r, "--stream", "--cache", self.path("c"), status=2,
                        check=False)
        self.assertIn("--cache does not go with --stream", got.errors)


@quarrytest.need_root()
@need("unshare", "mount", "prlimit")
class TestElsewhere(Streams):
    start_workers = Elsewhere.start_workers
    end_workers = Elsewhere.end_workers

    def test_by_workers(self):
        """No spool, but where it is needed after all."""
        r = self.registry(bearer=("me", PASSWORD))
        self.start_workers("w1", "w2")
        remote = self.listen("--local-slots", "0", "--min-workers", "2",
                             *self.authfile(r))
        for p in self.running:
            if p.poll() is None:
                self.command("prlimit", "--pid", str(p.pid),
                             "--fsize=%d:" % MIB)
        self.stream(r, *remote, program=no_files([quarrytest.QUARRY]))
        for p in self.running:
            if p.poll() is None:
                self.command("prlimit", "--pid", str(p.pid),
                             "--fsize=unlimited:")
        r.rule("PATCH blob", fake.lose_upload, skip=1, times=1000)
        got = self.push(r, "--stream", *remote, repo="c")
        # The default way: from the spool, and nowhere else.
        self.assertEqual(len(re.findall(ALONE, got.errors)), self.layers())
        self.assertRegex(got.errors, r"upload \d+: done")
        self.end_workers()
        self.assertTrue(any(AGAIN in self.log(n) for n in ("w1", "w2")))
        for name in ("w1", "w2"):
            self.secret(self.log(name))

    def test_drained_while_it_waits_for_a_token(self):
        """It leaves in time, and another worker makes what it had."""
        r = self.registry(bearer=("me", PASSWORD))
        asked, let = threading.Event(), threading.Event()
        self.addCleanup(let.set)

        def hang(h):
            asked.set()
            let.wait(200)
            return False

        def forget(h):
            r.rule("GET token", hang, times=1000)
            return fake.forget_token(h)

        r.rule("PATCH blob", forget, times=1)
        self.keygen("w2")
        self.allow("w2")
        self.start_workers("w1", program=lambda name: [
            quarrytest.WORKER, "--drain", "1"])
        worker = self.running[-1]
        with open(self.log_name("coordinator"), "ab") as log:
            p = self.start("build", *self.args(
                r, "--stream", *self.listen("--local-slots", "0"),
                *self.authfile(r), "--registry-timeout", "300"), stderr=log)
        self.assertTrue(asked.wait(120), self.log("coordinator"))
        self.end(worker)
        self.assertFalse(let.is_set())
        self.wait_log("coordinator", "has left")
        let.set()
        self.start_workers("w2")
        self.assertEqual(self.finish(p).status, 0, self.log("coordinator"))
        self.check(r)
        self.end_workers()

    def test_no_token_without_keys(self):
        r = self.registry(bearer=("me", PASSWORD))
        with open(self.log_name("plain"), "ab") as log:
            self.start("--connect", self.endpoint, "--slots", "1",
                       program=[quarrytest.WORKER], stderr=log)
        got = self.push(r, *self.authfile(r), "--stream", "--listen",
                        self.endpoint, "--local-slots", "0")
        self.assertEqual(got.errors.count("are not streamed"), 1)
        self.assertEqual(self.parts(r), [])
        self.end_workers()


@need("docker-registry", "skopeo", "openssl", "prlimit")
class TestReal(RegistryBase):
    """Debian's, with tokens."""

    def test_tokens(self):
        self.store = make_store.small_store(self.path("s"), n=3, size=50000)
        self.store.add("large", {"f%d" % i: os.urandom(5 * MIB)
                                 for i in range(4)})
        self.command(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
            "-keyout", self.path("sign.key"), "-out", self.path("sign.crt"),
            "-days", "30", "-subj", "/CN=tokens")
        tokens = TokenServer(self.path("sign.key"), self.path("sign.crt"),
                             (self.USER, PASSWORD))
        self.addCleanup(tokens.close)
        host = self.serve(token={
            "realm": tokens.url, "service": "quarry-test", "issuer": "test",
            "rootcertbundle": self.path("sign.crt")})
        name = host + "/team/x:1"
        got = self.push(name, *self.logged_in(host, PASSWORD), "--verbose",
                        "--stream", program=no_files([quarrytest.QUARRY]))
        config, manifest = self.local("--encoding", "gzip")
        layers = len(json.loads(manifest)["layers"])
        self.assertEqual(len(re.findall(ALONE, got.errors)), layers)
        self.assertEqual(
            self.pulled(name, "--src-tls-verify=false", "--src-creds",
                        self.USER + ":" + PASSWORD), (config, manifest))
        for secret in (PASSWORD, *tokens.tokens):
            self.assertNotIn(secret, got.errors)


# Their tests are their own files'.
del Pushes, Elsewhere, RegistryBase


if __name__ == "__main__":
    quarrytest.main()
