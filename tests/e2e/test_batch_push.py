"""The layers of many images, which workers put into registries themselves."""

import collections
import io
import json
import os
import re
import tarfile
import threading

import fake_registry as fake
import quarrytest
import test_status
from ports import free_ports
from quarrytest import need
from test_batch import BatchBase
from test_push import DONE, PASSWORD, Pushes
from traced import Traced, strace


class BatchPushes(Pushes, BatchBase):
    N = 6

    @classmethod
    def setUpClass(cls):
        BatchBase.setUpClass.__func__(cls)

    def docs(self, n, to=None):
        """Each has a path more than the one before, of its own a config."""
        docs = [{"name": "r%d" % i, "tag": "1",
                 "contents": [self.paths[i % self.N]],
                 "config": {"Env": ["N=%d" % i]}} for i in range(n)]
        for i, doc in enumerate(docs):
            if to is not None:
                doc["to"] = to(i)
        return docs

    def run_batch(self, docs, *args, status=0):
        """(summary, what was said)"""
        got = self.quarry(
            *self.batch_args(self.requests(docs), *args), "--progress",
            "plain", "--verbose", status=status)
        self.secret(got.errors)
        with open(self.path("summary.json"), encoding="utf-8") as f:
            return json.load(f), got.errors

    def manifest(self, r, name):
        repo = r.repo(name)
        return json.loads(repo["manifests"][repo["tags"]["1"]][1])

    def check_images(self, r, docs, summary, but=()):
        """All that is in their repositories is what quarry build makes."""
        layers = set()
        for doc, image in zip(docs, summary["images"]):
            if doc["name"] in but:
                self.assertEqual(image["status"], "failed")
                continue
            self.assertEqual(image["status"], "done")
            repo = r.repo(doc["name"])
            self.assertEqual(repo["tags"]["1"], image["manifest_digest"])
            found = self.manifest(r, doc["name"])
            for d in [found["config"], *found["layers"]]:
                self.assertIn(d["digest"], repo["blobs"])
                self.assertEqual(fake.sha256(r.blobs[d["digest"]]),
                                 d["digest"])
            layers |= {d["digest"] for d in found["layers"]}
        one = {k: v for k, v in docs[-1].items() if k != "to"}
        meta = self.alone(one, "none", "--encoding", "gzip")
        self.assertEqual(meta["manifest_digest"],
                         summary["images"][-1]["manifest_digest"])
        return layers

    def check_once(self, r, docs, summary, errors):
        """Layers by workers, each once; configs from here."""
        layers = self.check_images(r, docs, summary)
        size = sum(len(r.blobs[d]) for d in layers)
        configs = len(r.blobs) - len(layers)
        self.assertEqual(configs, len(docs))
        self.assertEqual(sum(self.done_by(errors).values()), len(layers))
        self.assertEqual(r.uploads_done, len(r.blobs))
        self.assertEqual(sum(q["length"] for q in r.requests
                             if q["step"] == "PUT blob"),
                         sum(len(b) for b in r.blobs.values()))
        pushed = summary["totals"]["pushed"]
        self.assertEqual(pushed["uploaded"], len(r.blobs))
        self.assertEqual(pushed["uploaded_bytes"],
                         sum(len(b) for b in r.blobs.values()))
        self.assertEqual(pushed["there"], 0)
        said = re.findall(DONE, errors)
        self.assertEqual(len(said), len(layers))
        return size


