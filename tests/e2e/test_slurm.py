"""deploy/slurm on a real Slurm: allocations that are made, cancelled, made
again and given back."""

import json
import os
import signal

import quarrytest
import slurm
import test_launch
from quarrytest import TESTS, WORKER, make_store, need, need_root, wait_for

DEPLOY = os.path.join(os.path.dirname(TESTS), "deploy", "slurm")
LAUNCH = os.path.join(DEPLOY, "launch")


@need_root()
@need("setpriv", "srun", "sbatch", "scancel", "slurmctld", "slurmd", "munged")
class TestSlurm(test_launch.Launch):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.slurm = slurm.Slurm(cls.folder())
        cls.addClassCleanup(cls.slurm.stop)
        cls.slurm.start()

    def setUp(self):
        super().setUp()
        self.env.update(SLURM_CONF=self.slurm.env["SLURM_CONF"],
                        QUARRY_WORKER=WORKER)
        self.addCleanup(self.slurm.say, "scancel", "-u", "root")

    def close_down(self):
        self.assert_given_back()

    def launch(self, *options):
        return " ".join((LAUNCH, *options, "--", "--slots 1", "--spool",
                         self.path("spool")))

    def assert_given_back(self):
        left = wait_for(lambda: not self.slurm.jobs(), step=0.1)
        self.assertTrue(left, "jobs live on: %s" % self.slurm.say("squeue"))

    def image_id(self, *args):
        return self.metadata(*args)["image_id"]

    def test_same_image(self):
        who, r = self.same_image(self.launch("-N", "3"),
                                 "--min-workers", "3")
        self.assertEqual(len(who), 3, (who, r.errors))

    def test_cancelled_and_asked_again(self):
        """scancel in the middle; a second allocation does what is left."""
        metadata = self.path("m.json")
        store = make_store.slow_store(self.path("s"), n=10, size=1 << 29)
        p = self.start(*self.args(
            "until %s; do sleep 0.1; done" % self.launch("-N", "2"),
            "--local-slots", "0", "--metadata-file", metadata, store=store))
        pids = self.wait_launched(2)
        self.wait_reading()
        first, = self.slurm.jobs()
        self.slurm.say("scancel", first)
        self.assertTrue(wait_for(
            lambda: set(self.slurm.jobs()) - {first}, 60, 0.1),
            "no second allocation")
        r = self.finish(p)
        self.assertEqual(r.status, 0, r.errors)
        layers = json.loads(quarrytest.read(metadata))
        last = {int(layer["worker"].split("/")[1])
                for layer in layers["layers"]}
        self.assertTrue(last - set(pids), "the second one did nothing")
        args = self.args("", store=store)
        self.assertEqual(layers["image_id"], self.image_id(
            *args[1:args.index("--advertise")]))

    def wait_reading(self):
        def reads():
            for pid in self.workers():
                try:
                    for fd in os.listdir("/proc/%d/fd" % pid):
                        if "-slow-" in os.readlink(
                                "/proc/%d/fd/%s" % (pid, fd)):
                            return True
                except OSError:
                    pass
            return False

        self.assertTrue(wait_for(reads), "no worker got a job")

    def test_cancelled(self):
        """Without another one the build ends, and says so."""
        p = self.start(*self.args(self.launch("-N", "1"), "--local-slots",
                                  "0", store=self.slow))
        self.wait_launched(1)
        self.wait_reading()
        self.slurm.say("scancel", *self.slurm.jobs())
        r = self.finish(p)
        self.assertEqual(r.status, 1, r.errors)
        self.assertRegex(r.errors, "--launch: .*no worker is left: .*launch")

    def test_interrupted(self):
        """Allocations are given back; also one that waits in the queue."""
        for nodes, state in (("2", "RUNNING"), ("3", "PENDING")):
            with self.subTest(state):
                if state == "PENDING":
                    self.slurm.say("sbatch", "-N1", "--exclusive", "-o",
                                   "/dev/null", "--wrap", "sleep 1000")
                before = set(self.slurm.jobs())
                p = self.start(*self.args(
                    self.launch("-N", nodes, "--exclusive"), "--local-slots",
                    "0", store=self.slow))
                self.assertTrue(wait_for(
                    lambda: set(self.slurm.jobs()) - before, step=0.1))
                if state == "RUNNING":
                    self.wait_launched(2)
                p.send_signal(signal.SIGTERM)
                r = self.finish(p, timeout=60)
                self.assertEqual(r.status, 143, r.errors)
                self.assertTrue(wait_for(
                    lambda: not set(self.slurm.jobs()) - before, step=0.1),
                    self.slurm.say("squeue"))
                self.check_nothing_left(test_launch.END_S)
        self.slurm.say("scancel", "-u", "root")

    def test_killed(self):
        """kill -9 of quarry: the allocation is given back all the same."""
        p = self.start(*self.args(self.launch("-N", "2"), "--local-slots",
                                  "0", store=self.slow))
        self.wait_launched(2)
        p.kill()
        self.finish(p)
        self.assert_given_back()
        self.check_nothing_left(test_launch.END_S)

    def test_batch(self):
        """Coordinator and workers in one job."""
        self.local("oci:" + self.path("local"))
        args = self.args("", to="oci:" + self.path("launched"))
        at = args.index("--launch")
        env = dict(self.env, QUARRY=quarrytest.QUARRY, LAUNCH=LAUNCH)
        r = self.finish(self.start(
            "--wait", "-N", "3", "-c", "1", "-o", self.path("batch.log"),
            os.path.join(DEPLOY, "build.sbatch"), *args[1:at], "--encoding",
            "zstd", "--min-workers", "3", program=["sbatch"], env=env))
        log = quarrytest.read(self.path("batch.log")).decode()
        self.assertEqual(r.status, 0, (r.errors, log))
        self.assert_same_trees(self.path("local"), self.path("launched"))
        os.rmdir(self.path("t/quarry-worker-%d" % os.geteuid()))

    def test_by_hand(self):
        p = self.start("-N", "1", program=[LAUNCH])
        self.assertEqual(self.finish(p).status, 2)
        p = self.start("--help", program=[LAUNCH])
        r = self.finish(p)
        self.assertEqual(r.status, 0)
        self.assertIn(b"srun", r.stdout)


if __name__ == "__main__":
    quarrytest.main()
