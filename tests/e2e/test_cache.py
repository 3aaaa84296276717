"""Layers that were made before are not made again, whatever happens."""

import fcntl
import json
import os
import signal
import time

import quarrytest
from quarrytest import Base, file_sha256, make_store, read, write


class CacheBase(Base):
    cache = True

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=8, size=200000)

    def setUp(self):
        super().setUp()
        self.folder_of = self.path("home/.cache/quarry")

    def made(self, *args, store=None, to="oci:out/i", encoding="gzip", **kw):
        """Builds; (metadata, names of layers that were made)."""
        store = store or self.store
        meta = self.metadata(
            "--name", "x", "--closure", self.closure_file(store),
            "--store-root", store.root, "--to", to,
            *(["--encoding", encoding] if encoding else []), *args, **kw)
        made = [layer["paths"] for layer in meta["layers"]
                if layer["paths"] and not layer["cached"]]
        return meta, made

    def names(self, *below):
        path = os.path.join(self.folder_of, *below)
        if not os.path.isdir(path):
            return []
        # What a killed build has not named yet is none.
        return sorted(x for x in os.listdir(path) if x[0] != ".")

    def image(self, name="out/i"):
        """{file of a layout: digest}"""
        found = {}
        for at, _, files in os.walk(self.path(name)):
            for file in files:
                path = os.path.join(at, file)
                found[os.path.relpath(path, self.path(name))] = \
                    file_sha256(path)
        return found


class TestKnown(CacheBase):
    def test_nothing_is_made_or_read_again(self):
        meta, made = self.made()
        self.assertGreaterEqual(len(made), 8)
        image = self.image()
        # The store may be gone: nothing is read there.
        store = os.rename(self.store.root, self.store.root + ".away")
        try:
            again, made = self.made(to="oci:out/again")
        finally:
            os.rename(self.store.root + ".away", self.store.root)
        self.assertIsNone(store)
        self.assertEqual(made, [])
        self.assertEqual(self.image("out/again"), image)
        self.assertEqual(again["image_id"], meta["image_id"])
        self.assertEqual(self.names("pins"), [])

    def test_the_summary_says_so(self):
        args = ["build", "--name", "x", "--closure",
                self.closure_file(self.store), "--store-root",
                self.store.root, "--to", "oci:out/said", "--encoding", "gzip"]
        self.assertNotIn("known ", self.quarry(*args).errors)
        _, made = self.made("--no-cache")
        self.assertIn("quarry: known    %d of them from before\n" % len(made),
                      self.quarry(*args).errors)

    def test_same_bytes_as_without(self):
        self.made()
        self.made(to="oci:out/known")
        self.made("--no-cache", to="oci:out/fresh")
        self.assertEqual(self.image("out/known"), self.image("out/fresh"))
        self.made(to="oci-archive:out/known.tar")
        self.made("--no-cache", to="oci-archive:out/fresh.tar")
        self.assertEqual(file_sha256(self.path("out/known.tar")),
                         file_sha256(self.path("out/fresh.tar")))

    def test_other_settings_are_other_layers(self):
        _, first = self.made()
        for args, encoding in ((["--mtime", "@5"], "gzip"),
                               (["--uid", "7"], "gzip"),
                               (["--dialect", "gnu"], "gzip"),
                               ([], "gzip:6"), ([], "zstd:3")):
            with self.subTest(args=args, encoding=encoding):
                _, made = self.made(*args, encoding=encoding)
                self.assertEqual(len(made), len(first))

    def test_one_path_changed(self):
        self.made()
        other = make_store.small_store(self.path("other"), n=8, size=200000)
        infos = self.closure_file(other)
        with open(infos, encoding="utf-8") as f:
            closure = json.load(f)
        # The same path with other contents, as a build that was not
        # reproducible has it: only its layer is another one.
        path = closure[3]["path"]
        file = other.root + path
        while os.path.isdir(file):
            file = os.path.join(file, sorted(os.listdir(file))[0])
        os.chmod(file, 0o644)
        with open(file, "ab") as f:
            f.write(b"more")
        closure[3]["narHash"] = "sha256:" + "0" * 51 + "1"
        changed = self.path("changed.json")
        with open(changed, "w", encoding="utf-8") as f:
            json.dump(closure, f)
        meta = self.metadata("--name", "x", "--closure", changed,
                             "--store-root", other.root, "--to", "oci:out/c",
                             "--encoding", "gzip")
        made = [layer["paths"] for layer in meta["layers"]
                if layer["paths"] and not layer["cached"]]
        self.assertEqual(made, [[path]])

    def test_docker_archive(self):
        """A docker-archive is of plain tars: they have a cache if asked."""
        self.made(to="docker-archive:out/a.tar", encoding=None)
        self.assertEqual(self.names("layers"), [])
        args = ["--cache", self.path("kept")]
        for name in ("b", "c"):
            _, made = self.made(*args, to="docker-archive:out/%s.tar" % name,
                                encoding=None)
        self.assertEqual(made, [])
        for name in ("b", "c"):
            self.assertEqual(read(self.path("out/%s.tar" % name)),
                             read(self.path("out/a.tar")))
        # What is compressed is of no use to it, and changes nothing.
        self.made(*args, to="oci:out/i")
        _, made = self.made(*args, "--to", "oci:out/j",
                            to="docker-archive:out/d.tar")
        self.assertNotEqual(made, [])
        self.assertEqual(read(self.path("out/d.tar")),
                         read(self.path("out/a.tar")))

    def test_as_many_outputs_as_there_may_be(self):
        args = ["--name", "x", "--closure", self.closure_file(self.store),
                "--store-root", self.store.root]
        for i in range(7):
            args += ["--to", "docker-archive:out/m%d.tar" % i]
        self.build(*args, "--cache", self.path("kept"))
        args += ["--to", "docker-archive:out/m7.tar"]
        r = self.build(*args, "--cache", self.path("kept"), status=2)
        self.assertIn(b"--cache", r.stderr)
        self.build(*args)

    def test_verify_store_wants_verified_layers(self):
        self.made()
        _, made = self.made("--verify-store")
        self.assertGreaterEqual(len(made), 8)
        _, made = self.made("--verify-store")
        self.assertEqual(made, [])

    def test_no_hashes_no_cache(self):
        closure = self.path("plain.json")
        with open(self.closure_file(self.store), encoding="utf-8") as f:
            infos = json.load(f)
        for info in infos:
            del info["narHash"]
        with open(closure, "w", encoding="utf-8") as f:
            json.dump(infos, f)
        for _ in range(2):
            meta = self.metadata(
                "--name", "x", "--closure", closure, "--store-root",
                self.store.root, "--to", "oci:out/i", "--encoding", "gzip")
            self.assertFalse(any(l["cached"] for l in meta["layers"]))


