"""Workers that lie, and messages that are lost, doubled or late, over plain
TCP on this machine: the image is the same, or there is none."""

import os
import re
import signal
import struct

import hosts
import quarrytest
import zmtp
from hosts import LONG, PATIENCE
from quarrytest import Base, make_store, wait_for

# A lease runs out after two minutes; what ends before did not wait for that.
LEASE = 110


class Plain(Base):
    """A coordinator that listens without keys, and workers of this machine."""

    size = 1 << 26
    encoding = "none"

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.slow_store(
            os.path.join(cls.folder(), "s"), n=4, size=cls.size)
        cls.want = None

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("spool"))
        self.n_logs = 0

    def close_down(self):
        self.end_workers()
        self.assertEqual([x for _, _, files in os.walk(self.path("spool"))
                          for x in files], [])

    def end_workers(self):
        for p in self.running:
            if (os.fsencode(p.args[0]) == os.fsencode(quarrytest.WORKER)
                    and p.poll() is None):
                wait_for(lambda: quarrytest.blocks(
                    p.pid, signal.SIGTERM), PATIENCE)
                p.terminate()
                self.assertEqual(p.wait(timeout=PATIENCE), 0)

    def args(self, out, *more):
        return ["build", "--name", "slow", "--closure",
                self.closure_file(self.store), "--store-root",
                self.store.root, "--encoding", self.encoding, "--to",
                "oci:" + self.path("out", out), *more]

    def coordinate(self, *more, out="oci"):
        self.log_name = self.path("log-" + out)
        with open(self.log_name, "wb") as log:
            p = self.start(*self.args(
                out, "--progress", "plain", "--local-slots", "0", "--listen",
                "tcp://127.0.0.1:*", *more), stdout=log, stderr=log)
        self.port = int(self.wait_log(
            r"join at tcp://127\.0\.0\.1:(\d+)").group(1))
        return p

    def log(self):
        return quarrytest.read(self.log_name).decode(errors="replace")

    def wait_log(self, pattern):
        found = wait_for(lambda: re.search(pattern, self.log()), PATIENCE)
        self.assertTrue(found, "never said %r:\n%s" % (pattern, self.log()))
        return found

    def worker(self, port=None, *more):
        self.n_logs += 1
        with open(self.path("w%d.log" % self.n_logs), "wb") as log:
            return self.start(
                "--connect", "tcp://127.0.0.1:%d" % (port or self.port),
                "--slots", "1", "--spool", self.path("spool"), *more,
                program=[quarrytest.WORKER], stdout=log, stderr=log)

    def wanted(self):
        cls = type(self)
        if cls.want is None:
            self.quarry(*self.args("local"))
            cls.want = hosts.tree(self.path("out/local"))
            quarrytest.shutil.rmtree(self.path("out/local"))
        return cls.want

    def same(self, p, out="oci", seconds=PATIENCE):
        try:
            p.wait(timeout=seconds)
        except quarrytest.subprocess.TimeoutExpired:
            self.fail("the build does not end:\n" + self.log())
        self.assertEqual(p.returncode, 0, self.log())
        self.assertEqual(hosts.tree(self.path("out", out)), self.wanted(),
                         self.log())


def done(job, attempt, data, digest=None, diff_id=None, size=None):
    digest = digest or quarrytest.hashlib.sha256(data).digest()
    size = len(data) if size is None else size
    return [zmtp.DONE, job, attempt, diff_id or digest, size, digest, size, 3,
            0, 1, 0, 0, 0]


class TestLiars(Plain):
    """Each is found out, dropped, and its work given to an honest one."""

    data = bytes(10240)

    def lied(self, result, served, *words):
        p = self.coordinate("--min-workers", "2")
        liar = zmtp.Liar(self.port, result, served)
        self.worker()
        self.same(p)
        self.assertTrue(liar.jobs, "the liar was never asked")
        for word in words:
            self.assertRegex(self.log(), word)
        return liar

    def test_other_bytes_than_told(self):
        liar = self.lied(
            lambda j, a: [done(j, a, self.data, digest=b"\1" * 32)],
            self.data, "impostor")
        self.assertGreater(liar.pulls, 0)

    def test_more_bytes_than_told(self):
        self.lied(lambda j, a: [done(j, a, self.data)],
                  self.data + b"more", "impostor")

    def test_fewer_bytes_than_told(self):
        self.lied(lambda j, a: [done(j, a, self.data)], self.data[:-1],
                  "impostor")

    if LONG:  # it takes minutes
        def test_never_handed_over(self):
            self.lied(lambda j, a: [done(j, a, self.data)], None)

    def test_impossible_results(self):
        for change in ({"diff_id": b"\2" * 32}, {"size": 10241},
                       {"size": 0}):
            with self.subTest(change):
                self.lied(lambda j, a: [done(j, a, self.data, **change)],
                          self.data, "does not hold")
                quarrytest.shutil.rmtree(self.path("out/oci"))

    def test_results_of_others(self):
        """One that wants no jobs claims all, with bytes that it does have."""
        p = self.coordinate("--min-workers", "2")
        liar = zmtp.Liar(self.port, None, self.data, always=[
            [zmtp.BYE, 1], *(done(j, a, self.data) for j in range(8)
                             for a in (1, 2, 3))])
        self.assertTrue(wait_for(lambda: liar.beats > 2, PATIENCE))
        self.worker()
        self.same(p)
        self.assertEqual((liar.jobs, liar.pulls), ([], 0))
        self.assertEqual(liar.end, zmtp.BYE)

    def test_plausible_layers(self):
        """Its layers are sound, but of other files: an audit finds that."""
        p = self.coordinate("--min-workers", "2", "--audit", "100")
        zmtp.Liar(self.port, lambda j, a: [done(j, a, self.data)], self.data)
        self.worker()
        self.assertEqual(p.wait(timeout=PATIENCE), 1, self.log())
        self.assertRegex(self.log(), "not reproducible.*impostor/")
        self.assertTrue(wait_for(lambda: not os.listdir(self.out)))

    def test_fails_everything(self):
        self.lied(lambda j, a: [[zmtp.FAIL, j, a, 3, 5, "not me", 0]], None)

    def test_has_no_room_for_anything(self):
        self.lied(lambda j, a: [[zmtp.POSTPONE, j, a, "no room", 0]], None)


