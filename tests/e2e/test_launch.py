"""--launch: a command starts the workers of one build, here and by ssh, and
whatever becomes of it, of them or of quarry, nothing lives on."""

import filecmp
import os
import pwd
import signal
import socket
import subprocess
import time
import unittest

import quarrytest
from ports import free_ports
from quarrytest import TESTS, WORKER, Base, make_store, need, wait_for

SSH_LAUNCH = os.path.join(os.path.dirname(TESTS), "deploy", "ssh", "launch")
SSHD = "/usr/sbin/sshd"
# Until all have ended that were told to, or killed: see process_group.h.
END_S = 20


class Launch(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=12, size=1 << 20)
        cls.slow = make_store.slow_store(cls.folder(), n=8, size=8 << 30)

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("spool"))
        self.worker = "%s --slots 1 --spool %s" % (WORKER, self.path("spool"))

    def args(self, command, *more, store=None, to="none"):
        store = store or self.store
        return ["build", "--progress", "none", "--name", "x", "--closure",
                self.closure_file(store), "--store-root", store.root, "--to",
                to, "--advertise", "127.0.0.1", "--launch", command, *more]

    def local(self, to, store=None):
        """The same build without --launch."""
        args = self.args("", store=store, to=to)
        at = args.index("--advertise")
        self.quarry(*args[:at], "--encoding", "zstd")

    def same_image(self, command, *more, **kw):
        """Builds it by launched workers alone, and holds it against a local
        build; gives who made the layers."""
        metadata = self.path("m.json")
        self.local("oci:" + self.path("local"))
        r = self.quarry(*self.args(
            command, "--local-slots", "0", "--encoding", "zstd",
            "--metadata-file", metadata, *more,
            to="oci:" + self.path("launched")), **kw)
        self.assert_same_trees(self.path("local"), self.path("launched"))
        image = quarrytest.json.loads(quarrytest.read(metadata))
        return {layer["worker"] for layer in image["layers"]}, r

    def assert_same_trees(self, one, other):
        trees = []
        for top in (one, other):
            trees.append(sorted(
                os.path.relpath(os.path.join(folder, name), top)
                for folder, _, names in os.walk(top) for name in names))
        self.assertEqual(*trees)
        self.assertGreater(len(trees[0]), 3)
        differ = filecmp.cmpfiles(one, other, trees[0], shallow=False)
        self.assertEqual(differ[1:], ([], []))

    def environ_of(self, pid):
        data = quarrytest.read("/proc/%d/environ" % pid).split(b"\0")
        return dict(v.split(b"=", 1) for v in data if b"=" in v)

    def wait_launched(self, n, seconds=quarrytest.TIMEOUT):
        """Pids of n launched workers, once they run."""
        def launched():
            found = []
            for pid in self.workers():
                try:
                    with open("/proc/%d/cmdline" % pid, "rb") as f:
                        if b"--parent" not in f.read().split(b"\0"):
                            found.append(pid)
                except OSError:
                    pass
            return len(found) >= n and found

        found = wait_for(launched, seconds)
        self.assertTrue(found, "no %d launched workers came up" % n)
        return found

    def wait_busy(self, pid):
        """Until the worker has joined and reads a file of the slow store."""
        def busy():
            try:
                fds = os.listdir("/proc/%d/fd" % pid)
            except OSError:
                return False
            for fd in fds:
                try:
                    if "-slow-" in os.readlink("/proc/%d/fd/%s" % (pid, fd)):
                        return True
                except OSError:
                    pass
            return False

        self.assertTrue(wait_for(busy), "the worker got no job")


