"""quarry serve, its clients and its workers: killed, stopped, started again;
and whose turn it is while all is busy."""

import contextlib
import os
import re
import shutil
import signal
import time
import urllib.request

import quarrytest
from ports import free_ports
from quarrytest import make_store, need_root, wait_for
from serving import Client, Serve
from zmtp import CANCEL, DONE, FAIL


class Slow(Serve):
    """Layers that take a while, made by workers that can be killed."""

    slots = "1"
    size = 1 << 28

    @classmethod
    def make_store(cls, folder):
        store = make_store.Store(folder)
        for i in range(6):
            store.add("big-%d" % i, {"f": make_store.Sparse(cls.size + i)})
        for i in range(12):
            store.add("small-%d" % i, {"f": os.urandom(1000 + i)})
        return store

    def big(self):
        return self.store.infos[:6]

    def jobs(self):
        c = Client(self.clients_port, hello=False)
        try:
            return c.status()["jobs"]
        finally:
            c.close()

    def jobs_running(self):
        return self.jobs()["running"]

    def endless(self):
        """Of layers that nobody lives to see, if they are compressed."""
        store = make_store.slow_store(self.store.root, n=4, size=1 << 42)
        return store.infos[:4]


class TestFaults(Slow):
    def wait_running(self):
        self.assertTrue(wait_for(self.jobs_running), "nothing runs")

    def test_killed_client(self):
        """What it wanted and others did not is given up after a while; what
        another wants as well goes on."""
        p = self.serve()
        args = "--encoding", "zstd"
        both = self.big()[:2]
        killed = self.start(*self.client_args(
            "killed", *args, infos=both + self.endless()))
        self.wait_running()
        other = self.start(*self.client_args("other", *args, infos=both))
        self.wait_log(self.server_log, "builds other")
        killed.kill()
        killed.communicate()
        r = self.finish(other)
        self.assertEqual(r.status, 0, r.errors)
        self.same("other", self.wanted("other", *args, infos=both))
        self.wait_log(self.server_log, "killed.*: is (silent|lost)")
        self.assertTrue(wait_for(lambda: not self.jobs_running()))
        self.assertEqual(sorted(self.made()), ["big-0", "big-1"])
        self.stop(p)
        wait_for(lambda: not [x for x in self.leftovers()], 30)
        for path in self.leftovers():
            quarrytest.shutil.rmtree(path, ignore_errors=True)

    def test_killed_worker(self):
        p = self.serve()
        build = self.start(*self.client_args("a", infos=self.big()))
        self.wait_running()
        os.kill(self.worker_of(p), signal.SIGKILL)
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.same("a", self.wanted("a", infos=self.big()))
        self.stop(p)

    def worker_of(self, p):
        for pid in self.workers():
            with open("/proc/%d/stat" % pid) as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == p.pid:
                    return pid
        self.fail("the server has no worker")

    def test_killed_server(self):
        """Clients wait for it; what was made is not made again."""
        p = self.serve()
        build = self.start(*self.client_args("a", infos=self.big()))
        self.wait_running()
        build.send_signal(signal.SIGSTOP)  # it is not done before
        self.assertTrue(wait_for(self.made))
        p.kill()
        p.wait()
        build.send_signal(signal.SIGCONT)
        before = len(self.made())
        p = self.serve()
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.assertIn("it was started again", r.errors)
        self.same("a", self.wanted("a", infos=self.big()))
        self.assertLessEqual(len(self.made()), 6 - before + 1)
        self.stop(p)

    def test_restarted_server(self):
        p = self.serve()
        build = self.start(*self.client_args("a", infos=self.big()))
        self.assertTrue(wait_for(self.made))
        self.stop(p)
        p = self.serve()
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.same("a", self.wanted("a", infos=self.big()))
        self.stop(p)

    def test_workers_of_other_machines(self):
        """One with its own spool, over TCP with keys; killed in between."""
        self.slots = "0"
        for name in "w1", "w2":
            self.keygen(name)
            self.allow(name)
        p = self.serve(*self.listen())
        build = self.start(*self.client_args("a", "--encoding", "zstd",
                                             infos=self.big()))
        os.mkdir(self.path("spool"))
        first = self.worker("w1", "--slots", "1", "--spool",
                            self.path("spool"))
        self.assertTrue(wait_for(self.made),
                        self.log(self.server_log) + self.log("w1"))
        first.kill()
        first.wait()
        second = self.worker("w2", "--slots", "1", "--spool",
                             self.path("spool"))
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.same("a", self.wanted("a", "--encoding", "zstd",
                                   infos=self.big()))
        self.stop(p)
        self.end(second)

    def test_cancelled_while_it_runs(self):
        """The worker stops, and does what is next."""
        p = self.serve()
        c = Client(self.clients_port)
        long = self.store.add("long", {"f": make_store.Sparse(8 << 30)},
                              hashed=False)
        self.addCleanup(self.store.infos.pop)
        job = c.want([dict(self.store.info(long), narHash=os.urandom(32))])
        self.wait_running()
        c.send(CANCEL, job, 1)
        self.assertEqual(c.until(FAIL, DONE)[:2], [FAIL, job])
        small = c.want(self.store.infos[6:7])
        self.assertEqual(c.until(FAIL, DONE)[:2], [DONE, small])
        self.assertEqual(self.made(), ["small-0"])
        s = c.status()
        self.assertEqual((s["jobs"]["left"], s["jobs"]["done"]), (1, 1))
        c.close()
        self.stop(p)

    def test_audit(self):
        self.slots = "2"
        p = self.serve("--workers", "2", "--audit", "100")
        self.quarry(*self.client_args("a", infos=self.store.infos[4:]))
        self.same("a", self.wanted("a", infos=self.store.infos[4:]))
        self.stop(p)

    @need_root()
    def test_audit_that_differs(self):
        """The first worker sees another store: it says what is not the same
        there, and goes on with the rest.  It comes late: that is waited for."""
        self.slots = "2"
        other, program = self.path("other"), self.path("worker")
        shutil.copytree(self.store.root, other, symlinks=True,
                        ignore=shutil.ignore_patterns("*-big-*"))
        name = self.store.infos[7]["path"]
        os.chmod(other + name + "/f", 0o644)
        with open(other + name + "/f", "r+b") as f:
            byte = f.read(501)[500]
            f.seek(500)
            f.write(bytes([byte ^ 1]))
        os.chmod(other + name + "/f", 0o444)
        quarrytest.write(program, """#!/bin/sh
mkdir %s 2>/dev/null || exec %s "$@"
sleep 2
exec unshare --mount sh -ec 'mount --bind %s %s; exec "$@"' sh %s "$@"
""" % (self.path("first"), quarrytest.WORKER, other, self.store.root,
            quarrytest.WORKER))
        os.chmod(program, 0o755)
        p = self.serve("--workers", "2", "--audit", "100",
                       "--worker-program", program)
        r = self.quarry(*self.client_args("a", infos=self.store.infos[7:8]),
                        status=1)
        self.assertRegex(r.stderr.decode(), r"is not reproducible: worker "
                         r"\S+ made other bytes than worker \S+: .*small-1/f:"
                         r" content differs from byte 500 on")
        self.quarry(*self.client_args("b", infos=self.store.infos[8:]))
        self.same("b", self.wanted("b", infos=self.store.infos[8:]))
        c = Client(self.clients_port, hello=False)
        jobs = c.status()["jobs"]
        c.close()
        self.assertEqual((jobs["failed"], jobs["differs"]), (1, 1))
        self.stop(p)

    def test_frozen_server_loses_nobody(self):
        p = self.serve()
        build = self.start(*self.client_args("a", infos=self.big()))
        self.wait_running()
        p.send_signal(signal.SIGSTOP)
        time.sleep(12)
        p.send_signal(signal.SIGCONT)
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.assertNotIn("is silent", self.log(self.server_log))
        self.stop(p)


