"""Many images in one run, out of registries and into them."""

import json
import os
import threading

import fake_registry
import quarrytest
import test_base_registry
import test_status
from ports import free_ports
from quarrytest import make_store, wait_for, write
from test_batch import BatchBase
from test_registry import RegistryBase


class TestRegistry(RegistryBase, BatchBase):
    @classmethod
    def setUpClass(cls):
        BatchBase.setUpClass.__func__(cls)

    def test_mounts(self):
        host = self.serve()
        docs = self.many(10)
        for doc in docs:
            doc.pop("mtime", None)
        summary, _ = self.batch(
            self.requests(docs), "--to", "docker://" + host + "/{name}:{tag}")
        totals, images = summary["totals"], summary["images"]
        self.assertEqual(totals["done"], 10)
        # Every blob is uploaded once, configs included; the other
        # repositories have it mounted.
        distinct, wanted = set(), 0
        for doc, image in zip(docs, images):
            name = "%s/%s:%s" % (host, doc["name"], image["tag"])
            config, manifest = self.pulled(name, "--src-tls-verify=false")
            self.assertEqual("sha256:" + quarrytest.sha256(config),
                             image["image_id"])
            self.assertEqual("sha256:" + quarrytest.sha256(manifest),
                             image["manifest_digest"])
            meta = self.alone(doc, "none", "--encoding", "gzip")
            self.assertEqual(meta["manifest_digest"],
                             image["manifest_digest"])
            blobs = {layer["digest"] for layer in
                     json.loads(manifest)["layers"]} | {image["image_id"]}
            distinct |= blobs
            wanted += len(blobs)
        pushed = totals["pushed"]
        self.assertEqual(pushed["uploaded"], len(distinct))
        self.assertEqual(pushed["mounted"], wanted - len(distinct))
        self.assertEqual(pushed["there"], 0)
        self.assertGreater(pushed["mounted_bytes"], 0)
        # All is there.
        again, _ = self.batch(
            self.requests(docs), "--to", "docker://" + host + "/{name}:{tag}")
        self.assertEqual(again["totals"]["pushed"]["there"], wanted)
        self.assertEqual(again["totals"]["pushed"]["uploaded_bytes"], 0)

    def fake(self, *args, **kw):
        r = fake_registry.Registry(*args, **kw)
        self.addCleanup(r.close)
        return r

    def check_whole(self, r, names):
        """All that is under these repositories is there, each in its own."""
        for name in names:
            repo = r.repo(name)
            self.assertEqual(len(repo["tags"]), 1, name)
            _, data = repo["manifests"][list(repo["tags"].values())[0]]
            doc = json.loads(data)
            for d in [doc["config"], *doc["layers"]]:
                self.assertIn(d["digest"], repo["blobs"])
                self.assertEqual(
                    "sha256:" + quarrytest.sha256(r.blobs[d["digest"]]),
                    d["digest"])
            self.assertEqual(repo["sessions"], {})

    def push_all(self, r, status=0, n=6, args=()):
        docs = [{"name": "r%d" % i, "tag": "1", "contents": [self.paths[-1]],
                 "config": {"Env": ["N=%d" % i]}} for i in range(n)]
        summary, _ = self.batch(
            self.requests(docs), "--to", "docker://" + r.name + "/{name}",
            *args, status=status)
        return summary

    FROM_HERE = ("--push-from", "coordinator")

    def test_a_mount_that_is_none(self):
        """What was said to be mounted and is not, is uploaded."""
        r = self.fake()
        r.rule("POST start", fake_registry.lie_of_mount, times=1000)
        summary = self.push_all(r)
        self.assertEqual(summary["totals"]["pushed"]["mounted"], 0)
        self.check_whole(r, ["r%d" % i for i in range(6)])
        # It was found once, for all of them.
        self.assertEqual(r.count("GET base"), 1)

    def test_mounts_that_are_refused(self):
        for action in (fake_registry.no_mount, fake_registry.status(404),
                       fake_registry.status(403)):
            r = self.fake()

            def act(h, action=action):
                return "mount" in h.query and action(h)
            r.rule("POST start", act, times=1000)
            summary = self.push_all(r)
            self.assertEqual(summary["totals"]["pushed"]["mounted"], 0)
            self.check_whole(r, ["r%d" % i for i in range(6)])

    def test_no_token_for_where_it_is(self):
        """Who may write, but not read elsewhere, uploads."""
        for code in (401, 403, None):
            r = self.fake(bearer=("me", "secret"))

            def act(h, code=code):
                if h.path.count("scope=") < 2:
                    return False
                if code is None:  # a token, for less
                    h.path = h.path[:h.path.rindex("&scope=")]
                    return False
                h.error(code, "DENIED")
                return True
            r.rule("GET token", act, times=1000)
            auth = write(self.path("auth.json"), json.dumps({"auths": {
                r.name: {"auth": fake_registry.basic("me", "secret")[6:]}}}))
            self.push_all(r, args=("--authfile", auth), n=3)
            self.check_whole(r, ["r0", "r1", "r2"])

    def test_a_push_that_failed(self):
        """Nobody relies on what it had begun."""
        r = self.fake()
        r.rule("PUT blob", fake_registry.status(403))
        summary = self.push_all(r, status=1, args=self.FROM_HERE)
        done = [i["name"] for i in summary["images"] if i["status"] == "done"]
        self.assertEqual(len(done), 5)
        self.check_whole(r, done)
        r = self.fake()
        r.rule("PUT manifest", fake_registry.status(400))
        summary = self.push_all(r, status=1)
        done = [i["name"] for i in summary["images"] if i["status"] == "done"]
        self.assertEqual(len(done), 5)
        self.check_whole(r, done)

    def test_tags_of_one_repository(self):
        """Without {tag} each image has its own; two of one are refused."""
        r = self.fake()
        to = "docker://%s/all" % r.name
        docs = [{"name": "a", "tag": str(i), "contents": [self.paths[0]],
                 "config": {"Env": ["I=%d" % i]}} for i in range(3)]
        summary, _ = self.batch(self.requests(docs), "--to", to)
        tags = r.repo("all")["tags"]
        self.assertEqual({tag: tags[tag] for tag in tags},
                         {i["tag"]: i["manifest_digest"]
                          for i in summary["images"]})
        docs[2].update(name="b", tag="1")
        got = self.quarry(*self.batch_args(self.requests(docs), "--to", to),
                          status=2)
        self.assertIn(b"have the same place: docker://", got.stderr)
        docs[2].update(tag="2", to=to + ":0")
        got = self.quarry(*self.batch_args(self.requests(docs), "--to", to),
                          status=2)
        self.assertIn(b"requests 1 (a:0) and 3 (b:2)", got.stderr)

    def test_registry_that_is_away(self):
        host = self.serve()
        self.stop_server()
        docs = [{"name": "a", "contents": [self.paths[0]],
                 "to": "docker://" + host + "/a:1"},
                {"name": "b", "contents": [self.paths[0]],
                 "to": "oci:out/b"}]
        summary, _ = self.batch(self.requests(docs), status=1, timeout=100)
        self.assertEqual([i["status"] for i in summary["images"]],
                         ["failed", "done"])
        self.assertIn("registry", summary["images"][0]["error"])


