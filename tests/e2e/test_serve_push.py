"""Layers of clients that the workers of `quarry serve` put into registries:
not a byte of them goes by way of the client."""

import contextlib
import json
import os
import re
import socket
import threading

import fake_registry as fake
import quarrytest
import test_status
from ports import free_ports
from quarrytest import OciLayout, make_store, read, sha256, wait_for
from serving import Client, Serve
from test_batch_push import BatchPushes
from test_client_served import Served
from test_push import PASSWORD, TOKEN
from test_push import Pushes as Registries
from zmtp import DONE

PUSH, PUSHED, TOKEN_MSG, EXPIRED = 25, 26, 27, 28


def process_of(port):
    """The process that has a connection from this port of 127.0.0.1."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        lines = [line.split() for line in f][1:]
    sockets = {"socket:[%s]" % w[9] for w in lines
               if int(w[1].split(":")[1], 16) == port}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            folder = "/proc/%s/fd" % pid
            for fd in os.listdir(folder):
                with contextlib.suppress(OSError):
                    if os.readlink("%s/%s" % (folder, fd)) in sockets:
                        return int(pid)
    return None


class ServePushes(Served):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.second = make_store.small_store(cls.folder(), n=4, size=50000)

    registry = Registries.registry
    authfile = Registries.authfile
    secret = Registries.secret
    uploaded = Registries.uploaded

    def watched(self, *args, **kw):
        """A registry that knows which process sent each blob."""
        r = self.registry(*args, **kw)
        r.senders = {}

        def note(h):
            digest = h.query.get("digest")
            r.senders[digest] = process_of(h.client_address[1])
            return False

        r.rule("PUT blob", note, times=10000)
        return r

    def pushing(self, *registries, **kw):
        self.served()
        more = kw.pop("more", ())
        return self.serve("--push-to", ",".join(r.name for r in registries),
                          "--verbose", *more, **kw)

    def args(self, r, *more, repo="a/b", **kw):
        return ["--progress", "plain", "--verbose", "--tag", "1",
                "--registry-timeout", "5",
                "--to", "docker://%s/%s:t" % (r.name, repo),
                *self.served(*more, **kw)]

    def push(self, r, *more, status=0, **kw):
        got = self.quarry("build", *self.args(r, *more, **kw), status=status)
        self.secret(got.errors)
        return got

    def start_push(self, r, *more, name="client", **kw):
        return self.coordinator(*self.args(r, *more, **kw), name=name)

    def want(self):
        """The same image, in a folder; made once."""
        folder = self.path("want")
        if not os.path.exists(folder):
            self.build(*self.input("--store-root", self.store.root, "--tag",
                                   "1", "--encoding", "gzip", "--to",
                                   "oci:" + folder))
        return OciLayout(folder)

    def check(self, r, repo="a/b"):
        want, found = self.want(), r.repo(repo)
        _, data = found["manifests"][found["tags"]["t"]]
        self.assertEqual(data, want.manifest_bytes)
        for d in [want.manifest["config"], *want.manifest["layers"]]:
            self.assertEqual("sha256:" + sha256(r.blobs[d["digest"]]),
                             d["digest"])

    def store_layers(self):
        """All but the root layer, which is made by the client."""
        return len(self.want().manifest["layers"]) - 1

    def by_server(self, errors):
        return len(re.findall(r"server \S+: upload \d+: done", errors))

    def workers(self):
        """How many uploads each did, by the server's log."""
        found = re.findall(r"worker=(\S+): upload \d+: done",
                           self.log("serve"))
        return {w: found.count(w) for w in found}

    def here(self, errors):
        """All store layers went by the server's workers."""
        self.assertEqual(self.by_server(errors), self.store_layers())
        self.assertNotIn("upload failed", errors)