class TestHere(BatchPushes):
    def to(self, r):
        return "--to", "docker://" + r.name + "/{name}"

    def test_once(self):
        r, docs = self.registry(), self.docs(8)
        summary, errors = self.run_batch(docs, *self.to(r), "--workers", "2",
                                         "--slots", "2")
        self.check_once(r, docs, summary, errors)
        # Nothing is made, and nothing sent, once more: what is asked is
        # whether root layers, which were made, and manifests are there.
        done = r.uploads_done
        r.requests.clear()
        summary, errors = self.run_batch(docs, *self.to(r))
        steps = [q["step"] for q in r.requests if q["step"] != "GET base"]
        self.assertEqual(sorted(set(steps)),
                         ["HEAD manifest", "HEAD stored"])
        self.assertEqual(steps.count("HEAD manifest"), 8)
        self.assertLessEqual(steps.count("HEAD stored"), 8 + 8)
        self.assertEqual(summary["totals"]["made_layers"], 8)  # root layers
        self.assertEqual(summary["totals"]["pushed"]["uploaded"], 0)
        self.assertEqual(self.done_by(errors), {})
        self.assertEqual(r.uploads_done, done)

    def test_metrics(self):
        r, docs, let = self.registry(), self.docs(4), threading.Event()
        self.addCleanup(let.set)
        r.rule("PUT blob", lambda h: not let.wait(600), times=1000)
        port = free_ports(1)
        p = self.start(*self.batch_args(
            self.requests(docs), *self.to(r), "--metrics",
            "127.0.0.1:%d" % port))
        # All that are made wait for those that a worker has at a time.
        m = test_status.when(port, lambda m: m["quarry_pushes_open"] > 4 and
                             m["quarry_jobs_queued"] == 0 and
                             m["quarry_jobs_running"] == 0)
        self.assertEqual(m.sum("quarry_pushes_total"), 0)
        let.set()
        self.assertEqual(self.finish(p).status, 0)

    def test_another_image_under_the_tag(self):
        r, docs = self.registry(), self.docs(2)
        self.run_batch(docs, *self.to(r))
        docs[1]["config"] = {"Env": ["N=other"]}
        summary, _ = self.run_batch(docs, *self.to(r))
        self.check_images(r, docs, summary)
        self.assertEqual(summary["totals"]["pushed"]["uploaded"], 1)
        self.assertEqual(r.manifests_put, 3)

    def test_from_coordinator(self):
        r, docs = self.registry(), self.docs(4)
        summary, errors = self.run_batch(
            docs, *self.to(r), "--push-from", "coordinator")
        self.check_images(r, docs, summary)
        self.assertEqual(self.done_by(errors), {})
        self.assertEqual(r.uploads_done, len(r.blobs))

    def test_two_registries(self):
        """Of each layer one copy each; other outputs as always."""
        one, two = self.registry(), self.registry()
        docs = self.docs(6, lambda i: [
            "docker://%s/r%d" % (one.name, i), "oci:out/%d" % i]
            if i % 2 else "docker://%s/r%d" % (two.name, i))
        summary, errors = self.run_batch(docs)
        layers = 0
        for r, some in ((one, slice(1, 6, 2)), (two, slice(0, 6, 2))):
            layers += len(self.check_images(r, docs[some], {
                "images": summary["images"][some]}))
            self.assertEqual(r.uploads_done, len(r.blobs))
        self.assertEqual(sum(self.done_by(errors).values()), layers)

    def test_place_that_fails(self):
        """It is the first image's, and home of what others have, too."""
        r, docs = self.registry(), self.docs(6)

        def refuse(h):
            return h.match["repo"] == "r0" and fake.status(403)(h)

        r.rule("POST start", refuse, times=10000)
        r.rule("PUT blob", refuse, times=10000)
        summary, errors = self.run_batch(docs, *self.to(r), status=1)
        self.check_images(r, docs, summary, but=("r0",))
        self.assertEqual(r.uploads_done, len(r.blobs))
        self.assertIn("upload failed: ", errors)

    def test_asked_too_much(self):
        """Fewer go to a registry at a time, to whatever repository."""
        r, docs = self.registry(), self.docs(8)
        for i, doc in enumerate(docs):
            doc["directories"] = [{"path": "/d%d" % i}]
        lock, full = threading.Lock(), threading.Event()
        first, events = set(), []
        self.addCleanup(full.set)

        def put(h):
            digest = h.path.split("=")[-1].replace("%3A", ":")
            with lock:
                wave = len(first) < 8
                if wave:
                    first.add(digest)
                if len(first) == 8:
                    full.set()
                events.append((digest, 1))
            if wave:
                full.wait(100)
                return fake.status(429)(h)
            # What others begin meanwhile is seen.
            h.server.registry.stop.wait(0.1)
            with lock:
                events.append((digest, -1))
            return False

        r.rule("PUT blob", put, times=10000)
        summary, _ = self.run_batch(docs, *self.to(r), "--workers", "2",
                                    "--slots", "2", "--registry-timeout",
                                    "200")
        layers = self.check_images(r, docs, summary)
        self.assertEqual(len(first - layers), 0)
        self.assertGreater(len(layers - first), 4)
        now, most = 0, []
        for digest, step in events:
            if digest in layers - first:
                now += step
                most.append(now)
        # One, then two, then three; not one for each repository.
        self.assertEqual(most[:2], [1, 0])
        self.assertLessEqual(max(most), 3)

    def test_killed(self):
        """What a run that was killed has seen is mounted by the next."""
        r, docs = self.registry(), self.docs(4)
        manifests = threading.Semaphore(0)
        r.rule("PUT manifest", lambda h: manifests.release() or
               fake.hang(600)(h), times=1000)
        p = self.start(*self.batch_args(
            self.requests(docs), *self.to(r), "--registry-timeout", "600"))
        for _ in docs:
            self.assertTrue(manifests.acquire(timeout=120))
        p.kill()
        self.finish(p)
        with r.lock:
            r.rules.clear()
            there = set(r.blobs)
        done = r.uploads_done
        for doc in docs:
            doc["name"] = "other-" + doc["name"]
        summary, _ = self.run_batch(docs, *self.to(r))
        self.check_images(r, docs, summary)
        self.assertEqual(set(r.blobs), there)
        # Root layers are made anew, and mounted all the same.
        self.assertEqual(summary["totals"]["made_layers"], len(docs))
        self.assertEqual(r.uploads_done, done)

    def test_registry_that_is_away(self):
        r = self.registry()
        away = "127.0.0.1:1"
        docs = self.docs(4, lambda i: "docker://%s/r%d" % (
            away if i == 1 else r.name, i))
        summary, _ = self.run_batch(docs, status=1)
        self.check_images(r, docs, summary, but=("r1",))

    def test_password_stays_here(self):
        r, docs = self.registry(basic=("me", PASSWORD)), self.docs(3)
        summary, errors = self.run_batch(docs, *self.to(r),
                                         *self.authfile(r))
        self.check_images(r, docs, summary)
        self.assertEqual(errors.count("which workers are not given"), 1)
        self.assertEqual(self.done_by(errors), {})

    def test_many_repositories(self):
        """More than a worker knows at a time, each with a token; the
        password is asked for once."""
        r, docs = self.registry(bearer=("me", PASSWORD)), self.docs(40)
        for i, doc in enumerate(docs):
            # A root layer of its own.
            doc["directories"] = [{"path": "/d%d" % i}]
        os.mkdir(self.path("bin"))
        quarrytest.write(
            self.path("bin/docker-credential-one"), "#!/bin/sh\ncat >> %s\n"
            "echo '{\"Username\": \"me\", \"Secret\": \"%s\"}'\n" % (
                self.path("asked"), PASSWORD), 0o755)
        self.env["PATH"] = self.path("bin") + ":" + self.env["PATH"]
        auth = quarrytest.write(self.path("auth.json"),
                                '{"credsStore": "one"}')
        summary, errors = self.run_batch(docs, *self.to(r), "--authfile",
                                         auth, "--slots", "1")
        self.assertEqual(quarrytest.read(self.path("asked")), r.name.encode())
        self.check_once(r, docs, summary, errors)
        with r.lock:
            for token in r.tokens.values():
                self.assertLessEqual(len({
                    name for name, act in token["scopes"] if act == "push"
                }), 1)


