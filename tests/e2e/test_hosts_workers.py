"""Workers of other hosts that die, stop, hang, leave, or are set up in odd
ways: the build goes on, and its bytes are the same."""

import os
import signal
import time

import hosts
import quarrytest
from hosts import HostsBase
from quarrytest import wait_for


class TestKilled(HostsBase):
    def test_while_reading(self):
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        self.kill(workers[0])
        layers = self.same(p)
        self.assertIn("w2", layers)

    def test_before_the_result_is_told(self):
        """The layer lies in the spool, whole, and nobody knows."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        self.hosts[0].nft("output", "ip daddr %s drop" % self.c.address)
        self.assertTrue(wait_for(lambda: not self.reads(workers[0]),
                                 hosts.PATIENCE))
        self.kill(workers[0])
        self.hosts[0].heal()
        self.same(p)
        self.assertNotEqual(self.spooled(self.path("spool-w1")), [])
        # It is worth nothing to anybody now.
        self.worker(self.hosts[0])
        self.same(self.coordinate(out="again"), out="again")
        self.spools.append(self.path("spool-w1"))

    def test_all(self):
        """The coordinator waits, says so, and goes on with others."""
        workers = self.start_workers()
        p = self.coordinate()
        for q in workers:
            self.wait_reading(q)
        for q in workers:
            self.kill(q)
        self.wait_log(self.c, "0 workers are here: waiting at")
        self.assertIsNone(p.poll())
        self.start_workers()
        self.same(p)


class TestStopped(HostsBase):
    def test_and_continued(self):
        """It comes back as itself, after its work was given away."""
        workers = self.start_workers()
        p = self.coordinate("--min-workers", "2")
        self.wait_reading(workers[0])
        workers[0].send_signal(signal.SIGSTOP)
        self.wait_given_up(p)
        workers[0].send_signal(signal.SIGCONT)
        self.same(p)

    def test_shorter_than_silence(self):
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        workers[0].send_signal(signal.SIGSTOP)
        time.sleep(3)
        workers[0].send_signal(signal.SIGCONT)
        self.same(p)
        self.assertNotIn("silent", self.log(self.c))

    if hosts.LONG:
        def test_all_longer_than_the_build_waits(self):
            """All stop, all come back, and no layer is counted twice."""
            workers = self.start_workers()
            p = self.coordinate()
            for q in workers:
                self.wait_reading(q)
            for q in workers:
                q.send_signal(signal.SIGSTOP)
            self.wait_log(self.c, "0 workers are here: waiting at")
            for q in workers:
                q.send_signal(signal.SIGCONT)
            self.same(p)
            self.assertEqual(self.log(self.c).count("6/6: "), 1)


class TestLeaving(HostsBase):
    n_hosts = 2

    def test_told_to_while_it_works(self):
        """SIGTERM: what runs is finished or handed back, exit status 0."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        workers[0].terminate()
        self.assertEqual(workers[0].wait(timeout=hosts.PATIENCE), 0)
        self.same(p)

    def test_cut_short(self):
        """A drain that is too short for what runs hands that back."""
        workers = [self.worker(self.hosts[0], "--drain", "1"),
                   self.worker(self.hosts[1])]
        p = self.coordinate()
        self.wait_reading(workers[0])
        workers[0].terminate()
        self.assertEqual(workers[0].wait(timeout=hosts.PATIENCE), 0)
        self.same(p)

    def test_one_after_the_other(self):
        """As machines are updated: each leaves, and another comes."""
        workers = self.start_workers()
        p = self.coordinate()
        for q in workers:
            self.wait_reading(q)
            q.terminate()
            self.assertEqual(q.wait(timeout=hosts.PATIENCE), 0)
            self.worker(q.host)
        self.same(p)


class TestSurroundings(HostsBase):
    """Nothing of a worker's surroundings gets into the bytes."""

    n_hosts = 2
    encoding = "gzip"

    @classmethod
    def make_store(cls, folder):
        store = quarrytest.make_store.trap_store(folder)
        return store

    def closure_args(self):
        args = super().closure_args()
        args[args.index("--name") + 1] = "traps"
        return args

    def test_all_differ(self):
        os.mkdir(self.path("elsewhere"))
        odd = dict(self.env, LC_ALL="tr_TR.UTF-8", LANG="tr_TR.UTF-8",
                   TZ="Pacific/Kiritimati", LANGUAGE="tr")
        spool = self.path("spool-w2")
        os.mkdir(spool, 0o700)
        os.chown(spool, 12345, 23456)
        os.chmod(self.top, 0o755)
        os.chown(self.path("w2"), 12345, 23456)
        self.spools.append(spool)
        self.worker(self.hosts[0])
        self.worker(self.hosts[1], spool=spool, env=odd,
                    cwd=self.path("elsewhere"),
                    wrap=["sh", "-euc", "umask 0; ulimit -s 256; exec \"$@\"",
                          "sh", "setpriv", "--reuid", "12345", "--regid",
                          "23456", "--clear-groups"])
        os.chmod(os.path.dirname(self.store.root), 0o755)
        for folder, _, _ in os.walk(self.store.root):
            os.chmod(folder, os.stat(folder).st_mode | 0o555)
        layers = self.same(self.coordinate())
        self.assertEqual(set(layers), {"w1", "w2"})


if __name__ == "__main__":
    quarrytest.main()
