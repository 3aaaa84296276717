"""The oracles themselves: worked examples, Nix, and each against another."""

import os
import random
import subprocess
import sys

import quarrytest
from quarrytest import Base, make_store, need, second_plan


class TestOracle(Base):
    def test_worked_examples(self):
        second_plan.example()

    @need("nix-store")
    def test_nar_hashes_are_those_of_nix(self):
        store = make_store.trap_store(self.path("s"))
        for info in store.infos:
            dump = subprocess.Popen(
                ["nix-store", "--dump", store.real(info["path"])],
                stdout=subprocess.PIPE, env=self.env)
            digest = self.command("sha256sum", stdin=dump.stdout)
            dump.stdout.close()
            self.assertEqual(dump.wait(), 0)
            self.assertEqual(digest.split()[0].decode(),
                             info["narHash"].hex())

    @need("nix-store")
    def test_nix_takes_the_registration(self):
        store = make_store.small_store(self.path("s"), n=5)
        make_store.register(store, self.env)
        self.command("nix-store", "--store", "local?root=" + store.root,
                     "--verify", "--check-contents")

    def test_base32(self):
        self.assertEqual(
            make_store.base32(bytes.fromhex(
                "2cf24dba5fb0a30e26e83b2ac5b9e29e"
                "1b161e5c1fa7425e73043362938b9824")),
            "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic")

    def test_reference_as_a_program(self):
        """The command writes what the module says."""
        store = make_store.small_store(self.path("s"), n=3)
        request = self.reference_request(
            store, [[i["path"]] for i in store.infos])
        program = [sys.executable, os.path.join(
            quarrytest.TESTS, "oracle/reference.py")]
        args = ["--store-root", store.root, request]
        image = quarrytest.DockerArchive(
            self.command(*program, "image", *args))
        self.assertEqual(self.command(*program, "config", *args),
                         image.config_bytes)
        self.assertEqual(self.command(*program, "diffids", *args).split(),
                         [d.encode() for d in image.diff_ids()])
        for layer, digest in zip(image.layers, image.diff_ids()):
            self.assertEqual(quarrytest.sha256(layer), digest)

    def test_plans_are_whole(self):
        """Each path once, no layer empty, not more layers than asked."""
        random.seed(3)
        for _ in range(30):
            n = random.randrange(1, 30)
            names = ["/nix/store/%032d-n%d" % (i, i % 5) for i in range(n)]
            infos = [{"path": p, "narSize": random.randrange(1, 99),
                      "references": random.choices(names[:i], k=3)
                      if i else [p]} for i, p in enumerate(names)]
            for strategy in ("popularity", "size"):
                for most in (2, 3, 10, 100):
                    layers = second_plan.plan(infos, strategy, most)
                    self.assertEqual(sorted(sum(layers, [])), names)
                    self.assertTrue(all(layers))
                    self.assertLess(len(layers), most)

    def test_two_planners_agree(self):
        """Each was written from the definition, apart from the other."""
        try:
            import plan
        except ImportError:
            self.skipTest("needs tests/oracle/plan.py")
        random.seed(11)
        for _ in range(60):
            n = random.randrange(1, 40)
            names = ["/nix/store/%032d-n%d" % (i, i % 5) for i in range(n)]
            random.shuffle(names)
            infos = [{"path": p, "narSize": random.choice([8, 9, 10, 1000]),
                      "references": random.choices(
                          names[:i], k=random.randrange(5)) if i else [p]}
                     for i, p in enumerate(names)]
            for strategy in ("popularity", "size"):
                for most in (2, 3, 5, 12, 100):
                    self.assertEqual(
                        plan.plan(infos, strategy, most),
                        second_plan.plan(infos, strategy, most))


if __name__ == "__main__":
    quarrytest.main()