class TestDamage(CacheBase):
    def blobs(self):
        return [os.path.join(self.folder_of, "blobs/sha256", name)
                for name in self.names("blobs/sha256")]

    def test_lost_and_short_blobs_are_made_again(self):
        self.made()
        image = self.image()
        largest = sorted(self.blobs(), key=os.path.getsize)
        os.unlink(largest[-1])
        with open(largest[-2], "r+b") as f:
            f.truncate(100)
        _, made = self.made()
        self.assertEqual(len(made), 2)
        self.assertEqual(self.image(), image)
        with open(largest[-2], "r+b") as f:
            f.truncate(100)
        os.unlink(largest[-1])
        r = self.quarry("cache", "verify", status=1)
        self.assertIn(b"2 are not", r.stdout)
        _, made = self.made()
        self.assertEqual(len(made), 2)
        self.assertEqual(self.image(), image)

    def test_damaged_records(self):
        self.made()
        image = self.image()
        for i, name in enumerate(self.names("layers")):
            path = os.path.join(self.folder_of, "layers", name)
            data = read(path)
            bad = (b"", b"\0" * len(data), data[:40], None, b"{}",
                   data.replace(b"sha256:", b"sha999:"),
                   data.replace(b'"size": ', b'"size": -'),
                   data.replace(b'"version": 1', b'"version": 2'))
            if bad[i % len(bad)] is None:
                os.remove(path)
                os.mkfifo(path)  # a read must not wait for a writer
                continue
            with open(path, "wb") as f:
                f.write(bad[i % len(bad)])
        _, made = self.made(to="oci:out/again")
        self.assertGreaterEqual(len(made), 8)
        self.assertEqual(self.image("out/again"), image)

    def test_deep(self):
        self.made()
        largest = sorted(self.blobs(), key=os.path.getsize)[-1]
        with open(largest, "r+b") as f:
            f.seek(50)
            f.write(b"?" * 8)
        self.quarry("cache", "verify")
        r = self.quarry("cache", "verify", "--deep", status=1)
        self.assertIn(os.path.basename(largest).encode(), r.stderr)
        self.assertFalse(os.path.exists(largest))
        self.quarry("cache", "verify", "--deep")
        _, made = self.made()
        self.assertEqual(len(made), 1)

    def test_deep_without_a_record(self):
        self.made()
        blob = self.blobs()[0]
        for name in self.names("layers"):
            path = os.path.join(self.folder_of, "layers", name)
            if os.path.basename(blob).encode() in read(path):
                os.unlink(path)
        self.quarry("cache", "verify", "--deep")
        with open(blob, "r+b") as f:
            f.seek(50)
            f.write(b"?" * 8)
        self.quarry("cache", "verify", "--deep", status=1)
        self.assertFalse(os.path.exists(blob))

    def test_folder_that_cannot_be_used(self):
        with open(self.path("file"), "w"):
            pass
        r = self.quarry("build", "--name", "x", "--closure",
                        self.closure_file(self.store), "--store-root",
                        self.store.root, "--to", "oci:out/i", "--encoding",
                        "gzip", "--cache", self.path("file"), status=2)
        self.assertIn(b"layer cache", r.stderr)
        self.assertEqual(os.listdir(self.path("out")), [])


    def test_default_folder_that_cannot_be_used(self):
        """Nobody asked for it: the image is made all the same."""
        self.made()
        image = self.image()
        for env in ({"HOME": "/proc/none"}, {"HOME": ""},
                    {"XDG_CACHE_HOME": self.closure_file(self.store)}):
            r = self.quarry(
                "build", "--progress", "none", "--name", "x", "--closure",
                self.closure_file(self.store), "--store-root",
                self.store.root, "--to", "oci:out/j", "--encoding", "gzip",
                env=dict(self.env, **env))
            self.assertRegex(r.errors, "^quarry: warning: layer cache: "
                             "[^\n]*: no layer is kept\n$")
            self.assertEqual(self.image("out/j"), image)