@need_root()
class TestFullDisk(Slow):
    """The cache is on a file system that is too small for one layer."""

    size = 1 << 20

    @classmethod
    def make_store(cls, folder):
        store = make_store.Store(folder)
        store.add("large", {"f": os.urandom(8 << 20)})
        store.add("small", {"f": os.urandom(1000)})
        return store

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("cache"))
        self.command("mount", "-t", "tmpfs", "-o", "size=4m", "none",
                     self.path("cache"))
        self.addCleanup(self.command, "umount", self.path("cache"))

    def fails_and_goes_on(self, p):
        r = self.quarry(*self.client_args(
            "large", infos=self.store.infos[:1]), status=1, timeout=200)
        self.assertIn("No space left on device", r.errors)
        self.quarry(*self.client_args("small", infos=self.store.infos[1:]))
        self.same("small", self.wanted("small", infos=self.store.infos[1:]))
        self.stop(p)

    def test_of_local_workers(self):
        self.fails_and_goes_on(self.serve())

    def test_of_others(self):
        """Their layers are pulled to there."""
        self.slots = "0"
        self.keygen("w1")
        self.allow("w1")
        p = self.serve(*self.listen())
        os.mkdir(self.path("spool"))
        worker = self.worker("w1", "--spool", self.path("spool"))
        self.fails_and_goes_on(p)
        self.end(worker)


class TestManyWorkers(Serve):
    """Of a program that only says what workers say."""

    slots = "0"
    n = 4000 if os.environ.get("QUARRY_LONG") else 1000

    def count(self):
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(
                    "http://127.0.0.1:%d/metrics" % self.port,
                    timeout=20) as answer:
                return int(float(re.search(
                    r"^quarry_workers (\S+)", answer.read().decode(),
                    re.M)[1]))
        return 0

    def test_killed_server(self):
        """All are back with the next one."""
        port = free_ports(2)
        self.port = free_ports(1)
        args = ("--listen", "tcp://127.0.0.1:%d" % port, "--metrics",
                "%d" % self.port)
        p = self.serve(*args, verbose=False)
        swarm = self.start("swarm", "tcp://127.0.0.1:%d" % port,
                           "%d" % self.n, program=[os.path.join(
                               os.path.dirname(os.path.dirname(
                                   quarrytest.QUARRY)), "tests",
                               "dispatch_bench")])
        self.assertTrue(wait_for(lambda: self.count() == self.n, step=0.3),
                        self.count())
        p.kill()
        p.wait()
        p = self.serve(*args, verbose=False)
        self.assertTrue(wait_for(lambda: self.count() == self.n, step=0.3),
                        self.count())
        swarm.kill()
        swarm.wait()
        self.stop(p)


class TestFairness(Slow):
    def test_a_small_build_passes(self):
        """Six large layers of one client wait; another's small ones do not
        wait for all of them."""
        p = self.serve()
        with self.stopped_workers():
            both = [self.start(*self.client_args("large", infos=self.big()))]
            self.wait_log(self.server_log, "builds large")
            both.append(self.start(*self.client_args(
                "small", infos=self.store.infos[6:])))
            self.assertTrue(wait_for(lambda: self.jobs()["added"] == 18))
        for build in both:
            r = self.finish(build)
            self.assertEqual(r.status, 0, r.errors)
        made = self.made()
        self.assertEqual(len(made), 18)
        self.assertTrue(made[-1].startswith("big"), made)
        self.assertLess(sum(n.startswith("big") for n in made[:12]), 6)
        self.stop(p)


if __name__ == "__main__":
    quarrytest.main()