class TestWay(ServePushes):
    def test_not_by_way_of_the_client(self):
        r = self.watched()
        serve = self.pushing(r, more=["--workers", "2", "--slots", "2"])
        p = self.start_push(r)
        got = self.finish(p)
        self.assertEqual(got.status, 0, self.log("client"))
        self.check(r)
        errors = self.log("client")
        self.here(errors)
        # What the client sent itself: the config, and the root layer.
        layers = [d["digest"] for d in self.want().manifest["layers"]]
        config = self.want().manifest["config"]["digest"]
        own = {d for d, pid in r.senders.items() if pid == p.pid}
        self.assertEqual(own, {config, layers[-1]})
        self.assertTrue(all(r.senders[d] not in (None, p.pid, serve.pid)
                            for d in layers[:-1]))
        # Each blob once, and none was pulled by the client.
        self.assertEqual(r.uploads_done, self.store_layers() + 2)
        self.assertEqual(self.uploaded(errors), self.store_layers() + 2)
        self.assertRegex(errors, r"%d of %d pushed" % (
            self.store_layers(), self.store_layers()))
        self.assertEqual(sum(self.workers().values()), self.store_layers())
        # Once more: nothing is sent; what the server has it would push.
        again = self.push(r)
        self.assertEqual(self.uploaded(again.errors), 0)
        self.assertEqual(self.by_server(again.errors), 0)
        other = self.push(r, repo="c")
        self.here(other.errors)
        self.check(r, repo="c")
        self.stop(serve)

    def test_tokens(self):
        r = self.watched(bearer=("me", PASSWORD))
        serve = self.pushing(r)
        got = self.push(r, *self.authfile(r))
        self.here(got.errors)
        self.check(r)
        self.secret(self.log("serve"))
        # Only to their own repository.
        with r.lock:
            given = {q["headers"].get("authorization") for q in r.requests
                     if q["step"] == "PUT blob"}
        for text in given:
            self.assertEqual({repo for repo, _ in
                              r.tokens[text.split()[1]]["scopes"]}, {"a/b"})
        self.stop(serve)

    def test_with_cache_and_folder(self):
        """They come here as well, as they are wanted here."""
        self.cache = True
        r = self.watched()
        serve = self.pushing(r)
        folder = self.path("also")
        got = self.push(r, "--to", "oci:" + folder, "--cache",
                        self.path("own"))
        self.here(got.errors)
        self.check(r)
        self.assertEqual(OciLayout(folder).manifest, self.want().manifest)
        self.assertEqual(self.uploaded(got.errors), self.store_layers() + 2)
        self.stop(serve)

    def test_two_registries_and_repositories(self):
        one, two = self.watched(), self.watched()
        serve = self.pushing(one, two)
        got = self.push(one, "--to", "docker://%s/c:t" % one.name, "--to",
                        "docker://%s/d:t" % two.name)
        self.assertEqual(self.by_server(got.errors), 2 * self.store_layers())
        self.check(one)
        self.check(one, repo="c")
        self.check(two, repo="d")
        self.assertEqual(one.uploads_done, self.store_layers() + 2)
        self.stop(serve)

    def test_status_and_metrics(self):
        r, port = self.watched(), free_ports(1)
        serve = self.pushing(r, more=["--metrics", "127.0.0.1:%d" % port])
        self.push(r)
        size = sum(d["size"] for d in self.want().manifest["layers"][:-1])
        m = test_status.when(port, lambda m: m.sum(
            "quarry_uploaded_bytes_total") == size)
        self.assertEqual(m.sum("quarry_pushes_total"), self.store_layers())
        self.assertEqual(m["quarry_pushes_open"], 0)
        self.assertEqual(m.sum("quarry_push_failures_total"), 0)
        self.stop(serve)


