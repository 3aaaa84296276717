"""Networks that lose, delay, cut and lie still: the same image, late."""

import time

import hosts
import quarrytest
from hosts import HostsBase
from quarrytest import wait_for


class TestCut(HostsBase):
    def test_link_down_and_up(self):
        """Longer than silence: its layers go elsewhere, it comes back."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        self.net.link(self.hosts[0], "down")
        self.wait_given_up(p)
        self.net.link(self.hosts[0], "up")
        self.same(p)

    def test_link_down_for_a_moment(self):
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        self.net.link(self.hosts[0], "down")
        time.sleep(4)
        self.net.link(self.hosts[0], "up")
        self.same(p)
        self.assertNotIn("silent", self.log(self.c))

    def test_all_links_down_and_up(self):
        workers = self.start_workers()
        p = self.coordinate()
        for q in workers:
            self.wait_reading(q)
        self.net.link(self.c, "down")
        self.wait_log(self.c, "0 workers are here: waiting at")
        self.net.link(self.c, "up")
        self.same(p)


class TestOneWay(HostsBase):
    def test_coordinator_does_not_hear(self):
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        self.hosts[0].nft("output", "ip daddr %s drop" % self.c.address)
        self.wait_given_up(p)
        self.hosts[0].heal()
        self.same(p)

    def test_worker_does_not_hear(self):
        """Its beats still come until its connection is full or closed."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        self.hosts[0].nft("input", "ip saddr %s drop" % self.c.address)
        self.same(p)
        self.hosts[0].heal()

    if hosts.LONG:
        def test_heals_when_all_is_given_away(self):
            """The result that was ready meanwhile is late, and counts once."""
            workers = self.start_workers()
            p = self.coordinate()
            self.wait_reading(workers[0])
            self.hosts[0].nft("output", "ip daddr %s drop" % self.c.address)
            self.wait_given_up(p)
            self.assertTrue(wait_for(lambda: not self.reads(workers[0]),
                                     hosts.PATIENCE))
            self.hosts[0].heal()
            self.same(p)
            self.assertEqual(self.log(self.c).count("6/6: "), 1)

    def test_half_open(self):
        """Neither hears of the other's end: a worker that is replaced while
        its old connection is open comes back as a new one."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        for hook in "input", "output":
            self.hosts[0].run("nft", "add table inet half%s" % hook)
            self.hosts[0].run(
                "nft", "table inet half%s { chain c { type filter hook %s "
                "priority 0; tcp dport %d-%d drop; tcp sport %d-%d drop; }; }"
                % (hook, hook, hosts.PORT, hosts.PORT + 1, hosts.PORT,
                   hosts.PORT + 1))
        self.wait_given_up(p)
        self.same(p)
        for hook in "input", "output":
            self.hosts[0].run("nft", "delete table inet half%s" % hook)
        again = self.coordinate(out="again", workers=2)
        self.same(again, out="again")


class TestBad(HostsBase):
    layers, size = 3, 1 << 29

    def test_loss_and_a_slow_line(self):
        """A tenth of all packets is lost, 1 Mbit/s: slow, but alive."""
        for h in self.hosts:
            h.nft("input", "numgen random mod 100 < 10 drop")
            h.rate("1mbit")
        self.start_workers()
        self.same(self.coordinate())
        self.assertNotIn("silent", self.log(self.c))

    def test_resets(self):
        """Each second connections are reset, for a while."""
        workers = self.start_workers()
        p = self.coordinate()
        self.wait_reading(workers[0])
        for _ in range(5):
            for h in self.hosts:
                h.nft("output", "tcp dport %d-%d reject with tcp reset"
                      % (hosts.PORT, hosts.PORT + 1))
            time.sleep(0.5)
            for h in self.hosts:
                h.heal()
            time.sleep(0.5)
        self.same(p)


if __name__ == "__main__":
    quarrytest.main()