class TestDiffering(Plain):
    """A liar whose layers are right but for one: what differs is named."""

    size = 300000

    def setUp(self):
        super().setUp()
        self.wanted()
        self.layers = self.made()

    def made(self):
        """The tars of all layers, as one machine makes them; by job."""
        self.quarry(*self.args("whole"))
        blob = lambda d: quarrytest.read(
            self.path("out/whole/blobs/sha256", d["digest"][7:]))
        index = quarrytest.json.loads(
            quarrytest.read(self.path("out/whole/index.json")))
        manifest = quarrytest.json.loads(blob(index["manifests"][0]))
        layers = [blob(d) for d in manifest["layers"]]
        quarrytest.shutil.rmtree(self.path("out/whole"))
        return layers

    def first(self, n):
        """(job, where its content is) of the layer with slow-N's file."""
        for job, tar in enumerate(self.layers):
            at = tar.find(b"-slow-%d/f\0" % n)
            if at > 0:
                return job, at // 512 * 512 + 512
        self.fail("no such layer")

    def lies(self, changes, *words, local=False):
        """changes: {job: what makes the liar's tar of it, of a bytearray}.
        local: the other worker is one of this machine, and second."""
        told = {job: bytearray(tar) for job, tar in enumerate(self.layers)}
        for job, change in changes.items():
            change(told[job])
        told = {job: bytes(tar) for job, tar in told.items()}
        p = self.coordinate("--min-workers", "2", "--audit", "100", *(
            ["--local-slots", "1"] if local else []))
        zmtp.Liar(self.port, lambda j, a: [
            done(j, a, told[j]) if a == 1 or not local
            else [zmtp.POSTPONE, j, a, "only first", 0]], lambda j, a: told[j])
        if not local:
            self.worker()
        self.assertEqual(p.wait(timeout=PATIENCE), 1, self.log())
        for word in (r"layer \d.*not reproducible.*impostor/", *words):
            self.assertRegex(self.log(), word)
        self.assertTrue(wait_for(lambda: not os.listdir(self.out)))

    def test_one_byte(self):
        job, at = self.first(2)

        def change(tar):
            tar[at + 1234] ^= 1
        self.lies({job: change},
                  r"-slow-2/f: content differs from byte 1234 on")

    def test_one_byte_and_a_worker_of_this_machine(self):
        changes = {}
        for i in range(4):
            job, at = self.first(i)

            def change(tar, at=at):
                tar[at + 200000] ^= 1
            changes[job] = change
        self.lies(changes, r"-slow-\d/f: content differs from byte 200000 on",
                  local=True)

    def test_mode(self):
        job, at = self.first(1)

        def change(tar):
            head = tar[at - 512:at]
            head[104:107] = b"777"
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            tar[at - 512:at] = head
        self.lies({job: change}, r"-slow-1/f: mode is 0(777|444) of worker "
                  r".*, 0(777|444) of worker ")

    def test_what_agrees_is_not_fetched(self):
        p = self.coordinate("--min-workers", "2", "--audit", "100")
        other = zmtp.Liar(self.port,
                          lambda j, a: [done(j, a, self.layers[j])],
                          lambda j, a: self.layers[j])
        self.worker()
        self.same(p)
        first = {int(n) - 1 for n in re.findall(
            r"layer (\d+) .* by impostor/", self.log())}
        self.assertEqual(other.pulled, first)
        self.assertTrue({j for j, _ in other.jobs} - first,
                        "it was never second")


