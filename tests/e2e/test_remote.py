"""Workers that join over TCP: the same image, and who may join."""

import os
import shutil
import signal
import unittest

import quarrytest
from caches import Caches
from quarrytest import make_store, read, tree_bytes
from remote import Remote


class WithStore(Remote):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.Store(cls.folder())
        cls.store.add("dep-1", {"lib": {"a": b"1" * 100000, "b": b"2"}})
        for i in range(12):
            cls.store.add("p-%d" % i, {"f": os.urandom(200000 * i + 1)},
                          refs=[cls.store.infos[0]["path"]])
        cls.store.add("top", {"bin": {"run": b"x" * 3000000}},
                      refs=[i["path"] for i in cls.store.infos])

    def input(self, *more):
        if not os.path.exists(self.path("c")):
            self.closure_file(self.store)
        return ["--name", "remote", "--closure", self.path("c"),
                "--store-root", self.store.root, *more]

    def all_kinds(self, name, *args):
        out = self.path("out", name)
        os.mkdir(out)
        self.build(*self.input(), "--to", "docker-archive:%s/d.tar" % out,
                   "--to", "oci:%s/oci" % out,
                   "--to", "oci-archive:%s/o.tar" % out,
                   "--encoding", "zstd", *args)
        return tree_bytes(out)


class TestSame(WithStore):
    def test_all_kinds(self):
        """Two workers do all of it; then this machine helps."""
        want = self.all_kinds("local")
        workers = [self.worker("w1"), self.worker("w2", "--slots", "2")]
        found = self.all_kinds("remote", *self.listen(
            "--local-slots", "0", "--min-workers", "2"))
        self.assertEqual(found.keys(), want.keys())
        for name in want:
            self.same_bytes(found[name], want[name], name)
        for name, data in self.all_kinds("both", *self.listen()).items():
            self.same_bytes(data, want[name], name)
        for w in workers:
            self.end(w)

    def test_shared_folder(self):
        """A worker that sees the output's folder writes there by itself; one
        that sees another folder of that name does not."""
        want = self.all_kinds("local")
        worker = self.worker("w1")
        r = self.build(*self.input(), "--to", "oci:" + self.path("out/o"),
                       "--encoding", "zstd", *self.listen(
                           "--local-slots", "0", "--min-workers", "1"))
        self.assertIn("shares the output's folder", r.errors)
        found = tree_bytes(self.path("out/o"))
        for name, data in found.items():
            self.same_bytes(data, want["oci/" + name], name)
        self.end(worker)

    @quarrytest.need_root()
    @quarrytest.need("unshare", "mount")
    def test_other_folder(self):
        want = self.all_kinds("local")
        self.keygen("w1")
        self.allow("w1")
        with open(self.log_name("w1"), "ab") as log:
            worker = self.start(
                "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"',
                self.out, quarrytest.WORKER, "--connect", self.endpoint,
                "--server-key", self.path("keys", "coordinator.pub"), "--key",
                self.path("keys", "w1"), program=["unshare"], stderr=log)
        r = self.build(*self.input(), "--to", "oci:" + self.path("out/o"),
                       "--encoding", "zstd", *self.listen(
                           "--local-slots", "0", "--min-workers", "1"))
        self.assertNotIn("shares the output's folder", r.errors)
        for name, data in tree_bytes(self.path("out/o")).items():
            self.same_bytes(data, want["oci/" + name], name)
        self.end(worker)

    def test_who_did_it(self):
        worker = self.worker("w1")
        found = self.metadata(*self.input(), "--to", "none", *self.listen(
            "--local-slots", "0"))
        self.assertEqual({l["worker"].split("/")[1] for l in found["layers"]},
                         {str(worker.pid)})
        self.end(worker)

    def test_stream(self):
        """An archive on standard output: layers are pulled, then sent."""
        want = self.build(*self.input(), "--to", "docker-archive:-").stdout
        worker = self.worker("w1")
        self.same_bytes(self.build(
            *self.input(), "--to", "docker-archive:-",
            *self.listen("--local-slots", "0")).stdout, want)
        self.end(worker)

    def test_loopback_needs_no_keys(self):
        worker = self.start("--connect", self.endpoint,
                            program=[quarrytest.WORKER])
        self.build(*self.input(), "--to", "none", "--listen", self.endpoint,
                   "--local-slots", "0")
        self.end(worker)

    def test_worker_ends_with_the_build(self):
        worker = self.worker("w1", "--once")
        self.build(*self.input(), "--to", "none",
                   *self.listen("--local-slots", "0"))
        self.assertEqual(self.finish(worker).status, 0, self.log("w1"))


class TestIPv6(WithStore):
    host = "[::1]"

    @unittest.skipUnless(os.path.exists("/proc/net/if_inet6"), "needs IPv6")
    def test_it(self):
        worker = self.worker("w1")
        self.build(*self.input(), "--to", "none",
                   *self.listen("--local-slots", "0"))
        self.end(worker)


class TestInputs(Remote, Caches):
    """Neither side has the store paths: they come out of a cache."""

    def test_without_a_store(self):
        want = self.metadata(*self.options(root=self.store.root),
                             "--to", "none")
        worker = self.worker("w1", "--substituter", "file://" + self.cache(),
                             "--trusted-key", self.key)
        archive = self.path("out/d.tar")
        found = self.metadata(
            *self.options(), "--to", "docker-archive:" + archive,
            *self.listen("--local-slots", "0"))
        self.assertEqual(found["image_id"], want["image_id"])
        self.same_bytes(read(archive), self.from_store())
        self.end(worker)