class TestLaunch(Launch):
    def test_two_workers(self):
        who, r = self.same_image(
            "%s & %s & wait" % (self.worker, self.worker),
            "--min-workers", "2")
        self.assertEqual(len(who), 2, (who, r.errors))
        self.assertIn("launching workers", r.errors)

    def test_what_it_is_told(self):
        """Its environment, and the files that it names, while it runs."""
        r = self.quarry(*self.args(
            'test "$(stat -c %%a "$QUARRY_KEY")" = 600 && '
            'case $QUARRY_CONNECT in tcp://127.0.0.1:*) ;; *) exit 1; esac && '
            'echo "to standard output" && '
            'env -u QUARRY_WORKER_KEY %s --slots 1 --server-key '
            '"${QUARRY_KEY%%/*}/coordinator.pub"' % self.worker,
            "--local-slots", "0"))
        self.assertEqual(r.stdout, b"")
        self.assertIn("to standard output", r.errors)

    def test_with_local_slots(self):
        """All work is done here, before or after somebody comes."""
        self.quarry(*self.args("sleep 0.1; exec " + self.worker))

    def test_with_keys_of_its_own(self):
        """--key and --workers-keys go on as they are, beside --launch."""
        for name in ("ours", "theirs"):
            self.quarry("keygen", self.path(name))
        self.quarry(*self.args(
            "%s & %s --connect $QUARRY_CONNECT --key %s --server-key %s "
            "--once & wait" % (self.worker, self.worker, self.path("theirs"),
                               self.path("ours.pub")),
            "--key", self.path("ours"), "--workers-keys",
            self.path("theirs.pub"), "--min-workers", "2",
            "--local-slots", "0"))

    def test_fails_at_once(self):
        for command, why in (("exit 7", "exit status 7"),
                             ("no-such-program-here", "exit status 127"),
                             ("kill -9 $$", "killed by signal 9")):
            for more in ([], ["--local-slots", "0"]):
                with self.subTest(command=command, more=more):
                    # With slots here the work could be done before.
                    r = self.quarry(*self.args(
                        command, *more, store=self.slow), status=1)
                    last = r.errors.splitlines()[-1]
                    self.assertIn(why, last)
                    self.assertIn("no worker had joined", last)
                    self.assertIn(command, last)
                    self.check_nothing_left()

    def test_too_few(self):
        log = self.path("log")
        with open(log, "wb") as f:
            p = self.start(*self.args(
                "%s --drain 1 & until grep -q 'has[ ]joined' %s; do sleep 0.1; "
                "done; kill $!; wait; exit 3" % (self.worker, log),
                "--min-workers", "2", "--local-slots", "0", "--progress",
                "plain"), stderr=f)
        self.finish(p)
        said = quarrytest.read(log).decode()
        self.assertEqual(p.returncode, 1, said)
        self.assertIn("exit status 3, and fewer workers than --min-workers",
                      said)

    def test_none_is_left(self):
        p = self.start(*self.args("exec " + self.worker, "--local-slots", "0",
                                  store=self.slow))
        pid, = self.wait_launched(1)
        self.wait_busy(pid)
        os.kill(pid, signal.SIGKILL)
        r = self.finish(p)
        self.assertEqual(r.status, 1, r.errors)
        self.assertRegex(r.errors, "killed by signal 9.*no worker is left")

    def test_ends_well_without_workers(self):
        """As a command does that only asks for workers: they are awaited."""
        self.quarry(*self.args(
            "(sleep 1; exec %s) </dev/null & exit 0" % self.worker,
            "--local-slots", "0"))

    def test_interrupted(self):
        """Before a worker came, and in the middle."""
        for number in (signal.SIGINT, signal.SIGTERM):
            for command in ("sleep 1000 & sleep 1001 & wait",
                            "%s & sleep 1000" % self.worker):
                with self.subTest(number=number, command=command):
                    p = self.start(*self.args(command, "--local-slots", "0",
                                              store=self.slow))
                    self.assertTrue(wait_for(
                        lambda: "sleep" in self.processes().values()))
                    if self.worker in command:
                        self.wait_launched(1)
                    p.send_signal(number)
                    r = self.finish(p, timeout=60)
                    self.assertEqual(r.status, 128 + number, r.errors)
                    # Nothing is left to wait for.
                    self.check_nothing_left()

    def test_deaf_command(self):
        """SIGTERM is ignored, so after a while it is killed."""
        self.quarry(*self.args(
            "trap '' TERM; %s; sleep 1000 & while :; do sleep 1; done"
            % self.worker, "--local-slots", "0"))
        self.check_nothing_left()

    def test_killed(self):
        """kill -9 of quarry: the reaper ends the command and its workers."""
        p = self.start(*self.args(
            "%s & %s & sleep 1000 & wait" % (self.worker, self.worker),
            "--slots", "1", store=self.slow))
        self.wait_launched(2)
        p.kill()
        self.finish(p)
        self.check_nothing_left(END_S)

    def test_killed_at_any_moment(self):
        for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2):
            p = self.start(*self.args("sleep 1000; :", "--local-slots", "0"))
            time.sleep(delay)
            p.kill()
            self.finish(p)
        self.check_nothing_left(END_S)

    def test_build_that_fails(self):
        closure = [dict(i) for i in self.store.infos]
        os.mkdir(self.path("empty"))
        r = self.quarry(
            "build", "--progress", "none", "--name", "x", "--closure",
            self.closure_file(self.store, closure), "--store-root",
            self.path("empty"), "--to", "none", "--advertise", "127.0.0.1",
            "--launch", "%s & sleep 1000" % self.worker, "--local-slots", "0",
            status=None)
        self.assertIn(r.status, (1, 2), r.errors)
        self.check_nothing_left()


