"""Layers that workers put into registries, while others are made."""

import json
import os
import re
import signal
import ssl

import fake_registry as fake
import quarrytest
from fake_registry import Registry
from quarrytest import OciLayout, make_store, need, sha256, wait_for
from remote import Remote
from test_registry import RegistryBase
from token_server import TokenServer

PASSWORD, TOKEN = "canary-pass", "canary-token"
CANARIES = (PASSWORD, TOKEN, fake.basic("me", PASSWORD).split()[1])
DONE = r"worker=(\S+): upload \d+: done"


class Pushes(Remote):
    encoding = "gzip"

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=8, size=50000)

    def registry(self, *args, **kw):
        r = Registry(*args, **kw)
        r.token_text = TOKEN
        self.addCleanup(r.close)
        return r

    def args(self, r, *more, store=None, repo="a/b"):
        store = store or self.store
        return ("--progress", "plain", "--verbose", "--name", "x", "--tag",
                "1", "--closure", self.closure_file(store), "--store-root",
                store.root, "--to", "docker://%s/%s:t" % (r.name, repo), *more)

    def authfile(self, r):
        entry = {"auth": fake.basic("me", PASSWORD).split()[1]}
        return "--authfile", quarrytest.write(
            self.path("auth.json"), json.dumps({"auths": {r.name: entry}}),
            0o600)

    def push(self, r, *more, status=0, check=True, **kw):
        got = self.quarry("build", *self.args(r, *more, **kw), status=status)
        self.secret(got.errors)
        if check:
            self.check(r, **kw)
        return got

    def secret(self, text):
        for canary in CANARIES:
            self.assertNotIn(canary, text)

    def want(self, store=None):
        """The same image, in a folder."""
        store = store or self.store
        folder = self.path("want-%d-%s" % (id(store), self.encoding))
        if not os.path.exists(folder):
            self.build("--name", "x", "--tag", "1", "--closure",
                       self.closure_file(store), "--store-root", store.root,
                       "--encoding", self.encoding, "--to", "oci:" + folder)
        return OciLayout(folder)

    def check(self, r, store=None, repo="a/b"):
        """What is there is what --to oci: makes, whole."""
        want, found = self.want(store), r.repo(repo)
        _, data = found["manifests"][found["tags"]["t"]]
        self.assertEqual(data, want.manifest_bytes)
        for d in [want.manifest["config"], *want.manifest["layers"]]:
            self.assertEqual(sha256(r.blobs[d["digest"]]),
                             d["digest"].split(":")[1])

    def lose_one(self, r):
        """The first blob that was confirmed and is looked for again."""
        seen, lost = set(), []

        def lose(h):
            digest = h.match["digest"]
            with r.lock:
                if digest in r.blobs and digest in seen and not lost:
                    lost.append(r.blobs.pop(digest))
                elif digest in r.blobs:
                    seen.add(digest)
            return False

        r.rule("HEAD stored", lose, times=10000)

    def layers(self):
        return len(self.want().manifest["layers"])

    def done_by(self, errors):
        """{worker: how many layers it uploaded}."""
        found = re.findall(DONE, errors)
        return {w: found.count(w) for w in found}

    def uploaded(self, errors):
        return int(re.search(r"pushed +(\d+) blobs uploaded", errors)[1])

    # --- Workers that do not see the coordinator's files -------------------

    hidden = ()  # further folders that workers do not see

    def start_workers(self, *names, program=lambda name: [quarrytest.WORKER]):
        """Each has a folder for temporary files of its own."""
        folders = [self.path("t")]
        for folder in self.hidden:
            folders.append(self.path(folder))
            os.makedirs(folders[-1], exist_ok=True)
        for name in names:
            if not os.path.exists(self.path("keys", name)):
                self.keygen(name)
                self.allow(name)
            with open(self.log_name(name), "ab") as log:
                self.start(
                    "--mount", "sh", "-c",
                    'for at in $0; do mount -t tmpfs none "$at"; done; '
                    'exec "$@"', " ".join(folders),
                    *program(name), "--connect", self.endpoint,
                    "--server-key", self.path("keys", "coordinator.pub"),
                    "--key", self.path("keys", name), "--slots", "1",
                    program=["unshare"], stderr=log)

    def end_workers(self):
        for p in self.running:
            if p.poll() is None:
                self.end(p)

    def hang_one(self, r):
        """The first blob's upload stands still; its digest is put there."""
        hung = []

        def hang(h):
            hung.append(h.query["digest"])
            return fake.hang(600, after=1)(h)

        r.rule("PUT blob", hang)
        return hung

    def kill_uploader(self, hung):
        """The worker whose upload stands still."""
        self.assertTrue(wait_for(lambda: hung))
        said = r"/(\d+) uploads " + hung[0]
        self.wait_log("coordinator", said)
        pid = int(re.search(said, self.log("coordinator"))[1])
        next(w for w in self.running if w.pid == pid).kill()