class TestKeys(WithStore):
    def test_not_listed(self):
        """Both sides say so; who is listed does the work."""
        stranger = self.worker("stranger", listed=False)
        build = self.coordinator(*self.input(), "--to", "none",
                                 *self.listen("--local-slots", "0"))
        self.wait_log("coordinator", "is not listed")
        key = read(self.path("keys", "stranger.pub")).split()[0].decode()
        self.assertIn(key, self.log("coordinator"))
        self.wait_log("stranger", "does not list this worker's")
        worker = self.worker("w1")
        build.send_signal(signal.SIGHUP)  # the list has a new key
        self.assertEqual(self.finish(build).status, 0)
        self.end(worker)
        self.end(stranger)

    def test_other_coordinator(self):
        """A worker says nothing to one that has not the key it expects."""
        self.keygen("other")
        worker = self.worker("w1")
        args = self.listen("--local-slots", "0")
        args[args.index("--key") + 1] = self.path("keys", "other")
        build = self.coordinator(*self.input(), "--to", "none", *args)
        self.wait_log("w1", "has another key")
        self.assertNotIn("w1", self.log("coordinator"))
        build.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(build).status, 143)
        self.end(worker)

    def refuses(self, text, *args, program=None):
        kw = {"program": [program]} if program else {}
        r = self.quarry(*args, status=2, **kw)
        self.assertIn(text, r.errors)
        self.assertEqual(r.errors.count("\n"), 1, r.errors)

    def test_wrong_use(self):
        key, keys = self.path("keys", "coordinator"), self.path("allowed")
        build = ("build", *self.input(), "--to", "none")
        self.refuses("can be reached from other machines", *build,
                     "--listen", "tcp://*:4000")
        self.refuses("go together", *build, "--listen", "tcp://*:4000",
                     "--key", key)
        self.refuses("go with --listen", *build, "--key", key)
        self.refuses("nobody else", *build, "--local-slots", "0")
        self.refuses("wanted is tcp://HOST:PORT", *build, "--listen", "4000")
        self.refuses("the port after it", *build, "--listen",
                     "tcp://127.0.0.1:65535")
        self.refuses("not in 1 to 100", *build, "--audit", "101")
        os.chmod(key, 0o640)
        self.refuses("chmod 600", *build, *self.listen())
        os.chmod(key, 0o600)
        quarrytest.write(os.path.join(keys, "bad.pub"), "nonsense\n")
        self.refuses("bad.pub:1", *build, *self.listen())
        self.refuses("there are no keys", "--connect", "tcp://10.0.0.1:1",
                     program=quarrytest.WORKER)
        self.refuses("File exists", "keygen", key)
        self.refuses("cannot be the name", "keygen", self.path("a b"))
        self.refuses("one FILE is wanted", "keygen")

    def test_taken_port(self):
        first = self.coordinator(*self.input(), "--to", "none",
                                 *self.listen("--local-slots", "0"))
        self.wait_log("coordinator", "workers may join")
        r = self.build(*self.input(), "--to", "none", *self.listen(), status=1)
        self.assertIn("Address already in use", r.errors)
        first.terminate()
        self.assertEqual(self.finish(first).status, 143)


class TestAudit(WithStore):
    def test_two_agree(self):
        workers = [self.worker("w1"), self.worker("w2")]
        r = self.build(*self.input(), "--to", "oci:" + self.path("out/o"),
                       "--audit", "100",
                       *self.listen("--local-slots", "0", "--min-workers",
                                    "2"))
        self.assertNotIn("was not checked", r.errors)
        for w in workers:
            self.end(w)

    def test_nobody_else(self):
        worker = self.worker("w1")
        r = self.build(*self.input(), "--to", "none", "--audit", "100",
                       *self.listen("--local-slots", "0"))
        self.assertIn("was not checked: no second worker", r.errors)
        self.end(worker)

    @quarrytest.need_root()
    @quarrytest.need("unshare", "mount")
    def test_other_bytes(self):
        """One worker's store has another file than the other's."""
        other = self.path("other")
        shutil.copytree(self.store.root, other, symlinks=True)
        path = other + self.store.infos[-1]["path"] + "/bin/run"
        os.chmod(path, 0o644)
        with open(path, "r+b") as f:
            f.write(b"y")
        os.chmod(path, 0o444)
        # Each sees its own store under the same name.
        store = self.path("seen")
        os.mkdir(store)
        args = self.input()
        args[args.index("--store-root") + 1] = store
        workers = []
        for name, root in (("w1", self.store.root), ("w2", other)):
            workers.append(self.worker_at(name, root, store))
        r = self.build(*args, "--to", "none", "--audit", "100",
                       *self.listen("--local-slots", "0", "--min-workers",
                                    "2"), status=1)
        self.assertIn("is not reproducible", r.errors)
        self.assertIn("top", r.errors)
        for w in workers:
            w.terminate()
            self.finish(w)

    def worker_at(self, name, root, store):
        """A worker in a mount namespace where store is root."""
        self.keygen(name)
        self.allow(name)
        with open(self.log_name(name), "ab") as log:
            return self.start(
                "--mount", "sh", "-c",
                'mount --bind "$0" "$1" && shift && exec "$@"', root, store,
                quarrytest.WORKER, "--connect", self.endpoint,
                "--server-key", self.path("keys", "coordinator.pub"),
                "--key", self.path("keys", name), program=["unshare"],
                stderr=log)


if __name__ == "__main__":
    quarrytest.main()