class TestFallback(ServePushes):
    """What the server's workers do not push the client does, as it would."""

    def by_client(self, r, got, serve):
        self.assertEqual(self.by_server(got.errors), 0)
        self.assertEqual(self.uploaded(got.errors), self.store_layers() + 2)
        self.check(r)
        self.stop(serve)

    def test_not_named(self):
        r, other = self.watched(), self.watched()
        self.served()
        for more in (), ("--push-to", other.name):
            with self.subTest(more):
                serve = self.serve(*more)
                with r.lock:
                    r.repo("a/b")["blobs"].clear()
                    r.blobs.clear()
                got = self.push(r)
                self.assertIn("the server does not push to", got.errors)
                self.by_client(r, got, serve)

    def test_push_from_coordinator(self):
        r = self.watched()
        serve = self.pushing(r)
        self.by_client(r, self.push(r, "--push-from", "coordinator"), serve)

    def test_password_stays_here(self):
        r = self.watched(basic=("me", PASSWORD))
        serve = self.pushing(r)
        got = self.push(r, *self.authfile(r))
        self.assertIn("which workers are not given", got.errors)
        self.by_client(r, got, serve)
        self.secret(self.log("serve"))

    def test_no_token_without_keys(self):
        """Within one machine no keys are needed, and then no token goes."""
        r = self.watched(bearer=("me", PASSWORD))
        serve = self.serve("--push-to", r.name, keys=False)
        got = self.push(r, *self.authfile(r), keys=False)
        self.by_client(r, got, serve)
        # Where none is asked for they push.
        r = self.watched()
        serve = self.serve("--push-to", r.name, keys=False)
        self.here(self.push(r, keys=False).errors)
        self.stop(serve)

    def test_workers_fail(self):
        r = self.watched()
        r.rule("PUT blob", fake.status(400), times=2)
        serve = self.pushing(r)
        got = self.push(r)
        self.assertEqual(got.errors.count("upload failed: "), 2)
        self.assertEqual(self.by_server(got.errors), self.store_layers() - 2)
        self.check(r)
        self.stop(serve)

    def test_no_worker_sees_the_cache(self):
        r = self.watched()
        self.served()
        serve = self.serve("--push-to", r.name, "--local-slots", "0",
                           "--listen", "tcp://127.0.0.1:%d" % free_ports(2))
        p = self.start_push(r)
        self.wait_log("client", "is for later: no worker is here")
        p.terminate()
        self.finish(p)
        self.stop(serve)


class TestFaults(ServePushes):
    def hung(self, r):
        """Someone uploads, and gets no answer: the blob, once it is so."""
        at = []

        def hang(h):
            at.append(h.query["digest"])
            return fake.hang(600, after=1)(h)

        r.rule("PUT blob", hang, times=1)

        def wait():
            self.assertTrue(wait_for(lambda: at, 120))
            return at[0]
        return wait

    def test_worker_dies(self):
        r = self.watched()
        hangs = self.hung(r)
        serve = self.pushing(r, more=["--workers", "2", "--slots", "2"])
        p = self.start_push(r, "--registry-timeout", "600")
        digest = hangs()
        sender = r.senders[digest]
        os.kill(sender, 9)
        self.assertEqual(self.finish(p).status, 0, self.log("client"))
        self.assertNotEqual(r.senders[digest], sender)
        # What the dead one had sent, and not said, was there.
        errors = self.log("client")
        self.assertEqual(len(re.findall(
            r"server \S+: upload \d+: (?:done|it was there)", errors)),
            self.store_layers())
        self.assertNotIn("upload failed", errors)
        self.check(r)
        self.stop(serve)

    def test_client_dies(self):
        """Nothing of it stays, and the next one is served."""
        r = self.watched()
        hangs = self.hung(r)
        self.served(key="other")
        serve = self.pushing(r)
        p = self.start_push(r, "--registry-timeout", "600")
        hangs()
        p.kill()
        p.wait()
        got = self.push(r, key="other")
        self.assertEqual(got.status, 0)
        self.check(r)
        self.wait_log("serve", "is (silent|lost)")
        self.stop(serve)

    def test_server_dies(self):
        r = self.watched()
        hangs = self.hung(r)
        serve = self.pushing(r)
        p = self.start_push(r, "--registry-timeout", "600")
        hangs()
        serve.kill()
        serve.wait()
        serve = self.pushing(r)
        self.assertEqual(self.finish(p).status, 0, self.log("client"))
        self.assertIn("it was started again", self.log("client"))
        self.check(r)
        self.stop(serve)

    def test_server_dies_for_good(self):
        """What came here meanwhile goes from here."""
        self.cache = True
        r = self.watched()
        r.rule("PUT blob", fake.hang(600, after=1), times=4)
        serve = self.pushing(r)
        p = self.start_push(r, "--cache", self.path("own"),
                            "--registry-timeout", "600")
        n = self.store_layers()
        self.wait_log("client", "%d/%d: layer" % (n, n))
        serve.kill()
        serve.wait()
        self.assertEqual(self.finish(p).status, 0, self.log("client"))
        self.check(r)

    def test_server_stands_still(self):
        """The connection ends, the server is the same."""
        r = self.watched()
        hangs = self.hung(r)
        serve = self.pushing(r)
        p = self.start_push(r)
        hangs()
        os.kill(serve.pid, 19)
        self.wait_log("client", "says nothing any more; waiting for it")
        os.kill(serve.pid, 18)
        self.assertEqual(self.finish(p).status, 0, self.log("client"))
        self.check(r)
        self.stop(serve)

    def test_token_ends_meanwhile(self):
        r = self.watched(bearer=("me", PASSWORD))
        serve = self.pushing(r)
        for step in ("POST start", "PUT blob"):
            r.rule(step, fake.forget_token, times=2, skip=1)
        got = self.push(r, *self.authfile(r))
        self.assertIn("has ended", self.log("serve"))
        self.here(got.errors)
        self.check(r)
        self.secret(self.log("serve"))
        self.stop(serve)

    def test_lost_before_the_manifest(self):
        """It is made again, and comes here."""
        r = self.watched()
        serve = self.pushing(r)
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
        got = self.push(r)
        self.assertIn("has lost 1 layers", got.errors)
        self.check(r)
        self.stop(serve)

    def test_a_workers_word_is_not_enough(self):
        def lie(h):
            h.drain()
            h.answer(201)
            return True

        r = self.watched()
        r.rule("PUT blob", lie, times=3)
        serve = self.pushing(r)
        self.push(r)
        self.check(r)
        self.stop(serve)


