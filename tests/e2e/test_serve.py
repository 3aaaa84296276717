"""quarry serve: one coordinator for many builds, with real clients and with
scripted ones that say what no client should."""

import json
import os
import signal
import socket
import time

import quarrytest
import zmtp
from ports import free_ports
from quarrytest import read, tree_bytes, wait_for
from serving import MADE, NO_JOB, STATUS, Client, Serve
from zmtp import BEAT, BYE, CANCEL, DATA_HELLO, DONE, FAIL, ITEMS, JOB, \
    POSTPONE, PULL, PULL_FAIL, REFUSE, WELCOME, WHO


class TestClients(Serve):
    """The real client and the real server."""

    def test_each_layer_is_made_once(self):
        """Two builds at once, whose closures overlap; a third one later."""
        p = self.serve()
        infos = {"a": self.store.infos[:6], "b": self.store.infos[2:]}
        for encoding in "none", "zstd", "gzip:3":
            more = ("--encoding", encoding)
            before = len(self.made())
            builds = [self.start(*self.client_args(
                name, *more, infos=infos[name])) for name in infos]
            for b in builds:
                r = self.finish(b)
                self.assertEqual(r.status, 0, r.errors)
            for name in infos:
                self.same(name, self.wanted(name, *more, infos=infos[name]))
            made = self.made()[before:]
            self.assertEqual(sorted(made),
                             sorted("p-%d" % i for i in range(8)))
            self.quarry(*self.client_args("c", *more))
            self.assertEqual(len(self.made()), before + 8)
            for name in "a", "b", "c":
                quarrytest.shutil.rmtree(self.path("out", name))
            for name in infos:
                quarrytest.shutil.rmtree(self.path("out", "want-" + name))
        self.stop(p)

    def test_docker_archive_and_metadata(self):
        p = self.serve()
        self.quarry("build", *self.inputs(), "--store-root",
                    self.path("nothing"), "--coordinator", self.clients,
                    "--to", "docker-archive:" + self.path("out/d.tar"),
                    "--metadata-file", self.path("m"))
        self.build(*self.inputs(), "--store-root", self.store.root, "--to",
                   "docker-archive:" + self.path("out/want.tar"))
        self.same_bytes(read(self.path("out/d.tar")),
                        read(self.path("out/want.tar")))
        workers = {l["worker"] for l in json.loads(
            read(self.path("m")))["layers"] if l["paths"]}
        self.assertEqual(workers, {"%s/%d" % (
            socket.gethostname()[:40], self.workers()[0])})
        self.stop(p)

    def test_what_was_made_before_a_restart_is_known(self):
        p = self.serve()
        self.quarry(*self.client_args("a", "--encoding", "zstd"))
        self.assertEqual(len(self.made()), 8)
        self.stop(p)
        p = self.serve()
        self.quarry(*self.client_args("b", "--encoding", "zstd"))
        self.assertEqual(self.made(), [])
        self.assertEqual(tree_bytes(self.path("out/a/blobs")),
                         tree_bytes(self.path("out/b/blobs")))
        self.stop(p)

    def test_damaged_blob_is_made_again(self):
        p = self.serve()
        self.quarry(*self.client_args("a"))
        want = self.wanted("a")
        blobs = self.path("cache/blobs/sha256")
        name = max(os.listdir(blobs),
                   key=lambda n: os.path.getsize(os.path.join(blobs, n)))
        with open(os.path.join(blobs, name), "r+b") as f:
            f.seek(100000)
            f.write(b"damage")
        r = self.quarry(*self.client_args("again"))
        self.assertIn("it is asked for again", r.errors)
        self.assertEqual(
            tree_bytes(self.path("out/again/blobs")),
            {n[6:]: d for n, d in want.items() if n.startswith("blobs/")})
        self.assertIn("it is made again", self.log(self.server_log))
        self.assertEqual(quarrytest.file_sha256(os.path.join(blobs, name)),
                         name)
        self.stop(p)
        # Nothing is relied on any more.
        self.assertEqual(os.listdir(self.path("cache/pins")), [])

    def test_job_that_cannot_be_made(self):
        """It fails for those who want it; the server goes on."""
        p = self.serve()
        infos = [*self.store.infos, dict(
            self.store.infos[0], path=self.store.new_path("gone"))]
        r = self.quarry(*self.client_args("bad", infos=infos), status=None)
        self.assertIn(r.status, (1, 2))
        self.assertIn("gone", r.errors)
        self.assertIsNone(p.poll())
        self.quarry(*self.client_args("good"))
        self.same("good", self.wanted("good"))
        self.stop(p)


