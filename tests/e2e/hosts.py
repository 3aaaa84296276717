"""Several hosts on one machine: each has a network, a name and mounts of its
own, and all are at one switch.

A host is what a process that sleeps holds: it has no name outside, so nothing
has to be removed.  The holders die with the test, whatever ends that, and
with the last process in them the namespaces go, with their devices, addresses,
rules and mounts.  Addresses are in these namespaces only.

Needs root: HostsBase's tests are skipped without.
"""

import json
import os
import signal
import subprocess

import quarrytest
from quarrytest import Base, blocks, make_store, wait_for

NETWORK = "10.77.0."
PORT = 4711
ENDPOINT = "tcp://%s1:%d" % (NETWORK, PORT)
PROGRAMS = "ip", "nft", "nsenter", "setpriv", "tc", "unshare"
PATIENCE = quarrytest.TIMEOUT
LONG = bool(os.environ.get("QUARRY_LONG"))


def _run(*args, env=None):
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       stdin=subprocess.DEVNULL, env=env, timeout=60)
    if p.returncode != 0:
        raise RuntimeError("%s: %s" % (
            " ".join(args), p.stdout.decode(errors="replace")))
    return p.stdout.decode()


class Host:
    """Namespaces and the process that holds them."""

    def __init__(self, name, env):
        self.name, self.env = name, env
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts",
             "--mount", "sh", "-euc",
             "hostname %s; ip link set lo up; echo; exec sleep infinity"
             % name],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if self.holder.stdout.read(1) != b"\n":
            self.close()
            raise RuntimeError("no namespaces for " + name)
        # All that is started here ends with the test, too.  The root: the
        # test may be in a chroot, and a mount namespace leads out of it.
        self.enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", "--target",
                      str(self.holder.pid), "--net", "--uts", "--mount",
                      "--root"]

    def run(self, *args):
        return _run(*self.enter, *args, env=self.env)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    def nft(self, hook, *rules):
        """Rules for what comes ("input") or goes ("output")."""
        self.run("nft", "table inet fault { chain %s { type filter hook %s "
                 "priority 0; %s; }; }" % (hook, hook, "; ".join(rules)))

    def heal(self):
        self.run("nft", "delete table inet fault")

    def rate(self, rate):
        """Limits what this host sends."""
        self.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate",
                 rate, "burst", "16kb", "latency", "50ms")