@quarrytest.need_root()
@need("unshare", "mount")
class TestElsewhere(BatchPushes):
    """By workers of their own, which do not see the coordinator's files."""

    hidden = ("cache",)

    def remote_batch(self, docs, *args, workers=2, **kw):
        summary, errors = self.run_batch(docs, *self.listen(
            "--local-slots", "0", "--min-workers", str(workers)), *args, **kw)
        self.assertNotIn("shares the output's folder", errors)
        return summary, errors

    def test_once(self):
        """With a cache layers come here, too; without they do not."""
        r, docs = self.registry(bearer=("me", PASSWORD)), self.docs(8)
        to = ("--to", "docker://" + r.name + "/{name}", *self.authfile(r))
        self.start_workers("w1", "w2")
        summary, errors = self.remote_batch(docs, *to, "--no-cache")
        alone = re.findall("is in the registries alone", errors)
        self.assertEqual(len(alone), summary["totals"]["made_layers"])
        self.check_once(r, docs, summary, errors)
        # Made once more, and known to be there.
        done = r.uploads_done
        summary, errors = self.remote_batch(docs, *to, "--no-cache")
        self.assertEqual(r.uploads_done, done)
        self.assertEqual(summary["totals"]["pushed"]["uploaded"], 0)
        # To another registry, and into the cache.
        other = self.registry()
        to = ("--to", "docker://" + other.name + "/{name}")
        summary, errors = self.remote_batch(docs, *to)
        self.check_once(other, docs, summary, errors)
        self.assertNotIn("is in the registries alone", errors)
        self.assertEqual(len(self.records()),
                         summary["totals"]["made_layers"] - 8)
        summary, errors = self.remote_batch(docs, *to)
        self.assertEqual(summary["totals"]["made_layers"], 8)
        self.assertEqual(summary["totals"]["pushed"]["uploaded"], 0)
        self.end_workers()
        for name in ("w1", "w2"):
            self.secret(self.log(name))

    def test_only_where_nobody_needs_it(self):
        """One image goes to a folder: what it has comes here."""
        r = self.registry()
        docs = self.docs(4, lambda i: "oci:out" if i == 0 else
                         "docker://%s/r%d" % (r.name, i))
        self.start_workers("w1", "w2")
        summary, errors = self.remote_batch(docs, "--no-cache")
        self.check_images(r, docs[1:], {"images": summary["images"][1:]})
        alone = len(re.findall("is in the registries alone", errors))
        here = len(os.listdir(self.path("out/blobs/sha256"))) - 2
        self.assertEqual(alone, summary["totals"]["made_layers"] - here)
        self.end_workers()

    def test_worker_dies(self):
        r, docs = self.registry(), self.docs(6)
        hung = self.hang_one(r)
        self.start_workers("w1", "w2")
        with open(self.log_name("coordinator"), "ab") as log:
            p = self.start(*self.batch_args(
                self.requests(docs), "--no-cache", "--to",
                "docker://" + r.name + "/{name}", "--verbose"), *self.listen(
                    "--local-slots", "0", "--min-workers", "2",
                    "--registry-timeout", "600", "--progress", "plain"),
                stderr=log)
        self.kill_uploader(hung)
        self.assertEqual(self.finish(p).status, 0, self.log("coordinator"))
        with open(self.path("summary.json"), encoding="utf-8") as f:
            self.check_images(r, docs, json.load(f))
        self.assertEqual(r.uploads_done, len(r.blobs))
        self.end_workers()

    def test_worker_fails(self):
        """What it cannot send comes here, and is sent from here."""
        r, docs = self.registry(), self.docs(4)
        r.rule("PUT blob", fake.status(400), times=2)
        self.start_workers("w1", "w2")
        summary, errors = self.remote_batch(
            docs, "--no-cache", "--to", "docker://" + r.name + "/{name}")
        self.check_images(r, docs, summary)
        self.assertEqual(errors.count("upload failed: "), 2)
        self.assertEqual(r.uploads_done, len(r.blobs))
        self.end_workers()


