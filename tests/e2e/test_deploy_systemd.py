"""deploy/systemd: the unit is one, and is of the program that is here."""

import os
import re
import shlex
import signal
import socket

import quarrytest
import workers
from ports import free_ports
from quarrytest import make_store, need, need_root, read, write

NAME = "deploy/systemd/quarry-worker@.service.in"
SERVE = "deploy/systemd/quarry-serve.service.in"
EXAMPLE = "deploy/systemd/worker.env.example"
# systemd 252 does not know them, later ones do.
LATER = ("RestartSteps", "RestartMaxDelaySec")


def settings(name=NAME):
    """[(key, value)] of the unit, lines joined."""
    unit = workers.text(*name.split("/")).replace("\\\n", " ")
    return re.findall(r"^(\w+)=(.*)$", unit, re.M)


def setting(key, name=NAME):
    value, = [v for k, v in settings(name) if k == key]
    return value


def example(name=EXAMPLE):
    """The example with its commented settings taken."""
    lines = workers.text(*name.split("/"))
    return dict(re.findall(r"^#?(QUARRY_\w+)=(.*)$", lines, re.M))


def drain():
    default, = [v for k, v in settings() if k == "Environment"]
    return int(default.split("QUARRY_DRAIN=")[1])


class Systemd(workers.Remote):
    def command_line(self, env, credentials, spool, unit=NAME):
        """ExecStart as systemd splits it."""
        words = []
        for word in setting("ExecStart", unit).split():
            if re.fullmatch(r"\$\w+", word):
                words += shlex.split(env.get(word[1:], ""))
                continue
            word = re.sub(r"\$\{(\w+)\}", lambda m: env[m.group(1)], word)
            words.append(word.replace("%d", credentials).replace(
                "%C/quarry-worker/%i", spool).replace(
                    "%S/quarry-serve", spool))
        return words

    def installed(self):
        """The instance "a" of the unit, with the program that is here."""
        unit = workers.text(*NAME.split("/")).replace(
            "@CMAKE_INSTALL_FULL_BINDIR@", quarrytest.BIN)
        return write(self.path("quarry-worker@a.service"), unit)


class TestUnit(Systemd):
    def test_options_and_times(self):
        known = workers.worker_options()
        words = setting("ExecStart").split()
        used = workers.options_of(words)
        self.assertIn("connect", used)
        used += workers.options_of(example()["QUARRY_OPTIONS"].split())
        self.assertEqual(set(used) - known, set())
        self.assertEqual(int(example()["QUARRY_DRAIN"]), drain())
        self.assertGreaterEqual(int(setting("TimeoutStopSec")), drain() + 20)
        variables = set(re.findall(r"\$\{?(\w+)", setting("ExecStart")))
        self.assertEqual(variables, set(example()))

    def test_credentials_are_those_of_the_command(self):
        loaded = {v.split(":")[0] for k, v in settings()
                  if k == "LoadCredential"}
        self.assertEqual(
            set(re.findall(r"%d/(\S+)", setting("ExecStart"))), loaded)

    @need("systemd-analyze")
    def test_systemd_takes_it(self):
        p = self.start("verify", "--man=no", self.installed(),
                       program=["systemd-analyze"])
        r = self.finish(p, timeout=60)
        errors = [line for line in r.errors.splitlines()
                  if self.top in line or "quarry" in line]
        errors = [line for line in errors
                  if not re.search("Unknown key.*(%s)" % "|".join(LATER),
                                   line)]
        self.assertEqual((r.status, errors), (0, []), r.errors)

    @need("systemd-analyze")
    def test_verify_would_find_a_fault(self):
        unit = self.installed()
        write(unit, read(unit).replace(b"Restart=always", b"Restart=ever"))
        p = self.start("verify", "--man=no", unit,
                       program=["systemd-analyze"])
        self.assertIn("Restart", self.finish(p, timeout=60).errors)

    @need("systemd-analyze")
    def test_exposure(self):
        """At most 1.6 of 10."""
        p = self.start("security", "--offline=true", "--threshold=16",
                       "--no-pager", self.installed(),
                       program=["systemd-analyze"])
        r = self.finish(p, timeout=60)
        self.assertEqual(r.status, 0, r.stdout.decode())

    def test_cmake_installs_it(self):
        build = os.path.dirname(quarrytest.BIN)
        self.command("cmake", "--install", build, "--prefix",
                     self.path("prefix"))
        unit = self.path(
            "prefix/lib/systemd/system/quarry-worker@.service")
        start = re.search(rb"^ExecStart=(\S+)", read(unit), re.M).group(1)
        self.assertRegex(start, rb"^/.*/bin/quarry-worker$")
        self.assertTrue(os.path.exists(self.path(
            "prefix/share/doc/quarry/worker.env.example")))