class TestKeys(Serve):
    def test_only_listed_keys(self):
        os.mkdir(self.path("clients"))
        self.keygen("friend")
        self.keygen("stranger")
        os.symlink(self.path("keys/friend.pub"),
                   self.path("clients/friend.pub"))
        p = self.serve("--clients-keys", self.path("clients"), "--key",
                       self.path("keys/coordinator"))
        keys = ["--server-key", self.path("keys/coordinator.pub"), "--key"]
        self.quarry(*self.client_args(
            "a", *keys, self.path("keys/friend")))
        self.same("a", self.wanted("a"))
        stranger = self.start(*self.client_args(
            "b", *keys, self.path("keys/stranger")))
        self.wait_log(self.server_log, "client at .* was refused: its key")
        self.assertIsNone(stranger.poll())
        # Listed from now on, and the other one is not.
        os.symlink(self.path("keys/stranger.pub"),
                   self.path("clients/stranger.pub"))
        os.unlink(self.path("clients/friend.pub"))
        p.send_signal(signal.SIGHUP)
        r = self.finish(stranger)
        self.assertEqual(r.status, 0, r.errors)
        refused = self.log(self.server_log).count("was refused: its key")
        friend = self.start(*self.client_args(
            "c", *keys, self.path("keys/friend")))
        self.assertTrue(wait_for(lambda: self.log(self.server_log).count(
            "was refused: its key") > refused))
        self.assertIsNone(friend.poll())
        friend.terminate()
        friend.communicate()
        self.stop(p)

    def test_options(self):
        for args, words in (
                (["--clients", "tcp://*:1"], "--clients-keys are needed"),
                ([], "--clients is missing"),
                (["--clients", "tcp://127.0.0.1:1", "--clients-keys", "x"],
                 "needs --key"),
                (["--clients", "tcp://127.0.0.1:1", "--key", "x"],
                 "--key"),
                (["--clients", "tcp://127.0.0.1:1", "x"], "options only"),
                (["--clients", "tcp://127.0.0.1:1", "--local-slots", "0"],
                 "--local-slots 0"),
                (["--clients", "tcp://127.0.0.1:1", "--to", "none"],
                 "not an option of quarry serve"),
                (["--clients", "tcp://127.0.0.1:65535", "--cache",
                  self.path("cache")], "port after it"),
                (["--clients", "http://x"], "--clients")):
            r = self.quarry("serve", *args, status=2)
            self.assertIn(words, r.errors)


    def test_one_key_twice_at_once(self):
        """The same key of two processes: they are two clients."""
        self.keygen("friend")
        self.allow("friend")
        p = self.serve("--clients-keys", self.path("allowed"), "--key",
                       self.path("keys/coordinator"))
        keys = ["--server-key", self.path("keys/coordinator.pub"), "--key",
                self.path("keys/friend")]
        with self.stopped_workers():
            both = [self.start(*self.client_args(name, *keys))
                    for name in "ab"]
            for name in "ab":
                self.wait_log(self.server_log, "client .* builds %s" % name)
        for b, name in zip(both, "ab"):
            r = self.finish(b)
            self.assertEqual(r.status, 0, r.errors)
            self.same(name, self.wanted(name))
        self.assertEqual(len(self.made()), 8)
        self.stop(p)

    def test_each_key_for_its_own(self):
        """A client's key is no worker's, and the reverse."""
        for name in "client", "worker":
            os.mkdir(self.path(name + "s"))
            self.keygen(name)
            os.symlink(self.path("keys/%s.pub" % name),
                       self.path("%ss/%s.pub" % (name, name)))
        p = self.serve("--clients-keys", self.path("clients"), "--key",
                       self.path("keys/coordinator"), "--listen",
                       self.endpoint, "--workers-keys", self.path("workers"))
        server = ["--server-key", self.path("keys/coordinator.pub")]
        build = self.start(*self.client_args(
            "a", *server, "--key", self.path("keys/worker")))
        self.wait_log(self.server_log, "client at .* was refused: its key")
        self.assertIsNone(build.poll())
        build.kill()
        worker = self.worker("client", "--slots", "1")
        self.wait_log(self.server_log, "worker at .* was refused: its key")
        worker.kill()
        self.quarry(*self.client_args(
            "c", *server, "--key", self.path("keys/client")))
        self.same("c", self.wanted("c"))
        self.stop(p)


