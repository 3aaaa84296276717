"""Builds whose layers a coordinator that stays up has made."""

import json
import os
import re
import signal

import quarrytest
from ports import free_ports
from quarrytest import Base, make_store, read, tree_bytes, wait_for
from scripted_server import (BYE, CLIENT, COMMITTED, DONE, DROP, FAIL, ITEMS,
                             JOB, MADE, POSTPONE, WELCOME, Made, Server)
from zmtp import Proxy

RETRY, NO_JOB = 2, 3  # kinds of FAIL


class WithStore(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.Store(cls.folder())
        cls.store.add("dep-1", {"lib": {"a": b"1" * 100000, "b": b"2"}})
        for i in range(8):
            cls.store.add("p-%d" % i, {"f": os.urandom(200000 * i + 1)},
                          refs=[cls.store.infos[0]["path"]])
        cls.store.add("top", {"bin": {"run": b"x" * 3000000}},
                      refs=[i["path"] for i in cls.store.infos])

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("nothing"))
        self.closure_file(self.store)

    def input(self, *more):
        return ["--name", "served", "--closure", self.path("c"), *more]

    def plain(self, *args, name="plain"):
        """A build out of the store, by itself; and what a server would make
        of the same."""
        out = self.path("out", name)
        metadata = self.metadata(
            *self.input("--store-root", self.store.root), "--to",
            "oci:" + out, *args)
        return metadata, Made(metadata, out), tree_bytes(out)

    def server(self, made, *args, **kw):
        server = Server(made, *args, **kw)
        self.addCleanup(server.close)
        return server

    def client(self, server, *more):
        """The client's machine has no store."""
        return self.input("--store-root", self.path("nothing"),
                          "--coordinator", server.endpoint, *more)

    def same_tree(self, folder, want):
        found = tree_bytes(folder)
        self.assertEqual(found.keys(), want.keys())
        for name, data in found.items():
            self.same_bytes(data, want[name], name)


class TestSame(WithStore):
    def test_layout_and_archive(self):
        for encoding in "none", "gzip", "zstd":
            with self.subTest(encoding):
                ours = self.path("out", encoding)
                theirs = self.path("out", encoding + "-plain.tar")
                _, made, want = self.plain(
                    "--to", "oci-archive:" + theirs, "--encoding", encoding,
                    name=encoding + "-plain")
                server = self.server(made)
                self.build(*self.client(server), "--to", "oci:" + ours, "--to",
                           "oci-archive:%s.tar" % ours, "--encoding", encoding)
                self.same_tree(ours, want)
                self.same_bytes(read(ours + ".tar"), read(theirs))

    def test_docker_archive(self):
        self.build(*self.input("--store-root", self.store.root), "--to",
                   "docker-archive:" + self.path("out/want.tar"))
        _, made, _ = self.plain()
        server = self.server(made)
        self.build(*self.client(server), "--to",
                   "docker-archive:" + self.path("out/d.tar"))
        self.same_bytes(read(self.path("out/d.tar")),
                        read(self.path("out/want.tar")))
        r = self.build(*self.client(server), "--to", "docker-archive:-")
        self.same_bytes(r.stdout, read(self.path("out/want.tar")))

    def test_what_is_said(self):
        """Who made what; what the server hears, and that it is over."""
        want, made, _ = self.plain("--encoding", "zstd:5")
        server = self.server(made)
        r = self.quarry(
            "build", "--progress", "plain", *self.client(server), "--to",
            "none", "--encoding", "zstd:5", "--tag", "1", "--verify-store",
            "--metadata-file", self.path("m"))
        found = json.loads(read(self.path("m")))
        self.assertEqual(found["image_id"], want["image_id"])
        self.assertEqual(found["manifest_digest"], want["manifest_digest"])
        stores = [l for l in found["layers"] if l["paths"]]
        self.assertEqual({l["worker"] for l in stores}, {"far-away/77"})
        self.assertEqual({l["seconds"] for l in stores}, {1.5})
        self.assertIn("makes %d layers" % len(stores), r.errors)
        self.assertEqual(
            len(re.findall("by far-away/77", r.errors)), len(stores))
        self.assertEqual(len(server.clients), 1)
        self.assertEqual(server.clients[0][5], "served:1")
        for spec in server.specs:
            # source, measure, verify, store_dir, store_root, encoding, level,
            # file, outputs
            self.assertEqual(
                [spec[i] for i in (0, 2, 3, 4, 5, 11, 12, 13, 14)],
                [0, False, True, "/nix/store", "", 2, 5, "", []])
        self.assertTrue(wait_for(lambda: server.types(BYE)))
        self.assertEqual(server.types(BYE), [(BYE, 0)])

    def test_contents_are_this_machines(self):
        """The root layer is made here, of trees that are here."""
        top = self.store.infos[-1]["path"]
        args = ["--encoding", "gzip", "--store-root", self.store.root, top]
        want = self.path("out/want")
        m = self.metadata(*self.input("--to", "oci:" + want, *args))
        server = self.server(Made(m, want))
        self.build(*self.input(
            "--coordinator", server.endpoint, "--to",
            "oci:" + self.path("out/o"), *args))
        self.same_tree(self.path("out/o"), tree_bytes(want))


