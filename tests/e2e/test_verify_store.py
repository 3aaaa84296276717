"""--verify-store: each store path's narHash, in the same read."""

import os

import quarrytest
from quarrytest import Base, make_store


class TestVerify(Base):
    def setUp(self):
        super().setUp()
        self.store = make_store.small_store(self.path("s"), n=4)
        self.victim = self.store.infos[1]["path"]
        self.closure = self.closure_file(self.store)

    def real(self, *names):
        return os.path.join(self.store.real(self.victim), *names)

    def verify(self, status=None, to="none", closure=None, store=None):
        return self.build("--name", "x", "--closure", closure or self.closure,
                          "--store-root", (store or self.store).root,
                          "--verify-store", "--to", to, status=status)

    def refused(self, store=None):
        r = self.verify(to="docker-archive:" + self.path("out/i.tar"))
        self.assertIn(r.status, (1, 2), r.errors)
        lines = r.errors.splitlines()
        self.assertEqual(len(lines), 1, r.errors)
        self.assertIn(self.victim, lines[0])
        self.assertEqual(os.listdir(self.out), [])
        return lines[0]

    def test_good(self):
        self.verify(status=0)
        traps = make_store.trap_store(self.path("traps"))
        closure = self.closure_file(traps, name="traps.json")
        self.verify(status=0, closure=closure, store=traps)

    def test_same_image_as_without(self):
        one = self.build("--name", "x", "--closure", self.closure,
                         "--store-root", self.store.root,
                         "--to", "docker-archive:-").stdout
        self.same_bytes(self.verify(to="docker-archive:-").stdout, one)

    def test_with_encoding(self):
        self.build("--name", "x", "--closure", self.closure, "--store-root",
                   self.store.root, "--verify-store", "--to",
                   "oci:" + self.path("out/o"), "--encoding", "gzip")

    def test_flipped_bit(self):
        name = self.real("share/data-2")
        data = bytearray(quarrytest.read(name))
        data[len(data) // 2] ^= 1
        os.chmod(name, 0o644)
        quarrytest.write(name, bytes(data), 0o444)
        # Without --verify-store it cannot be seen.
        self.build("--name", "x", "--closure", self.closure, "--store-root",
                   self.store.root, "--to", "none")
        self.assertIn("narHash", self.refused())

    def test_missing_file(self):
        os.unlink(self.real("share/data-0"))
        self.refused()

    def test_further_file(self):
        quarrytest.write(self.real("share/zzz"), b"")
        self.refused()

    def test_other_name(self):
        os.rename(self.real("share/data-0"), self.real("share/data-9"))
        self.refused()

    def test_executable(self):
        os.chmod(self.real("bin/tool-1"), 0o444)
        self.refused()

    def test_executable_gained(self):
        os.chmod(self.real("share/data-1"), 0o555)
        self.refused()

    def test_link_instead_of_file(self):
        os.unlink(self.real("share/data-0"))
        os.symlink("data-1", self.real("share/data-0"))
        self.refused()

    def test_longer_and_shorter(self):
        for change in (1, -1):
            name = self.real("share/data-3")
            os.truncate(name, os.path.getsize(name) + change)
            self.refused()
            self.store.rehash(self.victim)
            self.closure = self.closure_file(self.store)

    def test_wrong_size_in_the_closure(self):
        self.store.info(self.victim)["narSize"] += 8
        self.closure = self.closure_file(self.store)
        self.refused()

    def test_whole_path_is_missing(self):
        os.rename(self.real(), self.path("elsewhere"))
        self.refused()

    def test_closure_without_hashes(self):
        """Nothing to hold it against: that is said, not passed over."""
        closure = self.closure_file(self.store, shape="graph", name="g")
        r = self.verify(closure=closure)
        self.assertEqual(r.status, 2, r.errors)
        self.assertRegex(r.errors, "narHash|hash")


if __name__ == "__main__":
    quarrytest.main()
