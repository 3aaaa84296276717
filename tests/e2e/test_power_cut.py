"""What a power cut leaves: every order of writes is one to go on from.

A build runs under strace.  From its calls follows what a disk has for certain
at each moment: a file's bytes once it was synced after its last write, a name
once its folder was.  The worst disk that this allows is then made: names that
were not synced are gone or there, whichever is worse, and bytes that were not
synced are zeros.  The next build must not believe them.
"""

import os
import re
import shutil

import make_store
from quarrytest import QUARRY, Base, need, read, tree_bytes, write

WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate",
          "copy_file_range", "sendfile", "splice", "fallocate")
SYNCS = ("fsync", "fdatasync", "syncfs")
NAMES = ("link", "linkat", "rename", "renameat", "renameat2")
OPENS = ("open", "openat", "creat")
CALL = re.compile(r"(\w+)\((.*)\) += +(-?\d+)(.*)$")
ARGUMENT = re.compile(
    r'"((?:[^"\\]|\\.)*)"|(?:(\d+)|AT_FDCWD)<((?:[^<>\\]|\\.)*)>|(\w[^,]*)')


class File:
    """An inode: whether its bytes are safe."""

    def __init__(self):
        self.synced = False


class Disk:
    """Follows the calls of one run; tells on_name of each name given.

    cwd: the run's; final: {path: bytes} as they were in the end.
    """

    def __init__(self, cwd, final, on_name):
        self.cwd, self.final = cwd, final
        self.files = {}    # path: File
        self.unsafe = {}   # folder: names in it that no sync has reached
        self.numbers = {}  # (thread, descriptor): path, as last seen
        self.on_name = on_name

    def follow(self, log):
        pending = {}
        with open(log, errors="surrogateescape") as f:
            for line in f:
                thread, _, call = line.rstrip("\n").partition(" ")
                call = call.strip()
                if call.endswith("<unfinished ...>"):
                    pending[thread] = call[:-len("<unfinished ...>")]
                    continue
                m = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
                if m:
                    call = pending.pop(thread, "") + m.group(1)
                m = CALL.match(call)
                if m and int(m.group(3)) >= 0 and "INJECTED" not in m.group(4):
                    self.call(thread, m.group(1), m.group(2), m.group(4))

    def arguments(self, thread, text):
        """The strings and descriptors' paths, in their order."""
        found = []
        for m in ARGUMENT.finditer(text):
            if m.group(1) is not None:
                found.append(("name", m.group(1)))
            elif m.group(3) is not None:
                path = re.sub(r" ?\(deleted\)$", "", m.group(3))
                if m.group(2):
                    self.numbers[thread, m.group(2)] = path
                found.append(("at", path))
        return found

    def places(self, thread, text):
        """The paths that a call names: strings below their folders."""
        at, found = self.cwd, []
        for kind, value in self.arguments(thread, text):
            if kind == "at":
                at = value
                continue
            m = re.fullmatch(r"/proc/self/fd/(\d+)", value)
            found.append(self.numbers.get((thread, m.group(1)), value) if m
                         else os.path.normpath(os.path.join(at, value)))
            at = self.cwd
        return found

    def call(self, thread, name, text, result):
        if name in OPENS:
            if "O_CREAT" in text or "O_TMPFILE" in text or "O_TRUNC" in text:
                m = re.match(r"<((?:[^<>\\]|\\.)*)>", result)
                path = re.sub(r" ?\(deleted\)$", "", m.group(1)) if m else ""
                if "O_TMPFILE" in text or path not in self.files:
                    self.named(path)
                self.files[path] = File()
        elif name in WRITES:
            for kind, path in self.arguments(thread, text)[:1]:
                if kind == "at" and path in self.files:
                    self.files[path].synced = False
        elif name in SYNCS:
            for _, path in self.arguments(thread, text):
                if path in self.files:
                    self.files[path].synced = True
                self.unsafe.pop(path, None)
        elif name in NAMES:
            old, new = self.places(thread, text)
            self.move(old, new, name, "RENAME_EXCHANGE" in text)

    def move(self, old, new, how, exchange):
        below = {p: f for p, f in self.files.items()
                 if p == old or p.startswith(old + "/")}
        if exchange:
            self.forget(new)
        for path, file in below.items():
            self.files[new + path[len(old):]] = file
            if how.startswith("rename"):
                del self.files[path]
        for folder in [d for d in self.unsafe
                       if d == old or d.startswith(old + "/")]:
            self.unsafe[new + folder[len(old):]] = self.unsafe.pop(folder)
        self.named(new)
        self.on_name(self, new)

    def forget(self, path):
        for p in [p for p in self.files if p.startswith(path + "/")]:
            del self.files[p]

    def named(self, path):
        folder, name = os.path.split(path)
        self.unsafe.setdefault(folder, set()).add(name)

    def worst(self, path):
        """The bytes that are there for certain, or None for no file."""
        folder, name = os.path.split(path)
        if name in self.unsafe.get(folder, ()):
            return None
        return self.bytes_of(path)

    def bytes_of(self, path):
        data = self.final[path]
        file = self.files.get(path)
        return data if file is None or file.synced else bytes(len(data))