class TestAsSystemdStartsIt(Systemd):
    """The unit's command line, its user and what its filter lets through."""

    def setUp(self):
        super().setUp()
        store = make_store.small_store(self.path("store"))
        self.common = ["--name", "x", "--closure", self.closure_file(store),
                       "--store-root", store.root, "--to", "none"]
        os.chmod(self.top, 0o755)
        self.keys()
        env = dict(example(), QUARRY_CONNECT=self.endpoint,
                   QUARRY_OPTIONS="--slots 2", QUARRY_DRAIN="5")
        os.mkdir(self.path("credentials"))
        for name, of in (("key", "worker"),
                         ("coordinator.pub", "coordinator.pub")):
            file = write(self.path("credentials", name),
                         read(self.path(of)), 0o440)
            if os.geteuid() == 0:
                os.chown(file, 0, 65534)
        os.mkdir(self.path("spool"), 0o700)
        self.words = self.command_line(
            env, self.path("credentials"), self.path("spool"))
        self.words[0] = quarrytest.WORKER

    def run_build(self, program, **kw):
        local = self.metadata(*self.common)
        worker = self.start(*self.words[1:], program=program, **kw)
        data = self.remote_build(*self.common)
        self.assertEqual(data["image_id"], local["image_id"])
        for pid in self.workers():
            os.kill(pid, signal.SIGTERM)
        r = self.finish(worker)
        self.assertEqual(r.status, 0, r.errors)
        self.assertNotEqual(os.listdir(self.path("spool")), [])
        self.assertEqual([f for _, _, f in os.walk(self.path("spool"))
                          if f], [])

    @need("setpriv")
    @need_root()
    def test_as_a_user_of_its_own(self):
        """With key files of root's that it is let read."""
        os.chown(self.path("spool"), 65534, 65534)
        for name in ("asan", "t"):
            os.chmod(self.path(name), 0o777)
        # The program itself may lie where only root gets.
        copy = self.path("quarry-worker")
        self.command("cp", quarrytest.WORKER, copy)
        self.run_build(["setpriv", "--reuid=65534", "--regid=65534",
                        "--clear-groups", "--no-new-privs", copy])

    @need("strace", "systemd-analyze")
    @need_root()
    def test_system_calls_are_in_the_filter(self):
        if quarrytest.sanitized():
            return  # has calls of its own, and its leak check no ptrace
        allowed = self.allowed()
        self.assertIn("read", allowed)
        self.assertNotIn("mount", allowed)
        os.chmod(self.path("credentials/key"), 0o400)
        trace = self.path("trace")
        self.run_build(["strace", "-f", "-qq", "-e", "signal=none", "-o",
                        trace, quarrytest.WORKER])
        used = set(re.findall(rb"^\d+ +(\w+)\(", read(trace), re.M))
        self.assertIn(b"connect", used)
        self.assertEqual({u.decode() for u in used} - allowed, set())

    def allowed(self):
        return allowed(self)