class TestProtocol(Serve):
    """What scripted clients say, and hear."""

    def setUp(self):
        super().setUp()
        self.p = self.serve()

    def close_down(self):
        if self.p.poll() is None:
            self.stop(self.p)

    def client(self, name="scripted", **kw):
        c = Client(self.clients_port, name, **kw)
        self.addCleanup(c.close)
        return c

    def test_a_layer(self):
        c = self.client()
        job = c.want(self.store.infos[3:5])
        made, done = c.until(MADE), c.until(DONE)
        self.assertEqual(made[1:3], [job, 1])
        self.assertEqual(done[1:3], [job, 1])
        self.assertRegex(made[3], r"/\d+$")
        data = c.pull(done)
        self.assertEqual(quarrytest.hashlib.sha256(data).digest(), done[3])
        # The same again: known, so nobody made it.
        c.got.clear()
        c.want(self.store.infos[3:5])
        again = c.until(DONE)
        self.assertEqual(again[3:7], done[3:7])
        self.assertNotIn(MADE, [m[0] for m in c.got])
        # What nobody pulls any more is not relied on.
        c.pull(again)
        pins = self.path("cache/pins")
        self.assertTrue(wait_for(lambda: not [
            f for _, _, files in os.walk(pins) for f in files
            if not f.endswith(".lock")]))

    def test_status(self):
        """Of anybody, also before CLIENT."""
        c = self.client(hello=False)
        s = c.status()
        self.assertEqual(s["version"], "0.1.0")
        self.assertEqual(s["command"], "serve")
        self.assertEqual(s["clients"]["list"], [])
        self.assertTrue(wait_for(lambda: [
            w["slots"] for w in c.status()["workers"]["list"]] == [2]))
        c.greet("an-image")
        c.want(self.store.infos[:1])
        c.until(DONE)
        s = c.status()
        known, = s["clients"]["list"]
        self.assertEqual(known["image"], "an-image")
        self.assertEqual(known["wanted"], 1)
        self.assertEqual(known["done"], 1)
        self.assertEqual(s["jobs"]["done"], 1)

    def test_status_without_end(self):
        """It is not answered without end, and nobody else is kept waiting."""
        c = self.client(hello=False)
        for _ in range(20000):
            c.send(STATUS, 5)
        other = self.client()
        other.want(self.store.infos[:1])
        other.until(DONE)
        self.assertTrue(other.status())
        c.close()

    def test_bad_jobs(self):
        """Each is refused by itself, with a reason; the client stays."""
        c = self.client()
        one = self.store.infos[:1]
        bad = dict(one[0], path="/nix/store/x")
        up = dict(one[0], path=one[0]["path"] + "/../../etc")
        out = [1, "/tmp", 0, 512]
        for kw, words in (
                (dict(infos=one, source=1, items=False), "store paths"),
                (dict(infos=one, measure=True), "measured"),
                (dict(infos=one, store_root="/etc"), "files of the server"),
                (dict(infos=one, outputs=[out]), "files of the server"),
                (dict(infos=one, store_dir="/gnu/store"), "/gnu/store"),
                (dict(infos=one, encoding=(1, 1)), "made here"),
                (dict(infos=[bad]), "/nix/store/x"),
                (dict(infos=[up]), "etc"),
                (dict(infos=one, n_items=1 << 26, items=False), "too many"),
                (dict(infos=one * 3, n_items=2), "more store paths")):
            with self.subTest(words):
                job = c.want(**kw)
                m = c.until(FAIL, DONE)
                self.assertEqual(m[:4], [FAIL, job, 1, NO_JOB])
                self.assertIn(words, m[5])
                self.assertIn("client tests/%d (scripted)" % os.getpid(),
                              self.log(self.server_log))
        c.want(one)
        c.until(DONE)

    def test_what_no_client_says(self):
        for message in ([zmtp.HELLO, 4, "0.1.0", "x", 1, 1, "a", "b",
                         bytes(16), 0, [], True, 0, 0, 0], [WHO],
                        [POSTPONE, 1, 1, "x", 0], [WELCOME, 4, 5, 1, "",
                                                    bytes(16), ""]):
            c = self.client()
            c.send(*message)
            self.wait_log(self.server_log, "which no client sends")
            c.send(BEAT, [])
            self.assertEqual(c.until(WHO)[0], WHO)
        # No message at all.
        c = self.client()
        c.frame(b"\xdd\xff\xff\xff\xff")
        self.wait_log(self.server_log, "message refused")
        self.client().want(self.store.infos[:1])

    def test_other_version(self):
        self.assertEqual(self.client(program="9.9").welcome[0], REFUSE)
        self.assertEqual(self.client(protocol=99).welcome[0], REFUSE)

    def test_unknown_is_asked_who(self):
        c = self.client(hello=False)
        c.send(JOB, 1, 1, 0, 0, 0, False, False, "/nix/store", "", 1, 0, 0,
               "root", "root", 0, 0, "", [], 0)
        self.assertEqual(c.until(WHO)[0], WHO)

    def test_cancel_and_leave(self):
        c = self.client()
        # A list that never comes to its end.
        job = c.want(self.store.infos[:2], n_items=3)
        c.send(CANCEL, job, 1)
        self.assertEqual(c.until(FAIL)[1], job)
        # Of a JOB that is gone.
        c.items(job, 1, self.store.infos[:1])
        c.want(self.store.infos[:2])
        c.until(DONE)
        c.send(BYE, 0)
        self.wait_log(self.server_log, "has left")

    def test_too_much_at_once_is_put_off(self):
        """Lists of store paths that do not come to their ends."""
        c = self.client()
        jobs = [c.want(self.store.infos[:1], n_items=2) for _ in range(65)]
        m = c.until(POSTPONE)
        self.assertEqual(m[1:3], [jobs[-1], 1])
        # Of it nothing is known; the others go on.
        c.items(jobs[-1], 1, self.store.infos[1:2])
        c.items(jobs[0], 1, self.store.infos[1:2])
        self.assertEqual(c.until(DONE)[1], jobs[0])
        c.want(self.store.infos[:1])
        self.assertEqual(c.until(DONE)[1], len(jobs) + 1)

    def test_what_is_not_fetched_is_bounded(self):
        """Layers that are there already, over and over, and never pulled."""
        c = self.client()
        most = 4096
        one = self.store.infos[:1]
        for at in range(0, most, 512):
            jobs = [c.want(one) for _ in range(512)]
            done = [c.until(DONE, POSTPONE) for _ in jobs]
            self.assertEqual([m[:2] for m in done],
                             [[DONE, job] for job in jobs])
        job = c.want(one)
        m = c.until(DONE, POSTPONE)
        self.assertEqual(m[:2], [POSTPONE, job])
        self.assertIn("to fetch", m[3])
        # Others are not concerned.
        other = self.client()
        other.want(one)
        other.pull(other.until(DONE))
        c.pull(done[0])
        job = c.want(one)
        self.assertEqual(c.until(DONE, POSTPONE)[:2], [DONE, job])
        # It is gone, and with it what it was offered.
        c.send(BYE, 0)
        pins = self.path("cache/pins")
        self.assertTrue(wait_for(lambda: not [
            f for _, _, files in os.walk(pins) for f in files
            if not f.endswith(".lock")], 120))

    def test_lists_that_do_not_come(self):
        """What is announced counts, and keeps its place for a while only."""
        c = self.client()
        one = self.store.infos[:1]
        jobs = [c.want(one, n_items=3 << 20) for _ in range(2)]
        m = c.until(POSTPONE)
        self.assertEqual(m[1], jobs[1])
        self.assertIn("lists of store paths are as long", m[3])
        m = c.until(POSTPONE)
        self.assertEqual(m[1], jobs[0])
        self.assertIn("does not come", m[3])
        job = c.want(one)
        self.assertEqual(c.until(POSTPONE, DONE)[:2], [DONE, job])

    def test_comes_again_and_asks_again(self):
        """What it was offered and has not heard of is offered no more."""
        c = self.client()
        job = c.want(self.store.infos[:1])
        c.until(DONE)
        other = Client(self.clients_port, hello=False)
        self.addCleanup(other.close)
        other.instance = c.instance
        other.greet()
        other.want(self.store.infos[:1], job=job, attempt=2)
        done = other.until(DONE)
        self.assertEqual(done[1:3], [job, 2])
        data = other.data()
        data.send(PULL, job, 1, 0, 1, 0, 1)
        while (m := data.receive())[0] == DATA_HELLO:
            pass
        self.assertEqual(m[:3], [PULL_FAIL, job, 1])
        data.close()
        self.assertEqual(len(other.pull(done)), done[4])

    def test_comes_again(self):
        """Another connection of the same one: it pulls on by its token."""
        c = self.client()
        c.want(self.store.infos[:2])
        done = c.until(DONE)
        other = Client(self.clients_port, hello=False)
        self.addCleanup(other.close)
        other.instance = c.instance
        other.greet()
        self.assertEqual(other.welcome[3:], c.welcome[3:])
        self.assertEqual(len(other.pull(done)), done[4])

    def test_without_hashes_nothing_is_shared(self):
        c = self.client()
        path = self.store.infos[2]["path"]
        for _ in range(2):
            job = c.want(self.store.infos[2:3], items=False)
            c.send(ITEMS, job, 1, [[path, False, bytes(32), 0]])
            c.until(MADE)
            c.until(DONE)
        self.assertEqual(self.made(), ["p-2", "p-2"])

    def test_verify(self):
        """A path that differs fails for who says so; whoever expects what is
        there has it, also if both wait at once, and so does who does not
        look."""
        right = self.store.infos[2]
        large = dict(right, narSize=right["narSize"] + 1)
        other = dict(right, narHash=self.store.infos[3]["narHash"])
        bad, good = self.client("secret"), self.client("other")
        with self.stopped_workers():
            jobs = [bad.want([i], verify=True) for i in (large, other)]
            good.want([right], verify=True)
            good.want([right])
            wait_for(lambda: good.status()["jobs"]["queued"] == 4)
        failed = [bad.until(FAIL, DONE) for _ in jobs]
        self.assertEqual(sorted(m[:2] for m in failed),
                         [[FAIL, job] for job in jobs])
        for m in failed:
            self.assertIn(os.path.basename(right["path"]), m[5])
        done = [good.until(FAIL, DONE) for _ in range(2)]
        self.assertEqual([m[0] for m in done], [DONE, DONE])
        self.assertEqual(done[0][3:7], done[1][3:7])

    def test_nothing_of_one_client_is_told_to_another(self):
        """A job of two, which fails: neither hears what the other builds."""
        gone = dict(self.store.infos[0], path=self.store.new_path("gone"))
        a, b = self.client("secret-of-a"), self.client("secret-of-b")
        with self.stopped_workers():
            a.want([gone])
            b.want([gone])
            wait_for(lambda: [c["wanted"] for c in b.status()["clients"][
                "list"]] == [1, 1])
        for c in a, b:
            m = c.until(FAIL, DONE)
            self.assertEqual(m[0], FAIL)
            self.assertIn("gone", m[5])
            self.assertNotIn("secret", m[5])

    def test_doubted_blob_that_is_sound(self):
        """It is checked, and counts as one that was known."""
        c = self.client()
        c.want(self.store.infos[3:4])
        done = c.until(DONE)
        c.drop(done)
        c.want(self.store.infos[3:4])
        again = c.until(DONE)
        self.assertEqual(again[3:7], done[3:7])
        c.pull(again)
        s = c.status()
        self.assertEqual(len(self.made()), 1)
        self.assertEqual(s["jobs"]["added"], 1)
        self.assertEqual(s["jobs"]["done"], 1)
        self.assertEqual(s["jobs"]["left"], 0)
        self.assertEqual(s["cached"], 1)
        self.assertNotIn("made again", self.log(self.server_log))

    def test_silent_client_is_forgotten(self):
        c = self.client()
        c.want(self.store.infos[:1])
        c.until(DONE)
        c.fall_silent()
        self.wait_log(self.server_log, "is silent")
        known, = self.client().status()["clients"]["list"]
        self.assertEqual(known["done"], 0)

    def test_end(self):
        c = self.client()
        self.p.terminate()
        self.assertEqual(c.until(BYE)[0], BYE)
        c.send(BYE, 0)
        self.assertEqual(self.p.wait(timeout=60), 0)


