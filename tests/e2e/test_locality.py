"""Jobs go to the workers that have their store paths, and not to those that
can never have them.

What the image's /nix/store is read from is /proc/self/cwd/nix/store: so each
process has a store of its own, where it was started.  The coordinator's is
empty.
"""

import contextlib
import json
import os
import shutil
import struct

import quarrytest
import zmtp
from ports import free_ports
from quarrytest import QUARRY, WORKER, Base, make_store, read, wait_for
from remote import Remote

N = 8
SIZE = 32 << 20  # longer to fetch, as far as anybody knows, than to make


class Stores(Base):
    """A store of which each worker has a part, and caches of all of it."""

    env_extra = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}

    @classmethod
    def setUpClass(cls):
        cls.shared = cls.folder()
        cls.store = make_store.Store(cls.shared + "/s")
        cls.names = [cls.store.add("part-%d" % i, {
            "f": make_store.Sparse(SIZE, b"%d" % i)}) for i in range(N)]

    def setUp(self):
        super().setUp()
        self.closure = self.closure_file(self.store)
        os.makedirs(self.path("empty"))

    def part(self, name, paths):
        """A folder with a store of these; hard links, so it costs nothing."""
        root = self.path(name)
        os.makedirs(root + "/nix/store", exist_ok=True)
        for p in paths:
            shutil.copytree(self.store.real(p), root + p,
                            copy_function=os.link)
        return root

    def args(self, out, *more):
        return ["--name", "x", "--tag", "t", "--closure", self.closure,
                "--store-root", "/proc/self/cwd", "--progress", "none", "--to",
                "oci:" + self.path("out", out), "--metadata-file",
                self.path(out + ".json"), *more]

    def alone(self):
        """{file: digest} of the image that one machine makes."""
        self.quarry("build", *self.args("alone"), cwd=self.store.root)
        return self.tree("alone")

    def tree(self, out):
        folder = self.path("out", out)
        found = {os.path.relpath(os.path.join(where, f), folder):
                 quarrytest.file_sha256(os.path.join(where, f))
                 for where, _, files in os.walk(folder) for f in files}
        shutil.rmtree(folder)
        return found

    def layers(self, out):
        """{store path: its layer} of those that hold one."""
        with open(self.path(out + ".json"), encoding="utf-8") as f:
            layers = json.load(f)["layers"]
        return {l["paths"][0]: l for l in layers if len(l["paths"]) == 1}