class TestHere(Pushes):
    def test_by_workers(self):
        r = self.registry()
        got = self.push(r, "--workers", "3", "--slots", "3")
        # All layers by workers, once; the config from here.
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        self.assertEqual(r.uploads_done, self.layers() + 1)
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)
        size = sum(len(b) for b in r.blobs.values())
        self.assertEqual(r.count("PUT blob"), self.layers() + 1)
        sent = sum(q["length"] for q in r.requests
                   if q["step"] == "PUT blob")
        self.assertEqual(sent, size)
        self.assertRegex(got.errors, r"%d of %d pushed" % (
            self.layers(), self.layers()))

    def test_from_coordinator(self):
        r = self.registry()
        got = self.push(r, "--push-from", "coordinator")
        self.assertEqual(self.done_by(got.errors), {})
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)
        r = self.registry()
        got = self.push(r, "--push-from", "workers")
        self.assertTrue(self.done_by(got.errors))
        got = self.push(r, "--push-from", "me", status=2, check=False)
        self.assertIn("neither workers nor coordinator", got.errors)

    def test_while_others_are_made(self):
        """The first layers are there before the last one is made."""
        slow = make_store.slow_store(self.folder(), n=6, size=100 << 20)
        r = self.registry()
        got = self.push(r, "--slots", "1", store=slow)
        lines = got.errors.splitlines()
        first = next(i for i, line in enumerate(lines)
                     if re.search(r"uploads sha256:", line))
        last = max(i for i, line in enumerate(lines)
                   if re.search(r"attempt=1: sent", line))
        self.assertLess(first, last)

    def test_only_what_is_not_there(self):
        r = self.registry()
        self.push(r)
        again = self.push(r)
        self.assertEqual(self.uploaded(again.errors), 0)
        self.assertEqual(self.done_by(again.errors), {})
        other = make_store.small_store(self.folder(), n=9, size=50000)
        third = self.push(r, store=other)
        self.assertEqual(self.uploaded(third.errors), 2)
        self.assertEqual(r.uploads_done, len(r.blobs))

    def test_two_registries_and_a_folder(self):
        one, two = self.registry(), self.registry()
        folder = self.path("also")
        got = self.quarry("build", *self.args(
            one, "--to", "docker://%s/c:t" % two.name, "--to",
            "oci:" + folder))
        self.check(one)
        self.check(two, repo="c")
        self.assertEqual(OciLayout(folder).manifest, self.want().manifest)
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         2 * self.layers())

    def test_two_repositories(self):
        """Into the second one layers are mounted."""
        r = self.registry()
        got = self.quarry("build", *self.args(
            r, "--to", "docker://%s/c:t" % r.name))
        self.check(r)
        self.check(r, repo="c")
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        self.assertEqual(r.uploads_done, self.layers() + 1)
        self.assertRegex(got.errors, r"pushed +%d blobs" % (self.layers() + 1))
        self.assertRegex(got.errors, r"pushed +0 blobs uploaded .* %d mounted"
                         % (self.layers() + 1))

    def test_with_a_docker_archive(self):
        r = self.registry()
        self.push(r, "--encoding", "gzip", "--to",
                  "docker-archive:" + self.path("a.tar"))

    def test_audit(self):
        r = self.registry()
        got = self.push(r, "--audit", "100", "--workers", "2", "--slots", "2")
        self.assertIn("audits: ", got.errors)
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        self.assertEqual(r.uploads_done, self.layers() + 1)

    def test_with_cache(self):
        self.cache = True
        r = self.registry()
        self.push(r)
        other = self.registry()
        got = self.push(other)
        # What is known already is sent from here.
        self.assertEqual(other.uploads_done, self.layers() + 1)
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)

    def test_what_an_earlier_run_has_seen(self):
        """Another repository's layers are mounted, in a run of its own."""
        self.cache = True
        for kw in {"bearer": ("me", PASSWORD)}, {}:
            r = self.registry(**kw)
            self.push(r, *self.authfile(r))
            done = r.uploads_done
            got = self.push(r, *self.authfile(r), repo="c/d")
            # The root layer, too, though it is made anew.
            self.assertEqual(r.uploads_done, done, got.errors)
            self.assertIn("%d mounted" % (self.layers() + 1), got.errors)
        self.assertIn("from=a%2Fb", " ".join(
            q["path"] for q in r.requests).replace("from=a/b", "from=a%2Fb"))
        # A registry that has lost it all, or does not mount, gets it again.
        for repo in ("e/f", "g/h"):
            r.repos.clear()
            r.blobs.clear()
            self.push(r, repo=repo)
            self.assertEqual(r.uploads_done, done + self.layers() + 1)
            done = r.uploads_done

    def test_worker_dies(self):
        r = self.registry()
        r.rule("PUT blob", fake.hang(600, after=1), times=1)
        p = self.start("build", *self.args(
            r, "--workers", "2", "--slots", "2", "--registry-timeout",
            "600"))
        self.assertTrue(wait_for(lambda: r.rules[0].used))
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        got = self.finish(p)
        self.assertEqual(got.status, 0, got.errors)
        self.check(r)
        # One of them may not have come up yet.
        self.assertRegex(got.errors, r"joined, \d lost\)")

    def test_worker_fails(self):
        """What they cannot send is sent from here."""
        r = self.registry()
        r.rule("PUT blob", fake.status(400), times=3)
        got = self.push(r)
        self.assertEqual(got.errors.count("upload failed: "), 3)
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)

    def test_lost_before_it_is_confirmed(self):
        """A worker's word is not enough."""
        def lie(h):
            h.drain()
            h.answer(201)
            return True

        r = self.registry()
        r.rule("PUT blob", lie, times=3)
        got = self.push(r)
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)

    def test_token_ends_meanwhile(self):
        r = self.registry(bearer=("me", PASSWORD))
        for step in ("POST start", "PUT blob"):
            r.rule(step, fake.forget_token, times=2, skip=1)
        got = self.push(r, *self.authfile(r), "--slots", "1")
        self.assertIn("has ended", got.errors)
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())

    def test_password_stays_here(self):
        r = self.registry(basic=("me", PASSWORD))
        got = self.push(r, *self.authfile(r))
        self.assertIn("which workers are not given", got.errors)
        self.assertEqual(self.done_by(got.errors), {})

    def test_throttled(self):
        r = self.registry()
        for step in ("HEAD stored", "POST start", "PUT blob"):
            r.rule(step, fake.status(429), times=3)
        got = self.push(r)
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())

    def test_json(self):
        r = self.registry()
        got = self.quarry("build", *self.args(r, "--progress", "json"))
        last = [json.loads(line) for line in got.errors.splitlines()
                if line.startswith('{"event":"summary"')][0]
        self.assertEqual(last["totals"]["layers_pushed"], self.layers())
        self.assertEqual(last["totals"]["layers_uploaded"], self.layers())
        for name in ("layers_mounted", "pushes_left", "uploads_failed"):
            self.assertEqual(last["totals"][name], 0)
        self.assertEqual(last["totals"]["bytes_uploaded"], sum(
            d["size"] for d in self.want().manifest["layers"]))


