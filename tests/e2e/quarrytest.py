"""What the end-to-end tests share: running quarry, and seeing what it left.

Each test gets a folder of its own (self.top) with TMPDIR and XDG_RUNTIME_DIR
in it, and all processes it starts carry a mark in their environment.  When a
test ends, nothing may live on, nothing temporary may lie about, no sanitizer may
have written a report, and no log may have a password in it.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.environ.get("QUARRY_TESTS", os.path.dirname(HERE))
BIN = os.environ.get(
    "QUARRY_BIN", os.path.join(os.path.dirname(TESTS), "build", "bin"))
QUARRY = os.path.join(BIN, "quarry")
WORKER = os.path.join(BIN, "quarry-worker")
PYTHON = sys.executable
# Nobody is held to a time: this is for what would never end.
TIMEOUT = 600

sys.path.insert(0, os.path.join(TESTS, "oracle"))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import make_store  # noqa: E402
import reference  # noqa: E402
import second_plan  # noqa: E402

_SANITIZED = None

# Passwords and tokens of all tests, as they are and (me:..., alice:...) in
# base 64: no program of ours may ever say one.
CANARIES = (b"canary-pass", b"canary-token", b"canary-identity",
            b"correct-horse-battery", b"bWU6Y2FuYXJ5LXBhc3",
            b"YWxpY2U6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5")


def sanitized():
    """Whether the programs are built with ASan (and so slower)."""
    global _SANITIZED
    if _SANITIZED is None:
        with open(QUARRY, "rb") as f:
            _SANITIZED = b"__asan_init" in f.read()
    return _SANITIZED


def have(*programs):
    return all(shutil.which(p) for p in programs)


def need(*programs):
    return unittest.skipUnless(
        have(*programs), "needs " + ", ".join(programs))


def need_root():
    return unittest.skipUnless(os.geteuid() == 0, "needs root")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def file_sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while data := f.read(1 << 20):
            h.update(data)
    return h.hexdigest()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def tree_bytes(folder):
    """{name: content} of all files below the folder."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)
            found[os.path.relpath(path, folder)] = read(path)
    return found


def write(path, data, mode=None):
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    if mode is not None:
        os.chmod(path, mode)
    return path


def wait_for(what, seconds=TIMEOUT, step=0.01):
    """What what() gives once that is true, or None when time is up."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            return None
        time.sleep(step)


def blocks(pid, number):
    """Whether the process has the signal blocked: it reads them itself."""
    try:
        with open("/proc/%d/status" % pid) as f:
            mask, = [l.split()[1] for l in f if l.startswith("SigBlk:")]
    except OSError:
        return False
    return int(mask, 16) >> (number - 1) & 1


def events(text):
    """What --progress json says: each line of it is an event."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(e["event"], str) for e in found), text
    return found


class Result:
    def __init__(self, status, stdout, stderr, seconds):
        self.status, self.stdout, self.stderr = status, stdout, stderr
        self.seconds = seconds

    @property
    def errors(self):
        return self.stderr.decode(errors="replace")


