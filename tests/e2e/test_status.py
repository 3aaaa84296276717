"""How a coordinator is doing: metrics over HTTP, and quarry status."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading

import quarrytest
from ports import free_ports
from quarrytest import Base, make_store, need, wait_for
from remote import Remote
from scripted_server import Accepted
from serving import Client, Serve

STATUS, STATE, REFUSE = 23, 24, 3

LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.]+)$")
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """What /metrics said: values by name and labels."""

    def __init__(self, text):
        self.text, self.values = text, {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = LINE.match(line).groups()
            key = (name,) + tuple(sorted(LABEL.findall(labels or "")))
            assert key not in self.values, line
            self.values[key] = float(value)

    def __getitem__(self, name):
        return self.values[(name,)]

    def of(self, name, **labels):
        return self.values[(name,) + tuple(sorted(labels.items()))]

    def sum(self, name):
        return sum(v for k, v in self.values.items() if k[0] == name)

    def check(self):
        """Whatever goes on: each job is one thing, each attempt ends once."""
        for kind in ("quarry_jobs", "quarry_measures"):
            jobs = sum(self[kind + "_" + what] for what in (
                "queued", "running", "done_total", "failed_total",
                "left_total"))
            assert jobs == self[kind + "_added_total"], self.text
            assert self.sum(kind + "_attempts_ended_total") <= \
                self[kind + "_attempts_started_total"], self.text
        assert self["quarry_workers"] == self["quarry_workers_joined_total"] \
            - self["quarry_workers_lost_total"] \
            - self["quarry_workers_left_total"], self.text
        return self


def request(port, path="/metrics", method="GET", host="127.0.0.1", body=None):
    c = http.client.HTTPConnection(host, port, timeout=60)
    try:
        c.request(method, path, body)
        r = c.getresponse()
        return r, r.read().decode()
    finally:
        c.close()


def scrape(port, **kw):
    """None while nobody is there."""
    try:
        r, text = request(port, **kw)
    except OSError:
        return None
    assert r.status == 200, text
    return Metrics(text).check()


def when(port, found, seconds=quarrytest.TIMEOUT):
    """What is scraped once it is as it should be."""
    last = []

    def look():
        m = scrape(port)
        last[:] = [m.text if m else "nobody answers"]
        return m if m and found(m) else None

    m = wait_for(look, seconds, 0.05)
    assert m, "never so; the last: " + "".join(last)
    return m


def let_go(test, p, reader):
    """Reads the image that an output was held back for."""
    while os.read(reader, 1 << 20):
        pass
    os.close(reader)
    test.assertEqual(p.wait(quarrytest.TIMEOUT), 0)


class StatusBase:
    @classmethod
    def setUpClass(cls):
        cls.slow = make_store.slow_store(cls.folder(), n=3, size=2 << 30)
        cls.small = make_store.small_store(cls.folder(), n=6)
        # More than a pipe takes: its image waits for a reader.
        cls.random = make_store.Store(cls.folder())
        for i in range(3):
            cls.random.add("p%d" % i, {"f": os.urandom(200000)})

    def args(self, store, *more):
        return ["--name", "x", "--tag", "1", "--closure",
                self.closure_file(store), "--store-root", store.root, *more]


class TestMetrics(StatusBase, Base):
    def hold(self, *args, port, listen=None):
        """A build that has made all layers, and cannot put out its image."""
        reader, writer = os.pipe()
        p = self.start("build", *args, "--to", "oci-archive:-",
                       "--encoding", "zstd", "--progress", "none",
                       "--metrics", listen or "127.0.0.1:%d" % port,
                       stdout=writer)
        os.close(writer)
        return p, reader

    def test_while_it_works(self):
        port = free_ports(1)
        p, reader = self.hold(*self.args(self.slow, "--slots", "1"),
                              port=port)
        m = when(port, lambda m: m["quarry_jobs_running"] > 0)
        self.assertEqual(m.of("quarry_build_info", version="0.1.0",
                              command="build"), 1)
        self.assertEqual(m["quarry_workers"], 1)
        self.assertEqual(m["quarry_slots"], 1)
        name = [k for k in m.values if k[0] == "quarry_worker_slots"]
        self.assertEqual(len(name), 1)
        self.assertIn(("where", "local"), name[0])
        before = m["quarry_uptime_seconds"]
        when(port, lambda m: m["quarry_uptime_seconds"] > before)
        # At the end all is done; the layers are 3 slow ones, top and root.
        m = when(port, lambda m: m["quarry_jobs_done_total"] == 5)
        m = when(port, lambda m: m["quarry_workers_left_total"] == 1)
        self.assertEqual(m["quarry_jobs_added_total"], 5)
        self.assertEqual(m["quarry_jobs_running"], 0)
        self.assertEqual(m["quarry_jobs_attempts_started_total"],
                         m.sum("quarry_jobs_attempts_ended_total"))
        self.assertGreater(m["quarry_made_bytes_total"], 6 << 30)
        self.assertEqual(m["quarry_fetched_bytes_total"], 0)
        self.assertEqual(m["quarry_pulled_bytes_total"], 0)
        let_go(self, p, reader)

    def test_it_adds_up_after_a_worker_was_lost(self):
        port = free_ports(1)
        p, reader = self.hold(*self.args(self.slow, "--slots", "2"),
                              port=port)
        when(port, lambda m: m["quarry_jobs_running"] >= 2)
        os.kill(self.wait_workers(1)[0], signal.SIGKILL)
        m = when(port, lambda m: m["quarry_workers_lost_total"] == 1)
        m = when(port, lambda m: m["quarry_jobs_done_total"] == 5
                 and m["quarry_workers"] == 0)
        lost = m.of("quarry_jobs_attempts_ended_total", end="lost")
        self.assertGreaterEqual(lost, 1)
        self.assertEqual(m.of("quarry_jobs_retries_total", reason="lost"),
                         lost)
        self.assertEqual(m["quarry_jobs_attempts_started_total"], 5 + lost)
        self.assertEqual(m["quarry_workers_joined_total"], 2)
        let_go(self, p, reader)

    def test_measured_layers_are_counted_apart(self):
        port = free_ports(1)
        reader, writer = os.pipe()
        p = self.start("build", *self.args(self.random), "--to",
                       "docker-archive:" + self.path("out", "i.tar"),
                       "--to", "oci-archive:-", "--progress", "none",
                       "--metrics", "%d" % port, stdout=writer)
        os.close(writer)
        m = when(port, lambda m: m["quarry_workers_left_total"] == 1)
        self.assertEqual(m["quarry_jobs_added_total"], 4)
        self.assertEqual(m["quarry_measures_added_total"], 4)
        self.assertEqual(m["quarry_measures_done_total"], 4)
        self.assertLess(m["quarry_made_bytes_total"], 900000)
        let_go(self, p, reader)

    @need("promtool", "curl")
    def test_promtool_takes_it(self):
        port = free_ports(1)
        p, reader = self.hold(*self.args(self.slow), port=port)
        when(port, lambda m: m["quarry_jobs_running"] > 0)
        text = self.command("curl", "-sS", "--fail",
                            "http://127.0.0.1:%d/metrics" % port)
        check = subprocess.run(["promtool", "check", "metrics"], input=text,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((check.returncode, check.stdout), (0, b""))
        let_go(self, p, reader)

    def test_http(self):
        port = free_ports(1)
        p, reader = self.hold(*self.args(self.random), port=port)
        when(port, lambda m: True)
        r, text = request(port)
        self.assertEqual(r.getheader("Content-Type"),
                         "text/plain; version=0.0.4; charset=utf-8")
        r, nothing = request(port, method="HEAD")
        self.assertEqual((r.status, nothing), (200, ""))
        self.assertGreater(int(r.getheader("Content-Length")), 1000)
        r, text = request(port, "/healthz")
        self.assertEqual((r.status, text), (200, "ok\n"))
        self.assertEqual(request(port, "/")[0].status, 404)
        self.assertEqual(request(port, "/metrics/../x")[0].status, 404)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            r, text = request(port, method=method, body=b"x" * 100)
            self.assertEqual(r.status, 405, method)
            self.assertEqual(r.getheader("Allow"), "GET, HEAD")
        self.bad_requests(port)
        self.assertIsNotNone(scrape(port))
        let_go(self, p, reader)

    def bad_requests(self, port):
        """None of them is answered with 200, and it goes on."""
        for data in (b"\0" * 5000, b"GET\r\n\r\n", b"GET /metrics\r\n\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                     b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 100000):
            s = socket.create_connection(("127.0.0.1", port), timeout=20)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                self.assertNotIn(b" 200 ", s.recv(200), data[:20])
            except OSError:
                pass  # it has hung up
            finally:
                s.close()

    def test_many_that_say_nothing(self):
        """They take no more than their share, and not for long."""
        port = free_ports(1)
        p, reader = self.hold(*self.args(self.random), port=port)
        when(port, lambda m: True)
        held = [socket.create_connection(("127.0.0.1", port), timeout=20)
                for _ in range(40)]
        sockets = [f for f in os.listdir("/proc/%d/fd" % p.pid)
                   if self.link(p.pid, f).startswith("socket:")]
        self.assertLess(len(sockets), 40)
        self.assertTrue(wait_for(lambda: scrape(port), step=0.5))
        for s in held:
            s.close()
        let_go(self, p, reader)

    @staticmethod
    def link(pid, f):
        try:
            return os.readlink("/proc/%d/fd/%s" % (pid, f))
        except FileNotFoundError:
            return ""

    def test_where(self):
        """IPv6; a port that is free; the default is this machine alone."""
        six = free_ports(1, "::1")
        p, reader = self.hold(*self.args(self.small), port=0,
                              listen="[::1]:%d" % six)
        let_go(self, p, reader)
        for where, url in (("[::1]:*", r"http://\[::1\]:\d+/metrics"),
                           ("localhost:*", r"http://(127\.0\.0\.1|\[::1\]):"
                                           r"\d+/metrics"),
                           ("*", r"http://127\.0\.0\.1:\d+/metrics"),
                           ("*:*", r"http://(\[::\]|0\.0\.0\.0):\d+/metrics")):
            r = self.quarry("build", *self.args(self.small), "--to", "none",
                            "--metrics", where)
            self.assertRegex(r.errors, "metrics are at " + url)

    def test_ipv6(self):
        port = free_ports(1, "::1")
        p, reader = self.hold(*self.args(self.random), port=port,
                              listen="[::1]:%d" % port)
        self.assertTrue(wait_for(lambda: scrape(port, host="::1")))
        let_go(self, p, reader)

    def test_a_port_that_is_taken(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            where = "127.0.0.1:%d" % s.getsockname()[1]
            r = self.quarry("build", *self.args(self.small), "--to",
                            "oci:" + self.path("out", "i"), "--metrics",
                            where, status=1)
        self.assertEqual(r.errors, "quarry: --metrics %s: Address already in use"
                         "\n" % where)
        self.assertEqual(os.listdir(self.out), [])

    def test_wrong_use(self):
        for where in ("x", "", ":1", "127.0.0.1:", "127.0.0.1:0", "h:99999",
                      "::1:9100", "[::1]", "a b:1", "h:1/x", "x" * 1000):
            r = self.quarry("build", *self.args(self.small), "--to", "none",
                            "--metrics", where, status=2)
            self.assertEqual(len(r.errors.splitlines()), 1)
            self.assertIn("--metrics", r.errors)
        r = self.quarry("build", *self.args(self.small), "--to", "none",
                        "--metrics", "no-such-host.invalid:9100", status=1)
        self.assertIn("no-such-host.invalid", r.errors)
        self.assertEqual(len(r.errors.splitlines()), 1)

    def test_signal(self):
        port = free_ports(1)
        p, reader = self.hold(*self.args(self.slow), port=port)
        when(port, lambda m: m["quarry_jobs_running"] > 0)
        p.send_signal(signal.SIGTERM)
        self.assertIn(p.wait(60), (143, -signal.SIGTERM))
        os.close(reader)


class TestCache(StatusBase, Base):
    cache = True

    def test_layers_known_from_the_cache(self):
        port = free_ports(1)
        for known in (0, 3):
            reader, writer = os.pipe()
            p = self.start("build", *self.args(self.random), "--encoding", "zstd",
                           "--cache", self.path("cache"), "--to",
                           "oci-archive:-", "--progress", "none",
                           "--metrics", "%d" % port, stdout=writer)
            os.close(writer)
            m = when(port, lambda m: m["quarry_workers_left_total"] == 1)
            self.assertEqual(m["quarry_layers_cached_total"], known)
            self.assertEqual(m["quarry_jobs_added_total"], 4 - known)
            let_go(self, p, reader)


class Server:
    """Answers each STATUS by say(peer, request)."""

    def __init__(self, say):
        self.say = say
        self.sockets = [socket.create_server(("127.0.0.1", 0))]
        self.endpoint = "tcp://127.0.0.1:%d" % \
            self.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while True:
                s, _ = self.sockets[0].accept()
                self.sockets.append(s)
                self.talk(s)
        except OSError:
            pass

    def talk(self, s):
        try:
            peer = Accepted(s)
            peer.s.settimeout(None)
            while True:
                kind, request = peer.receive()
                assert kind == STATUS
                self.say(peer, request)
        except (EOFError, ConnectionError):
            pass

    def close(self):
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        self.thread.join()


def counts(**given):
    n = dict.fromkeys((
        "added", "queued", "running", "done", "failed", "left", "started",
        "copies", "duplicates", "differs", "agreed", "skipped"), 0)
    n["ended"] = dict.fromkeys((
        "result", "failed", "postponed", "expired", "lost", "moved",
        "cancelled"), 0)
    n["retried"] = dict.fromkeys((
        "failed", "postponed", "expired", "lost"), 0)
    n.update(given)
    return n


def state(**given):
    """What a server says, as of this version."""
    doc = {"version": "0.1.0", "command": "serve", "session": "%016x" % 77,
           "uptime_ms": 61000, "jobs": counts(added=9, queued=4, running=2,
                                              done=3),
           "measures": counts(), "cached": 7,
           "bytes": {"read": 2 << 20, "made": 3 << 20, "fetched": 0,
                     "pulled": 0,
                     "uploaded": 0, "uploaded_own": 0},
           "pushes": dict.fromkeys((
               "open", "there", "mounted", "uploaded", "left", "failed",
               "own"), 0),
           "workers": {"joined": 2, "lost": 1, "left": 0, "omitted": 0,
                       "list": [{
                           "name": "far-away/77", "remote": True,
                           "draining": False, "aside": False, "slots": 4,
                           "running": 2, "waiting": 0, "rate": 1 << 20,
                           "done": 3, "failures": 1}]},
           "clients": {"omitted": 0, "list": [{
               "name": "laptop/5", "image": "hello:1", "wanted": 9,
               "done": 3}]}}
    doc.update(given)
    return doc


class TestCommand(Base):
    def server(self, say):
        s = Server(say)
        self.addCleanup(s.close)
        return s

    def says(self, text):
        return self.server(
            lambda peer, request: peer.send(STATE, request, text))

    def ask(self, server, *more, status=0):
        return self.quarry("status", "--coordinator", server.endpoint, *more,
                           status=status)

    def refused(self, text, why):
        r = self.ask(self.says(text), status=1)
        self.assertEqual(r.stdout, b"")
        self.assertEqual(len(r.errors.splitlines()), 1, r.errors)
        self.assertIn(why, r.errors)

    def test_table(self):
        r = self.ask(self.says(json.dumps(state())))
        out = r.stdout.decode()
        self.assertEqual(r.stderr, b"")
        self.assertIn("serve, up 1:01", out)
        self.assertIn("4 queued, 2 running, 3 done", out)
        self.assertIn("1 here; 2 joined, 1 lost, 0 left", out)
        self.assertRegex(out, r"far-away/77 +remote +4 +2 +0 +1.00 MiB/s")
        self.assertRegex(out, r"laptop/5 +9 +3 +hello:1")

    def test_json(self):
        r = self.ask(self.says(json.dumps(state(), indent=1)), "--json")
        self.assertEqual(json.loads(r.stdout), state())
        self.assertEqual(r.stdout.count(b"\n"), 1)

    def test_watch(self):
        told = []

        def say(peer, request):
            told.append(request)
            peer.send(STATE, request, json.dumps(state(cached=len(told))))

        p = self.start("status", "--coordinator", self.server(say).endpoint,
                       "--json", "--watch", "1")
        lines = [json.loads(p.stdout.readline()) for _ in range(3)]
        self.assertEqual([l["cached"] for l in lines], [1, 2, 3])
        p.send_signal(signal.SIGINT)
        self.assertIn(p.wait(60), (130, -signal.SIGINT))

    def test_another_answer_is_not_taken(self):
        def say(peer, request):
            peer.send(STATE, request + 1, "no")
            peer.send(16)
            peer.send(STATE, request, json.dumps(state()))

        self.ask(self.server(say))

    def test_names_cannot_do_anything(self):
        doc = state()
        doc["clients"]["list"][0]["image"] = "\x1b[2Jx\ny\u202e"
        doc["version"] = "\x9b1m"
        for more in ((), ("--json",)):
            r = self.ask(self.says(json.dumps(doc)), *more)
            self.assertNotIn(b"\x1b", r.stdout)
            self.assertNotIn(b"u001b", r.stdout)
            self.assertIn(b"?[2Jx?y", r.stdout)
            self.assertTrue(r.stdout.isascii())

    def test_what_is_no_state(self):
        doc = state()
        del doc["jobs"]["ended"]["lost"]
        self.refused(json.dumps(doc), "jobs.ended.lost")
        self.refused("", "column")
        self.refused("[" * 1000, "nested")
        self.refused("{}", "version")
        self.refused(json.dumps(state(workers=[])), "workers")

    def test_a_server_that_says_no(self):
        s = self.server(lambda peer, request: peer.send(REFUSE, "not you"))
        r = self.ask(s, status=1)
        self.assertIn("not you", r.errors)

    def test_nobody_answers(self):
        mute = self.server(lambda peer, request: None)
        for endpoint in (mute.endpoint, "tcp://127.0.0.1:%d" % free_ports(1)):
            r = self.quarry("status", "--coordinator", endpoint, status=1)
            self.assertEqual(r.errors, "quarry: %s does not answer: nobody is "
                                       "there\n" % endpoint)

    def test_wrong_use(self):
        at = ["--coordinator", "tcp://127.0.0.1:9"]
        for args, word in (([], "--coordinator"), (at + ["x"], "x"),
                           (["--coordinator", "9"], "tcp://"),
                           (at + ["--key", "k"], "--server-key"),
                           (["--coordinator", "tcp://h:1"], "keys"),
                           (at + ["--watch", "0"], "watch"),
                           (at + ["--watch", "x"], "watch"),
                           (at + ["--slots", "1"], "slots"),
                           (at + ["--key", "/none", "--server-key", "/none"],
                            "/none")):
            r = self.quarry("status", *args, status=2)
            self.assertEqual(len(r.errors.splitlines()), 1, r.errors)
            self.assertIn(word, r.errors)

    def test_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            r = self.quarry("status", "--coordinator", self.says(
                json.dumps(state())).endpoint, stdout=full, status=1)
            self.assertIn("standard output", r.errors)


class TestRemote(StatusBase, Remote):
    def test_a_key_that_is_not_known(self):
        """Whoever listens there does not hear it."""
        self.keygen("client")
        p = self.coordinator(
            *self.args(self.small), *self.listen("--local-slots", "0"),
            "--no-cache", "--to", "none")
        self.wait_log("coordinator", "workers are here")
        r = self.quarry("status", "--coordinator", self.endpoint,
                        "--server-key", self.path("keys/coordinator.pub"),
                        "--key", self.path("keys/client"), status=1)
        self.assertIn("one of the keys is wrong", r.errors)
        p.terminate()
        p.wait(60)

    def test_workers_of_other_machines(self):
        port = free_ports(1)
        reader, writer = os.pipe()
        first = self.worker("w1", "--slots", "1")
        second = self.worker("w2", "--slots", "1")
        p = self.coordinator(
            *self.args(self.slow), *self.listen("--local-slots", "0"),
            "--min-workers", "2", "--progress", "plain", "--audit", "100", "--no-cache", "--to",
            "oci-archive:-", "--encoding", "zstd", "--metrics", "127.0.0.1:%d" % port,
            stdout=writer)
        os.close(writer)
        m = when(port, lambda m: m["quarry_jobs_running"] >= 2)
        names = [dict(k[1:]) for k in m.values
                 if k[0] == "quarry_worker_slots"]
        self.assertEqual([n["where"] for n in names], ["remote"] * 2)
        m = when(port, lambda m: m["quarry_jobs_done_total"] == 5
                 and m["quarry_workers"] == 0)
        self.assertEqual(m["quarry_jobs_audits_agreed_total"], 5)
        self.assertEqual(m["quarry_jobs_audits_skipped_total"], 0)
        self.assertEqual(m["quarry_jobs_attempts_started_total"],
                         m.sum("quarry_jobs_attempts_ended_total"))
        let_go(self, p, reader)
        text = self.log("coordinator")
        self.assertEqual(len(re.findall(
            r"worker \S+ has joined: 1 slot\n", text)), 2, text)
        self.assertRegex(text, r"work +1 host, 2 workers, (\d second cop\w+, )?"
                               r"audits: 5 agreed\n")
        for w in (first, second):
            self.end(w)


class TestServe(Serve):
    """A real server: what it says at its port for clients, and by HTTP."""

    def serve_with_keys(self, *more):
        self.port = free_ports(1)
        for name in ("laptop", "stranger"):
            self.keygen(name)
        return self.serve(
            "--clients-keys", self.path("keys/laptop.pub"), "--key",
            self.path("keys/coordinator"), "--metrics", str(self.port), *more)

    def ask(self, *more, key="laptop", status=0):
        return self.quarry(
            "status", "--coordinator", self.clients, "--server-key",
            self.path("keys/coordinator.pub"), "--key",
            self.path("keys", key), *more, status=status)

    def build_there(self, name):
        return self.quarry(
            *self.client_args(name, "--server-key",
                              self.path("keys/coordinator.pub"), "--key",
                              self.path("keys/laptop")))

    def test_it_adds_up(self):
        p = self.serve_with_keys()
        for _ in range(2):
            self.build_there("image")
        doc = json.loads(self.ask("--json").stdout)
        jobs = doc["jobs"]
        # Eight store paths, once; the root layer is the client's.
        self.assertEqual((jobs["added"], jobs["done"], jobs["failed"],
                          jobs["queued"], jobs["running"]), (8, 8, 0, 0, 0))
        self.assertEqual(jobs["started"], sum(jobs["ended"].values()))
        self.assertEqual(doc["cached"], 8)
        worker, = doc["workers"]["list"]
        self.assertEqual((worker["remote"], worker["slots"],
                          worker["done"]), (False, 2, 8))
        table = self.ask().stdout.decode()
        self.assertIn("0 queued, 0 running, 8 done, 0 failed", table)
        self.assertIn(worker["name"], table)
        # What is told there may be a second old.
        m = when(self.port, lambda m: m["quarry_layers_cached_total"] == 8)
        self.assertEqual(m["quarry_jobs_done_total"], 8)
        self.assertEqual(m.of("quarry_build_info", version="0.1.0",
                              command="serve"), 1)
        self.assertEqual(m["quarry_made_bytes_total"], doc["bytes"]["made"])
        self.assertEqual(m["quarry_read_bytes_total"], doc["bytes"]["read"])
        self.assertGreater(doc["bytes"]["read"], 0)
        self.assertEqual(m["quarry_layers_cached_total"], 8)
        self.stop(p)

    def test_clients_are_shown(self):
        """The table names them; metrics, whose names would add up, do not."""
        self.port = free_ports(1)
        p = self.serve("--metrics", str(self.port))
        first, second = (Client(self.clients_port, "image-%d" % i)
                         for i in range(2))
        first.want(self.store.infos[:1])
        out = self.quarry("status", "--coordinator",
                          self.clients).stdout.decode()
        for i in range(2):
            self.assertRegex(out, r"tests/%d +\d +\d  image-%d\n"
                             % (os.getpid(), i))
        m = when(self.port, lambda m: m["quarry_clients"] == 2)
        self.assertNotIn("image-", m.text)
        first.close()
        when(self.port, lambda m: m["quarry_clients"] == 1)
        second.close()
        self.stop(p)

    def test_who_may_ask(self):
        p = self.serve_with_keys()
        self.assertIn("one of the keys is wrong",
                      self.ask(key="stranger", status=1).errors)
        self.assertIn(b"WORKER", self.ask().stdout)
        self.stop(p)

    def test_server_that_is_started_again(self):
        """Who watches sees both, or is told that there is nobody."""
        p = self.serve_with_keys()
        watch = self.start(
            "status", "--coordinator", self.clients, "--server-key",
            self.path("keys/coordinator.pub"), "--key",
            self.path("keys/laptop"), "--json", "--watch", "1")
        first = json.loads(watch.stdout.readline())["session"]
        self.stop(p)
        p = self.serve("--clients-keys", self.path("keys/laptop.pub"),
                       "--key", self.path("keys/coordinator"))
        for line in watch.stdout:
            if json.loads(line)["session"] != first:
                break
        else:
            self.assertIn(b"does not answer", watch.stderr.read())
        watch.send_signal(signal.SIGINT)
        watch.wait(60)
        self.stop(p)


if __name__ == "__main__":
    quarrytest.main()