class TestMany(ServePushes):
    def test_clients_with_places_of_their_own(self):
        """The same layers, to several registries and repositories; one of
        which two clients have, each with its token."""
        one, two = (self.watched(bearer=("me", PASSWORD)) for _ in range(2))
        two.token_text = TOKEN + "-two"
        auth = {"auth": fake.basic("me", PASSWORD).split()[1]}
        quarrytest.write(self.path("auth.json"), json.dumps(
            {"auths": {r.name: auth for r in (one, two)}}), 0o600)
        places = [(one, "a"), (one, "b"), (two, "a"), (two, "a"), (two, "c")]
        serve = self.pushing(one, two)
        running = [self.start_push(r, "--authfile", self.path("auth.json"),
                                   repo=repo, name="client-%d" % i)
                   for i, (r, repo) in enumerate(places)]
        for i, p in enumerate(running):
            self.assertEqual(self.finish(p).status, 0,
                             self.log("client-%d" % i))
        for r, repo in places:
            self.check(r, repo=repo)
        for r in one, two:
            for q in r.requests:
                text = q["headers"].get("authorization", "")
                if q["step"] != "PUT blob":
                    continue
                self.assertTrue(text.startswith(
                    "Bearer %s-" % r.token_text), text)
                repo = q["path"].split("/")[2]
                self.assertIn((repo, "push"),
                              r.tokens[text.split()[1]]["scopes"])
        self.secret(self.log("serve"))
        self.stop(serve)


class TestOptions(Served):
    def test_bad(self):
        certs = self.path("certs")
        os.mkdir(certs)
        for args, words in (
                (["--push-to", "a.b/team"], "--push-to: 'a.b/team': a registry"),
                (["--push-to", "a.b,"], "--push-to: 'a.b,': registries"),
                (["--push-to", ""], "--push-to: is empty"),
                (["--cert-dir", certs], "--cert-dir goes with --push-to"),
                (["--push-to", "a.b", "--cert-dir", self.path("no")],
                 "--cert-dir")):
            with self.subTest(args):
                got = self.quarry("serve", "--clients", self.endpoint, *args,
                                  status=2)
                self.assertIn(words, got.errors)