class Net:
    """A switch, and hosts at its ports: 10.77.0.1, .2, ..."""

    def __init__(self, env):
        self.env, self.hosts = env, []
        self.switch = Host("switch", env)
        try:
            self.switch.run("ip", "link", "add", "br0", "type", "bridge")
            self.switch.run("ip", "link", "set", "br0", "up")
        except Exception:
            self.close()
            raise

    def add(self, name):
        host = Host(name, self.env)
        self.hosts.append(host)
        host.port = "p%d" % len(self.hosts)
        host.address = NETWORK + str(len(self.hosts))
        self.switch.run("ip", "link", "add", host.port, "type", "veth",
                        "peer", "name", "eth0", "netns",
                        str(host.holder.pid))
        self.switch.run("ip", "link", "set", host.port, "master", "br0", "up")
        host.run("ip", "addr", "add", host.address + "/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return host

    def link(self, host, state):
        """Pulls the host's cable ("down") or plugs it in ("up")."""
        self.switch.run("ip", "link", "set", host.port, state)

    def close(self):
        for host in [self.switch] + self.hosts:
            host.close()


@quarrytest.need_root()
@quarrytest.need(*PROGRAMS)
class HostsBase(Base):
    """A coordinator's host, workers' hosts, and a build over them.

    What every case ends with: the image is byte for byte the one that a build
    without other hosts makes, workers leave with status 0 when told to, and no
    process, scratch file or spooled layer stays.
    """

    n_hosts = 2
    layers, size = 4, 1 << 29
    encoding = "zstd"

    @classmethod
    def setUpClass(cls):
        cls.store = cls.make_store(os.path.join(cls.folder(), "s"))
        cls.want = None

    @classmethod
    def make_store(cls, folder):
        return make_store.slow_store(folder, n=cls.layers, size=cls.size)

    def setUp(self):
        super().setUp()
        self.logs, self.spools = {}, []
        self.net = Net(self.env)
        self.addCleanup(self.net.close)
        self.c = self.net.add("coord")
        self.hosts = [self.net.add("w%d" % (i + 1))
                      for i in range(self.n_hosts)]
        # Workers that see the output's folder would write into it.
        for h in self.hosts:
            h.run("mount", "-t", "tmpfs", "tmpfs", self.out)
        self.closure = self.closure_file(self.store)
        keys = [self.keygen(h.name) for h in [self.c] + self.hosts]
        quarrytest.write(self.path("allowed"), "".join(keys[1:]))

    def close_down(self):
        self.end_workers()
        self.net.close()

    def keygen(self, name):
        return self.quarry("keygen", self.path(name)).stdout.decode()

    def log(self, host):
        return quarrytest.read(self.logs[host.name]).decode(errors="replace")

    # --- Workers -----------------------------------------------------------

    def worker(self, host, *more, wrap=(), key=None, server="coord",
               spool=None, **kw):
        """wrap: a program and its arguments that start the worker."""
        name = self.path(host.name + ".log")
        self.logs[host.name] = name
        if spool is None:
            spool = self.path("spool-" + host.name)
            os.makedirs(spool, exist_ok=True)
            self.spools.append(spool)
        with open(name, "ab") as log:
            p = self.start(
                *wrap, quarrytest.WORKER, "--connect", ENDPOINT,
                "--server-key", self.path(server + ".pub"), "--key",
                self.path(key or host.name), "--slots", "1", "--spool", spool,
                *more, program=host.enter, stdout=log, stderr=log, **kw)
        p.host = host
        return p

    def start_workers(self, *more, **kw):
        return [self.worker(h, *more, **kw) for h in self.hosts]

    def worker_pid(self, p):
        """The worker itself, where another program started it."""
        def children(pid):
            try:
                with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
                    return [int(c) for c in f.read().split()]
            except OSError:
                return []
        def find():
            for pid in [p.pid] + children(p.pid):
                try:
                    exe = os.readlink("/proc/%d/exe" % pid)
                except OSError:
                    continue
                if os.path.basename(exe) == "quarry-worker":
                    return pid
        pid = wait_for(find)
        self.assertTrue(pid, "no worker under %d" % p.pid)
        return pid

    def wait_log(self, host, text, seconds=PATIENCE):
        self.assertTrue(
            wait_for(lambda: text in self.log(host), seconds, 0.05),
            "%s never said %r:\n%s" % (host.name, text, self.log(host)))

    def wait_given_up(self, p):
        """Until a worker counts as gone, or nobody waits for it any more."""
        self.assertTrue(wait_for(
            lambda: "is silent: its jobs go elsewhere" in self.log(self.c)
            or p.poll() is not None, PATIENCE, 0.05), self.log(self.c))

    def reads(self, p):
        """The file of the store that the worker has open, or None."""
        pid = self.worker_pid(p)
        try:
            for fd in os.listdir("/proc/%d/fd" % pid):
                name = os.readlink("/proc/%d/fd/%s" % (pid, fd))
                if "/nix/store/" in name and "-slow-" in name:
                    return name
        except OSError:
            pass
        return None

    def wait_reading(self, p):
        found = wait_for(lambda: self.reads(p), PATIENCE)
        self.assertTrue(found, "%s never read" % p.host.name)
        return found

    def kill(self, p):
        """What it leaves in its spool goes with the next worker there."""
        os.kill(self.worker_pid(p), signal.SIGKILL)
        p.wait()
        spool = self.path("spool-" + p.host.name)
        if spool in self.spools:
            self.spools.remove(spool)

    def terminate(self, p):
        """SIGTERM, once the worker is so far that it takes it."""
        pid = self.worker_pid(p)
        self.assertTrue(wait_for(lambda: p.poll() is not None
                                 or blocks(pid, signal.SIGTERM), PATIENCE))
        if p.poll() is None:
            os.kill(pid, signal.SIGTERM)

    def end_workers(self):
        """All that live are told to go, and do so in peace."""
        workers = [p for p in self.running if hasattr(p, "host")
                   and p.poll() is None]
        for p in workers:
            self.terminate(p)
        for p in workers:
            self.assertEqual(p.wait(timeout=PATIENCE), 0, self.log(p.host))
        for spool in self.spools:
            self.assertEqual(self.spooled(spool), [], "left in the spool")

    @staticmethod
    def spooled(spool):
        return [os.path.join(folder, x) for folder, _, files in os.walk(spool)
                for x in files]

    # --- The coordinator -----------------------------------------------------

    def closure_args(self):
        return ["build", "--name", "slow", "--closure", self.closure,
                "--store-root", self.store.root, "--encoding", self.encoding]

    def coordinate(self, *more, workers=None, out="oci", wrap=(), **kw):
        self.logs["coord"] = self.path("coord.log")
        with open(self.logs["coord"], "ab") as log:
            p = self.start(
                *wrap, quarrytest.QUARRY, *self.closure_args(),
                "--to", "oci:" + self.path("out", out), "--progress", "plain",
                "--metadata-file", self.path("m-%s.json" % out),
                "--listen", ENDPOINT, "--key", self.path("coord"),
                "--workers-keys", self.path("allowed"), "--local-slots", "0",
                "--min-workers", str(workers or self.n_hosts), *more,
                program=self.c.enter, stdout=log, stderr=log, **kw)
        return p

    def wanted(self):
        """{name: digest} of the image that this machine makes alone."""
        cls = type(self)
        if cls.want is None:
            self.quarry(*self.closure_args(), "--progress", "none", "--to",
                        "oci:" + self.path("local"))
            cls.want = tree(self.path("local"))
        return cls.want

    def ends(self, p, status, seconds=PATIENCE):
        try:
            got = p.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.fail("the build does not end:\n" + self.log(self.c)
                      + "".join(self.log(h) for h in self.hosts
                                if h.name in self.logs))
        self.assertEqual(got, status, self.log(self.c))

    def same(self, p, out="oci", seconds=PATIENCE):
        """The build ends well; gives {layer: worker's host}."""
        self.ends(p, 0, seconds)
        self.assertEqual(tree(self.path("out", out)), self.wanted())
        with open(self.path("m-%s.json" % out), encoding="utf-8") as f:
            layers = json.load(f)["layers"]
        return [l["worker"].split("/")[0] for l in layers]


def tree(folder):
    out = {}
    for where, _, files in os.walk(folder):
        for x in files:
            name = os.path.join(where, x)
            out[os.path.relpath(name, folder)] = quarrytest.file_sha256(name)
    return out