@need("strace")
class TestPowerCut(Base):
    cache = True
    # LeakSanitizer cannot work under ptrace.
    env_extra = {"LSAN_OPTIONS": "detect_leaks=0"}

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=6, size=50000)

    def setUp(self):
        super().setUp()
        self.env["ASAN_OPTIONS"] += ":detect_leaks=0"
        self.kept = self.path("home/.cache/quarry")

    def build(self, *to, traced=None, inject=()):
        args = [QUARRY, "build", "--progress", "none", "--name", "x",
                "--closure", self.closure_file(self.store), "--store-root",
                self.store.root, "--encoding", "gzip"]
        for name in to:
            args += ["--to", name]
        strace = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e",
                  "signal=none", "-e", "trace=" + ",".join(
                      WRITES + SYNCS + NAMES + OPENS), "-o",
                  traced or "/dev/null"]
        for fault in inject:
            strace += ["-e", "inject=" + fault]
        r = self.finish(self.start(*args, program=strace if traced else []))
        self.assertEqual(r.status, 0, r.errors)

    def states(self, log, below, at_names):
        """[(name just given, {path: its worst bytes})] of a traced run."""
        final = {os.path.join(below, name): data
                 for name, data in tree_bytes(below).items()}
        found = []

        def on_name(disk, path):
            if not path.startswith(at_names):
                return
            state = {p: disk.worst(p) for p in final if p in disk.files}
            if path in final:  # the name itself is there: that is worse
                state[path] = disk.bytes_of(path)
            found.append((path, {p: d for p, d in state.items()
                                 if d is not None}))

        Disk(self.top, final, on_name).follow(log)
        self.assertGreater(len(found), 0)
        return found

    def cache_states(self, inject=()):
        log = self.path("strace")
        self.build("oci:out/i", traced=log, inject=inject)
        records = os.path.join(self.kept, "layers") + "/"
        found = self.states(log, self.kept, records)
        # A record is of a layer; each was there with its blob.
        self.assertGreaterEqual(len(found), 6)
        return found

    def believed(self, state):
        """Builds with a cache of that state: whether the image is right."""
        want = tree_bytes(self.path("out/i"))
        shutil.rmtree(self.kept)
        for path, data in state.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write(path, data)
        shutil.rmtree(self.path("out/again"), ignore_errors=True)
        self.build("oci:out/again")
        return tree_bytes(self.path("out/again")) == want

    def test_cache(self):
        for path, state in self.cache_states():
            with self.subTest(after=os.path.basename(path)[:12]):
                self.assertTrue(self.believed(state))
                # The last record's blob is there, and whole.
                blobs = [p for p in state if "/blobs/" in p]
                self.assertGreater(len(blobs), 0)
                for blob in blobs:
                    self.assertNotEqual(state[blob].strip(b"\0"), b"", blob)

    def test_outputs(self):
        log = self.path("strace")
        self.build("oci:out/i", "oci-archive:out/i.tar",
                   "docker-archive:out/d.tar", traced=log)
        for name in ("i", "i.tar", "d.tar"):
            place = self.path("out", name)
            states = [s for path, s in self.states(log, self.out, place)
                      if path == place]
            self.assertEqual(len(states), 1, name)
            whole = {place: read(place)} if os.path.isfile(place) else \
                {os.path.join(place, p): data
                 for p, data in tree_bytes(place).items()}
            self.assertGreaterEqual(len(whole), 1 if name != "i" else 9)
            self.assertEqual({p: d for p, d in states[0].items()
                              if p == place or p.startswith(place + "/")},
                             whole)

    def test_without_syncs_it_would_be_seen(self):
        """The same look at a build whose syncs are none finds the loss."""
        states = self.cache_states(["fsync:retval=0", "fdatasync:retval=0"])
        blobs = [d for _, s in states for p, d in s.items() if "/blobs/" in p]
        self.assertEqual([d for d in blobs if d.strip(b"\0")], [])
        log = self.path("strace")
        self.build("docker-archive:out/d.tar", traced=log,
                   inject=["fsync:retval=0", "fdatasync:retval=0"])
        place = self.path("out/d.tar")
        state = dict(self.states(log, self.out, place))[place]
        self.assertEqual(state[place].strip(b"\0"), b"")


if __name__ == "__main__":
    import quarrytest
    quarrytest.main()
