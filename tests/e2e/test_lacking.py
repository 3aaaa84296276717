"""Memory and threads that are not to be had: one line, and nothing left."""

import os
import shutil

import quarrytest
from fake_registry import Registry
from quarrytest import Base, make_store

SHIM = os.path.join(os.path.dirname(os.path.dirname(quarrytest.QUARRY)),
                    "tests", "lacking.so")
LONG = bool(os.environ.get("QUARRY_LONG"))


def picks(step):
    """Which calls fail: the first ones, then ever fewer; or all of them."""
    n = 1
    while True:
        yield n
        n += 1 if LONG else max(1, n // step)


class TestLacking(Base):
    cache = True

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=4)

    def setUp(self):
        super().setUp()
        self.closure = self.closure_file(self.store)
        self.tree = quarrytest.write(self.path("r.json"), """{
            "name": "x", "tag": "1", "contents": ["%s"],
            "config": {"Env": ["A=b"]}, "directories": [{"path": "/tmp"}],
            "fromImage": "base.tar", "strategy": "size"
        }""" % self.store.infos[-1]["path"])
        self.quarry("build", "--progress", "none", "--name", "base", "--tag",
                    "1", "--closure", self.closure, "--store-root",
                    self.store.root, self.store.infos[0]["path"], "--to",
                    "docker-archive:base.tar")
        self.quarry(*self.build("oci:out/want", "--no-cache"))
        self.want = quarrytest.tree_bytes(self.path("out/want"))

    def lacking(self, program, what, n, *args, all_after=False):
        """A run in which the nth call fails, or None: there is no nth."""
        mark = self.path("mark")
        env = dict(self.env, LD_PRELOAD=SHIM, LACK_PROGRAM=program,
                   LACK_WHAT=what, LACK_AT=str(n), LACK_FILE=mark)
        if all_after:
            env["LACK_ALL"] = "1"
        r = self.quarry(*args, env=env, status=None)
        if not os.path.exists(mark):
            self.assertEqual(r.status, 0, r.errors)
            return None
        os.unlink(mark)
        return r

    def build(self, to, *more):
        return ["build", "--progress", "none", self.tree, "--closure",
                self.closure, "--store-root", self.store.root, "--slots",
                "2", "--encoding", "gzip", "--to", to, *more]

    def check(self, r, text):
        self.assertNotRegex(r.errors, "killed by signal", text)
        if r.status:
            self.assertIn(r.status, (1, 2), text + r.errors)
            lines = [l for l in r.errors.splitlines() if "warning" not in l]
            self.assertTrue(lines, text)
            self.assertTrue(lines[-1].startswith("quarry: "), text + r.errors)
        self.check_nothing_left()

    def runs(self, program, what, args, step, all_after=False):
        """(n, status) of runs of args(n) in which the nth call fails."""
        for n in picks(step):
            r = self.lacking(program, what, n, *args(n), all_after=all_after)
            if r is None:
                return
            self.check(r, "%s %d of %s: " % (what, n, program))
            yield n, r.status

    def layout(self, n):
        return self.path("out", "o%d" % n)

    def every(self, program, what, *args, **kw):
        """How many runs had a call that failed, and how many failed."""
        done = failed = 0
        for n, status in self.runs(program, what, *args, **kw):
            done += 1
            failed += status != 0
            # What comes after an output has its name can fail, too.
            if status == 0 or os.path.exists(self.layout(n)):
                self.assertEqual(quarrytest.tree_bytes(self.layout(n)),
                                 self.want)
                shutil.rmtree(self.layout(n))
        return done, failed

    def test_coordinators_memory(self):
        done, failed = self.every(
            "quarry", "memory", lambda n: self.build(
                "oci:" + self.layout(n), "--cache", self.path("c%d" % n)), 10)
        self.assertGreater(failed, 40)

    def test_workers_memory(self):
        done, _ = self.every("quarry-worker", "memory", self.uncached, 5)
        self.assertGreater(done, 20)

    def test_threads(self):
        """One is not to be had, or none from then on."""
        for program in ("quarry", "quarry-worker"):
            for all_after in (False, True):
                with self.subTest(program, all_after=all_after):
                    self.every(program, "threads", self.uncached, 6,
                               all_after=all_after)

    def test_pushed(self):
        registry = Registry()
        self.addCleanup(registry.close)
        want = quarrytest.OciLayout(self.path("out/want")).manifest_bytes
        for program in ("quarry", "quarry-worker"):
            for n, status in self.runs(
                    program, "memory", lambda n: self.build(
                        "docker://%s/%s/o%d:t" % (registry.name, program, n),
                        "--no-cache"), 5):
                found = registry.repo("%s/o%d" % (program, n))
                if status == 0 or "t" in found["tags"]:
                    _, data = found["manifests"][found["tags"]["t"]]
                    self.assertEqual(data, want)

    def uncached(self, n):
        return self.build("oci:" + self.layout(n), "--no-cache")


if __name__ == "__main__":
    quarrytest.main()