class TestBases(test_base_registry.RegistryBase, BatchBase):
    """fromImage docker://..., for many images."""

    @classmethod
    def setUpClass(cls):
        BatchBase.setUpClass.__func__(cls)

    def run_batch(self, r, to, n=4, status=0, args=()):
        docs = [{"name": "i%d" % i, "tag": "1", "contents": [self.paths[i]],
                 "fromImage": "docker://%s/b/base:1" % r.name, "to": to(i)}
                for i in range(n)]
        docs.append({"name": "none", "paths": [self.paths[0]], "to": "none"})
        summary, _ = self.batch(
            self.requests(docs), "--encoding", "gzip", *args, status=status)
        self.assertEqual(summary["images"][-1]["status"], "done")
        return docs, summary["images"][:-1]

    def check_same(self, docs, images):
        for doc, image in zip(docs, images):
            one = {k: v for k, v in doc.items() if k != "to"}
            meta = self.alone(one, "oci:out/alone", "--encoding", "gzip")
            self.assertEqual(image["image_id"], meta["image_id"])
            # A docker-archive's layers are plain tars.
            if not doc["to"].startswith("docker-archive:"):
                self.assertEqual(image["manifest_digest"],
                                 meta["manifest_digest"])

    def test_stays(self):
        """To its own registry nothing is fetched; layers are mounted."""
        r = self.registry()
        self.put(r)
        docs, images = self.run_batch(
            r, lambda i: "docker://%s/t/%d:1" % (r.name, i))
        self.assertEqual(self.layer_requests(r), [])
        # It was looked at once.
        self.assertEqual(sum(q["step"] == "GET manifest"
                             for q in r.requests), 1)
        mounts = [q for q in r.requests if "mount=" in q["path"] and
                  "from=b/base" in q["path"]]
        self.assertEqual(len(mounts), 8)
        for i, image in enumerate(images):
            self.assertEqual("sha256:" + quarrytest.sha256(
                self.pushed(r, "t/%d" % i)), image["manifest_digest"])
        self.check_same(docs, images)

    def test_fetched_once(self):
        """For all images that need it; those that do not mount still."""
        r = self.registry()
        self.put(r)
        to = ["oci:out/0", "docker-archive:out/1.tar", "oci-archive:out/2",
              "docker://%s/t/x:1" % r.name]
        for args in (("--no-cache",), ()):
            r.requests.clear()
            r.repos.pop("t/x", None)
            docs, images = self.run_batch(r, lambda i: to[i], args=args)
            self.assertEqual(len(self.layer_requests(r)), 2)
            self.assertEqual(sum("from=b/base" in q["path"]
                                 for q in r.requests), 2)
            self.check_same(docs, images)
        # Another batch finds them in the cache.
        r.requests.clear()
        self.run_batch(r, lambda i: "oci:out/again%d" % i)
        self.assertEqual(self.layer_requests(r), [])

    def test_fails_in_the_middle(self):
        """Truncated, other bytes, gone: who needs it fails, each by its
        name; who needs only the registry does not."""
        def other(r):
            digest = fake_registry.sha256(
                test_base_registry.zipped(self.layers[1]))
            r.blobs[digest] = r.blobs[digest][:-1] + b"?"

        def shorter(r):
            digest = fake_registry.sha256(
                test_base_registry.zipped(self.layers[1]))
            r.blobs[digest] = r.blobs[digest][:100]

        def cut(r):
            r.rule("GET stored", fake_registry.cut_after(0), times=1000,
                   skip=1)

        def gone(r):
            r.rule("GET stored", fake_registry.status(404), times=1000,
                   skip=1)
        for damage in (other, shorter, cut, gone):
            with self.subTest(damage.__name__):
                r = self.registry()
                self.put(r)
                damage(r)
                _, images = self.run_batch(
                    r, lambda i: "oci:out/%s%d" % (damage.__name__, i)
                    if i else "docker://%s/t/x:1" % r.name, status=1,
                    args=("--cache", self.path(damage.__name__)))
                stays = damage is not shorter  # HEAD tells its size
                self.assertEqual([i["status"] for i in images],
                                 ["done" if stays else "failed"] +
                                 3 * ["failed"])
                for i, image in enumerate(images[1:], 2):
                    self.assertIn("line %d: " % i, image["error"])
                    self.assertIn("base image", image["error"])
                self.assertEqual(os.listdir(self.path("out")), [])
                doc = {"name": "x", "contents": [self.paths[0]],
                       "fromImage": "docker://%s/b/base:1" % r.name}
                got = self.quarry(
                    "build", write(self.path("one.json"), json.dumps(doc)),
                    *self.graph(), "--encoding", "gzip", "--to", "oci:out/x",
                    status=None)
                self.assertIn(got.status, (1, 2))
                self.assertIn("base image", got.errors)
                self.assertEqual(os.listdir(self.path("out")), [])

    def test_no_such_base(self):
        r = self.registry()
        _, images = self.run_batch(r, lambda i: "none", n=3, status=1)
        for image in images:
            self.assertIn("no manifest 1 there", image["error"])
        self.assertEqual(sum(q["step"] == "GET manifest"
                             for q in r.requests), 1)