class TestFaults(WithStore):
    def setUp(self):
        super().setUp()
        self.want, self.made, self.tree = self.plain("--encoding", "zstd")
        self.n = sum(bool(l["paths"]) for l in self.want["layers"])

    def run_beside(self, server, *more):
        """A build that goes on while the test does something."""
        with open(self.path("log"), "ab") as log:
            return self.start(
                "build", "--progress", "none", *self.client(server), "--to",
                "oci:" + self.path("out/o"), "--encoding", "zstd", *more,
                stderr=log)

    def log(self):
        return read(self.path("log")).decode()

    def wait_log(self, text, seconds=quarrytest.TIMEOUT):
        if not wait_for(lambda: text in self.log(), seconds):
            self.fail("%r is not in:\n%s" % (text, self.log()))

    def well(self, p):
        self.assertEqual(self.finish(p).status, 0, self.log())
        self.same_tree(self.path("out/o"), self.tree)

    def test_started_again(self):
        """Half is made, then the server ends and another one comes."""
        first = self.server(
            self.made, lambda n, attempt, paths: "hold" if n > 4 else None,
            port=free_ports(1))
        p = self.run_beside(first)
        self.assertTrue(wait_for(lambda: len(first.types(COMMITTED)) == 4))
        self.assertEqual(len(first.types(JOB)), self.n)
        first.close()
        self.wait_log("cannot be reached; waiting for it")
        second = self.server(self.made, port=first.port, session=2)
        self.well(p)
        self.assertEqual(self.log().count("waiting for it"), 1)
        self.assertIn("asked again for %d layers" % (self.n - 4), self.log())
        self.assertEqual({m[2] for m in second.types(JOB)}, {2})
        self.assertEqual(len(second.types(JOB)), self.n - 4)

    def test_connection_breaks(self):
        """The same server: it has forgotten, and is asked again."""
        server = self.server(self.made)
        server.rule = lambda n, attempt, paths: \
            "hold" if attempt == 1 else None
        p = self.run_beside(server)
        self.assertTrue(wait_for(lambda: server.n_jobs == self.n))
        for s in server.sockets[2:]:
            s.shutdown(2)
        self.well(p)
        self.assertGreater(len(server.clients), 1)
        self.assertEqual(server.clients[-1][9], 1)

    def test_messages_are_lost(self):
        """Each kind once, and the connection with it; then the server says
        everything twice."""
        for kind in CLIENT, WELCOME, JOB, ITEMS, MADE, DONE, None:
            with self.subTest(kind):
                server = self.server(self.made)
                proxy = Proxy(server.port, lambda to_client, k, n: "cut"
                              if (k, n) == (kind, 1 if k < 3 or k > 20 else 2)
                              else 1 + (to_client and kind is None))
                self.addCleanup(proxy.close)
                server.endpoint = "tcp://127.0.0.1:%d" % proxy.port
                self.well(self.run_beside(server))
                self.assertEqual(len(server.clients), 1 if kind in (
                    CLIENT, None) else 2)
                os.rename(self.path("out/o"), self.path("out/o%s" % kind))

    def test_interrupted_while_nobody_is_there(self):
        server = self.server(self.made, lambda *a: "hold")
        p = self.run_beside(server)
        self.assertTrue(wait_for(lambda: server.n_jobs == self.n))
        server.close()
        self.wait_log("cannot be reached; waiting for it")
        p.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(p).status, 130)
        self.assertFalse(os.path.exists(self.path("out/o")))

    def test_damaged(self):
        server = self.server(
            self.made, lambda n, *a: "damage" if n == 3 else None)
        p = self.run_beside(server)
        self.well(p)
        self.assertEqual(self.log().count("it is asked for again"), 1)
        self.assertEqual(len(server.types(DROP)), 1)
        self.assertEqual(len(server.types(JOB)), self.n + 1)

    def test_always_damaged(self):
        bad = max(l["size"] for l in self.want["layers"])
        server = self.server(self.made, lambda n, attempt, paths:
                             "damage" if self.made.by_paths[paths][0]["size"]
                             == bad else None)
        p = self.run_beside(server)
        self.assertEqual(self.finish(p).status, 1)
        self.assertIn("it did not come 4 times, at last: server tcp://",
                      self.log())
        self.assertFalse(os.path.exists(self.path("out/o")))

    def test_postponed(self):
        server = self.server(self.made, lambda n, attempt, paths: [
            POSTPONE, "too much", 0] if n > 2 and attempt == 1 else None)
        self.well(self.run_beside(server))
        self.assertEqual(len(server.types(JOB)), 2 * self.n - 2)

    def test_failed(self):
        for kind, status in (NO_JOB, 2), (RETRY, 1):
            with self.subTest(kind):
                server = self.server(self.made, lambda n, *a: [
                    FAIL, kind, 0, "it is on fire", 0] if n == 2 else "hold")
                r = self.build(*self.client(server), "--to", "none",
                               "--encoding", "zstd", status=status)
                self.assertRegex(r.errors, r"layer \d+ \(.*\): it is on fire")
                self.assertTrue(wait_for(lambda: server.types(BYE)))

    def test_refused(self):
        server = self.server(
            self.made, refuse="its zstd 9 is not this one's zstd 1")
        r = self.build(*self.client(server), "--to", "none", "--encoding",
                       "zstd", status=1)
        self.assertIn("refuses this client: its zstd 9 is not this one's",
                      r.errors)

    def test_not_where_it_can_be_reached(self):
        r = self.build(*self.input("--coordinator", "tcp://127.0.0.1:x"),
                       "--to", "none", status=2)
        self.assertIn("--coordinator", r.errors)