def files_of(blob):
    """Bytes of the files that are in a layer."""
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        return sum(m.size for m in tar if m.isreg())


@quarrytest.need_root()
@need("unshare", "mount", "strace")
class TestReadOnce(BatchPushes):
    """What workers read of the store is what the layers hold, each once:
    by their own count, by the registry's blobs, and by who watches them."""

    env_extra = {"LSAN_OPTIONS": "detect_leaks=0"}
    hidden = ("cache",)
    workers = ("w1", "w2", "w3")

    def setUp(self):
        super().setUp()
        self.env["ASAN_OPTIONS"] += ":detect_leaks=0"

    def traced_batch(self, docs, *args, status=0):
        """Workers end with the batch; (totals, {file of the store: bytes
        that they read of it, as strace saw them}, summary, errors)"""
        logs = {name: self.path("strace-" + name) for name in self.workers}
        self.start_workers(*self.workers, program=lambda name: [
            *strace(logs[name]), quarrytest.WORKER, "--once"])
        summary, errors = self.run_batch(docs, *self.listen(
            "--local-slots", "0", "--min-workers", "3"), *args,
            status=status)
        for p in self.running:
            self.finish(p)
        seen = collections.Counter()
        for log in logs.values():
            t = Traced(log)
            seen += collections.Counter({
                path: n for path, n in t.got.items()
                if path.startswith(self.store.root)})
            self.assertFalse([path for path in t.mapped
                              if path.startswith(self.store.root)])
        return summary["totals"], seen, summary, errors

    def test_three_workers(self):
        docs = self.docs(12)
        for i in range(10):
            r = self.registry()
            to = ("--to", "docker://" + r.name + "/{name}", "--cache",
                  self.path("cache/%d" % i))
            totals, seen, summary, errors = self.traced_batch(docs, *to)
            # On a busy machine a layer may be made by a second worker, too.
            if "again (copy)" not in errors:
                break
        self.check_once(r, docs, summary, errors)
        held = sum(files_of(r.blobs[d])
                   for d in self.check_images(r, docs, summary))
        self.assertGreater(held, 1000000)
        self.assertEqual(totals["bytes_read"], held)
        self.assertEqual(sum(seen.values()), held)
        # No path of this store is in two layers: nor is any file.
        for path, n in seen.items():
            self.assertEqual(n, os.path.getsize(path), path)
        # Known by now, but for root layers, which hold no file.
        totals, seen, _, _ = self.traced_batch(docs, *to)
        self.assertEqual(totals["made_layers"], 12)
        self.assertEqual(totals["bytes_read"], 0)
        self.assertEqual(totals["pushed"]["uploaded"], 0)
        self.assertEqual(sum(seen.values()), 0)

    def test_in_vain(self):
        """What attempts read that came to nothing is read all the same."""
        folder = self.store.root + self.paths[0]
        last = folder + "/share/data-3"
        data = quarrytest.read(last)
        os.remove(last)
        os.mkfifo(last)
        try:
            totals, seen, _, _ = self.traced_batch(
                self.docs(1), "--to", "docker://%s/{name}" %
                self.registry().name, status=1)
        finally:
            os.remove(last)
            quarrytest.write(last, data, 0o444)
        whole = sum(os.path.getsize(os.path.join(at, f))
                    for at, _, files in os.walk(folder) for f in files)
        self.assertEqual(totals["bytes_read"], 3 * (whole - len(data)))
        self.assertEqual(sum(seen.values()), totals["bytes_read"])


if __name__ == "__main__":
    quarrytest.main()