@unittest.skipUnless(os.access(SSHD, os.X_OK), "needs sshd")
@need("ssh", "ssh-keygen")
class TestSsh(Launch):
    """deploy/ssh/launch over a real sshd."""

    def setUp(self):
        super().setUp()
        self.start_sshd()
        self.env["SSH"] = "ssh -F " + self.path("ssh_config")
        self.env["QUARRY_WORKER"] = WORKER

    def launch(self, hosts, *options):
        return " ".join((SSH_LAUNCH, *hosts, "--", "--slots 1", "--spool",
                         self.path("spool"), *options))

    def start_sshd(self):
        for name in ("host", "user"):
            self.command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                         self.path(name))
        os.mkdir(self.path("authorized"), 0o700)
        quarrytest.write(self.path("authorized/keys"),
                         quarrytest.read(self.path("user.pub")), 0o600)
        # As root it wants this folder; in a bare system it is not there.
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        port = free_ports(1)
        if not self.sshd_answers(port):
            self.fail("no sshd:\n%s" % quarrytest.read(
                self.path("sshd.log")).decode(errors="replace"))
        quarrytest.write(self.path("known"), "* %s" % quarrytest.read(
            self.path("host.pub")).decode())
        quarrytest.write(self.path("ssh_config"), "\n".join((
            "Host *", "HostName 127.0.0.1", "Port %d" % port,
            "User %s" % pwd.getpwuid(os.geteuid()).pw_name,
            "IdentityFile %s" % self.path("user"), "IdentitiesOnly yes",
            "UserKnownHostsFile %s" % self.path("known"),
            "StrictHostKeyChecking yes", "LogLevel ERROR", "")))

    def sshd_answers(self, port):
        # What it starts has the test's mark; itself it has not.
        quarrytest.write(self.path("sshd_config"), "\n".join((
            "Port %d" % port, "ListenAddress 127.0.0.1",
            "HostKey %s" % self.path("host"), "PidFile none",
            "AuthorizedKeysFile %s" % self.path("authorized/keys"),
            "UsePAM no", "StrictModes no", "PermitRootLogin yes",
            "PasswordAuthentication no", "MaxStartups 100",
            "SetEnv %s ASAN_OPTIONS=%s" % (
                self.tag, self.env["ASAN_OPTIONS"]), "")))
        env = {k: v for k, v in self.env.items() if k != "QUARRY_TEST"}
        sshd = self.start("-D", "-E", self.path("sshd.log"), "-f",
                          self.path("sshd_config"), program=[SSHD], env=env,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)

        def answers():
            if sshd.poll() is not None:
                return True
            with socket.socket() as s:
                s.settimeout(5)
                return s.connect_ex(("127.0.0.1", port)) == 0

        return wait_for(answers) and sshd.poll() is None

    def test_two_hosts(self):
        who, r = self.same_image(self.launch(("host1", "host2")),
                                 "--min-workers", "2")
        self.assertEqual(len(who), 2, (who, r.errors))

    def test_key_is_nobodys_argument(self):
        p = self.start(*self.args(self.launch(("a", "b")), "--local-slots",
                                  "0", store=self.slow))
        pid = self.wait_launched(2)[0]
        env = self.environ_of(pid)
        key = env[b"QUARRY_WORKER_KEY"]
        self.assertEqual(len(key), 80)
        self.assertNotIn(b"QUARRY_KEY", env)
        for other in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = quarrytest.read("/proc/%s/cmdline" % other)
            except OSError:
                continue
            self.assertNotIn(key, line)
            self.assertNotIn(key[40:], line)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(p, timeout=60).status, 143)
        self.check_nothing_left(END_S)

    def test_killed(self):
        """kill -9 of quarry, and of the script: hosts hear of both."""
        for victim in ("quarry", "script"):
            with self.subTest(victim):
                p = self.start(*self.args(
                    self.launch(("a", "b"), "--drain", "1"), "--local-slots",
                    "0", store=self.slow))
                for pid in self.wait_launched(2):
                    self.wait_busy(pid)
                if victim == "quarry":
                    p.kill()
                    self.finish(p)
                else:
                    self.kill_script()
                    r = self.finish(p, timeout=60)
                    self.assertEqual(r.status, 1, r.errors)
                    self.assertIn("no worker is left", r.errors)
                self.check_nothing_left(END_S)

    def kill_script(self):
        for pid in self.processes():
            line = quarrytest.read("/proc/%d/cmdline" % pid).split(b"\0")
            if line[0] == b"bash" and line[1] == SSH_LAUNCH.encode():
                os.kill(pid, signal.SIGKILL)
                return
        self.fail("no script")

    def test_host_that_is_not_there(self):
        """The others do the work, and the script says which failed."""
        config = quarrytest.read(self.path("ssh_config")).decode()
        quarrytest.write(self.path("ssh_config"),
                         "Host gone\nPort 1\n" + config)
        self.same_image(self.launch(("gone", "here")))
        r = self.quarry(*self.args(self.launch(("gone", "gone")),
                                   "--local-slots", "0"), status=1)
        self.assertIn("ssh/launch: gone: exit status 255", r.errors)
        self.assertIn("no worker had joined", r.errors)

    def test_odd_words(self):
        """Options get through the host's shell as they are."""
        spool = self.path("a 'b' $c")
        os.mkdir(spool)
        self.quarry(*self.args(
            "%s host -- --slots 1 --spool \"%s\"" % (
                SSH_LAUNCH, spool.replace("$", "\\$")),
            "--local-slots", "0"))
        self.assertEqual(os.listdir(self.path("spool")), [])

    def test_wrong_use(self):
        for args in ((), ("--", "x"), ("-oProxyCommand=x",)):
            p = self.start(*args, program=[SSH_LAUNCH], env=dict(
                self.env, QUARRY_WORKER_KEY="k", QUARRY_KEY="/k"))
            self.assertEqual(self.finish(p).status, 2)
        p = self.start("--help", program=[SSH_LAUNCH])
        self.assertEqual(self.finish(p).status, 0)


if __name__ == "__main__":
    quarrytest.main()