class TestCache(WithStore):
    cache = True

    def test_known_layers(self):
        """What came is kept, as if it had been made here; then nobody needs
        to be there.  What was made here is not asked for."""
        cache = ["--cache", self.path("cache"), "--encoding", "zstd"]
        out = self.path("out/plain")
        m = self.metadata(
            *self.input("--store-root", self.store.root, "--no-cache"),
            "--to", "oci:" + out, "--encoding", "zstd")
        server = self.server(Made(m, out))
        n = sum(bool(l["paths"]) for l in m["layers"])
        self.build(*self.client(server), "--to", "oci:" + self.path("out/a"),
                   *cache)
        self.assertEqual(len(server.types(JOB)), n)
        server.close()
        found = self.metadata(*self.client(server), "--to",
                              "oci:" + self.path("out/b"), *cache)
        self.assertEqual(found["totals"]["cached_layers"], n)
        self.same_tree(self.path("out/a"), tree_bytes(out))
        self.same_tree(self.path("out/b"), tree_bytes(out))


class TestUse(WithStore):
    def refuse(self, text, *args):
        r = self.build(*self.input("--coordinator", "tcp://127.0.0.1:9"),
                       *args, status=2)
        self.assertIn(text, r.errors)

    def test_what_does_not_go_with_it(self):
        for args in ("--listen", "tcp://127.0.0.1:*"), ("--launch", "true"), \
                ("--advertise", "x"), ("--workers-keys", "x"), \
                ("--listen-without-keys",), ("--local-slots", "0"), \
                ("--slots", "2"), ("--workers", "2"), ("--min-workers", "1"), \
                ("--no-locality",), ("--audit", "10"), \
                ("--substituter", "http://x"), ("--no-require-sigs",), \
                ("--metrics", "127.0.0.1:0"):
            self.refuse(args[0] + " does not go with --coordinator", *args,
                        "--to", "none")

    def test_both_forms(self):
        self.refuse("in two runs", "--to", "docker-archive:x", "--to", "oci:y",
                    "--encoding", "zstd")
        self.refuse("in two runs", "--to", "docker-archive:x", "--to",
                    "docker://localhost:1/x")

    def test_keys(self):
        self.refuse("go together", "--key", "x", "--to", "none")
        r = self.build(*self.input("--coordinator", "tcp://10.0.0.1:9"),
                       "--to", "none", status=2)
        self.assertIn("--key and --server-key are needed", r.errors)
        r = self.build(*self.input("--server-key", "x"), "--to", "none",
                       status=2)
        self.assertIn("--server-key goes with --coordinator", r.errors)


if __name__ == "__main__":
    quarrytest.main()
