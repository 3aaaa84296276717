"""Binary caches that are broken, slow or hostile: one clear line each, or the
next cache, and nothing left behind."""

import os
import shutil
import socket
import subprocess
import time

import quarrytest
from caches import (COMPRESSIONS, Caches, change, cut, flip, hang, in_parts,
                    redirect, reset, short, status)
from quarrytest import make_store, read



class TestBroken(Caches):
    def nar(self, fault, name="zstd"):
        """A server whose NAR of the victim has the fault."""
        text = read("%s/%s.narinfo" % (self.cache(name), self.hash)).decode()
        url = next(l[5:] for l in text.splitlines() if l.startswith("URL: "))
        return self.serve(name, {url: fault})

    def test_damaged(self):
        for name in COMPRESSIONS:
            self.falls_back(self.nar(change(flip), name), "NAR: ")

    def test_truncated(self):
        for name in COMPRESSIONS:
            self.falls_back(self.nar(change(cut), name), "NAR: ")

    def test_something_follows(self):
        self.falls_back(self.nar(change(lambda d: d + b"x"), "none"),
                        "holds more than its NarSize")

    def test_another_nar(self):
        data = read(self.other_nar())
        self.falls_back(self.nar(change(lambda _: data), "none"), "NAR: ")

    def other_nar(self):
        path = next(i["path"] for i in self.store.infos
                    if i["path"].endswith("-empty"))
        digits = path.split("/")[-1].split("-")[0]
        text = read("%s/%s.narinfo" % (self.cache("none"), digits)).decode()
        return "%s/%s" % (self.cache("none"), next(
            l[5:] for l in text.splitlines() if l.startswith("URL: ")))

    def test_longer_tar_of_a_bad_nar(self):
        """What the bad one has written beyond the good one's end is gone."""
        def string(data):
            return (len(data).to_bytes(8, "little") + data
                    + bytes(-len(data) % 8))

        def many(_):
            out = [string(w) for w in (b"nix-archive-1", b"(", b"type",
                                       b"directory")]
            for i in range(20000):
                out += [string(w) for w in (
                    b"entry", b"(", b"name", b"%05d" % i, b"node", b"(",
                    b"type", b"directory", b")", b")")]
            return b"".join(out + [string(b")")])
        self.falls_back(self.nar(change(many), "none"), "NAR: ")

    def test_not_there(self):
        server = self.serve(faults={self.hash: status(404)})
        self.refused(server, says="has it not")
        r = self.archive(server, "file://" + self.cache())
        self.assertEqual(r.errors, "")
        self.falls_back(self.nar(status(404)), "but not the NAR")

    def test_nowhere(self):
        r = self.refused("file://" + self.path("no-cache"), self.serve(
            folder=self.path("home")), path="/nix/store/", says=[
                "not in %s/nix/store" % self.nowhere, "has it not"])
        self.assertIn("3 times", r.errors)

    def test_server_errors(self):
        for code in (500, 429, 408):
            server = self.nar(status(code))
            self.refused(server, says="HTTP status %d" % code)
            self.assertGreater(len(server.asked), 3 * 4)
        self.falls_back(self.nar(status(500)), "HTTP status 500")
        self.falls_back(self.nar(status(401)), "HTTP status 401")
        self.falls_back(self.serve(faults={self.hash + ".narinfo":
                                           status(501)}),
                        "HTTP status 501")

    def test_errors_that_pass(self):
        left = {}

        def sometimes(handler):
            left.setdefault(handler.path, 2)
            left[handler.path] -= 1
            return left[handler.path] >= 0 and handler.status(
                503, Retry_After="1")
        server = self.serve(faults={self.hash: sometimes})
        server.faults["/nar/"] = lambda handler: sometimes(handler)
        r = self.archive(server)
        self.assertEqual(r.errors, "")

    def test_reset_and_close(self):
        self.falls_back(self.nar(reset), "NAR: ")
        self.falls_back(self.nar(short), "NAR: ")
        self.falls_back(self.serve(faults={self.hash + ".narinfo": reset}),
                        self.hash + ".narinfo: ")

    def test_goes_on(self):
        """A body that breaks off is gone on with where it did."""
        for name in ("none", "zstd"):
            server = self.nar(in_parts(4), name)
            r = self.archive(server)
            self.assertEqual(r.errors, "")
            nar = next(iter(server.faults))
            self.assertEqual(
                [nar in path for path in server.asked].count(True), 4)
        self.falls_back(self.nar(in_parts(4, lie=True)), "NAR: ")
        server = self.nar(in_parts(40))  # not for ever
        r = self.archive(server, "file://" + self.cache("xz"))
        self.assertIn(server.url, r.errors)

    def test_hang(self):
        begin = time.monotonic()
        server = self.nar(hang)
        r = self.archive(server, "file://" + self.cache("xz"))
        self.assertIn("in 20 s", r.errors)
        self.assertIn(server.url, r.errors)
        self.assertLess(time.monotonic() - begin, 100)

    def test_nobody_listens(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            url = "http://127.0.0.1:%d" % s.getsockname()[1]
            r = self.archive(url, "file://" + self.cache())
            self.assertIn("warning: ", r.errors)
            # Once it has failed it is not asked first again.
            self.assertLess(r.seconds, 100)
            self.refused(url, path="/nix/store/", says="connect")

    def test_redirects(self):
        good = self.serve()
        server = self.serve(faults={"": lambda handler: handler.status(
            302, Location=good.url + handler.path)})
        self.assertEqual(self.archive(server).errors, "")
        for to in ("/%s.narinfo" % self.hash, "file:///etc/passwd",
                   "gopher://127.0.0.1/x", "ftp://127.0.0.1/x"):
            server = self.serve(faults={self.hash: redirect(to)})
            self.falls_back(server, self.hash + ".narinfo: ")

    def test_bomb(self):
        """Gigabytes out of kilobytes: no more than NarSize is unpacked."""
        zeros = subprocess.run(
            "head -c 2000000000 /dev/zero | zstd -q", shell=True, check=True,
            stdout=subprocess.PIPE).stdout
        begin = time.monotonic()
        self.refused(self.nar(change(lambda _: zeros)), says="NAR: ")
        empty = subprocess.run(["zstd", "-q"], input=b"", check=True,
                               stdout=subprocess.PIPE).stdout
        self.refused(self.nar(change(lambda _: empty * 3000000)),
                     says="NAR: ")
        self.assertLess(time.monotonic() - begin, 100)

    def test_cancelled(self):
        """A signal ends it while a server keeps it waiting."""
        p = self.start("build", *self.options(self.nar(hang)),
                       "--trusted-key", self.key, "--progress", "none",
                       "--to", "oci:" + self.path("out/o"))
        self.wait_workers()
        quarrytest.wait_for(lambda: any(
            "/nar/" in path for path in self.servers[-1].asked))
        time.sleep(0.5)
        p.terminate()
        r = self.finish(p, timeout=60)
        self.assertEqual(r.status, 143)
        self.assertEqual(os.listdir(self.out), [])

    def test_strange_files(self):
        folder = self.path("cache")
        shutil.copytree(self.cache("none"), folder)
        name = "%s/%s.narinfo" % (folder, self.hash)
        os.unlink(name)
        os.mkfifo(name)
        self.refused("file://" + folder, says="not a regular file")
        os.unlink(name)
        os.mkdir(name)
        self.refused("file://" + folder, says="not a regular file")

    def test_depth(self):
        """One directory more than Nix takes: refused, as in Nix."""
        store = make_store.Store(self.path("deep"))
        store.add("deep", make_store.deep(63))
        path = store.add("deeper", make_store.deep(64))
        make_store.register(store, self.env)
        self.make_cache("deep", "compression=none", root=store.root)
        closure = self.closure_file(store, name="deep.json")
        self.refused("file://" + self.cache("deep"), closure=closure,
                     path=path, says="is nested too deep")


if __name__ == "__main__":
    quarrytest.main()
