"""Builds whose layers `quarry serve` has made: the same images, and what
happens when either of the two is not there."""

import os
import signal

import quarrytest
from ports import free_ports
from quarrytest import read, wait_for
from remote import Remote
from test_client import WithStore


class Served(WithStore, Remote):
    """With quarry serve itself, over keys, unless a test says otherwise."""

    def serve(self, *args, name="serve", keys=True, **kw):
        line = ["--clients", self.endpoint, "--store-root", self.store.root,
                "--cache", self.path("layers"), "--cache-size", "1G"]
        if keys:
            line += ["--key", self.path("keys", "coordinator"),
                     "--clients-keys", self.path("allowed")]
        before = self.log(name) if os.path.exists(self.log_name(name)) else ""
        with open(self.log_name(name), "ab") as log:
            p = self.start("serve", *line, *args, stderr=log, **kw)
        if not wait_for(lambda: "clients may come to" in
                        self.log(name)[len(before):], 120):
            self.fail(self.log(name))
        return p

    def served(self, *more, key="laptop", listed=True, keys=True):
        """What a client says, whose machine has no store."""
        line = self.input("--store-root", self.path("nothing"),
                          "--coordinator", self.endpoint)
        if keys:
            if not os.path.exists(self.path("keys", key)):
                self.keygen(key)
                if listed:
                    self.allow(key)
            line += ["--server-key", self.path("keys", "coordinator.pub"),
                     "--key", self.path("keys", key)]
        return [*line, *more]

    def stop(self, p):
        p.terminate()
        self.assertEqual(self.finish(p).status, 0, self.log("serve"))


class TestServed(Served):
    def test_all_kinds(self):
        """Each encoding, layouts and archives; then out of the server's
        cache."""
        self.served()
        serve = self.serve()
        for encoding in "none", "gzip:7", "zstd":
            with self.subTest(encoding):
                name = encoding[:4]
                theirs = self.path("out", name + "-plain.tar")
                _, _, want = self.plain("--to", "oci-archive:" + theirs,
                                        "--encoding", encoding,
                                        name=name + "-plain")
                for ours in self.path("out", name), self.path("out/again"):
                    self.build(*self.served(
                        "--to", "oci:" + ours, "--to",
                        "oci-archive:%s.tar" % ours, "--encoding", encoding))
                    self.same_tree(ours, want)
                    self.same_bytes(read(ours + ".tar"), read(theirs))
        self.build(*self.input("--store-root", self.store.root), "--to",
                   "docker-archive:" + self.path("out/want.tar"))
        self.build(*self.served("--to", "docker-archive:" +
                                self.path("out/d.tar")))
        self.same_bytes(read(self.path("out/d.tar")),
                        read(self.path("out/want.tar")))
        self.stop(serve)

    @quarrytest.need_root()
    @quarrytest.need("unshare", "mount")
    def test_store_is_hidden(self):
        """The store is not there for the client, whatever it looks for."""
        _, _, want = self.plain("--encoding", "zstd")
        args = self.served("--to", "oci:" + self.path("out/o"), "--encoding",
                           "zstd")
        i = args.index("--store-root")
        args[i + 1] = self.store.root
        serve = self.serve()
        p = self.start(
            "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"',
            self.store.root, quarrytest.QUARRY, "build", "--no-cache", *args,
            program=["unshare"])
        r = self.finish(p)
        self.assertEqual(r.status, 0, r.errors)
        self.same_tree(self.path("out/o"), want)
        self.stop(serve)

    def test_who_did_it(self):
        want, _, _ = self.plain()
        self.served()
        serve = self.serve()
        found = self.metadata(*self.served("--to", "none"))
        self.assertEqual(found["image_id"], want["image_id"])
        stores = [l for l in found["layers"] if l["paths"]]
        self.assertEqual(len({l["worker"] for l in stores}), 1)
        self.assertTrue(all(l["seconds"] > 0 for l in stores))
        # Then nobody has to.
        found = self.metadata(*self.served("--to", "none"))
        self.assertEqual({l["worker"] for l in found["layers"]
                          if l["paths"]} - {None, ""}, set())
        self.stop(serve)
        self.assertIn("has left", self.log("serve"))

    def test_plain(self):
        """Within one machine no keys are needed: TCP, and a socket's file."""
        _, _, want = self.plain("--encoding", "gzip")
        for i, where in enumerate((self.endpoint,
                                   "ipc://" + self.path("run/s"))):
            self.endpoint = where
            serve = self.serve(keys=False)
            out = self.path("out", "o%d" % i)
            self.build(*self.served("--to", "oci:" + out, "--encoding", "gzip",
                                    keys=False))
            self.same_tree(out, want)
            self.stop(serve)

    def test_workers_of_other_machines(self):
        """Neither client nor server has the store; two clients at once."""
        _, _, want = self.plain("--encoding", "zstd")
        clients = self.endpoint
        workers = self.endpoint = "tcp://127.0.0.1:%d" % free_ports(2)
        worker = self.worker("w1", "--slots", "2")
        self.endpoint = clients
        self.served()
        serve = self.serve("--local-slots", "0", "--listen", workers,
                           "--workers-keys", self.path("allowed"))
        beside = [self.coordinator(
            "--progress", "none", "--no-cache", *self.served(
                "--to", "oci:" + self.path("out", name), "--encoding",
                "zstd"), name=name) for name in ("a", "b")]
        for p, name in zip(beside, "ab"):
            self.assertEqual(self.finish(p).status, 0, self.log(name))
            self.same_tree(self.path("out", name), want)
        self.stop(serve)
        self.end(worker)

    def test_lines_for_programs(self):
        """Each is a JSON object, of the client and of the server."""
        self.served()
        serve = self.serve("--progress", "json", "--verbose")
        r = self.build(*self.served("--to", "none", "--progress", "json",
                                    "--verbose"))
        found = quarrytest.events(r.errors)
        self.assertEqual(found[-1]["event"], "summary")
        self.assertTrue([e for e in found if e["event"] == "log" and
                         "makes 10 layers" in e["text"]])
        self.build(*self.served("--to", "none", "--progress", "json",
                                "--server-key", "nothing"), status=2)
        self.stop(serve)
        found = quarrytest.events(self.log("serve"))
        self.assertEqual({e["event"] for e in found}, {"log"})
        self.assertTrue([e for e in found if "has left" in e["text"]])

    def test_failures(self):
        self.served()
        serve = self.serve()
        r = self.build(*self.served("--to", "none", "--store-dir",
                                    "/other/store"), status=2)
        infos = [dict(self.store.infos[0])]
        infos[0]["path"] = "/nix/store/%s-missing" % ("a" * 32)
        infos[0]["references"] = []
        self.closure_file(self.store, infos)
        r = self.build(*self.served("--to", "none"), status=2)
        self.assertRegex(r.errors, r"layer 1 \(missing\): .*-missing")
        self.stop(serve)