@quarrytest.need_root()
@need("unshare", "mount")
class TestElsewhere(Pushes):
    """By workers of their own, which do not see the coordinator's files."""

    def remote_push(self, r, *more, workers=2, **kw):
        got = self.push(r, *self.listen(
            "--local-slots", "0", "--min-workers", str(workers), *more), **kw)
        self.assertNotIn("shares the output's folder", got.errors)
        return got

    def test_by_workers(self):
        r = self.registry(bearer=("me", PASSWORD))
        self.start_workers("w1", "w2")
        got = self.remote_push(r, *self.authfile(r))
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        self.assertEqual(r.uploads_done, self.layers() + 1)
        # And once more, to another repository: the spools are free again.
        self.remote_push(r, *self.authfile(r), repo="c")
        self.end_workers()
        for name in ("w1", "w2"):
            self.secret(self.log(name))

    def test_not_by_way_of_the_coordinator(self):
        """Without a cache or other outputs nobody needs the bytes there."""
        r = self.registry()
        self.start_workers("w1", "w2")
        got = self.remote_push(r)
        kept = r"worker=\S+ layer \d+ .* is in the registries alone"
        self.assertEqual(len(re.findall(kept, got.errors)), self.layers())
        # One that gets lost is made again, and comes here.
        r = self.registry()
        self.lose_one(r)
        got = self.remote_push(r)
        self.assertIn("has lost 1 layers", got.errors)
        self.assertEqual(r.uploads_done, self.layers() + 2)
        # And with another output all are pulled.
        r = self.registry()
        got = self.remote_push(r, "--to", "oci:" + self.path("also"))
        self.assertEqual(re.findall(kept, got.errors), [])
        self.assertEqual(OciLayout(self.path("also")).manifest,
                         self.want().manifest)
        self.end_workers()

    def test_audit(self):
        r = self.registry()
        self.start_workers("w1", "w2")
        got = self.remote_push(r, "--audit", "100")
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        self.end_workers()

    def test_worker_dies(self):
        r = self.registry()
        hung = self.hang_one(r)
        self.start_workers("w1", "w2")
        p = self.coordinator(*self.args(r, *self.listen(
            "--local-slots", "0", "--min-workers", "2",
            "--registry-timeout", "600")))
        self.kill_uploader(hung)
        self.assertEqual(self.finish(p).status, 0, self.log("coordinator"))
        self.assertRegex(self.log("coordinator"), r"2 joined, 1 lost")
        self.check(r)
        self.end_workers()

    def test_worker_fails(self):
        """What it cannot send comes here, and is sent from here."""
        r = self.registry()
        r.rule("PUT blob", fake.status(400), times=2)
        self.start_workers("w1", "w2")
        got = self.remote_push(r)
        self.assertEqual(got.errors.count("upload failed: "), 2)
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)
        self.end_workers()

    def test_no_token_without_keys(self):
        r = self.registry(bearer=("me", PASSWORD))
        with open(self.log_name("plain"), "ab") as log:
            self.start("--connect", self.endpoint, "--slots", "1",
                       program=[quarrytest.WORKER], stderr=log)
        got = self.push(r, *self.authfile(r), "--listen", self.endpoint,
                        "--local-slots", "0")
        self.assertEqual(self.done_by(got.errors), {})
        self.assertEqual(self.uploaded(got.errors), self.layers() + 1)
        self.end_workers()

    def test_coordinators_own_authority(self):
        self.command(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            self.path("tls.key"), "-out", self.path("tls.crt"), "-days", "30",
            "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
        os.mkdir(self.path("certs"))
        os.rename(self.path("tls.crt"), self.path("certs", "ca.crt"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("certs", "ca.crt"),
                                self.path("tls.key"))
        r = self.registry(tls=context, bearer=("me", PASSWORD))
        self.start_workers("w1", "w2")
        got = self.remote_push(r, *self.authfile(r), "--cert-dir",
                               self.path("certs"))
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        got = self.remote_push(r, *self.authfile(r), "--tls-verify", "false",
                               repo="c")
        self.assertEqual(sum(self.done_by(got.errors).values()),
                         self.layers())
        self.end_workers()


@need("docker-registry", "skopeo", "openssl")
class TestReal(RegistryBase):
    """Debian's, with tokens."""

    def test_tokens(self):
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
        auth = self.logged_in(host, PASSWORD)
        got = self.push(name, *auth, "--verbose", "--workers", "3",
                        "--slots", "3")
        config, manifest = self.local("--encoding", "gzip")
        layers = len(json.loads(manifest)["layers"])
        self.assertEqual(len(re.findall(DONE, got.errors)), layers)
        self.assertEqual(
            self.pulled(name, "--src-tls-verify=false", "--src-creds",
                        self.USER + ":" + PASSWORD), (config, manifest))
        for secret in (PASSWORD, *tokens.tokens):
            self.assertNotIn(secret, got.errors)
        # Workers' token is for that repository.
        self.assertIn([{"type": "repository", "name": "team/x",
                        "actions": ["pull", "push"]}], tokens.given)
        again = self.push(name, *auth)
        self.assertRegex(again.errors, r"pushed +0 blobs uploaded \(0 B\)")


# Their tests are their own files'.
del Remote, RegistryBase


if __name__ == "__main__":
    quarrytest.main()
