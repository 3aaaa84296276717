"""Disks and memory of workers that are full, disks that are broken, stores that
lack or changed."""

import os
import random
import re
import shutil

import hosts
import quarrytest
from hosts import HostsBase
from quarrytest import make_store, need, wait_for


def strace(log, inject, paths=()):
    """Where paths are given only calls on these files fail."""
    out = ["strace", "-fqq", "-o", log, "-e",
           "trace=" + inject.split(":")[0], "-e", "inject=" + inject]
    for path in paths:
        out += ["-P", path]
    return out


class Noise(HostsBase):
    """Layers that do not compress: what is spooled is as large as they are."""

    size = 4 << 20

    @classmethod
    def make_store(cls, folder):
        store = make_store.Store(folder)
        for i in range(cls.layers):
            store.add("noise-%d" % i, {
                "f": random.Random(i).randbytes(cls.size - i),
                "g": b"x"})
        return store


    def wait_said(self, pattern):
        """By the coordinator."""
        self.assertTrue(quarrytest.wait_for(
            lambda: re.search(pattern, self.log(self.c)), hosts.PATIENCE, 0.05),
            "never said %r:\n%s" % (pattern, self.log(self.c)))


class SmallSpools(Noise):
    def small_spool(self, host, size):
        spool = self.path("spool-" + host.name)
        os.mkdir(spool)
        host.run("mount", "-t", "tmpfs", "-o", "size=" + size, "tmpfs", spool)
        return spool


class TestFull(SmallSpools):
    size = 24 << 20

    def test_on_one(self):
        """What has no room goes back, and elsewhere."""
        self.worker(self.hosts[0], spool=self.small_spool(
            self.hosts[0], "8m"))
        self.worker(self.hosts[1])
        layers = self.same(self.coordinate())
        self.assertIn("w2", layers)

    def test_output(self):
        """The coordinator's: no image, and workers wait for the next."""
        self.c.run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.out)
        self.start_workers()
        self.ends(self.coordinate(), 1)
        self.assertIn("No space left", self.log(self.c))
        self.assertEqual(self.c.run("ls", "-A", self.out), "")
        self.c.run("umount", self.out)
        self.same(self.coordinate(out="again"), out="again")

    def test_on_all(self):
        """Nobody has room: it says so, and waits until somebody has."""
        for h in self.hosts:
            self.worker(h, spool=self.small_spool(h, "8m"))
        p = self.coordinate()
        for h in self.hosts:
            self.wait_said(r"worker %s/\d+ has no room for layer .*: spool .* "
                           r"has \d+ MiB free, \d+ MiB are wanted" % h.name)
        self.wait_said(r"layer .* has waited for room for \d+ s: workers have "
                       r"handed it back \d+ times, the last was w\d/\d+: spool "
                       r".* has \d+ MiB free")
        self.assertIsNone(p.poll())
        for h in self.hosts:
            h.run("mount", "-o", "remount,size=2g", self.path(
                "spool-" + h.name))
        self.same(p)


class TestLittleMemory(Noise):
    """Of three slots one has memory: what it cannot do beside goes back."""

    layers, size, encoding = 8, 16 << 20, "gzip"

    def small_worker(self, host, mib):
        """The host alone sees that so much is left."""
        meminfo = self.path("meminfo-" + host.name)
        quarrytest.write(meminfo, "MemTotal: 8000000 kB\n"
                         "MemAvailable: %d kB\n" % (mib << 10))
        host.run("mount", "--bind", meminfo, "/proc/meminfo")
        return self.worker(host, "--slots", "3")

    def said(self, host, mib):
        self.wait_said(r"worker %s/\d+ has no room for layer .*: %d MiB of "
                       r"memory are left, \d+ MiB are wanted for this job and "
                       r"\d others" % (host.name, mib))

    def test_on_one(self):
        self.small_worker(self.hosts[0], 36)
        self.worker(self.hosts[1])
        layers = self.same(self.coordinate())
        self.said(self.hosts[0], 36)
        self.assertIn("w1", layers)
        self.assertIn("w2", layers)

    def test_on_all(self):
        """It goes on: what runs alone always may."""
        for i, h in enumerate(self.hosts):
            self.small_worker(h, 34 + i)
        self.same(self.coordinate())
        for i, h in enumerate(self.hosts):
            self.said(h, 34 + i)
        for h in self.hosts:
            self.assertNotIn("failed", self.log(h))