class TestServeFaults(Served):
    def setUp(self):
        super().setUp()
        _, _, self.tree = self.plain("--encoding", "zstd")

    def beside(self, name="client", **kw):
        return self.coordinator(
            "--progress", "none", *self.served(
                "--to", "oci:" + self.path("out/o"), "--encoding", "zstd",
                **kw), name=name)

    def well(self, p):
        self.assertEqual(self.finish(p).status, 0, self.log("client"))
        self.same_tree(self.path("out/o"), self.tree)

    def held(self, serve):
        """The server, whose workers stand still."""
        self.stopped = self.wait_workers()
        for pid in self.stopped:
            os.kill(pid, signal.SIGSTOP)
        return serve

    def go_on(self):
        for pid in set(self.stopped) & set(self.workers()):
            os.kill(pid, signal.SIGCONT)

    def test_killed_and_started_again(self):
        self.served()
        serve = self.held(self.serve())
        p = self.beside()
        self.wait_log("client", "makes 10 layers")
        serve.kill()
        serve.wait()
        self.go_on()
        self.wait_log("client", "cannot be reached; waiting for it")
        serve = self.serve()
        self.well(p)
        self.assertIn("asked again for", self.log("client"))
        self.stop(serve)

    def test_told_to_end(self):
        self.served()
        serve = self.held(self.serve())
        p = self.beside()
        self.wait_log("client", "makes 10 layers")
        self.stop(serve)
        self.wait_log("client", "it ends; waiting for it")
        serve = self.serve()
        self.well(p)
        self.stop(serve)

    def test_stands_still(self):
        """It hangs for longer than it may, and goes on."""
        self.served()
        serve = self.held(self.serve())
        p = self.beside()
        self.wait_log("client", "makes 10 layers")
        os.kill(serve.pid, signal.SIGSTOP)
        self.wait_log("client", "says nothing any more; waiting for it")
        os.kill(serve.pid, signal.SIGCONT)
        self.wait_log("client", "it is back")
        self.go_on()
        self.well(p)
        self.stop(serve)

    def test_key_is_listed_later(self):
        self.keygen("laptop")
        serve = self.serve()
        p = self.beside()
        self.wait_log("client", "does not list this client's")
        self.allow("laptop")
        serve.send_signal(signal.SIGHUP)
        self.well(p)
        self.stop(serve)

    def test_client_is_interrupted(self):
        """The server is rid of it, and does the same for the next."""
        self.served()
        serve = self.held(self.serve())
        p = self.beside()
        self.wait_log("client", "makes 10 layers")
        p.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(p).status, 130)
        self.go_on()
        self.well(self.beside())
        self.stop(serve)


if __name__ == "__main__":
    quarrytest.main()