class Base(unittest.TestCase):
    """A folder, an environment, quarry, and a look at what is left."""

    maxDiff = 4000
    env_extra = {}
    # A build that finds its layers in a cache shows nothing of how they are
    # made: only tests of the cache have one.
    cache = False

    @classmethod
    def folder(cls):
        """A folder for the class, for stores that its tests only read."""
        path = tempfile.mkdtemp(prefix="qt-", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="qt-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.out = self.path("out")
        for name in ("t", "run", "out", "home", "asan"):
            os.mkdir(self.path(name))
        os.chmod(self.path("run"), 0o700)
        self.tag = "QUARRY_TEST=%s" % os.path.basename(self.top)
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("NIX_", "QUARRY_"))}
        env.update({
            "TMPDIR": self.path("t"), "XDG_RUNTIME_DIR": self.path("run"),
            "HOME": self.path("home"), "QUARRY_TEST": self.tag[12:],
            "LC_ALL": "C.UTF-8", "TZ": "UTC",
            "NIX_CONFIG": "build-users-group =\nsandbox = false\n"
                          "experimental-features = nix-command\n",
        })
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            env[name] = ":".join(filter(None, [
                os.environ.get(name), "exitcode=99", "print_stacktrace=1",
                "log_path=" + self.path("asan/report")]))
        env.update(self.env_extra)
        self.env = env
        self.running = []
        self.addCleanup(self.end_all)

    def run(self, result=None):
        self.result, self.seen = result, self.n_faults(result)
        return super().run(result)

    @staticmethod
    def n_faults(result):
        return len(result.errors) + len(result.failures)

    def tearDown(self):
        """What a test that has failed leaves is ended, see setUp, and is no
        second failure."""
        if self.n_faults(self.result) == self.seen:
            self.close_down()
            self.check_nothing_left()

    def close_down(self):
        """Ends in good order what each test of a class has started."""

    def path(self, *names):
        return os.path.join(self.top, *names)

    # --- Running ---------------------------------------------------------

    def start(self, *args, **kw):
        kw.setdefault("env", self.env)
        kw.setdefault("cwd", self.top)
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        program = kw.pop("program", [QUARRY])
        line = program + [os.fsencode(a) for a in args]
        for i in range(1, len(line) if not self.cache else 0):
            if line[i] == b"build" and os.fsencode(line[i - 1]) == \
                    os.fsencode(QUARRY):
                line.insert(i + 1, "--no-cache")
                break
        p = subprocess.Popen(line, **kw)
        self.running.append(p)
        return p

    def finish(self, p, input=None, timeout=TIMEOUT):
        begin = time.monotonic()
        try:
            out, err = p.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            self.fail("still running after %d s: %s\n%s"
                      % (timeout, p.args, (err or b"").decode("utf-8", "replace")))
        self.check_no_secrets(b"%s\n%s" % (out or b"", err or b""), p.args)
        return Result(p.returncode, out, err, time.monotonic() - begin)

    def check_no_secrets(self, text, where):
        self.assertEqual([c for c in CANARIES if c in text], [],
                         "secrets are said: %s" % where)

    def quarry(self, *args, status=0, input=None, timeout=TIMEOUT, **kw):
        if input is not None:
            kw["stdin"] = subprocess.PIPE
        r = self.finish(self.start(*args, **kw), input, timeout)
        if status is not None:
            self.assertEqual(r.status, status, "quarry %s\n%s" % (
                " ".join(map(str, args)), (r.stderr or b"").decode(
                    errors="replace")))
        return r

    def build(self, *args, **kw):
        return self.quarry("build", "--progress", "none", *args, **kw)

    def metadata(self, *args, **kw):
        """Builds and gives the metadata file's content."""
        name = self.path("metadata.json")
        self.build(*args, "--metadata-file", name, **kw)
        with open(name, encoding="utf-8") as f:
            return json.load(f)

    def command(self, *args, **kw):
        """Runs another program; its output must be good."""
        kw.setdefault("env", self.env)
        p = subprocess.run(args, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=TIMEOUT, **kw)
        self.assertEqual(p.returncode, 0, "%s\n%s" % (
            args, p.stderr.decode(errors="replace")))
        return p.stdout

    # --- Processes -------------------------------------------------------

    def processes(self):
        """{pid: command name} of all that this test started, zombies not."""
        found = {}
        mark = self.tag.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if mark not in f.read().split(b"\0"):
                        continue
                with open("/proc/%s/stat" % pid) as f:
                    name, state = f.read().rsplit(")", 1)
                if state.split()[0] not in "ZX":
                    found[int(pid)] = name.split("(", 1)[1]
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass
        return found

    def workers(self):
        return [pid for pid, name in self.processes().items()
                if name.startswith("quarry-worker")]

    def wait_workers(self, n=1, seconds=TIMEOUT):
        """Pids of workers once n of them run."""
        found = wait_for(lambda: len(self.workers()) >= n and self.workers(),
                         seconds)
        self.assertTrue(found, "no %d workers came up" % n)
        return found

    def end_all(self):
        for p in self.running:
            if p.poll() is None:
                p.kill()
            for f in (p.stdin, p.stdout, p.stderr):
                if f:
                    f.close()
            p.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # --- What is left ----------------------------------------------------

    def leftovers(self):
        found = []
        for name in ("t", "run"):
            for folder, dirs, files in os.walk(self.path(name)):
                found += [os.path.join(folder, x) for x in dirs + files]
        for folder, dirs, files in os.walk(self.top):
            found += [os.path.join(folder, x) for x in dirs + files
                      if x.startswith(".quarry")]
        return found

    def check_nothing_left(self, seconds=8):
        """No process, no temporary file, no sanitizer's report.

        Sooner than a worker gives up by itself who hears of nobody."""
        wait_for(lambda: not self.processes(), seconds)
        alive = {pid: name for pid, name in self.processes().items()}
        self.assertEqual(alive, {}, "processes live on")
        wait_for(lambda: not self.leftovers(), seconds)
        self.assertEqual(self.leftovers(), [], "left behind")
        for name in os.listdir(self.top):
            if name.startswith("log-") or name.endswith(".log"):
                self.check_no_secrets(read(self.path(name)), name)
        reports = os.listdir(self.path("asan"))
        for name in reports:
            report = read(self.path("asan", name))
            os.unlink(self.path("asan", name))
            # A thread that is only just there, or nearly gone, when the
            # process ends: no error was found.
            if re.fullmatch(rb"==\d+==WARNING: ASan is ignoring requested "
                            rb"__asan_handle_no_return:.*\n.*\n.*issues/189"
                            rb"\s*", report):
                continue
            self.fail("sanitizer: " + report.decode(errors="replace")[:6000])

    # --- Stores and requests ---------------------------------------------

    def closure_file(self, store, infos=None, shape="array", name="c"):
        return write(self.path(name), make_store.SHAPES[shape](
            store.infos if infos is None else infos))

    def reference_request(self, store, layers, **over):
        """The reference's request file; makes the customisation layer."""
        return write(self.path("reference.json"), json.dumps(
            reference_request(store, layers, **over)))

    def oracle(self, store, request_file):
        with open(request_file, encoding="utf-8") as f:
            return reference.Image(json.load(f), store.root)

    def same_bytes(self, ours, theirs, message=""):
        """Compares long bytes without printing them."""
        if ours == theirs:
            return
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs))
                   if a != b), min(len(ours), len(theirs)))
        start = at // 512 * 512
        self.fail("%s: %d and %d bytes, differ at %d:\nours   %r\ntheirs %r"
                  % (message, len(ours), len(theirs), at,
                     ours[start:start + 512], theirs[start:start + 512]))


