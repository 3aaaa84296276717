"""What tests of quarry serve share: a server of this machine, real clients, and
scripted ones that say what no client should."""

import contextlib
import json
import os
import re
import signal
import threading
import time

import quarrytest
import zmtp
from ports import free_ports
from quarrytest import make_store, tree_bytes
from remote import Remote
from zmtp import BEAT, CHUNK, COMMITTED, DATA_HELLO, DROP, ITEMS, JOB, PULL, \
    REFUSE, RELEASED, WELCOME

CLIENT, MADE, STATUS, STATE = 21, 22, 23, 24
NO_JOB = 3  # a kind of FAIL


class Client(zmtp.Peer):
    """A scripted client of plain TCP; once it is known it says each second
    that it is there, whatever the test waits for."""

    def __init__(self, port, name="scripted", hello=True, **kw):
        self.lock, self.over = threading.Lock(), threading.Event()
        super().__init__(("127.0.0.1", port))
        self.port, self.got, self.n = port, [], 0
        self.instance = os.urandom(16)
        if hello:
            self.greet(name, **kw)

    def raw(self, data):
        with self.lock:
            super().raw(data)

    def greet(self, name="scripted", protocol=9, program="0.1.0", gzip="?",
              zstd="?", pid=None):
        self.send(CLIENT, protocol, program, "tests", pid or os.getpid(), name,
                  gzip, zstd, self.instance, 0)
        self.welcome = self.until(WELCOME, REFUSE)
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):
        with contextlib.suppress(OSError):
            while not self.over.wait(1):
                self.send(BEAT, [])

    def fall_silent(self):
        self.over.set()

    def close(self):
        self.fall_silent()
        super().close()

    def until(self, *kinds, seconds=quarrytest.TIMEOUT):
        """The next message of these kinds."""
        end = time.monotonic() + seconds
        self.s.settimeout(1)
        while time.monotonic() < end:
            try:
                m = self.receive()
            except TimeoutError:
                continue
            self.got.append(m)
            if m[0] in kinds:
                return m
        raise AssertionError("no %r came: %r" % (kinds, self.got[-5:]))

    def want(self, infos, source=0, measure=False, verify=False,
             store_dir="/nix/store", store_root="", encoding=(0, 0),
             outputs=(), n_items=None, attempt=1, job=None, items=True):
        self.n += 1
        job = self.n if job is None else job
        self.send(JOB, job, attempt,
                  len(infos) if n_items is None else n_items, source, 0,
                  measure, verify, store_dir, store_root, 1, 0, 0, "root",
                  "root", *encoding, "", [list(o) for o in outputs], 0)
        if items:
            self.items(job, attempt, infos)
        return job

    def items(self, job, attempt, infos):
        self.send(ITEMS, job, attempt,
                  [[i["path"], True, i["narHash"], i["narSize"]]
                   for i in infos])

    def status(self):
        """Not each is answered: see test_status_without_end."""
        end = time.monotonic() + quarrytest.TIMEOUT
        m = None
        while m is None and time.monotonic() < end:
            self.send(STATUS, 77)
            with contextlib.suppress(AssertionError):
                m = self.until(STATE, seconds=2)
        assert m[1] == 77
        return json.loads(m[2])

    def data(self):
        """Its data connection."""
        port = int(self.welcome[4].rsplit(":", 1)[1])
        data = zmtp.Peer(("127.0.0.1", port))
        data.send(DATA_HELLO, self.welcome[5])
        return data

    def drop(self, done):
        """What DONE says of is not wanted, it may be damaged."""
        data = self.data()
        data.send(DROP, *done[1:3])
        while data.receive()[0] != RELEASED:
            pass
        data.close()

    def pull(self, done, form=0):
        """The bytes of what DONE says; committed."""
        job, attempt, size = done[1], done[2], done[4]
        data = self.data()
        parts = b""
        while len(parts) < size:
            left = -(-(size - len(parts)) // zmtp.CHUNK_SIZE)
            data.send(PULL, job, attempt, form, 1, len(parts), min(left, 16))
            for _ in range(min(left, 16)):
                while (m := data.receive())[0] != CHUNK:
                    assert m[0] == DATA_HELLO, m
                assert m[5] == len(parts), m[:6]
                parts += m[6]
        data.send(COMMITTED, job, attempt)
        assert data.receive()[0] == RELEASED
        data.close()
        return parts


class Serve(Remote):
    """A server of plain TCP on this machine, unless args say more."""

    slots = "2"

    @classmethod
    def setUpClass(cls):
        cls.store = cls.make_store(cls.folder())

    @classmethod
    def make_store(cls, folder):
        store = make_store.Store(folder)
        for i in range(8):
            store.add("p-%d" % i, {"f": os.urandom(100000 * i + 1)})
        return store

    def setUp(self):
        super().setUp()
        self.clients_port = free_ports(2)
        self.clients = "tcp://127.0.0.1:%d" % self.clients_port
        os.mkdir(self.path("nothing"))
        self.n_logs = 0

    def leftovers(self):
        return [p for p in super().leftovers() if "/spool" not in p]

    def serve(self, *args, wait=True, clients=True, verbose=True):
        self.n_logs += 1
        self.server_log = "server-%d" % self.n_logs
        with open(self.log_name(self.server_log), "wb") as log:
            p = self.start(
                "serve", *(["--clients", self.clients] if clients else []),
                "--cache", self.path("cache"), "--store-root", self.store.root,
                "--local-slots", self.slots,
                *(["--verbose"] if verbose else []), *args, stderr=log)
        if wait:
            self.wait_log(self.server_log, "clients may come to")
        return p

    def stop(self, p, seconds=quarrytest.TIMEOUT):
        p.terminate()
        try:
            p.wait(timeout=seconds)
        except quarrytest.subprocess.TimeoutExpired:
            self.fail("the server does not end:\n" +
                      self.log(self.server_log))
        self.assertEqual(p.returncode, 0, self.log(self.server_log))

    @contextlib.contextmanager
    def stopped_workers(self):
        """All that is asked for in between waits."""
        pids = self.wait_workers()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
        for pid in set(pids) & set(self.workers()):
            os.kill(pid, signal.SIGCONT)

    def made(self):
        """Labels of layers that workers made, by the server's log."""
        return re.findall(r"layer \((.*)\): \d+ bytes by ",
                          self.log(self.server_log))

    def inputs(self, infos=None, name="image"):
        closure = self.closure_file(self.store, infos, name="c-" + name)
        return ["--name", name, "--closure", closure]

    def client_args(self, name, *more, infos=None):
        return ["build", "--progress", "none", *self.inputs(infos, name),
                "--store-root", self.path("nothing"), "--coordinator",
                self.clients, "--to", "oci:" + self.path("out", name), *more]

    def wanted(self, name, *more, infos=None):
        """What a build by itself makes of the same."""
        self.build(*self.inputs(infos, name), "--store-root", self.store.root,
                   "--to", "oci:" + self.path("out", "want-" + name), *more)
        return tree_bytes(self.path("out", "want-" + name))

    def same(self, name, want):
        self.assertEqual(tree_bytes(self.path("out", name)), want)