class TestOptionsOfBuild(BatchBase):
    """What quarry build can, for many images."""

    def registry(self):
        r = fake_registry.Registry()
        self.addCleanup(r.close)
        return r

    def machine(self, name, r, to, status=0, args=()):
        """A batch of one that has nothing but the shared cache."""
        docs = [{"name": "i%d" % i, "tag": "1", "paths": [self.paths[-1]],
                 "maxLayers": 2 + i % 3, "config": {"Env": ["I=%d" % i]},
                 "to": to.replace("{name}", "i%d" % i)} for i in range(6)]
        r.requests.clear()
        summary, _ = self.batch(
            self.requests(docs), "--cache", self.path("cache-" + name),
            "--cache-repo", r.name + "/c/layers", "--encoding", "gzip",
            *args, status=status)
        return summary

    def blob_requests(self, r, step):
        return [q for q in r.requests if q["step"] == step]

    def test_shared_cache(self):
        r = self.registry()
        a = self.machine("a", r, "oci:out/a/{name}")
        n = a["totals"]["made_layers"] - 6  # not the root layers
        self.assertGreater(n, 4)
        self.assertEqual(a["totals"]["shared_found"], 0)
        self.assertEqual(a["totals"]["shared_put"], n)
        self.assertEqual(len(r.repo("c/layers")["tags"]), n)
        b = self.machine("b", r, "oci:out/b/{name}")
        self.assertEqual(b["totals"]["shared_found"], n)
        self.assertEqual(b["totals"]["shared_put"], 0)
        self.assertEqual(b["totals"]["made_layers"], 6)
        for one, two in zip(a["images"], b["images"]):
            self.assertEqual(one["manifest_digest"], two["manifest_digest"])
            self.assertEqual(self.files(self.path("out/a", one["name"])),
                             self.files(self.path("out/b", one["name"])))
        # It has them in its own cache from then on.
        self.machine("b", r, "oci:out/b2/{name}")
        self.assertEqual(self.blob_requests(r, "GET stored"), [])
        # quarry build finds what a batch has put there.
        doc = {"name": "i1", "tag": "1", "paths": [self.paths[-1]],
               "maxLayers": 3, "config": {"Env": ["I=1"]}}
        meta = self.metadata(
            write(self.path("one.json"), json.dumps(doc)), *self.graph(),
            "--cache", self.path("cache-c"), "--cache-repo",
            r.name + "/c/layers", "--encoding", "gzip", "--to", "oci:out/c")
        self.assertTrue(all(layer["cached"] for layer in meta["layers"][:-1]))
        self.assertEqual(meta["image_id"], a["images"][1]["image_id"])

    def test_shared_cache_in_the_same_registry(self):
        """Layers are mounted, and nothing is fetched."""
        r = self.registry()
        a = self.machine("a", r, "docker://%s/t/{name}" % r.name)
        n = a["totals"]["made_layers"] - 6
        puts = len(self.blob_requests(r, "PUT blob"))
        # Each layer once (one root layer), and 6 configs and the records' one.
        self.assertEqual(puts, n + 1 + 6 + 1)
        b = self.machine("b", r, "docker://%s/u/{name}" % r.name)
        self.assertEqual(b["totals"]["shared_found"], n)
        self.assertEqual(self.blob_requests(r, "GET stored"), [])
        self.assertEqual(b["totals"]["pushed"]["uploaded"], 1 + 6)
        for one, two in zip(a["images"], b["images"]):
            self.assertEqual(one["manifest_digest"], two["manifest_digest"])
            self.assertIn(one["manifest_digest"],
                          r.repo("u/" + one["name"])["manifests"])
        # One that goes elsewhere has its layers fetched, no other.
        self.machine("c", r, "docker://%s/v/{name}" % r.name)
        file = self.requests([
            {"name": "x", "tag": "1", "paths": [self.paths[0]],
             "to": "oci:out/x"},
            {"name": "y", "tag": "1", "paths": [self.paths[0]],
             "config": {"Env": ["Y=1"]},
             "to": "docker://%s/v/y" % r.name}])
        args = ["--cache-repo", r.name + "/c/layers", "--encoding", "gzip"]
        self.batch(file, *args)
        r.requests.clear()
        summary, _ = self.batch(file, "--cache", self.path("cache-d"), *args)
        self.assertEqual(summary["totals"]["shared_found"], 1)
        self.assertEqual(len(self.blob_requests(r, "GET stored")), 1)

    def test_shared_before_anything_is_published(self):
        for same in False, True:
            cache, let = self.registry(), threading.Event()
            self.addCleanup(let.set)
            r = cache if same else self.registry()

            def hold(h, let=let):
                return h.match["repo"][0] == "r" and not let.wait(600)

            r.rule("PUT manifest", hold, times=1000)
            docs = [{"name": "r%d" % i, "paths": [self.paths[-1]],
                     "config": {"Env": ["I=%d" % i]}} for i in range(3)]
            p = self.start(*self.batch_args(
                self.requests(docs), "--no-cache", "--to",
                "docker://" + r.name + "/{name}", "--cache-repo",
                cache.name + "/c/layers"))
            n = len(self.paths)
            self.assertTrue(wait_for(
                lambda: len(cache.repo("c/layers")["tags"]) == n))
            self.assertEqual(r.repo("r0")["tags"], {})
            let.set()
            self.assertEqual(self.finish(p).status, 0)
            with open(self.path("summary.json"), encoding="utf-8") as f:
                totals = json.load(f)["totals"]
            self.assertEqual(totals["shared_put"], n)
            # Also where it is mounted each blob is uploaded once.
            self.assertEqual(cache.uploads_done, len(cache.blobs))

    def test_shared_cache_that_is_away(self):
        r = self.registry()
        for step in ("GET", "HEAD"):
            r.rule(step, fake_registry.status(503), times=1000)
        a = self.machine("a", r, "oci:out/{name}")
        self.assertEqual(a["totals"]["done"], 6)
        self.assertEqual(a["totals"]["shared_put"], 0)

    def test_metrics(self):
        r = self.registry()
        let = threading.Event()
        self.addCleanup(let.set)
        r.rule("PUT manifest", lambda h: not let.wait(600), times=1000)
        docs = [{"name": "i%d" % i, "contents": [self.paths[-1]]}
                for i in range(3)]
        port = free_ports(1)
        p = self.start(*self.batch_args(
            self.requests(docs), "--to", "docker://" + r.name + "/{name}",
            "--metrics", "127.0.0.1:%d" % port))
        self.assertTrue(wait_for(lambda: r.count("PUT manifest") == 3))
        test_status.when(port, lambda m: 'command="batch"' in m.text and
                         m["quarry_jobs_done_total"] > 3)
        let.set()
        self.assertEqual(self.finish(p).status, 0)

    def test_verified(self):
        """Against narHashes; what was not is made once more."""
        file = self.requests(self.many(4))
        first, _ = self.batch(file, "--to", "none")
        again, _ = self.batch(file, "--to", "none", "--verify-store")
        self.assertEqual(again["totals"]["cached_layers"], 0)
        third, _ = self.batch(file, "--to", "none", "--verify-store")
        self.assertEqual(third["totals"]["cached_layers"],
                         again["totals"]["made_layers"] - 4)
        self.assertEqual([i["image_id"] for i in first["images"]],
                         [i["image_id"] for i in third["images"]])
        # A path that has changed fails the images that have it.
        store = make_store.small_store(self.path("s"), n=3)
        path = store.root + store.infos[2]["path"]
        for at, _, names in os.walk(path):
            for name in names:
                os.chmod(os.path.join(at, name), 0o644)
                with open(os.path.join(at, name), "ab") as f:
                    f.write(b"!")
        docs = [{"name": "i%d" % i, "paths": [store.infos[i]["path"]]}
                for i in range(3)]
        summary, _ = self.batch(self.requests(docs), "--to", "none",
                                "--verify-store", store=store, status=1)
        self.assertEqual([i["status"] for i in summary["images"]],
                         ["done", "done", "failed"])


if __name__ == "__main__":
    quarrytest.main()