@quarrytest.need("nix", "nix-store")
class TestLocality(Stores, Remote):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        env = dict(
            os.environ, HOME=cls.shared, NIX_CONFIG="build-users-group =\n"
            "sandbox = false\nexperimental-features = nix-command\n")
        make_store.register(cls.store, env)
        p = quarrytest.subprocess.run(
            ["nix", "copy", "--all", "--no-check-sigs", "--from",
             "local?root=" + cls.store.root, "--to",
             "file://%s/cache?compression=zstd" % cls.shared],
            env=env, stdout=quarrytest.subprocess.PIPE,
            stderr=quarrytest.subprocess.STDOUT, check=False)
        if p.returncode != 0:
            raise AssertionError(p.stdout.decode(errors="replace"))

    def cache(self):
        return ["--substituter", "file://%s/cache" % self.shared,
                "--no-require-sigs"]

    def go(self, out, *more, status=0, workers=2):
        p = self.coordinator(
            *self.args(out), *self.listen(
                "--local-slots", "0", "--min-workers", str(workers), *more),
            name=out, cwd=self.path("empty"))
        r = self.finish(p)
        self.assertEqual(r.status, status, self.log(out))
        return self.log(out)

    def starts(self, name, paths, *more, slots=1):
        return self.worker(name, "--slots", str(slots), *more,
                           cwd=self.part("root-" + name, paths))

    def test_goes_where_it_is(self):
        """Each half is made where it is, or most of it.  There is a slot for
        each path: where one has to wait, fetching may cost less."""
        want = self.alone()
        halves = {"a": self.names[:N // 2], "b": self.names[N // 2:]}
        ps = {name: self.starts(name, paths, *self.cache(), slots=N)
              for name, paths in halves.items()}
        # And again, by workers that know the list.
        for out in ("first", "second"):
            log = self.go(out)
            self.assertNotRegex(log, "warning|fail")
            self.assertEqual(self.tree(out), want)
            layers = self.layers(out)
            at_home = [p for name, paths in halves.items() for p in paths
                       if layers[p]["worker"].endswith(
                           "/%d" % ps[name].pid)]
            self.assertGreaterEqual(len(at_home), N - 2, layers)
            for p in self.names:
                self.assertEqual(layers[p]["bytes_fetched"] == 0,
                                 p in at_home)
        # What is new is seen.
        for p in halves["b"]:
            shutil.rmtree(self.path("root-b") + p)
        self.part("root-a", halves["b"])
        self.go("third")
        self.assertEqual(self.tree("third"), want)
        layers = self.layers("third")
        self.assertGreater(
            sum(l["worker"].endswith("/%d" % ps["a"].pid)
                for l in layers.values()), N // 2, layers)
        for p in ps.values():
            self.end(p)

    def test_fetches_what_nobody_has(self):
        want = self.alone()
        ps = [self.starts("a", self.names[1:], *self.cache()),
              self.starts("b", [], *self.cache())]
        self.go("out")
        self.assertEqual(self.tree("out"), want)
        layers = self.layers("out")
        self.assertGreater(layers[self.names[0]]["bytes_fetched"], SIZE)
        for p in ps:
            self.end(p)

    def test_without(self):
        """--no-locality: nobody is asked, so it is as it comes."""
        want = self.alone()
        ps = [self.starts("a", self.names, *self.cache()),
              self.starts("b", [], *self.cache())]
        self.go("out", "--no-locality")
        self.assertEqual(self.tree("out"), want)
        self.assertGreater(sum(l["bytes_fetched"] for l in
                               self.layers("out").values()), 0)
        for p in ps:
            self.end(p)

    def test_who_cannot_is_spared(self):
        """One that has nothing and fetches nothing gets the root layer only:
        three failures would set it aside, and be said."""
        want = self.alone()
        ps = [self.starts("a", self.names), self.starts("b", [])]
        log = self.go("out")
        self.assertNotRegex(log, "warning|fail")
        self.assertEqual(self.tree("out"), want)
        for layer in self.layers("out").values():
            self.assertTrue(layer["worker"].endswith("/%d" % ps[0].pid))
        for p in ps:
            self.end(p)

    def test_audits_are_skipped(self):
        """Only one can make it, so nobody can check: that is said."""
        want = self.alone()
        ps = [self.starts("a", self.names), self.starts("b", [])]
        log = self.go("out", "--audit", "100")
        self.assertEqual(log.count("was not checked: no second worker"), N,
                         log)
        self.assertNotIn("failed", log)
        self.assertEqual(self.tree("out"), want)
        for p in ps:
            self.end(p)

    def test_nobody_can(self):
        ps = [self.starts("a", self.names[1:]),
              self.starts("b", self.names[2:])]
        log = self.go("out", status=1)
        self.assertIn(self.names[0], log)
        self.assertEqual(os.listdir(self.out), [])
        for p in ps:
            self.end(p)


class Fake:
    """A worker that is asked: says what the test tells it to."""

    def __init__(self, port, **hello):
        wait_for(lambda: self.connect(port))
        self.peer.hello(**hello)

    def connect(self, port):
        try:
            self.peer = zmtp.Peer(("127.0.0.1", port))
            return True
        except OSError:
            return False

    def until(self, kind):
        while True:
            m = self.peer.receive()
            if m[0] == kind:
                return m

    def say(self, *m):
        self.peer.send(*m)

    def beat(self):
        self.say(zmtp.BEAT, [])

    def is_dropped(self):
        """It is a stranger from now on."""
        self.beat()
        return self.until(zmtp.WHO)


class TestQuestions(Stores):
    def setUp(self):
        super().setUp()
        self.port = free_ports(2)
        with open(self.path("log"), "wb") as log:
            self.build_ = self.start(
                "build", *self.args("out"), "--local-slots", "0", "--listen",
                "tcp://127.0.0.1:%d" % self.port, "--min-workers", "2",
                program=[QUARRY], stderr=log, cwd=self.path("empty"))

    def close_down(self):
        """Whatever was said, the build goes on with honest ones."""
        workers = [self.honest() for _ in range(2)]
        self.assertEqual(self.finish(self.build_).status, 0, self.log())
        for p in workers:
            p.terminate()
            self.assertEqual(self.finish(p).status, 0)

    def leftovers(self):
        spools = self.path("t", "quarry-worker-%d" % os.geteuid())
        return [p for p in super().leftovers() if p != spools]

    def honest(self):
        return self.start(
            "--connect", "tcp://127.0.0.1:%d" % self.port, program=[WORKER],
            stderr=quarrytest.subprocess.DEVNULL, cwd=self.store.root)

    def log(self):
        return read(self.path("log")).decode(errors="replace")

    def asked(self, **hello):
        f = Fake(self.port, host="fake", **hello)
        f.ask = f.until(zmtp.ASK)
        return f

    def asked_again(self, **hello):
        """Says HELLO, as workers do, until it is not taken for a second one
        of its instance."""
        f = Fake(self.port, host="fake", **hello)
        f.peer.s.settimeout(1)
        for _ in range(quarrytest.TIMEOUT):
            with contextlib.suppress(TimeoutError):
                f.ask = f.until(zmtp.ASK)
                f.peer.s.settimeout(60)
                return f
            f.peer.hello(host="fake", **hello)
        self.fail("it is not asked again")

    def dropped(self, f, says):
        f.is_dropped()
        self.assertIn("worker fake/%d %s: dropped" % (os.getpid(), says),
                      self.log())

    def test_the_question(self):
        instance = os.urandom(16)
        f = self.asked(instance=instance)
        _, number, digest, n, folder, root = f.ask
        self.assertEqual((number, n, folder, root), (
            1, N, "/nix/store", "/proc/self/cwd"))
        f.say(zmtp.WANT, number, 0)
        m = f.until(zmtp.PATHS)
        self.assertEqual(m[1:3], [number, 0])
        self.assertEqual(quarrytest.hashlib.sha256(m[3]).digest(), digest)
        keys = []
        for name in sorted(self.names):
            key = 0xcbf29ce484222325
            for c in name.split("/")[-1].encode():
                key = (key ^ c) * 0x100000001b3 % 2**64
            keys.append(key)
        self.assertEqual(list(struct.unpack(">%dQ" % N, m[3])), keys)
        f.say(zmtp.HAVE, number, 0, 0, b"\x0f")
        f.beat()
        # Back with the list, once the old connection is silent.
        f.peer.close()
        f = self.asked_again(instance=instance)
        self.assertEqual(f.ask[1:3], [number + 1, digest])
        f.say(zmtp.HAVE, number, 0, 0, b"\x0f")  # an old one
        f.say(zmtp.HAVE, number + 1, 0, 0, b"\x0f")
        f.say(zmtp.BYE, 0)

    def test_part_of_the_list_is_known(self):
        f = self.asked()
        f.say(zmtp.WANT, 1, N - 2)
        self.assertEqual(len(f.until(zmtp.PATHS)[3]), 16)
        f.say(zmtp.HAVE, 1, 0, 0, b"\xff")
        f.say(zmtp.BYE, 0)

    def test_cannot_look(self):
        f = self.asked()
        f.say(zmtp.HAVE, 1, 13, 0, b"")
        f.say(zmtp.BYE, 0)

    def test_too_long(self):
        f = self.asked()
        f.say(zmtp.HAVE, 1, 0, 0, b"\xff\x00")
        self.dropped(f, "tells of more or fewer store paths than were asked "
                     "for")

    def test_doubled_or_lost(self):
        """Nobody lies: it is heard once, or not at all."""
        f = self.asked()
        for _ in range(2):
            f.say(zmtp.WANT, 1, 0)
        for _ in range(2):
            f.say(zmtp.HAVE, 1, 0, 0, b"\x00")
        f.say(zmtp.BYE, 0)
        f = self.asked()
        f.say(zmtp.HAVE, 1, 0, 8, b"\xff")
        f.say(zmtp.BYE, 0)
        self.assertNotIn("dropped", self.log())

    def test_never_asked(self):
        f = self.asked()
        f.say(zmtp.HAVE, 7, 0, 0, b"\x00")
        self.dropped(f, "tells of store paths that nobody asked for")

    def test_wants_what_is_not(self):
        f = self.asked()
        f.say(zmtp.WANT, 1, N)
        self.dropped(f, "wants a part of a list that is not its turn, or of "
                     "none")
        f = self.asked()
        f.say(zmtp.WANT, 9, 0)
        self.dropped(f, "wants a list of store paths that nobody offered")


if __name__ == "__main__":
    quarrytest.main()
