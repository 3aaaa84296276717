"""Signals, kills and strangers on the socket: nothing lives on, nothing is
left, and the image is right or it is not there."""

import contextlib
import fcntl
import glob
import json
import os
import signal
import stat
import subprocess
import sys
import termios
import threading
import time

import quarrytest
import zmtp
from quarrytest import Base, make_store, wait_for



class Slow(Base):
    """Builds that would take an hour: what ends them is the test."""

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.slow_store(cls.folder(), n=3, size=1 << 42)

    def args(self, *more, to=("none",), store=None):
        store = store or self.store
        out = ["build", "--progress", "none", "--name", "slow", "--closure",
               self.closure_file(store, name="slow.json"), "--store-root",
               store.root]
        for t in to:
            out += ["--to", t]
        return out + list(more)

    def wait_reading(self):
        """Until a worker reads a file of the store."""
        def reads():
            for pid in self.workers():
                for fd in glob.glob("/proc/%d/fd/*" % pid):
                    try:
                        if "-slow-" in os.readlink(fd):
                            return pid
                    except OSError:
                        pass
        pid = wait_for(reads)
        self.assertTrue(pid, "no worker ever read")
        return pid


class TestSignals(Slow):
    def end_by(self, p, number, group=False):
        (os.killpg if group else os.kill)(p.pid, number)
        r = self.finish(p, timeout=60)
        self.assertIn(r.status, (128 + number, -number), r.errors)
        self.check_nothing_left()
        return r

    def test_while_building(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            for group in (False, True):
                for more in ([], ["--workers", "3", "--slots", "3"]):
                    with self.subTest(number=number, group=group, more=more):
                        p = self.start(*self.args(*more, to=(
                            "docker-archive:" + self.path("out/i.tar"),
                            "oci:" + self.path("out/oci"))),
                            start_new_session=True)
                        self.wait_workers(3 if more else 1)
                        self.wait_reading()
                        self.end_by(p, number, group=group)
                        self.assertEqual(os.listdir(self.out), [])

    def test_at_any_moment(self):
        for delay in (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.3):
            with self.subTest(delay):
                p = self.start(*self.args(
                    to=("docker-archive:" + self.path("out/i.tar"),)))
                time.sleep(delay)
                # Before main begins the signal's own default counts.
                self.end_by(p, signal.SIGTERM)
                self.assertEqual(os.listdir(self.out), [])

    def test_existing_output_stays(self):
        tar = quarrytest.write(self.path("out/i.tar"), b"was here")
        p = self.start(*self.args(to=("docker-archive:" + tar,)))
        self.wait_reading()
        self.end_by(p, signal.SIGTERM)
        self.assertEqual(quarrytest.read(tar), b"was here")

    def test_while_reading_a_closure(self):
        """From a standard input that never ends."""
        p = self.start("build", "--name", "x", "--closure", "-", "--to",
                       "none", stdin=subprocess.PIPE)
        p.stdin.write(b'[{"path": "/nix/store/')
        p.stdin.flush()
        # It has read all that there is, and waits for more.
        self.assertTrue(wait_for(lambda: self.unread(p.stdin) == 0))
        stdin, p.stdin = p.stdin, None
        self.end_by(p, signal.SIGINT)
        stdin.close()

    @staticmethod
    def unread(pipe):
        n = bytearray(4)
        fcntl.ioctl(pipe, termios.FIONREAD, n)
        return int.from_bytes(n, sys.byteorder)

    def test_while_nix_is_asked(self):
        """The children of children end too."""
        os.mkdir(self.path("bin"))
        for name in ("nix", "nix-store"):
            quarrytest.write(self.path("bin", name),
                             "#!/bin/sh\nsleep 100\n", 0o755)
        env = dict(self.env, PATH=self.path("bin") + ":" + self.env["PATH"])
        p = self.start("build", "--name", "x", "--to", "none",
                       self.store.infos[0]["path"], env=env)
        self.assertTrue(wait_for(lambda: "sleep" in self.processes().values()))
        p.send_signal(signal.SIGTERM)
        r = self.finish(p, timeout=60)
        self.assertIn(r.status, (143, -15))
        # What quarry started is gone; what that started is not ours.
        wait_for(lambda: set(self.processes().values()) <= {"sleep"}, 8)
        self.assertLessEqual(set(self.processes().values()), {"sleep"})
        self.end_all()

    def test_killed_while_nix_is_asked(self):
        """kill -9: Nix does not go on for nobody."""
        os.mkdir(self.path("bin"))
        for name in ("nix", "nix-store"):
            quarrytest.write(self.path("bin", name),
                             "#!/bin/sh\nsleep 100\n", 0o755)
        env = dict(self.env, PATH=self.path("bin") + ":" + self.env["PATH"])
        p = self.start("build", "--name", "x", "--to", "none",
                       self.store.infos[0]["path"], env=env)
        self.assertTrue(wait_for(lambda: "sleep" in self.processes().values()))
        p.kill()
        self.finish(p)
        wait_for(lambda: set(self.processes().values()) <= {"sleep"}, 8)
        self.assertLessEqual(set(self.processes().values()), {"sleep"})
        self.end_all()

    def test_on_a_stuck_pipe(self):
        """Nobody reads standard output."""
        store = make_store.small_store(self.path("s"), n=3, size=1 << 20)
        p = self.start(*self.args(to=("docker-archive:-",), store=store))
        # More than a pipe holds is to come.
        self.assertTrue(wait_for(lambda: self.unread(p.stdout)))
        self.assertIsNone(p.poll(), "was not stuck")
        self.end_by(p, signal.SIGTERM)

    def test_twice(self):
        """A second signal while the first is served does no harm."""
        p = self.start(*self.args())
        self.wait_reading()
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGTERM)
        p.send_signal(signal.SIGINT)
        r = self.finish(p, timeout=60)
        self.assertIn(r.status, (130, 143, -2, -15), r.errors)

    def test_ignored_signals_stay_ignored(self):
        """nohup: SIGHUP does not end a build that was told to ignore it."""
        store = make_store.small_store(self.path("s"), n=3, size=1 << 20)
        p = self.start(*self.args(store=store), preexec_fn=lambda:
                       signal.signal(signal.SIGHUP, signal.SIG_IGN))
        time.sleep(0.02)
        try:
            p.send_signal(signal.SIGHUP)
        except ProcessLookupError:
            pass
        self.assertEqual(self.finish(p).status, 0)

    def test_ignored_signals_stay_ignored_by_workers(self):
        """A terminal that goes away sends SIGHUP to workers, too."""
        p = self.start(*self.args(), preexec_fn=lambda:
                       signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.wait_reading()
        for pid, name in self.processes().items():
            with open("/proc/%d/status" % pid) as f:
                mask, = [l.split()[1] for l in f if l.startswith("SigIgn:")]
            self.assertTrue(int(mask, 16) >> (signal.SIGHUP - 1) & 1, name)
            os.kill(pid, signal.SIGHUP)
        self.assertIsNone(p.poll())
        self.end_by(p, signal.SIGTERM)


class TestKills(Slow):
    def test_coordinator(self):
        """kill -9: workers and reaper end, and no file is left."""
        for delay in (0.0, 0.03, 0.06, 0.1, 0.2, 0.5):
            with self.subTest(delay):
                p = self.start(*self.args("--workers", "2", "--slots", "2",
                                          to=("docker-archive:"
                                              + self.path("out/i.tar"),
                                              "oci:" + self.path("out/o"))))
                time.sleep(delay)
                p.kill()
                self.finish(p)
                self.check_nothing_left()
                self.assertEqual(os.listdir(self.out), [])

    def test_coordinator_while_workers_read(self):
        tar = quarrytest.write(self.path("out/i.tar"), b"was here")
        p = self.start(*self.args(to=("docker-archive:" + tar,)))
        self.wait_reading()
        p.kill()
        self.finish(p)
        self.check_nothing_left()
        self.assertEqual(os.listdir(self.out), ["i.tar"])
        self.assertEqual(quarrytest.read(tar), b"was here")

    def test_process_group(self):
        """As a shell kills a job, or CI a step that takes too long."""
        p = self.start(*self.args(to=("oci:" + self.path("out/o"),)),
                       start_new_session=True)
        self.wait_reading()
        os.killpg(p.pid, signal.SIGKILL)
        self.finish(p)
        self.check_nothing_left()
        self.assertEqual(os.listdir(self.out), [])

    def test_coordinator_with_a_stopped_worker(self):
        """A worker that is stopped then still does not live on."""
        p = self.start(*self.args())
        pid = self.wait_reading()
        os.kill(pid, signal.SIGSTOP)
        p.kill()
        self.finish(p)
        wait_for(lambda: not self.workers(), 1)
        if self.workers():
            os.kill(pid, signal.SIGCONT)
        self.check_nothing_left()

    def test_every_child_in_turn(self):
        """Kill any one process other than the first: the image comes out.
        Nobody reads it before that, so it is not done too soon."""
        store = make_store.small_store(self.path("s"), n=5, size=8 << 20)
        args = self.args(to=("docker-archive:-",), store=store)
        want = quarrytest.sha256(self.quarry(*args).stdout)
        for turn in range(3):
            p = self.start(*args)
            self.wait_workers()
            others = sorted(set(self.processes()) - {p.pid})
            victim = others[turn % len(others)]
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
            r = self.finish(p)
            self.assertEqual(r.status, 0, r.errors)
            self.assertEqual(quarrytest.sha256(r.stdout), want)
            self.check_nothing_left()


class TestBadWorkers(Slow):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.slow_store(cls.folder(), n=1, size=1 << 42)

    def fake(self, mode):
        return quarrytest.write(
            self.path("worker-" + mode),
            "#!/bin/sh\nexec %s %s/zmtp.py %s \"$@\"\n" % (
                quarrytest.PYTHON, quarrytest.HERE, mode), 0o755)

    def one_line(self, r, *words, status=1):
        self.assertEqual(r.status, status, r.errors)
        lines = [l for l in r.errors.splitlines()
                 if not l.endswith("; another one takes its place")]
        self.assertEqual(len(lines), 1, r.errors)
        for word in words:
            self.assertRegex(lines[0], word)
        self.assertEqual(os.listdir(self.out), [])

    def test_job_that_kills_three_workers(self):
        p = self.start(*self.args(
            to=("oci:" + self.path("out/o"),)))
        killed = 0
        while killed < 6 and p.poll() is None:
            for pid in self.workers():
                try:
                    names = [os.readlink(fd) for fd in
                             glob.glob("/proc/%d/fd/*" % pid)]
                except OSError:
                    continue
                if any("-slow-0" in n for n in names):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                    # Until it is gone it must not be counted again.
                    wait_for(lambda: pid not in self.workers())
            time.sleep(0.01)
        r = self.finish(p)
        self.assertEqual(killed, 3, r.errors)
        self.one_line(r, "slow-0", "(signal 9|[Kk]illed).*"
                      "(signal 9|[Kk]illed).*(signal 9|[Kk]illed)")

    def test_worker_that_dies_on_each_job(self):
        r = self.quarry(*self.args("--worker-program",
                                   self.fake("die-on-job")), status=None)
        self.one_line(r, "slow")

    def test_worker_that_fails_each_job(self):
        r = self.quarry(*self.args("--worker-program", self.fake("fail")),
                        status=None)
        self.one_line(r, "the disk is on fire")

    def test_worker_of_another_protocol(self):
        r = self.quarry(*self.args("--worker-program",
                                   self.fake("protocol")), status=None)
        self.one_line(r, "99", "protocol", "version")

    def test_worker_of_another_version(self):
        r = self.quarry(*self.args("--worker-program", self.fake("version")),
                        status=None)
        self.one_line(r, r"99\.98\.97", "version")

    def test_worker_that_never_comes_up(self):
        exits = quarrytest.write(self.path("exits"), "#!/bin/sh\nexit 3\n",
                                 0o755)
        r = self.quarry(*self.args("--worker-program", exits), status=None)
        self.one_line(r, "worker", "3")
        r = self.quarry(*self.args("--worker-program", "/no/such/worker"),
                        status=None)
        self.assertIn(r.status, (1, 2))
        self.one_line(r, "/no/such/worker", status=r.status)
        plain = quarrytest.write(self.path("plain"), "x", 0o644)
        r = self.quarry(*self.args("--worker-program", plain), status=None)
        self.assertIn(r.status, (1, 2))
        self.one_line(r, "plain", status=r.status)

    def test_worker_that_says_nothing(self):
        """Also one that was stopped before it could."""
        r = self.quarry(*self.args("--worker-program", self.fake("silent")),
                        status=None)
        self.one_line(r, "worker", "silent")

    def test_worker_alone(self):
        """quarry-worker by hand: help, version, wrong use, a dead socket."""
        run = lambda *a: self.finish(self.start(
            *a, program=[quarrytest.WORKER]), timeout=60)
        self.assertEqual(run("--help").status, 0)
        self.assertEqual(run("--version").status, 0)
        r = run("--no-such-option")
        self.assertEqual(r.status, 2)
        self.assertIn("no-such-option", r.errors)
        self.assertEqual(run().status, 2)


class TestStrangers(Slow):
    """Garbage on the coordinator's socket changes nothing."""

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.slow_store(cls.folder(), n=2, size=2 << 30)
        cls.want = None

    def socket_path(self):
        found = wait_for(lambda: [
            p for p in glob.glob(self.path("run/.*/*"))
            + glob.glob(self.path("t/.*/*")) + glob.glob(self.path("*/*/*"))
            if self.is_socket(p)])
        self.assertTrue(found, "no socket in sight")
        return found[0]

    @staticmethod
    def is_socket(path):
        try:
            return stat.S_ISSOCK(os.lstat(path).st_mode)
        except OSError:
            return False

    def id_of(self, p):
        r = self.finish(p)
        self.assertEqual(r.status, 0, r.errors)
        return json.loads(quarrytest.read(self.path("m.json")))["image_id"]

    def start_build(self):
        return self.start(*self.args("--metadata-file", self.path("m.json")))

    def wanted(self):
        if TestStrangers.want is None:
            TestStrangers.want = self.id_of(self.start_build())
        return TestStrangers.want

    def peer(self, path, **kw):
        peer = zmtp.Peer(path, **kw)
        self.addCleanup(peer.close)
        return peer

    def during(self, *talks):
        """Each talk gets the socket's path while a build runs, whose worker
        waits for the last one to be over."""
        want = self.wanted()
        p = self.start_build()
        path = self.socket_path()
        worker = self.wait_reading()
        os.kill(worker, signal.SIGSTOP)
        for talk in talks:
            try:
                talk(path)
            except (OSError, EOFError):
                pass  # being cut off is a fine answer
        self.assertIsNone(p.poll(), "the build ended too soon to be tried")
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
        self.assertEqual(self.id_of(p), want)

    def test_folder_is_private(self):
        p = self.start_build()
        path = self.socket_path()
        folder = os.path.dirname(path)
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
        p.terminate()
        self.finish(p)

    def test_raw_bytes(self):
        def raw(data):
            def talk(path):
                self.peer(path, handshake=False).raw(data)
            return talk

        self.during(
            raw(b""), raw(b"GET / HTTP/1.0\r\n\r\n"), raw(os.urandom(5000)),
            raw(zmtp.GREETING[:20]), raw(zmtp.GREETING),
            raw(zmtp.GREETING + b"\x04\xff"),
            raw(zmtp.GREETING + b"\x06" + b"\xff" * 8 + b"x" * 1000),
            raw(zmtp.GREETING.replace(b"NULL", b"LLUN")),
            raw(zmtp.GREETING.replace(b"NULL", b"CURV")))

    def test_bad_messages(self):
        bodies = [
            b"", b"\0", b"\xc1", b"\x90", b"\x91\x01", os.urandom(300),
            b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
            b"\x91\xdb\xff\xff\xff\xff", b"\xdd" * 100, b"\x91" * 100000,
            zmtp.pack([]), zmtp.pack([99]), zmtp.pack([-1]),
            zmtp.pack(["HELLO"]), zmtp.pack([zmtp.HELLO]),
            zmtp.pack([zmtp.HELLO, 1]), zmtp.pack([zmtp.HELLO] * 9),
            zmtp.pack([zmtp.HELLO, 1, "0.1.0", "h" * 5000, 1, 1, "", ""]),
            zmtp.pack([zmtp.HELLO, 1, "0.1.0", "h", 1, 0, "", ""]),
            zmtp.pack([zmtp.HELLO, 1, "0.1.0", "h", 1, 1 << 40, "", ""]),
            zmtp.pack([zmtp.HELLO, 1, "0.1.0", b"h", 1, 1, "", ""]),
            zmtp.pack([zmtp.HELLO, 1, "0.1.0", "h", 1, 1, "", ""]) + b"\0",
            zmtp.pack([zmtp.JOB, 1, 1]), zmtp.pack([zmtp.BYE]),
            zmtp.pack([zmtp.WELCOME, 1, 1]), zmtp.pack([zmtp.REFUSE, "x"]),
            zmtp.pack([zmtp.BEAT, [[1, 1, 1]] * 50000]),
            b"x" * (2 << 20),
        ]

        def talk(path):
            for body in bodies:
                try:
                    peer = self.peer(path)
                    peer.frame(body)
                    peer.frame(b"", 1)  # more frames of one message
                    peer.frame(body)
                    peer.close()
                except (OSError, EOFError):
                    pass

        self.during(talk)

    def test_results_nobody_asked_for(self):
        """DONE, FAIL and SIZED of one that has no job, or said no HELLO."""
        digest = bytes(range(32))
        result = [digest, 10240, digest, 10240, 3, 0]
        messages = [
            [zmtp.DONE, job, attempt, *result, 1, 0, 0, 0]
            for job in range(6) for attempt in range(3)
        ] + [[zmtp.DONE, job, 1, result, 1] for job in range(6)] + [
            [zmtp.FAIL, job, attempt, 3, 5, "no", 0]
            for job in range(6) for attempt in range(3)
        ] + [[zmtp.SIZED, job, 1, 10240, 3] for job in range(6)] + [
            [zmtp.BEAT, [[job, 1, 1 << 60] for job in range(6)]]]

        def talk(path, hello):
            peer = self.peer(path)
            mine = set()
            if hello:
                # It may be given a job; it claims all others.
                peer.hello()
                peer.s.settimeout(0.5)
                try:
                    while True:
                        m = peer.receive()
                        if m[0] == zmtp.JOB:
                            mine.add(m[1])
                except TimeoutError:
                    peer.s.settimeout(10)
            for m in messages:
                if m[0] == zmtp.BEAT or m[1] not in mine:
                    peer.send(*m)
            peer.send(zmtp.BYE, 0)

        self.during(lambda path: talk(path, False),
                    lambda path: talk(path, True))

    def test_one_that_leaves_with_its_jobs(self):
        """HELLO, take what comes, and hang up: the jobs go elsewhere."""
        def talk(path):
            peer = self.peer(path)
            peer.hello(slots=4)
            self.assertEqual(peer.receive()[0], zmtp.WELCOME)
            time.sleep(0.1)
            peer.send(zmtp.BYE, 0)
            peer.close()

        self.during(talk)

    def test_many_connections(self):
        def talk(path):
            peers = []
            for _ in range(300):
                try:
                    peers.append(self.peer(path, handshake=False))
                except OSError:
                    break
            for peer in peers:
                peer.close()

        self.during(talk)

    def test_flood(self):
        """Several that shout without end."""
        stop = threading.Event()

        def shout(path):
            try:
                peer = self.peer(path)
                body = zmtp.pack([zmtp.BEAT, [[1, 1, 1]]])
                while not stop.is_set():
                    peer.frame(body)
            except (OSError, EOFError):
                pass

        threads = []

        def talk(path):
            for _ in range(2):
                t = threading.Thread(target=shout, args=(path,))
                t.start()
                threads.append(t)
            time.sleep(0.3)

        try:
            self.during(talk)
        finally:
            stop.set()
            for t in threads:
                t.join()


if __name__ == "__main__":
    quarrytest.main()