class TestBatch(BatchPushes):
    """Into repositories of their own; what is common is mounted."""

    def serve(self, r):
        with open(self.log_name("serve"), "ab") as log:
            p = self.start("serve", "--clients", self.endpoint, "--verbose",
                           "--store-root", self.store.root, "--cache",
                           self.path("layers"), "--push-to", r.name,
                           stderr=log)
        self.wait_log("serve", "clients may come to")
        return p

    def served(self, r, docs, *more):
        return self.run_batch(
            docs, "--to", "docker://" + r.name + "/{name}", "--coordinator",
            self.endpoint, *more)

    def test_once(self):
        r = self.registry()
        docs = self.docs(8)
        serve = self.serve(r)
        for i, more in enumerate((["--no-cache"], [])):
            with self.subTest(more):
                summary, errors = self.served(r, docs, *more)
                self.check_images(r, docs, summary)
                by_server = len(re.findall(r"server \S+: upload \d+: done",
                                           errors))
                # All but the root layers, each once.
                self.assertEqual(by_server, summary["totals"]["made_layers"] -
                                 len(docs))
                self.assertEqual(r.uploads_done, len(r.blobs))
                self.assertEqual(summary["totals"]["pushed"]["uploaded"],
                                 len(r.blobs))
                self.assertNotIn("upload failed", errors)
                r.blobs.clear()
                r.repos.clear()
                r.uploads_done = 0
        serve.terminate()
        self.assertEqual(self.finish(serve).status, 0)

    def test_server_dies(self):
        """What came here goes from here, and no image waits for ever."""
        r, docs = self.registry(), self.docs(4)
        r.rule("PUT blob", fake.hang(600, after=1), times=4)
        serve = self.serve(r)
        with open(self.log_name("client"), "wb") as log:
            p = self.start(
                *self.batch_args(
                    self.requests(docs), "--to",
                    "docker://" + r.name + "/{name}", "--coordinator",
                    self.endpoint, "--registry-timeout", "600"),
                "--progress", "plain", stderr=log)
        self.assertTrue(wait_for(lambda: r.rules[0].used == 4, 120))
        self.wait_log("client", "4/4: ")
        serve.kill()
        serve.wait()
        self.assertEqual(self.finish(p).status, 0, self.log("client"))