def oracle_tar(image):
    out = io.BytesIO()
    image.write(out)
    return out.getvalue()


def customisation_layer(store, link="hello"):
    """A store path with layer.tar and checksum, as nixpkgs makes one."""
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode in ((".", 0o755), ("./tmp", 0o1777)):
            ti = tarfile.TarInfo(name)
            ti.type, ti.mode, ti.mtime = tarfile.DIRTYPE, mode, 1
            tar.addfile(ti)
        ti = tarfile.TarInfo("./" + link)
        ti.type, ti.linkname, ti.mtime = tarfile.SYMTYPE, "/nix/store/x", 1
        tar.addfile(ti)
    return store.add("customisation-layer", {
        "layer.tar": buf.getvalue(),
        "checksum": sha256(buf.getvalue()) + "\n"})


REFERENCE_DEFAULTS = {
    "architecture": "amd64", "config": {"Cmd": ["/bin/sh"]}, "os": "linux",
    "created": "1970-01-01T00:00:01+00:00",
    "mtime": "1970-01-01T00:00:01+00:00",
    "uid": 0, "gid": 0, "uname": "root", "gname": "root",
    "store_dir": "/nix/store", "from_image": None,
    "repo_tag": "image:tag",
}


def reference_request(store, layers, **over):
    request = dict(REFERENCE_DEFAULTS, store_dir=store.dir,
                   store_layers=layers)
    if "customisation_layer" not in over:
        request["customisation_layer"] = customisation_layer(store)
    request.update(over)
    return request