class TestOtherWorkers(Serve):
    """Those that are not there, or have no room."""

    slots = "0"

    def setUp(self):
        super().setUp()
        port = free_ports(2)
        self.workers_at = ("127.0.0.1", port)
        self.endpoint = "tcp://127.0.0.1:%d" % port
        self.p = self.serve("--listen", self.endpoint)

    def close_down(self):
        self.stop(self.p)

    def client(self, name="scripted", **kw):
        c = Client(self.clients_port, name, **kw)
        self.addCleanup(c.close)
        return c

    def scripted_worker(self, slots):
        w = zmtp.Peer(self.workers_at)
        self.addCleanup(w.close)
        w.hello(slots=slots)
        while w.receive()[0] != WELCOME:
            pass
        return w

    def next_items(self, w):
        """(job, attempt, the first of its paths) of the next job."""
        end = time.monotonic() + 120
        w.s.settimeout(1)
        while time.monotonic() < end:
            w.send(BEAT, [])
            try:
                m = w.receive()
            except TimeoutError:
                continue
            if m[0] == ITEMS:
                return m[1], m[2], m[3][0][0]
        self.fail("no job came")

    def test_nobody_is_there(self):
        """That is said; and who comes later does what is asked for then."""
        c = self.client()
        job = c.want(self.store.infos[:1])
        m = c.until(POSTPONE)
        self.assertEqual(m[1:3], [job, 1])
        self.assertIn("no worker is here", m[3])
        job = c.want(self.store.infos[:1])
        self.assertEqual(c.until(POSTPONE)[1], job)
        self.assertEqual(c.status()["jobs"]["queued"], 0)
        build = self.start(*self.client_args("a"))
        worker = self.start("--connect", self.endpoint, "--spool",
                            self.path("t"), program=[quarrytest.WORKER])
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.same("a", self.wanted("a"))
        c.want(self.store.infos[:1])
        c.until(DONE)
        worker.terminate()
        self.finish(worker)

    def test_another_encoder_than_the_workers(self):
        """Which they have is known once one of them is there."""
        c = self.client(gzip="another")
        job = c.want(self.store.infos[:1], encoding=(1, 6))
        self.assertEqual(c.status()["jobs"]["queued"], 1)
        self.scripted_worker(1)
        m = c.until(FAIL, DONE, POSTPONE)
        self.assertEqual(m[:4], [FAIL, job, 1, NO_JOB])
        self.assertIn("are of another, those that are made here of "
                      "libdeflate", m[5])

    def test_what_is_put_off_is_in_nobodys_way(self):
        """A worker without room for the large layers of one client does the
        small one of another."""
        w = self.scripted_worker(1)
        large, small = self.client("large"), self.client("small")
        for info in self.store.infos[2:]:
            large.want([info])
        for _ in range(2):
            job, attempt, path = self.next_items(w)
            w.send(POSTPONE, job, attempt, "no room", 0)
        small.want(self.store.infos[:1])
        while path != self.store.infos[0]["path"]:
            job, attempt, path = self.next_items(w)
            if path != self.store.infos[0]["path"]:
                w.send(POSTPONE, job, attempt, "no room", 0)
        # It was not in the way of anything that had to go first.
        s = large.status()
        self.assertEqual(s["jobs"]["done"] + s["jobs"]["failed"], 0)
        self.assertNotIn(POSTPONE, [m[0] for m in large.got])

    if os.environ.get("QUARRY_LONG"):  # it takes minutes
        def test_what_nobody_has_room_for(self):
            """Its client is told after a while, and may ask again."""
            w, c = self.scripted_worker(1), self.client()
            job = c.want(self.store.infos[:1])

            def postponed():
                wire, attempt, _ = self.next_items(w)
                w.send(POSTPONE, wire, attempt, "a disk of 5 MB", 0)
                return POSTPONE in [m[0] for m in c.got] or c.status() and (
                    POSTPONE in [m[0] for m in c.got])
            self.assertTrue(wait_for(postponed, 300))
            m, = [m for m in c.got if m[0] == POSTPONE]
            self.assertEqual(m[1:3], [job, 1])
            self.assertIn("no worker has room for it: a disk of 5 MB", m[3])
            self.assertEqual(c.status()["jobs"]["queued"], 0)
            c.want(self.store.infos[:1])
            self.next_items(w)


if __name__ == "__main__":
    quarrytest.main()