class TestServe(Systemd):
    """The unit of the coordinator that stays up."""

    def installed(self):
        unit = workers.text(*SERVE.split("/")).replace(
            "@CMAKE_INSTALL_FULL_BINDIR@", quarrytest.BIN)
        return write(self.path("quarry-serve.service"), unit)

    def test_options(self):
        known = workers.known_options(quarrytest.QUARRY, "help", "serve")
        words = setting("ExecStart", SERVE).split()
        env = example("deploy/systemd/serve.env.example")
        used = workers.options_of(words)
        self.assertIn("clients", used)
        used += workers.options_of(env["QUARRY_OPTIONS"].split())
        self.assertEqual(set(used) - known, set())
        self.assertEqual(set(re.findall(
            r"\$\{?(\w+)", setting("ExecStart", SERVE))), set(env))
        self.assertEqual(
            set(re.findall(r"%d/(\S+)", setting("ExecStart", SERVE))),
            {v.split(":")[0] for k, v in settings(SERVE)
             if k == "LoadCredential"})

    @need("systemd-analyze")
    def test_systemd_takes_it(self):
        p = self.start("verify", "--man=no", self.installed(),
                       program=["systemd-analyze"])
        r = self.finish(p, timeout=60)
        errors = [line for line in r.errors.splitlines()
                  if self.top in line or "quarry" in line]
        self.assertEqual((r.status, errors), (0, []), r.errors)
        p = self.start("security", "--offline=true", "--threshold=16",
                       "--no-pager", self.installed(),
                       program=["systemd-analyze"])
        r = self.finish(p, timeout=60)
        self.assertEqual(r.status, 0, r.stdout.decode())

    @need("strace", "systemd-analyze")
    @need_root()
    def test_its_command_line(self):
        """Clients build by it; what it calls is in its filter."""
        store = make_store.small_store(self.path("store"))
        for name in "key", "client", "worker":
            self.quarry("keygen", self.path(name))
        clients, listen = [
            "tcp://127.0.0.1:%d" % free_ports(2) for _ in range(2)]
        words = self.command_line(
            {"QUARRY_CLIENTS": clients, "QUARRY_LISTEN": listen,
             "QUARRY_OPTIONS": "--slots 2 --store-root " + store.root},
            self.top, self.path("cache"), SERVE)
        for name in "clients", "workers":
            words[words.index("/etc/quarry/%s.keys" % name)] = self.path(
                name[:-1] + ".pub")
        words[0] = quarrytest.QUARRY
        trace = [] if quarrytest.sanitized() else [
            "strace", "-f", "-qq", "-e", "signal=none", "-o",
            self.path("trace")]
        p = self.start(*words[1:], program=[*trace, words[0]])
        self.build("--name", "x", "--closure", self.closure_file(store),
                   "--store-root", self.path("t"), "--coordinator", clients,
                   "--server-key", self.path("key.pub"), "--key",
                   self.path("client"), "--to", "oci:" + self.path("out/x"),
                   "--encoding", "zstd")
        for pid, name in self.processes().items():
            if name == "quarry":
                os.kill(pid, signal.SIGTERM)
        r = self.finish(p)
        self.assertEqual(r.status, 0, r.errors)
        if trace:
            used = set(re.findall(
                rb"^\d+ +(\w+)\(", read(self.path("trace")), re.M))
            self.assertIn(b"connect", used)
            self.assertEqual({u.decode() for u in used} - allowed(
                self, SERVE), set())


