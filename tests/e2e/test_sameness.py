"""Same inputs, same bytes: whatever runs them, and however often."""

import contextlib
import json
import os
import signal
import time

import quarrytest
from quarrytest import Base, make_store, need


def tree_bytes(folder):
    """{name: content} of all below folder."""
    found = {}
    for at, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(at, name)
            found[os.path.relpath(path, folder)] = quarrytest.file_sha256(path)
    return found


class TestSameness(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=10, size=70000)
        cls.traps = make_store.trap_store(cls.folder())

    def setUp(self):
        super().setUp()
        self.n = 0
        self.closure = self.closure_file(self.store)

    def image(self, *args, store=None, **kw):
        store = store or self.store
        closure = self.closure_file(store, name="closure")
        r = self.build("--name", "same", "--closure", closure,
                       "--store-root", store.root, "--max-layers", "6",
                       "--to", "docker-archive:-", *args, **kw)
        return r.stdout

    def all_kinds(self, encoding, *args, **kw):
        """All outputs of one run, as digests."""
        self.n += 1
        out = self.path("out", str(self.n))
        os.mkdir(out)
        self.build("--name", "same", "--closure", self.closure,
                   "--store-root", self.store.root, "--max-layers", "6",
                   "--to", "docker-archive:%s/d.tar" % out,
                   "--to", "oci:%s/oci" % out,
                   "--to", "oci-archive:%s/o.tar" % out,
                   "--encoding", encoding, *args, **kw)
        return tree_bytes(out)

    def test_slots_and_workers(self):
        first = self.image("--slots", "1")
        for args in (["--slots", "2"], ["--slots", "8"],
                     ["--slots", "4", "--workers", "4"],
                     ["--slots", "3", "--workers", "2"],
                     ["--slots", "1", "--workers", "3"], []):
            with self.subTest(args):
                self.same_bytes(self.image(*args), first, args)

    def test_traps_by_many(self):
        first = self.image("--slots", "1", store=self.traps)
        self.same_bytes(self.image("--slots", "8", "--workers", "3",
                                   store=self.traps), first)

    def test_every_kind_and_encoding(self):
        for encoding in ("none", "gzip", "gzip:9", "zstd", "zstd:1",
                         "zstd:19"):
            with self.subTest(encoding):
                first = self.all_kinds(encoding, "--slots", "1")
                self.assertEqual(first, self.all_kinds(
                    encoding, "--slots", "8", "--workers", "3"))

    def test_around_it(self):
        first = self.image()
        env = dict(self.env, TZ="Asia/Kathmandu", LC_ALL="tr_TR.UTF-8",
                   LANG="C", POSIXLY_CORRECT="1", COLUMNS="7",
                   SOURCE_DATE_EPOCH="12345", USER="someone")
        self.same_bytes(self.image(env=env), first, "locale, time zone")
        self.same_bytes(self.image(env=dict(self.env, LC_ALL="C")), first)
        for mask in (0o000, 0o077, 0o777):
            kw = {"preexec_fn": lambda mask=mask: os.umask(mask)}
            if mask == 0o777 and os.geteuid() != 0:
                continue
            self.same_bytes(self.image(**kw), first, "umask %o" % mask)
        self.same_bytes(self.image(cwd="/"), first, "cwd")
        self.same_bytes(self.image(
            preexec_fn=lambda: os.nice(5)), first, "nice")

    def test_modes_of_outputs(self):
        """Files and folders get the modes that umask leaves, at any umask."""
        for mask, file, folder in ((0o022, 0o644, 0o755),
                                   (0o077, 0o600, 0o700)):
            self.n += 1
            out = self.path("out", "mode-%d" % self.n)
            os.mkdir(out)
            self.build("--name", "same", "--closure", self.closure,
                       "--store-root", self.store.root,
                       "--to", "docker-archive:%s/d.tar" % out,
                       "--to", "oci:%s/oci" % out,
                       "--to", "oci-archive:%s/o.tar" % out,
                       preexec_fn=lambda mask=mask: os.umask(mask))
            for at, dirs, files in os.walk(out):
                for name in files:
                    path = os.path.join(at, name)
                    self.assertEqual(os.stat(path).st_mode & 0o777, file,
                                     path)
                for name in dirs:
                    path = os.path.join(at, name)
                    self.assertEqual(os.stat(path).st_mode & 0o777, folder,
                                     path)

    def test_closure_order(self):
        """The order of records and of references does not count."""
        first = self.image()
        infos = [dict(i, references=list(reversed(i["references"])))
                 for i in reversed(self.store.infos)]
        closure = self.closure_file(self.store, infos, name="reversed")
        r = self.build("--name", "same", "--closure", closure,
                       "--store-root", self.store.root, "--max-layers", "6",
                       "--to", "docker-archive:-")
        self.same_bytes(r.stdout, first)

    def test_times_in_the_store(self):
        """mtime, atime and inode order of store files do not count."""
        first = self.image()
        for at, dirs, files in os.walk(self.store.root):
            for name in dirs + files:
                os.utime(os.path.join(at, name), follow_symlinks=False)
        self.same_bytes(self.image(), first)

    @need("zstd")
    def test_encoded_blobs_decode_to_the_layers(self):
        """And their diffIDs are those of the plain layers."""
        plain = quarrytest.DockerArchive(self.image())
        for encoding in ("gzip:1", "gzip:12", "zstd:1", "zstd:3"):
            out = self.path("out", encoding.replace(":", "-"))
            self.build("--name", "same", "--closure", self.closure,
                       "--store-root", self.store.root, "--max-layers", "6",
                       "--to", "oci:" + out, "--encoding", encoding)
            oci = quarrytest.OciLayout(out)
            self.assertEqual(oci.layers, plain.layers)
            self.assertEqual(oci.config_bytes, plain.config_bytes)