class TestKilled(CacheBase):
    def test_what_was_finished_is_kept(self):
        """SIGKILL at any moment: no layer is lost, none is believed early."""
        store = make_store.small_store(self.path("s"), n=24, size=1500000)
        closure = self.closure_file(store)
        args = ["build", "--progress", "none", "--name", "x", "--closure",
                closure, "--store-root", store.root, "--to", "oci:out/i",
                "--encoding", "gzip:9", "--slots", "1"]
        seen = 0
        for _ in range(4):
            p = self.start(*args)
            until = time.monotonic() + quarrytest.TIMEOUT
            while len(self.names("layers")) < seen + 3 and p.poll() is None:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.005)
            p.send_signal(signal.SIGKILL)
            p.communicate()
            now = len(self.names("layers"))
            self.assertGreaterEqual(now, seen)
            seen = now
        self.assertGreater(seen, 3)
        meta = self.metadata(*args[3:])
        cached = [l for l in meta["layers"] if l["cached"]]
        self.assertGreaterEqual(len(cached), seen)
        self.made("--no-cache", store=store, to="oci:out/j",
                  encoding="gzip:9")
        self.assertEqual(self.image("out/i"), self.image("out/j"))
        self.assertEqual(self.names("pins"), [])


class TestPrune(CacheBase):
    def test_size_and_age(self):
        self.made()
        n = len(self.names("layers"))
        r = self.quarry("cache", "list", "--json")
        listed = json.loads(r.stdout)
        self.assertEqual(len(listed["layers"]), n)
        self.assertTrue(all(l["good"] for l in listed["layers"]))
        used = [l["used"] for l in listed["layers"]]
        self.assertEqual(used, sorted(used, reverse=True))
        old = listed["layers"][0]["key"]
        temp = os.path.join(self.folder_of, "layers", ".half-written")
        with open(temp, "w"):
            pass
        os.utime(temp, (1000000000, 1000000000))
        path = os.path.join(self.folder_of, "layers", old)
        os.utime(path, (1000000000, 1000000000))
        self.quarry("cache", "prune", "--unused-days", "30")
        self.assertFalse(os.path.exists(path))
        self.assertFalse(os.path.exists(temp))
        self.assertEqual(len(self.names("layers")), n - 1)
        self.assertEqual(len(self.names("blobs/sha256")), n - 1)
        _, made = self.made()
        self.assertEqual(len(made), 1)
        size = sum(os.path.getsize(os.path.join(
            self.folder_of, "blobs/sha256", b))
            for b in self.names("blobs/sha256"))
        self.quarry("cache", "prune", "--cache-size", str(size // 2))
        self.assertTrue(0 < len(self.names("layers")) < n)
        self.quarry("cache", "prune", "--cache-size", "0")
        self.assertEqual(self.names("layers"), [])
        self.assertEqual(self.names("blobs/sha256"), [])

    def test_what_killed_workers_left(self):
        """As on a file system where each file has a name."""
        self.made()
        temps = [os.path.join(self.folder_of, "blobs/sha256", name)
                 for name in (".blob-1-0123456789abcdef", ".blob-2-0")]
        for path, age in zip(temps, (7200, -7200)):
            write(path, b"x" * 1000)
            os.utime(path, (time.time() - age,) * 2)
        with open(os.path.join(self.folder_of, "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # as a build that runs
            self.quarry("cache", "prune")
            self.assertTrue(os.path.exists(temps[0]))
        self.quarry("cache", "prune")
        self.assertEqual([os.path.exists(path) for path in temps],
                         [False, True])

    def test_a_build_trims(self):
        self.made("--cache-size", "1")
        self.assertEqual(self.names("layers"), [])

    def test_beside_a_build(self):
        """All is pruned, again and again, while builds need it."""
        self.made()
        image = self.image()
        closure = self.closure_file(self.store)
        for i in range(6):
            p = self.start(
                "build", "--progress", "none", "--name", "x", "--closure",
                closure, "--store-root", self.store.root, "--to",
                "oci:out/p%d" % i, "--encoding", "gzip")
            while p.poll() is None:
                self.quarry("cache", "prune", "--cache-size", "0")
            r = self.finish(p)
            self.assertEqual(r.status, 0, r.errors)
            self.assertEqual(self.image("out/p%d" % i), image)

    def test_bad_words(self):
        for args in (["cache"], ["cache", "shrink"],
                     ["cache", "prune", "--cache-size", "much"],
                     ["cache", "prune", "--unused-days", "0"],
                     ["cache", "list", "--encoding", "gzip"]):
            self.quarry(*args, status=2)


if __name__ == "__main__":
    quarrytest.main()
