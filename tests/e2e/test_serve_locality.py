"""quarry serve sends layers to the workers that have their store paths.

As in test_locality.py each process has a store of its own, where it was
started.
"""

import json
import os
import re
import shutil
import signal

import quarrytest
from ports import free_ports
from quarrytest import WORKER, make_store, read, wait_for
from serving import MADE, Client, Serve

N = 8


class TestServeLocality(Serve):
    slots = "0"

    @classmethod
    def make_store(cls, folder):
        store = make_store.Store(folder)
        for i in range(N):
            store.add("p-%d" % i, {"f": os.urandom(10000 * i + 1)})
        return store

    def setUp(self):
        super().setUp()
        self.endpoint = "tcp://127.0.0.1:%d" % free_ports(2)
        self.there = [i["path"] for i in self.store.infos[:N]]

    def serve(self, *args, **kw):
        return super().serve("--listen", self.endpoint, "--store-root",
                             "/proc/self/cwd", *args, **kw)

    def part(self, name, paths):
        root = self.path("root-" + name)
        os.makedirs(root + "/nix/store", exist_ok=True)
        for p in paths:
            shutil.copytree(self.store.real(p), root + p,
                            copy_function=os.link)
        return root

    def has(self, name, paths):
        """A worker that has these, and fetches none."""
        joined = self.log(self.server_log).count("has joined")
        with open(self.log_name(name), "ab") as log:
            p = self.start("--connect", self.endpoint, "--slots", "2",
                           program=[WORKER], stderr=log,
                           cwd=self.part(name, paths))
        self.assertTrue(wait_for(lambda: self.log(
            self.server_log).count("has joined") > joined))
        return p

    def get(self, out, *more, infos=None):
        """{store path: the process that made its layer}"""
        self.quarry(*self.client_args(
            out, "--metadata-file", self.path(out + ".json"), "--no-cache",
            *more, infos=infos))
        self.same(out, self.wanted(out, *more, infos=infos))
        layers = json.loads(read(self.path(out + ".json")))["layers"]
        return {p: int(l["worker"].rsplit("/", 1)[1])
                for l in layers if "worker" in l for p in l["paths"]}

    def jobs(self):
        c = Client(self.clients_port, hello=False)
        jobs = c.status()["jobs"]
        c.close()
        return jobs

    def no_failure(self):
        jobs = self.jobs()
        self.assertEqual(set(jobs["retried"].values()), {0}, jobs)
        self.assertNotRegex(self.log(self.server_log), "warning|failed")

    def asked(self):
        """Of how many paths workers were asked, each time."""
        return [int(n) for n in re.findall(
            r"is asked for (\d+) store paths", self.log(self.server_log))]

    def test_goes_where_it_is(self):
        """Stores that have nothing in common; questions are asked once."""
        p = self.serve()
        halves = self.there[:N // 2], self.there[N // 2:]
        ps = [self.has(name, half) for name, half in zip("ab", halves)]
        made = self.get("one")
        for w, half in zip(ps, halves):
            self.assertEqual({made[path] for path in half}, {w.pid})
        # They come one by one; each is asked for once.
        asked = self.asked()
        self.assertEqual(sum(asked), 2 * N, asked)
        # The same store paths, other layers.
        self.get("two", "--encoding", "zstd")
        self.assertEqual(self.asked(), asked)
        # One more: the difference.
        new = self.store.add("new", {"f": b"new"})
        self.addCleanup(self.store.infos.pop)
        self.part("b", [new])
        made = self.get("three", "--encoding", "gzip")
        self.assertEqual(made[new], ps[1].pid)
        self.assertEqual(sum(self.asked()), 2 * N + 2)
        self.no_failure()
        # And by another server, of which they are asked again.
        self.stop(p)
        p = self.serve()
        for w in "ab":
            self.wait_log(self.server_log, "(?s)has joined.*has joined")
        self.get("four", "--encoding", "gzip:9")
        self.assertEqual(sum(self.asked()), 2 * N + 2)
        self.no_failure()
        for w in ps:
            self.end(w)
        self.stop(p)

    def test_joins_later(self):
        """It has what the other one lacks, which was asked for before."""
        p = self.serve()
        a = self.has("a", self.there[:N - 1])
        self.get("one", infos=self.store.infos[:N - 1])
        b = self.has("b", self.there[N - 1:])
        made = self.get("two", "--encoding", "zstd")
        for i, path in enumerate(self.there):
            self.assertEqual(made[path], (b if i == N - 1 else a).pid)
        self.no_failure()
        self.end(a)
        self.end(b)
        self.stop(p)

    def test_without(self):
        """Nobody is asked; who lacks it fails, and the other one does it."""
        p = self.serve("--no-locality")
        a, b = self.has("a", self.there), self.has("b", self.there)
        self.get("one")
        self.assertEqual(self.asked(), [])
        self.end(a)
        self.end(b)
        self.stop(p)

    def test_who_waits_holds_up_nobody(self):
        """A hundred layers wait for a worker that does not move."""
        p = self.serve()
        halves = self.there[:N // 2], self.there[N // 2:]
        a, b = [self.has(name, half) for name, half in zip("ab", halves)]
        self.get("one")  # who has what is known now
        a.send_signal(signal.SIGSTOP)
        c = Client(self.clients_port)
        for _ in range(100):
            c.want([dict(self.store.infos[0], narHash=os.urandom(32))])
        wait_for(lambda: c.status()["jobs"]["running"] > 0)
        made = self.get("two", "--encoding", "zstd",
                        infos=self.store.infos[N // 2:])
        self.assertEqual(set(made.values()), {b.pid})
        self.assertNotIn(MADE, [m[0] for m in c.got])
        c.close()
        a.send_signal(signal.SIGCONT)
        self.end(b)
        a.terminate()
        self.finish(a)
        self.stop(p)

    def test_comes_back(self):
        """Who has it was away; it is waited for, also by what comes then."""
        p = self.serve()
        a = self.has("a", self.there)
        b = self.has("b", self.there[1:])
        self.get("one")
        self.end(a)
        build = self.start(*self.client_args("two", "--encoding", "zstd",
                                             "--no-cache"))
        self.wait_log(self.server_log, "builds two")
        a = self.has("c", self.there)
        r = self.finish(build)
        self.assertEqual(r.status, 0, r.errors)
        self.same("two", self.wanted("two", "--encoding", "zstd"))
        self.no_failure()
        self.end(a)
        self.end(b)
        self.stop(p)

    def test_nobody_has_it(self):
        """The client is told which; all else goes on."""
        p = self.serve()
        a, b = self.has("a", self.there), self.has("b", self.there)
        infos = [*self.store.infos, dict(
            self.store.infos[0], path=self.store.new_path("gone"))]
        r = self.quarry(*self.client_args("bad", infos=infos), status=1)
        self.assertIn("no worker has %s, or can fetch it" % infos[-1]["path"],
                      r.errors)
        self.get("good", "--encoding", "zstd")
        # Nobody was blamed, nobody tried.
        self.assertEqual(set(self.jobs()["retried"].values()), {0})
        self.end(a)
        self.end(b)
        self.stop(p)


if __name__ == "__main__":
    quarrytest.main()