class TestKilledWorker(Base):
    """A worker dies at any moment: the same image all the same."""

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.slow_store(
            cls.folder(), n=4, size=(300 if quarrytest.sanitized()
                                     else 600) << 20)

    def args(self, to, *more):
        return ["build", "--progress", "none", "--name", "slow", "--closure",
                self.closure_file(self.store), "--store-root",
                self.store.root, "--to", to, *more]

    @staticmethod
    def kill(pid, number=signal.SIGKILL):
        """On a fast machine it may be done."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def digests(self):
        data = json.loads(quarrytest.read(self.path("m.json")))
        return data["image_id"], [l["diff_id"] for l in data["layers"]]

    def test_kill_half_way(self):
        meta = ["--metadata-file", self.path("m.json")]
        self.quarry(*self.args("none", *meta))
        want = self.digests()
        for delay, more in ((0.0, []), (0.15, []), (0.4, []),
                            (0.25, ["--workers", "2", "--slots", "2"])):
            with self.subTest(delay=delay, more=more):
                os.unlink(self.path("m.json"))
                p = self.start(*self.args("none", *meta, *more))
                pids = self.wait_workers()
                time.sleep(delay)
                self.kill(pids[0])
                r = self.finish(p)
                self.assertEqual(r.status, 0, r.errors)
                self.assertEqual(self.digests(), want)
                self.check_nothing_left()

    def test_kill_while_writing(self):
        """Into a docker-archive and a layout of blobs, byte for byte."""
        store = make_store.small_store(self.path("s"), n=6, size=4 << 20)
        closure = self.closure_file(store, name="w")
        want = None
        for delay in (None, 0.0, 0.05, 0.15):
            out = self.path("out", "%s" % delay)
            os.mkdir(out)
            p = self.start(
                "build", "--progress", "none", "--name", "w", "--closure",
                closure, "--store-root", store.root, "--encoding", "gzip:9",
                "--to", "docker-archive:%s/d.tar" % out,
                "--to", "oci:%s/oci" % out)
            if delay is not None:
                pids = self.wait_workers()
                time.sleep(delay)
                self.kill(pids[0])
            r = self.finish(p)
            self.assertEqual(r.status, 0, r.errors)
            got = tree_bytes(out)
            want = want or got
            self.assertEqual(got, want)
            self.check_nothing_left()

    def test_stopped_worker(self):
        """A worker that is stopped for a while does not harm anything."""
        meta = ["--metadata-file", self.path("m.json")]
        self.quarry(*self.args("none", *meta))
        want = self.digests()
        p = self.start(*self.args("none", *meta))
        pid = self.wait_workers()[0]
        self.kill(pid, signal.SIGSTOP)
        time.sleep(1)
        self.kill(pid, signal.SIGCONT)
        r = self.finish(p)
        self.assertEqual(r.status, 0, r.errors)
        self.assertEqual(self.digests(), want)


if __name__ == "__main__":
    quarrytest.main()
