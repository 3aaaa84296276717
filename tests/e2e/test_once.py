"""Each store byte is read once and written once: counted, not claimed."""

import collections
import os
import re

import quarrytest
from quarrytest import Base, make_store, need

READS = ("read", "pread64", "readv", "preadv", "preadv2", "sendfile",
         "copy_file_range", "splice")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile",
          "copy_file_range", "splice")
LINE = re.compile(
    r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)")
FD = re.compile(r"^\d+<((?:[^<>\\]|\\.)*)>")


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
        calls = ",".join(sorted(set(READS + WRITES))
                         + ["open", "openat", "openat2", "mmap"])
        r = self.finish(self.start(
            quarrytest.QUARRY, "build", "--no-cache", "--progress", "none",
            "--name", "x",
            "--closure", self.closure_file(self.store), "--store-root",
            self.store.root, *args,
            program=["strace", "-f", "-y", "-qq", "-s", "0", "-e",
                     "signal=none", "-e", "trace=" + calls, "-o", log]))
        self.assertEqual(r.status, 0, r.errors)
        opens = collections.Counter()
        got, put = collections.Counter(), collections.Counter()
        mapped = set()
        pending = {}
        with open(log, errors="replace") as f:
            for line in f:
                pid, _, rest = line.partition(" ")
                rest = rest.strip()
                if rest.endswith("<unfinished ...>"):
                    pending[pid] = rest[:-len("<unfinished ...>")]
                    continue
                m = re.match(r"<\.\.\. (\w+) resumed>(.*)", rest)
                if m:
                    rest = pending.pop(pid, m.group(1) + "(") + m.group(2)
                self.count(rest, opens, got, put, mapped)
        return opens, got, put, mapped

    def count(self, line, opens, got, put, mapped):
        if line.startswith(("open", "openat", "openat2")):
            m = re.search(r"= \d+<(.*)>$", line)
            if m:
                opens[m.group(1)] += 1
            return
        m = LINE.match(line)
        if not m:
            return
        call, args, result = m.groups()
        if call == "mmap":
            m = re.search(r", (\d+)<([^>]*)>, ", args)
            if m:
                mapped.add(m.group(2))
            return
        n = int(result, 0)
        m = FD.match(args)
        if n > 0 and m:
            (put if call in WRITES and call not in READS
             else got)[m.group(1)] += n
            if call in ("sendfile", "copy_file_range", "splice"):
                self.fail("the test does not count " + call)

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
