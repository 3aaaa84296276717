"""Coordinators that die or stop, and keys that are wrong or taken away."""

import os
import signal
import time

import hosts
import quarrytest
from hosts import HostsBase
from quarrytest import need, wait_for


class TestCoordinator(HostsBase):
    def test_killed(self):
        """Its workers wait for the next one, and serve it."""
        for number in signal.SIGKILL, signal.SIGABRT:
            with self.subTest(number):
                workers = [q for q in self.running if hasattr(q, "host")]
                workers = workers or self.start_workers()
                p = self.coordinate(out="o%d" % number)
                self.wait_reading(workers[0])
                p.send_signal(number)
                self.ends(p, -number)
                for h in self.hosts:
                    self.wait_log(h, "the coordinator is gone; waiting")
                self.assertTrue(wait_for(lambda: not os.listdir(self.out)))
                p = self.coordinate(out="p%d" % number)
                self.same(p, out="p%d" % number)
                for x in os.listdir(self.out):
                    quarrytest.shutil.rmtree(self.path("out", x))

    def test_stopped(self):
        """Longer than a worker may be silent: it is not they who were."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        pid = p.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(12)
        os.kill(pid, signal.SIGCONT)
        self.same(p)
        self.assertNotIn("silent", self.log(self.c))

    def test_told_to_end(self):
        """SIGTERM: no output, and workers wait for the next build."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        p.terminate()
        self.ends(p, 143)
        self.assertEqual(os.listdir(self.out), [])
        self.same(self.coordinate(out="again"), out="again")

    def test_waiting_costs_nothing(self):
        """For workers that are missing it waits, and says so once."""
        self.worker(self.hosts[0])
        p = self.coordinate()
        self.wait_log(self.c, "1 workers are here, too few")
        before = cpu(p.pid)
        time.sleep(3)
        self.assertLess(cpu(p.pid) - before, 1)
        self.assertEqual(self.log(self.c).count(", too few"), 2)
        self.worker(self.hosts[1])
        self.same(p)

    def test_missing_again_before_it_begins(self):
        """One that was there and froze does not count."""
        first = self.worker(self.hosts[0])
        p = self.coordinate()
        self.wait_log(self.c, "1 workers are here, too few")
        first.send_signal(signal.SIGSTOP)
        self.wait_log(self.c, "is silent")
        first.send_signal(signal.SIGCONT)
        self.worker(self.hosts[1])
        self.same(p)


def cpu(pid):
    """Seconds of CPU time so far."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TestKeys(HostsBase):
    layers, size = 2, 1 << 28

    def test_wrong_server_key(self):
        """The worker waits, says what may be wrong, and gets nothing."""
        self.keygen("other")
        wrong = self.worker(self.hosts[0], server="other")
        self.worker(self.hosts[1])
        layers = self.same(self.coordinate(workers=1))
        self.assertEqual(set(layers), {"w2"})
        self.wait_log(self.hosts[0], "or it has another key")
        self.assertIsNone(wrong.poll())

    def test_unlisted_key(self):
        self.keygen("stranger")
        self.worker(self.hosts[0], key="stranger")
        self.worker(self.hosts[1])
        layers = self.same(self.coordinate(workers=1))
        self.assertEqual(set(layers), {"w2"})
        self.wait_log(self.hosts[0], "does not list this worker's")
        self.assertIn("refused", self.log(self.c))


class TestRevoked(HostsBase):
    def test_while_it_works(self):
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        keys = quarrytest.read(self.path("allowed")).splitlines(True)
        quarrytest.write(self.path("allowed"), b"".join(keys[1:]))
        p.send_signal(signal.SIGHUP)
        layers = self.same(p)
        self.assertIn("its key is not listed any more", self.log(self.c))
        self.assertIn("w2", layers)


class TestStrangers(HostsBase):
    n_hosts = 2

    def test_sockets_that_say_nothing(self):
        """Many, from a host that is no worker: the build goes on."""
        n = 300
        p = self.coordinate(workers=1)
        self.wait_log(self.c, "waiting at")
        loris = self.start(
            "-c", "import socket, time, sys\n"
            "s = []\n"
            "for i in range(%d):\n"
            "    s.append(socket.create_connection(('%s', %d)))\n"
            "print(len(s), flush=True)\n"
            "time.sleep(600)\n" % (n, self.c.address, hosts.PORT),
            program=self.hosts[1].enter + [quarrytest.PYTHON])
        self.assertEqual(loris.stdout.readline(), b"%d\n" % n)
        self.worker(self.hosts[0])
        self.same(p)
        loris.kill()
        loris.wait()

    @need("prlimit")
    def test_more_than_there_are_descriptors(self):
        """Refused while there is none, but nothing falls over."""
        p = self.coordinate(workers=1, wrap=["prlimit", "--nofile=64:64"])
        self.wait_log(self.c, "waiting at")
        self.worker(self.hosts[0])
        loris = self.start(
            "-c", "import socket, time\n"
            "s = [socket.create_connection(('%s', %d), 5) "
            "for i in range(200)]\n"
            "print(flush=True)\n"
            "time.sleep(600)\n" % (self.c.address, hosts.PORT),
            program=self.hosts[1].enter + [quarrytest.PYTHON])
        loris.stdout.readline()
        time.sleep(1)
        loris.kill()
        loris.wait()
        self.same(p)


class TestClocks(HostsBase):
    layers, size = 2, 1 << 28

    @need("faketime")
    def test_a_day_off(self):
        """Clocks that are days apart change neither bytes nor leases."""
        for out, shift in ("before", "-1d"), ("after", "+1d"):
            workers = [
                self.worker(self.hosts[0], wrap=["faketime", "-f", shift]),
                self.worker(self.hosts[1])]
            self.same(self.coordinate(out=out), out=out)
            self.end_workers()
            self.assertEqual([q.wait() for q in workers], [0, 0])


if __name__ == "__main__":
    quarrytest.main()