class TestFullWhileWriting(SmallSpools):
    """Layers that are larger than a disk, and nobody knew."""

    layers, size = 3, 80 << 20

    def test_on_one(self):
        """They go elsewhere once it is full, and that is no failure."""
        quarrytest.write(self.closure, make_store.graph_text(
            self.store.closure()))
        self.worker(self.hosts[0], spool=self.small_spool(
            self.hosts[0], "70m"))
        self.worker(self.hosts[1])
        layers = self.same(self.coordinate())
        self.assertNotIn("w1", layers[:3])
        self.assertNotIn("failed too often", self.log(self.c))


@need("strace")
class TestErrors(Noise):
    """Each disk error on one worker: the layer is made by the other."""

    def bad(self, inject, paths=(), more=()):
        self.worker(self.hosts[0], *more, wrap=strace(
            self.path("strace"), inject, paths), env=dict(
            self.env, ASAN_OPTIONS=self.env["ASAN_OPTIONS"]
            + ":detect_leaks=0"))
        self.worker(self.hosts[1])
        return self.coordinate()

    def test_write(self):
        for error in "ENOSPC", "EIO":
            with self.subTest(error):
                p = self.bad("pwrite64:error=%s" % error)
                self.same(p)
                self.was_injected()
                self.end_workers()
                shutil.rmtree(self.path("out/oci"))

    def test_write_behind(self):
        self.same(self.bad("sync_file_range:error=EIO"))
        self.was_injected()

    def test_read(self):
        """Of the store: another worker's disk may be better."""
        self.same(self.bad("read:error=EIO", self.files()))
        self.was_injected()

    def was_injected(self):
        self.assertIn(b"INJECTED", quarrytest.read(self.path("strace")))

    def files(self):
        return [os.path.join(folder, x) for folder, _, names
                in os.walk(self.store.root) for x in names]

    def test_read_hangs(self):
        """A thread is stuck, its worker is not: it beats, and it leaves."""
        p = self.bad("pread64,read:delay_enter=15000000", self.files(),
                     ["--drain", "100"])
        self.same(p)
        self.assertIn(b"read(", quarrytest.read(self.path("strace")))

    def test_output(self):
        """The coordinator's own disk: no image, and workers wait on."""
        self.start_workers()
        p = self.coordinate(
            wrap=strace(self.path("strace"), "fsync:error=EIO"),
            env=dict(self.env, ASAN_OPTIONS=self.env["ASAN_OPTIONS"]
                     + ":detect_leaks=0"))
        self.ends(p, 1)
        self.was_injected()
        self.assertTrue(wait_for(lambda: not os.listdir(self.out)))
        self.same(self.coordinate(out="good"), out="good")


class TestStores(Noise):
    """What a worker finds in its store."""

    def other_store(self, host, change):
        """The host alone sees another store at the same place."""
        copy = self.path("store-" + host.name)
        shutil.copytree(self.store.root, copy, symlinks=True)
        change(copy)
        host.run("mount", "--bind", copy, self.store.root)

    def path_of(self, root, i):
        name = next(x["path"] for x in self.store.infos
                    if "noise-%d" % i in x["path"])
        return root + name

    def test_path_is_missing(self):
        """On one worker: the other has it."""
        def change(root):
            for i in range(2):
                path = self.path_of(root, i)
                os.chmod(path, 0o755)
                shutil.rmtree(path)
        self.other_store(self.hosts[0], change)
        self.start_workers()
        self.same(self.coordinate())

    def test_path_is_missing_everywhere(self):
        def change(root):
            path = self.path_of(root, 1)
            os.chmod(path, 0o755)
            shutil.rmtree(path)
        for h in self.hosts:
            self.other_store(h, change)
        self.start_workers()
        self.ends(self.coordinate(), 1)
        self.assertIn("noise-1", self.log(self.c))
        self.assertEqual(os.listdir(self.out), [])

    def test_file_is_shorter(self):
        """On all: whoever checks contents refuses, and names the path."""
        def change(root):
            name = self.path_of(root, 1) + "/f"
            os.chmod(name, 0o644)
            os.truncate(name, 1000)
        for h in self.hosts:
            self.other_store(h, change)
        self.start_workers()
        self.ends(self.coordinate("--verify-store"), 1)
        self.assertIn("noise-1", self.log(self.c))
        self.assertEqual(os.listdir(self.out), [])


if __name__ == "__main__":
    quarrytest.main()