class TestBadClients(Serve):
    """What a client says that means harm, or nothing."""

    def setUp(self):
        super().setUp()
        self.heard = []
        self.trap = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.trap.close)
        threading.Thread(target=self.listen_there, daemon=True).start()
        self.r = fake.Registry()
        self.addCleanup(self.r.close)
        self.server = self.serve("--push-to", self.r.name)
        self.c = Client(self.clients_port)
        self.addCleanup(self.c.close)

    def tearDown(self):
        self.stop(self.server)
        super().tearDown()

    def listen_there(self):
        with contextlib.suppress(OSError):
            while True:
                self.heard.append(self.trap.accept()[0])

    def token(self, base, repo="a/b", place=0, serial=1, c=None, insecure=False,
              token=""):
        (c or self.c).send(TOKEN_MSG, place, serial, base, repo, token, "",
                           insecure, 0)

    def put(self, done, place=0, file="", digest=None, c=None, push=7):
        """The answer to PUSH of what DONE says."""
        c = c or self.c
        c.send(PUSH, push, place, file, done[1], done[2],
               digest or done[5], done[4])
        while (m := c.until(PUSHED))[1] != push:
            pass
        return m

    def made(self, c=None):
        c = c or self.c
        c.want(self.store.infos[:2])
        return c.until(DONE)

    def test_welcome_names_them(self):
        self.assertEqual(self.c.welcome[6], self.r.name)

    def test_only_where_it_may(self):
        done = self.made()
        port = self.trap.getsockname()[1]
        evil = "127.0.0.1:%d" % port
        for base in ("http://" + evil, "https://" + evil,
                     "http://%s@%s" % (self.r.name, evil),
                     "http://%s/@%s" % (self.r.name, evil),
                     "http://%s#@%s" % (self.r.name, evil),
                     "http://%s,%s" % (self.r.name, evil),
                     "http://"):
            with self.subTest(base):
                self.token("http://" + self.r.name)
                self.token(base, serial=2)
                m = self.put(done)
                self.assertIn("does not push there", m[4])
        self.token("http://" + self.r.name, insecure=True, place=3)
        self.assertIn("does not push there", self.put(done, place=3)[4])
        self.assertEqual(self.heard, [])
        self.wait_log(self.server_log, "does not name: refused")
        self.assertEqual([q for q in self.r.requests
                          if q["step"] != "GET base"], [])

    def test_only_what_it_was_given(self):
        done = self.made()
        self.token("http://" + self.r.name)
        other = Client(self.clients_port, name="other")
        self.addCleanup(other.close)
        self.token("http://" + self.r.name, repo="other", c=other)
        no = "no such layer for this client"
        self.assertIn(no, self.put(done, c=other)[4])
        self.assertIn(no, self.put(done, file="/etc/passwd")[4])
        self.assertIn(no, self.put(done, digest=bytes(32))[4])
        self.assertIn("does not push there", self.put(done, place=1)[4])
        self.assertIn("does not push there",
                      self.put(done, place=1 << 40)[4])
        self.assertEqual(self.r.uploads_done, 0)
        # What it was given it may, and once it has it no more.
        self.assertEqual(self.put(done)[2:], [True, 0, ""])
        self.assertEqual(self.put(done)[2:], [False, 0, ""])
        self.c.pull(done)
        self.assertIn(no, self.put(done)[4])
        self.assertEqual(self.r.uploads_done, 1)

    def test_others_are_not_served_by_its_token(self):
        """More than a worker knows at a time: each has its own."""
        r = fake.Registry(bearer=("me", "x"))
        self.addCleanup(r.close)
        self.stop(self.server)
        self.endpoint = "tcp://127.0.0.1:%d" % free_ports(2)
        with r.lock:
            for name in "mine", "theirs":
                r.tokens[name] = {"scopes": {("a/b", "pull"), ("a/b", "push")},
                                  "until": float("inf")}
        self.server = self.serve("--push-to", r.name)
        for serial in range(40, 20, -1):
            name = ("mine", "theirs")[serial % 2]
            c = Client(self.clients_port, name=name)
            done = self.made(c)
            with r.lock:
                r.blobs.clear()
                r.repo("a/b")["blobs"].clear()
                r.requests.clear()
            self.token("http://" + r.name, c=c, serial=serial, token=name)
            self.assertEqual(self.put(done, c=c)[2:], [True, 0, ""])
            with r.lock:
                used = {q["headers"].get("authorization")
                        for q in r.requests} - {None}
            self.assertEqual(used, {"Bearer " + name})
            c.close()
        self.assertNotIn("Bearer", self.log(self.server_log))
        self.assertNotIn("mine", self.log(self.server_log).replace(
            "(mine)", "").replace("builds mine", ""))

    def test_token_is_asked_for(self):
        """EXPIRED, to whose it is; who does not answer is not waited for for
        ever, and nobody else is kept."""
        r = fake.Registry(bearer=("me", "x"))
        self.addCleanup(r.close)
        self.stop(self.server)
        self.server = self.serve("--push-to", r.name)
        with r.lock:
            r.tokens["good"] = {"scopes": {("a/b", "pull"), ("a/b", "push")},
                                "until": float("inf")}
        c = Client(self.clients_port)
        self.addCleanup(c.close)
        done = self.made(c)
        self.token("http://" + r.name, c=c, serial=3, token="bad")
        c.send(PUSH, 1, 0, "", done[1], done[2], done[5], done[4])
        self.assertEqual(c.until(EXPIRED)[1:], [0, 3])
        self.token("http://" + r.name, c=c, serial=4, token="good")
        self.assertEqual(c.until(PUSHED)[1:], [1, True, 0, ""])


if __name__ == "__main__":
    quarrytest.main()