class TestNotify(Systemd):
    """What systemd hears of Type=notify, by a socket of the test's own."""

    def listen_for(self, name):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(s.close)
        s.bind("\0" + name[1:] if name[0] == "@" else name)
        s.settimeout(120)
        self.socket, self.heard = s, []
        return dict(self.env, NOTIFY_SOCKET=name)

    def hear(self, line):
        """What came, and with it this line."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            self.heard.append(lines)
            if line in lines:
                return lines

    def serve(self, env, *more):
        port = free_ports(2)
        self.clients = "tcp://127.0.0.1:%d" % port
        return self.start("serve", "--clients", self.clients, "--cache",
                          self.path("cache"), *more, env=env)

    def test_units(self):
        for unit in NAME, SERVE:
            self.assertEqual(setting("Type", unit), "notify")
            self.assertEqual(setting("NotifyAccess", unit), "main")

    def test_server(self):
        for name in "key", "client":
            self.quarry("keygen", self.path(name))
        p = self.serve(self.listen_for(self.path("notify")), "--key",
                       self.path("key"), "--clients-keys",
                       self.path("client.pub"))
        lines = self.hear("READY=1")
        self.assertIn("STATUS=Clients may come to " + self.clients, lines)
        socket.create_connection(("127.0.0.1", int(
            self.clients.rsplit(":", 1)[1]))).close()
        p.send_signal(signal.SIGHUP)
        lines = self.hear("RELOADING=1")
        self.assertRegex(lines[1], r"^MONOTONIC_USEC=\d+$")
        self.hear("READY=1")
        p.terminate()
        self.hear("STOPPING=1")
        self.assertEqual(self.finish(p).status, 0)
        # Its workers are not the service.
        self.assertEqual(len([h for h in self.heard if "READY=1" in h]), 2)
        self.assertNotIn(["WATCHDOG=1"], self.heard)

    def test_worker(self):
        """Ready without a coordinator; its status says when there is one."""
        store = make_store.small_store(self.path("store"))
        self.keys()
        env = self.listen_for("@quarry-test-%d" % os.getpid())
        worker = self.start(
            "--connect", self.endpoint, "--server-key",
            self.path("coordinator.pub"), "--key", self.path("worker"),
            "--spool", self.path(), program=[quarrytest.WORKER], env=env)
        self.hear("READY=1")
        self.remote_build(
            "--name", "x", "--closure", self.closure_file(store),
            "--store-root", store.root, "--to", "none")
        self.hear("STATUS=Works for the coordinator at " + self.endpoint)
        self.hear("STATUS=Waits for a coordinator at " + self.endpoint)
        worker.terminate()
        self.hear("STOPPING=1")
        self.assertEqual(self.finish(worker).status, 0)

    def test_watchdog(self):
        env = self.listen_for(self.path("notify"))
        server = self.serve(dict(env, WATCHDOG_USEC="200000"))
        for _ in range(3):
            self.hear("WATCHDOG=1")
        # One that hangs says nothing.
        server.send_signal(signal.SIGSTOP)
        self.finish_reading(server)
        self.socket.settimeout(2)
        with self.assertRaises(TimeoutError):
            self.hear("WATCHDOG=1")
        self.socket.settimeout(120)
        server.send_signal(signal.SIGCONT)
        self.hear("WATCHDOG=1")
        server.terminate()
        self.assertEqual(self.finish(server).status, 0)
        worker = self.start(
            "--connect", "tcp://127.0.0.1:9", "--connect-without-keys",
            program=[quarrytest.WORKER],
            env=dict(env, WATCHDOG_USEC="200000"))
        for _ in range(3):
            self.hear("WATCHDOG=1")
        worker.terminate()
        self.assertEqual(self.finish(worker).status, 0)

    def finish_reading(self, p):
        """What was said before it stood still."""
        self.assertTrue(quarrytest.wait_for(lambda: read(
            "/proc/%d/stat" % p.pid).rsplit(b") ", 1)[1][:1] == b"T", 120))
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            pass

    def test_nobody_listens(self):
        """Or there is no socket of that name, or it is another's watchdog."""
        for name in self.path("nothing"), "vsock:2:1234", "/" + 200 * "x":
            p = self.serve(dict(self.env, NOTIFY_SOCKET=name,
                                WATCHDOG_USEC="1000000"))
            self.assertTrue(quarrytest.wait_for(self.workers, 120))
            p.terminate()
            self.assertEqual(self.finish(p).status, 0)
        p = self.serve(dict(self.listen_for(self.path("notify")),
                            WATCHDOG_USEC="1000", WATCHDOG_PID="1"))
        self.hear("READY=1")
        p.terminate()
        self.hear("STOPPING=1")
        self.assertNotIn(["WATCHDOG=1"], self.heard)
        self.assertEqual(self.finish(p).status, 0)


def allowed(self, unit=NAME):
    """System calls of the unit's filter, groups resolved."""
    groups, name = {}, None
    said = self.command("systemd-analyze", "syscall-filter", "--no-pager")
    for line in said.decode().splitlines():
        line = re.sub("\x1b\\[[0-9;]*m", "", line)
        if line.startswith("@"):
            name = line.strip()
            groups[name] = []
        elif name and line.strip() and not line.strip().startswith("#"):
            groups[name].append(line.strip())

    def resolve(word):
        if not word.startswith("@"):
            return {word}
        return set().union(*map(resolve, groups[word]))

    result = set()
    for value in (v for k, v in settings(unit) if k == "SystemCallFilter"):
        words = set().union(*map(resolve, value.lstrip("~").split()))
        result = result - words if value[0] == "~" else result | words
    return result


if __name__ == "__main__":
    quarrytest.main()