# --- Reading images --------------------------------------------------------

class DockerArchive:
    """A docker-archive, wholly read and checked against itself."""

    def __init__(self, data):
        if isinstance(data, str):
            data = read(data)
        self.data = data
        self.names, self.blobs, self.infos = [], {}, {}
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for ti in tar:
                self.names.append(ti.name)
                self.infos[ti.name] = ti
                if ti.isreg():
                    self.blobs[ti.name] = tar.extractfile(ti).read()
        self.manifest, = json.loads(self.blobs["manifest.json"])
        self.config_bytes = self.blobs[self.manifest["Config"]]
        self.config = json.loads(self.config_bytes)
        self.id = sha256(self.config_bytes)
        self.layers = [self.blobs[n] for n in self.manifest["Layers"]]

    def diff_ids(self):
        return [d.split(":")[1] for d in self.config["rootfs"]["diff_ids"]]


def decode(media_type, data):
    if media_type.endswith("+gzip"):
        return gzip.decompress(data)
    if media_type.endswith("+zstd"):
        return subprocess.run(["zstd", "-dcq"], input=data, check=True,
                              stdout=subprocess.PIPE).stdout
    return data


class OciLayout:
    """An OCI layout folder; every descriptor is held against its blob."""

    def __init__(self, folder):
        self.folder = folder
        self.layout = json.loads(read(folder + "/oci-layout"))
        self.index = json.loads(read(folder + "/index.json"))
        self.descriptor, = self.index["manifests"]
        self.seen = {"oci-layout", "index.json"}
        self.manifest_bytes = self.blob(self.descriptor)
        self.manifest = json.loads(self.manifest_bytes)
        self.config_bytes = self.blob(self.manifest["config"])
        self.config = json.loads(self.config_bytes)
        self.id = sha256(self.config_bytes)
        self.layers = [decode(d["mediaType"], self.blob(d))
                       for d in self.manifest["layers"]]
        if self.diff_ids() != [sha256(l) for l in self.layers]:
            raise AssertionError("diff_ids are not those of the layers")

    def blob(self, descriptor):
        digits = descriptor["digest"].split(":")[1]
        name = "blobs/sha256/" + digits
        data = read(os.path.join(self.folder, name))
        self.seen.add(name)
        if sha256(data) != digits or len(data) != descriptor["size"]:
            raise AssertionError("%s is not what its name says" % digits)
        return data

    def diff_ids(self):
        return [d.split(":")[1] for d in self.config["rootfs"]["diff_ids"]]

    def unnamed(self):
        """Files in the layout that nothing names."""
        found = set()
        for folder, _, files in os.walk(self.folder):
            found |= {os.path.relpath(os.path.join(folder, f), self.folder)
                      for f in files}
        return found - self.seen


def untar(path, folder):
    os.mkdir(folder)
    with tarfile.open(path) as tar:
        tar.extractall(folder)
    return folder


def main():
    """Runs the file's tests; a skip is said aloud and shows in the status."""
    for program in (QUARRY, WORKER):
        if not os.access(program, os.X_OK):
            sys.exit("%s is not there: build it, or set QUARRY_BIN" % program)
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    for test, reason in result.skipped:
        print("SKIPPED: %s: %s" % (test, reason), file=sys.stderr)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.skipped else 0)
