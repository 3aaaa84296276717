"""Each store byte is read once and written once: counted, not claimed."""

import os

import quarrytest
from quarrytest import Base, make_store, need
from traced import Traced, strace


@need("strace")
class TestOnce(Base):
    # LeakSanitizer cannot work under ptrace.
    env_extra = {"LSAN_OPTIONS": "detect_leaks=0"}

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=8, size=200000)
        cls.files = {}
        for at, _, files in os.walk(cls.store.root):
            for name in files:
                path = os.path.join(at, name)
                if not os.path.islink(path):
                    cls.files[path] = os.path.getsize(path)

    def setUp(self):
        super().setUp()
        for name in ("ASAN_OPTIONS",):
            self.env[name] += ":detect_leaks=0"

    def trace(self, *args):
        """{path: opens}, {path: bytes read}, {path: bytes written}."""
        log = self.path("strace")
        r = self.finish(self.start(
            quarrytest.QUARRY, "build", "--progress", "none", "--name", "x",
            "--closure", self.closure_file(self.store), "--store-root",
            self.store.root, *args, program=strace(log)))
        self.assertEqual(r.status, 0, r.errors)
        t = Traced(log)
        return t.opens, t.got, t.put, t.mapped

    def check(self, opens, got, mapped):
        for path, size in self.files.items():
            self.assertEqual(opens[path], 1, "opens of " + path)
            self.assertEqual(got[path], size, "bytes read of " + path)
        self.assertFalse(mapped & set(self.files), "mapped, not counted")

    def test_digests_only(self):
        opens, got, put, mapped = self.trace("--to", "none")
        self.check(opens, got, mapped)
        big = {p: n for p, n in put.items() if n > 200000
               and "pipe" not in p and "socket" not in p}
        self.assertEqual(big, {}, "--to none wrote something")

    def test_docker_archive(self):
        tar = self.path("out/i.tar")
        opens, got, put, mapped = self.trace(
            "--to", "docker-archive:" + tar)
        self.check(opens, got, mapped)
        total = sum(n for p, n in put.items() if p.startswith(self.out))
        size = os.path.getsize(tar)
        self.assertLessEqual(total, size)
        self.assertGreater(total, size * 0.9)
        elsewhere = {p: n for p, n in put.items()
                     if n > 200000 and not p.startswith(self.out)}
        self.assertEqual(elsewhere, {}, "written to another place too")
        back = sum(n for p, n in got.items() if p.startswith(self.out))
        self.assertEqual(back, 0, "the archive was read again")

    def test_oci(self):
        out = self.path("out/oci")
        opens, got, put, mapped = self.trace(
            "--to", "oci:" + out, "--encoding", "gzip")
        self.check(opens, got, mapped)
        size = sum(os.path.getsize(os.path.join(at, f))
                   for at, _, files in os.walk(out) for f in files)
        total = sum(n for p, n in put.items() if p.startswith(self.out))
        self.assertEqual(total, size)

    def test_several_at_once(self):
        """However many outputs: one read."""
        opens, got, _, mapped = self.trace(
            "--to", "docker-archive:" + self.path("out/i.tar"),
            "--to", "oci:" + self.path("out/oci"), "--to", "none",
            "--verify-store")
        self.check(opens, got, mapped)


if __name__ == "__main__":
    quarrytest.main()