class TestStrangers(Plain):
    def test_two_of_one_instance(self):
        """A clone is told so; the first goes on."""
        instance = os.urandom(16)
        p = self.coordinate("--min-workers", "2")
        first = zmtp.Liar(self.port, lambda j, a: [
            [zmtp.POSTPONE, j, a, "no room", 0]], instance=instance)
        self.wait_log("1 workers are here")
        # Each HELLO is one more knock, as a clone's would be.
        peer = zmtp.Peer(("127.0.0.1", self.port))
        for _ in range(8):
            peer.hello(instance=instance)
        self.assertEqual(peer.receive()[0], zmtp.REFUSE)
        peer.close()
        self.worker()
        self.same(p)
        self.assertEqual(first.end, zmtp.BYE)
        self.assertIn("the same worker is here already", self.log())

    def test_other_versions(self):
        p = self.coordinate()
        for hello in {"protocol": 99}, {"program": "99.98.97"}:
            peer = zmtp.Peer(("127.0.0.1", self.port))
            peer.hello(**hello)
            m = peer.receive()
            self.assertEqual(m[0], zmtp.REFUSE)
            self.assertIn("version", m[1])
            peer.close()
        self.worker()
        self.same(p)

    def test_frames_that_would_be_huge(self):
        """Announced, never sent: not a byte is set aside for them."""
        p = self.coordinate()
        before = rss(p.pid)
        peers = []
        for size in (1 << 30, 1 << 40, (1 << 63) - 1, 2 << 20):
            for _ in range(8):
                peer = zmtp.Peer(("127.0.0.1", self.port))
                peer.raw(b"\x02" + struct.pack(">Q", size) + b"x" * 5000)
                peers.append(peer)
        for peer in peers:
            with self.assertRaises((EOFError, OSError)):
                while True:
                    peer.receive()
            peer.close()
        if not quarrytest.sanitized():
            self.assertLess(rss(p.pid) - before, 32 << 20)
        self.worker()
        self.same(p)

    def test_malformed_messages(self):
        p = self.coordinate()
        before = rss(p.pid)
        for body in (b"", b"\xc1", b"\x90", b"\xdd\xff\xff\xff\xff",
                     b"\x91\xdb\xff\xff\xff\xff", b"\xdd" * 100,
                     b"\x91" * 100000, os.urandom(300),
                     zmtp.pack([zmtp.HELLO]), zmtp.pack([zmtp.DONE, 1])):
            for hello in False, True:
                peer = zmtp.Peer(("127.0.0.1", self.port))
                if hello:
                    peer.hello()
                peer.frame(body)
                peer.close()
        self.wait_log("message refused")
        if not quarrytest.sanitized():
            self.assertLess(rss(p.pid) - before, 32 << 20)
        self.worker()
        self.same(p)


def rss(pid):
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestEncoders(Plain):
    encoding, size = "gzip:1", 1 << 22

    def test_another_than_the_first(self):
        """All layers of an image are compressed by the same library."""
        p = self.coordinate("--min-workers", "2")
        self.worker()
        self.wait_log("1 workers are here")
        peer = zmtp.Peer(("127.0.0.1", self.port))
        peer.hello(gzip="another 9.9")
        m = peer.receive()
        self.assertEqual(m[0], zmtp.REFUSE)
        self.assertRegex(m[1], "it would make other bytes: its encoder is "
                         r"another 9\.9, this build's is libdeflate")
        peer.close()
        self.worker()
        self.same(p)


class TestMessages(Plain):
    """What TCP never does to a connection that lives, a proxy does here."""

    def through(self, rule, seconds=LEASE):
        p = self.coordinate("--min-workers", "1")
        proxy = zmtp.Proxy(self.port, rule)
        self.addCleanup(proxy.close)
        self.worker(proxy.port)
        self.same(p, seconds=seconds)
        proxy.close()
        quarrytest.shutil.rmtree(self.path("out/oci"))
        self.end_workers()

    def each(self, verdict, kinds, **kw):
        for kind, count in kinds:
            with self.subTest(kind=kind, count=count):
                self.through(lambda _, k, n: verdict
                             if (k, n) == (kind, count) else 1, **kw)

    def test_lost_with_the_connection(self):
        """A worker that is back tells what it has, and gets the rest anew,
        before any lease is over."""
        self.each("cut", [(zmtp.HELLO, 1), (zmtp.WELCOME, 1), (zmtp.JOB, 1),
                          (zmtp.JOB, 3), (zmtp.ITEMS, 2), (zmtp.DONE, 1),
                          (zmtp.DONE, 4)])

    def test_lost(self):
        self.each(0, [(zmtp.HELLO, 1), (zmtp.WELCOME, 1), (zmtp.BEAT, 1),
                      (zmtp.BEAT, 2)])

    if LONG:  # it takes minutes
        def test_lost_until_the_lease_is_over(self):
            self.each(0, [(zmtp.JOB, 1), (zmtp.ITEMS, 1), (zmtp.DONE, 1)],
                      seconds=400)

    def test_doubled(self):
        self.through(lambda *_: 2)

    def test_late(self):
        """Each beat, and each second answer, after what follows it."""
        self.through(lambda _, kind, n: "late" if kind == zmtp.BEAT or (
            kind == zmtp.DONE and n % 2) else 1)


if __name__ == "__main__":
    quarrytest.main()
