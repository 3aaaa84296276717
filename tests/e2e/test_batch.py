"""Many images in one run: each as quarry build makes it, each layer once."""

import json
import os
import signal

import quarrytest
from quarrytest import Base, file_sha256, make_store, read, wait_for, write
from remote import Remote


class BatchBase(Base):
    cache = True
    N = 12

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=cls.N, size=20000)
        cls.paths = [info["path"] for info in cls.store.infos]

    def requests(self, docs, name="requests.jsonl"):
        return write(self.path(name),
                     "".join(json.dumps(doc) + "\n" for doc in docs))

    def graph(self, store=None):
        return ["--closure", self.closure_file(store or self.store),
                "--store-root", (store or self.store).root]

    def batch_args(self, file, *args, store=None):
        cache = [] if "--no-cache" in args else [
            "--cache", self.path("cache")]
        return ["batch", file, "--metadata-file", self.path("summary.json"),
                *cache, *self.graph(store), *args]

    def batch(self, file, *args, store=None, status=0, **kw):
        """(summary, events on standard error)"""
        r = self.quarry(*self.batch_args(file, *args, store=store),
                        "--progress", "json", status=status, **kw)
        events = quarrytest.events(r.errors)
        with open(self.path("summary.json"), encoding="utf-8") as f:
            return json.load(f), events

    def files(self, folder):
        """{file of a layout: digest}"""
        found = {}
        for at, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(at, file)
                found[os.path.relpath(path, folder)] = (
                    file_sha256(path), os.stat(path).st_mode)
        return found

    def records(self):
        folder = self.path("cache/layers")
        return [x for x in os.listdir(folder) if x[0] != "."] \
            if os.path.isdir(folder) else []

    def many(self, n):
        """n different requests over the store."""
        docs = []
        for i in range(n):
            doc = {"name": "team/app-%d" % i,
                   "contents": [self.paths[i % self.N]],
                   "config": {"Cmd": [self.paths[(i * 5) % self.N] + "/bin/x"],
                              "Env": ["N=%d" % i]}}
            if i % 3 == 0:
                doc["tag"] = "v%d" % i
            if i % 4 == 1:
                doc["maxLayers"] = 2 + i % 7
            if i % 5 == 2:
                doc["strategy"] = "size"
            if i % 7 == 3:
                doc["mtime"] = 5
            if i % 11 == 4:
                doc["paths"] = self.paths[:3]
            docs.append(doc)
        return docs

    def alone(self, doc, to, *args):
        """The same request by quarry build."""
        file = write(self.path("one.json"), json.dumps(doc))
        return self.metadata(file, *self.graph(), "--no-cache", "--to", to,
                             *args)


class TestSame(BatchBase):
    def check_layers_once(self, summary, events):
        totals = summary["totals"]
        done = [e["layer"] for e in events if e["event"] == "done"]
        self.assertEqual(len(done), len(set(done)))
        self.assertEqual(len(done), totals["made_layers"])
        self.assertEqual(totals["made_layers"] + totals["cached_layers"],
                         totals["distinct_layers"])
        for kind in ("made", "shared", "cached"):
            self.assertTrue(all(i[kind + "_layers"] >= 0
                                for i in summary["images"]))
        self.assertEqual(sum(i["layers"] for i in summary["images"]),
                         totals["wanted_layers"])
        self.assertEqual(sum(i["made_layers"] for i in summary["images"]),
                         totals["made_layers"])
        self.assertEqual(sum(i["made_bytes"] for i in summary["images"]),
                         totals["made_bytes"])
        for i in summary["images"]:
            self.assertEqual(i["made_layers"] + i["shared_layers"] +
                             i["cached_layers"], i["layers"])

    def test_as_quarry_build_makes_them(self):
        docs = self.many(30)
        summary, events = self.batch(
            self.requests(docs), "--to", "oci:out/{name}", "--encoding",
            "zstd")
        self.check_layers_once(summary, events)
        totals = summary["totals"]
        self.assertEqual((totals["images"], totals["done"]), (30, 30))
        self.assertLess(totals["made_layers"], totals["wanted_layers"] / 2)
        self.assertLess(totals["made_bytes"], totals["wanted_bytes"] / 2)
        self.assertEqual(
            sorted(e["image_id"] for e in events if e["event"] == "image"),
            sorted(i["image_id"] for i in summary["images"]))
        wanted = 0
        for doc, image in zip(docs, summary["images"]):
            with self.subTest(doc["name"]):
                meta = self.alone(doc, "oci:out/alone", "--encoding", "zstd")
                self.assertEqual(self.files(self.path("out", doc["name"])),
                                 self.files(self.path("out/alone")))
                for key in ("image_id", "manifest_digest", "name", "tag"):
                    self.assertEqual(image[key], meta[key])
                self.assertEqual(image["tar_size"],
                                 meta["totals"]["tar_size"])
                wanted += len(meta["layers"])
        self.assertEqual(totals["wanted_layers"], wanted)
        self.assertEqual(os.listdir(self.path("cache/pins")), [])

    def test_again_nothing_is_made_but_root_layers(self):
        file = self.requests(self.many(10))
        first, _ = self.batch(file, "--to", "oci:out/{name}")
        # The store is not needed but for what is linked at /.
        again, events = self.batch(file, "--to", "oci:out/again/{name}")
        self.check_layers_once(again, events)
        self.assertEqual(again["totals"]["made_layers"], 10)
        self.assertTrue(all("(root)" in e["layer"] for e in events
                            if e["event"] == "done"))
        self.assertEqual([i["image_id"] for i in first["images"]],
                         [i["image_id"] for i in again["images"]])
        self.assertEqual(again["totals"]["cached_layers"],
                         first["totals"]["made_layers"] - 10)
        # What quarry build makes, a batch knows, and the other way round.
        doc = dict(self.many(1)[0], name="x")
        one = write(self.path("one.json"), json.dumps(doc))
        meta = self.metadata(one, *self.graph(), "--cache",
                             self.path("cache"), "--to", "none")
        self.assertTrue(all(layer["cached"] for layer in meta["layers"][:-1]))

    def test_archives_and_digests(self):
        docs = self.many(6)
        for kind in ("docker-archive", "oci-archive"):
            summary, _ = self.batch(
                self.requests(docs), "--to",
                kind + ":out/" + kind + "/{name}-{tag}.tar")
            for doc, image in zip(docs, summary["images"]):
                file = self.path("out", kind, "%s-%s.tar" % (
                    doc["name"], image["tag"]))
                self.alone(doc, kind + ":out/alone.tar")
                self.assertEqual(read(file), read(self.path("out/alone.tar")))
        none, _ = self.batch(self.requests(docs), "--to", "none")
        self.assertEqual([i["image_id"] for i in none["images"]],
                         [i["image_id"] for i in summary["images"]])

    def test_blobs_are_shared_on_one_file_system(self):
        docs = self.many(3)
        self.batch(self.requests(docs), "--to", "oci:out/{name}")
        seen = {}
        for doc in docs:
            folder = self.path("out", doc["name"], "blobs/sha256")
            for name in os.listdir(folder):
                seen.setdefault(name, set()).add(
                    os.stat(os.path.join(folder, name)).st_ino)
        blobs = os.listdir(self.path("cache/blobs/sha256"))
        self.assertTrue(all(len(seen[b]) == 1 for b in blobs))

    def test_without_a_cache(self):
        file = self.requests(self.many(4))
        r = self.quarry("batch", file, *self.graph(), "--no-cache", "--to",
                        "oci:out/{name}")
        self.assertIn(b"4 images: 4 done, 0 failed", r.stdout)
        self.assertFalse(os.path.exists(self.path("home/.cache")))

    def test_json_and_table(self):
        file = self.requests(self.many(2))
        args = ["batch", file, *self.graph(), "--to", "none"]
        r = self.quarry(*args)
        self.assertIn(b"team/app-0:v0 ", r.stdout)
        self.assertIn(b"one by one it would have been", r.stdout)
        r = self.quarry(*args, "--json")
        self.assertEqual(json.loads(r.stdout)["totals"]["done"], 2)
        r = self.quarry(*args, "--metadata-file", "-")
        self.assertEqual(json.loads(r.stdout)["totals"]["done"], 2)
        self.assertTrue(os.path.isdir(self.path("home/.cache/quarry/layers")))

    def test_metadata_of_images(self):
        """As quarry build has it."""
        docs = self.many(5)
        summary, _ = self.batch(self.requests(docs), "--to", "none",
                                "--image-metadata", "out/m/{name}-{tag}.json")
        for doc, image in zip(docs, summary["images"]):
            with open(self.path("out/m", "%s-%s.json" % (
                    image["name"], image["tag"])), encoding="utf-8") as f:
                have = json.load(f)
            want = self.alone(doc, "none")
            self.assertEqual(len(have["layers"]), len(want["layers"]))
            for meta in (have, want):
                made = [layer for layer in meta["layers"]
                        if not layer["cached"]]
                self.assertTrue(all(layer["worker"] for layer in made))
                for layer in meta["layers"]:
                    for key in ("worker", "seconds", "cached"):
                        del layer[key]
                for key in ("seconds", "cached_layers", "cached_bytes"):
                    meta.get("totals", {}).pop(key, None)
                    meta.pop(key, None)
            self.assertEqual(have, want)
        file = self.requests(docs)
        r = self.quarry(*self.batch_args(
            file, "--to", "none", "--image-metadata", "out/same"), status=2)
        self.assertIn(b"have the same place", r.stderr)
        r = self.quarry(*self.batch_args(
            file, "--to", "oci:out/{name}", "--image-metadata",
            "out/{name}/m.json"), status=2)
        self.assertIn(b"is inside of", r.stderr)
        r = self.quarry(*self.batch_args(
            file, "--to", "none", "--image-metadata", "out/{nmae}"), status=2)
        self.assertIn(b"{nmae}", r.stderr)

    def test_base_image(self):
        base = self.path("base.tar")
        self.alone({"name": "base", "contents": [self.paths[0]]},
                   "docker-archive:" + base)
        docs = [dict(doc, fromImage=base) for doc in self.many(4)
                if doc.get("maxLayers", 9) > 6]
        summary, _ = self.batch(self.requests(docs), "--to", "oci:out/{name}")
        for doc, image in zip(docs, summary["images"]):
            meta = self.alone(doc, "oci:out/alone")
            self.assertEqual(image["image_id"], meta["image_id"])
            self.assertEqual(self.files(self.path("out", doc["name"])),
                             self.files(self.path("out/alone")))

    def test_base_image_of_another_architecture(self):
        """Of several, each image has the one that it is for."""
        for arch in ("amd64", "arm64"):
            self.alone({"name": arch, "contents": [self.paths[0]],
                        "architecture": arch}, "oci:" + arch)
        self.quarry("index", "oci:all", "--manifest",
                    "oci:amd64", "--manifest", "oci:arm64")
        docs = [{"name": "x/" + arch, "architecture": arch,
                 "fromImage": self.path("all"), "contents": [self.paths[1]]}
                for arch in ("amd64", "arm64", "amd64")]
        docs[2]["name"] = "x/again"
        summary, _ = self.batch(self.requests(docs), "--to", "oci:out/{name}")
        for doc, image in zip(docs, summary["images"]):
            self.assertEqual(image["image_id"],
                             self.alone(doc, "none")["image_id"])

    def test_closures_and_outputs_of_requests(self):
        """Their own files, other store directories, arrays, and what
        streamLayeredImage hands its script."""
        other = make_store.small_store(self.path("o"), "/opt/store", n=3)
        docs = [{"name": "a", "contents": [self.paths[2]], "to": "oci:out/a",
                 "closure": self.closure_file(self.store, name="c1")},
                {"name": "b", "to": ["oci:out/b", "docker-archive:out/b.tar"],
                 "closure": self.closure_file(self.store, name="c2")},
                {"name": "c", "contents": [other.infos[2]["path"]],
                 "storeDir": "/opt/store",
                 "closure": self.closure_file(other, name="c3")},
                json.loads(read(self.reference_request(
                    self.store, [[p] for p in self.paths]))),
                {"name": "e", "contents": [self.paths[2]]}]
        os.symlink(os.path.join(other.root, "opt"),
                   os.path.join(self.store.root, "opt"))
        self.addCleanup(os.unlink, os.path.join(self.store.root, "opt"))
        file = write(self.path("all.json"), json.dumps(docs, indent=2))
        summary, _ = self.batch(file, "--to", "oci:out/{name}")
        self.assertEqual(summary["totals"]["done"], 5)
        for name in ("a", "b", "c", "e"):
            self.assertTrue(os.path.exists(
                self.path("out", name, "oci-layout")))
        self.assertTrue(os.path.exists(self.path("out/b.tar")))
        # Without contents all of its own closure is in the image.
        self.assertEqual(summary["images"][1]["layers"], self.N + 1)
        one = {k: v for k, v in docs[0].items() if k not in ("to", "closure")}
        self.alone(one, "oci:out/alone")
        self.assertEqual(self.files(self.path("out/a")),
                         self.files(self.path("out/alone")))
        reference = self.metadata(
            self.path("reference.json"), *self.graph(), "--no-cache", "--to",
            "none")
        self.assertEqual(summary["images"][3]["image_id"],
                         reference["image_id"])

    def test_audit(self):
        docs = self.many(8)
        summary, _ = self.batch(
            self.requests(docs), "--to", "none", "--audit", "100",
            "--workers", "2", "--slots", "2")
        self.assertEqual(summary["totals"]["done"], 8)


    def test_launch(self):
        """Other people's workers, by a command; none of our own."""
        worker = "%s --slots 1 --spool %s" % (
            quarrytest.WORKER, self.path("home"))
        summary, events = self.batch(
            self.requests(self.many(5)), "--to", "none", "--local-slots", "0",
            "--advertise", "127.0.0.1", "--launch",
            "%s & %s & wait" % (worker, worker))
        self.assertEqual(summary["totals"]["done"], 5)
        self.assertEqual(
            sum(e["event"] == "done" for e in events),
            summary["totals"]["made_layers"])


class TestFaults(BatchBase):
    def test_names_that_are_no_utf8(self):
        """Of the file of requests, and in what went wrong: all is told."""
        odd = os.fsdecode(b"\xff")
        file = self.requests(self.many(2), "requests-" + odd)
        write(self.path("in-the-way-" + odd), "")
        to = "oci:in-the-way-" + odd + "/{name}"
        summary, events = self.batch(file, "--to", to, status=1)
        for image in summary["images"]:
            self.assertIn("requests-?", image["request"])
            self.assertIn("in-the-way-?", image["error"])
        self.assertEqual([e["status"] for e in events
                          if e["event"] == "image"], ["failed"] * 2)
        r = self.quarry(*self.batch_args(file, "--to", to, "--json"),
                        status=1)
        self.assertEqual(json.loads(r.stdout)["totals"]["failed"], 2)
        self.assertIn(b"2 failed", self.quarry(
            *self.batch_args(file, "--to", to), status=1).stdout)
        cache = self.path("cache-" + odd)
        self.quarry("batch", file, *self.graph(), "--cache", cache, "--to",
                    "none")
        r = self.quarry("cache", "list", "--cache", cache, "--json")
        self.assertIn("cache-?", json.loads(r.stdout)["folder"])

    def test_one_is_wrong(self):
        docs = self.many(6)
        docs[2] = dict(docs[2], nosuchkey=1)
        docs[3] = dict(docs[3], contents=["/nix/store/" + "a" * 32 + "-no"])
        docs.append({"name": "none", "config": {}})
        docs.append({"name": "to", "contents": [self.paths[0]],
                     "to": "oci:out/{nmae}"})
        summary, events = self.batch(self.requests(docs), "--to",
                                     "oci:out/{name}", status=1)
        failed = {i["title"].split(":")[0]: i["error"]
                  for i in summary["images"] if i["status"] == "failed"}
        self.assertEqual(sorted(failed), ["none", "team/app-2", "team/app-3",
                                          "to"])
        self.assertIn("nosuchkey", failed["team/app-2"])
        self.assertIn("does not hold it", failed["team/app-3"])
        self.assertIn("names a store path", failed["none"])
        self.assertIn("{nmae}", failed["to"])
        self.assertEqual(sum(e["event"] == "image" and
                             e["status"] == "failed" for e in events), 4)
        self.assertEqual(sorted(os.listdir(self.path("out/team"))),
                         ["app-0", "app-1", "app-4", "app-5"])

    def test_each_failure_is_its_own(self):
        """At every stage; and who failed is named, and where it is."""
        store = make_store.small_store(self.path("s"), n=6)
        paths = [info["path"] for info in store.infos]
        os.rename(store.root + paths[5], store.root + paths[5] + ".away")
        write(self.path("out/plain"), "a file is in the way")
        lines = [json.dumps(doc) for doc in (
            {"name": "first", "paths": [paths[0]]},
            {"name": "request", "paths": 7},
            {"name": "nothere", "paths": ["/nix/store/" + "a" * 32 + "-no"]},
            {"name": "plan", "paths": [paths[4]], "maxLayers": 1},
            {"name": "missing", "paths": [paths[5]]},
            {"name": "plain", "paths": [paths[1]]},
            {"name": "base", "fromImage": "no-such-file"},
            {"name": "pushed", "paths": [paths[0]],
             "to": "docker://127.0.0.1:9/x:1"},
            {"name": "last", "paths": [paths[2]]})]
        lines.insert(2, '{"name": "cut", "pa')
        wrong = [2, 3, 4, 5, 6, 7, 8, 9]
        r = self.quarry(*self.batch_args(
            write(self.path("r.jsonl"), "\n".join(lines)), "--to",
            "oci:out/{name}", store=store), status=1)
        with open(self.path("summary.json"), encoding="utf-8") as f:
            images = json.load(f)["images"]
        self.assertEqual([i for i, image in enumerate(images, 1)
                          if image["status"] == "failed"], wrong)
        for i in wrong:
            where = "r.jsonl: line %d" % i
            if i != 3:
                self.assertEqual(images[i - 1]["name"], json.loads(
                    lines[i - 1])["name"])
            self.assertIn(where, images[i - 1]["error"])
            said = [line for line in r.stderr.decode().splitlines()
                    if where + ":" in line]
            self.assertEqual(len(said), 1, where)
            self.assertIn(images[i - 1]["title"] + ": failed: ", said[0])
        for name in ("first", "last"):
            self.assertTrue(os.path.exists(self.path("out", name,
                                                     "oci-layout")))

    def test_an_image_stays_in_its_folder(self):
        """What a request chooses does not lead out of what --to names."""
        os.makedirs(self.path("elsewhere"))
        os.makedirs(self.path("out/in"))
        os.symlink("../elsewhere", self.path("out/team"))
        write(self.path("elsewhere/x"), "a file")
        os.symlink("../elsewhere/x", self.path("out/x.tar"))
        os.symlink("in", self.path("out/near"))
        docs = [{"name": name, "contents": [self.paths[0]]}
                for name in ("team/a", "team/b/c", "x", "near/y", "z")]
        docs.append({"name": "own", "contents": [self.paths[0]],
                     "to": "docker-archive:out/team/own.tar"})
        summary, _ = self.batch(self.requests(docs), "--to",
                                "docker-archive:out/{name}.tar", status=1)
        failed = [i["name"] for i in summary["images"]
                  if i["status"] == "failed"]
        self.assertEqual(failed, ["team/a", "team/b/c", "x"])
        for i in summary["images"][:3]:
            self.assertIn("not inside of out", i["error"])
        # Of files with metadata, too.
        r = self.quarry(*self.batch_args(
            self.requests(docs[:1]), "--to", "none", "--image-metadata",
            "out/{name}.json"), status=2)
        self.assertIn(b"not inside of out", r.stderr)
        self.assertEqual(sorted(os.listdir(self.path("elsewhere"))),
                         ["own.tar", "x"])
        self.assertEqual(read(self.path("elsewhere/x")), b"a file")
        self.assertEqual(os.listdir(self.path("out/in")), ["y.tar"])
        for name in ("../a", "a/../../b", "/etc/a", "a/./b", "a//b", "a/"):
            doc = {"name": name, "contents": [self.paths[0]]}
            summary, _ = self.batch(self.requests([doc]), "--to",
                                    "oci:out/{name}", status=2)
            self.assertIn("is no name", summary["images"][0]["error"])

    def test_names_that_a_terminal_would_obey(self):
        evil = "a\x1b]0;t\x07\x1b[2J\u009b2J\u202e\nquarry: b: done: x"
        docs = [{"name": evil, "contents": [self.paths[0]]},
                {"name": "b", "paths": ["/nix/store/" + evil]},
                {"name": "c", "fromImage": evil},
                {"name": "d", "to": "oci:" + evil + "{x}"},
                {"name": "e", evil: 1}]
        for args in ([], ["--progress", "json"], ["--json"]):
            r = self.quarry("batch", self.requests(docs), *self.graph(),
                            "--to", "none", *args, status=2)
            for text in (r.stdout, r.stderr):
                self.assertFalse(set("\x1b\x07\u009b\u202e")
                                 & set(text.decode()))
                self.assertNotIn(b"\nquarry: b: done", text)

    def test_a_place_inside_of_the_store(self):
        """Nothing is made there, not even a folder."""
        store = make_store.small_store(self.path("s"), n=2)
        path = store.infos[1]["path"]
        at = store.root + path
        os.chmod(at, 0o755)
        before = sorted(os.listdir(at))
        doc = {"name": "a", "paths": [path], "to": "oci:%s/new/a" % at}
        summary, _ = self.batch(self.requests([doc]), store=store, status=2)
        self.assertIn("is inside of " + path, summary["images"][0]["error"])
        self.assertEqual(sorted(os.listdir(at)), before)

    def test_a_store_path_is_missing(self):
        """Whoever needs it fails, and says so; the others do not."""
        store = make_store.small_store(self.path("s"), n=6)
        paths = [info["path"] for info in store.infos]
        os.rename(store.root + paths[4], store.root + paths[4] + ".away")
        docs = [{"name": "i%d" % i, "paths": [paths[i]]} for i in range(6)]
        summary, _ = self.batch(self.requests(docs), "--to", "oci:out/{name}",
                                store=store, status=1)
        self.assertEqual([i["status"] for i in summary["images"]],
                         ["done"] * 4 + ["failed"] * 2)
        for image in summary["images"][4:]:
            self.assertIn(os.path.basename(paths[4]), image["error"])
        self.assertEqual(summary["totals"]["failed_layers"], 1)
        # Once it is there, only what is missing is made.
        os.rename(store.root + paths[4] + ".away", store.root + paths[4])
        before = len(self.records())
        summary, _ = self.batch(self.requests(docs), "--to", "oci:out/{name}",
                                store=store)
        self.assertEqual(summary["totals"]["cached_layers"], before)

    def test_contents_are_missing(self):
        """Of the root layer, which has to be scanned here."""
        docs = [{"name": "a", "contents": [self.paths[0]],
                 "rootTree": self.path("no-such-folder")},
                {"name": "b", "contents": [self.paths[0]]}]
        summary, _ = self.batch(self.requests(docs), "--to", "none", status=1)
        self.assertEqual([i["status"] for i in summary["images"]],
                         ["failed", "done"])
        self.assertIn("no-such-folder", summary["images"][0]["error"])

    def test_a_place_cannot_be_written(self):
        write(self.path("out/a"), "a file is in the way")
        docs = [{"name": name, "contents": [self.paths[0]]}
                for name in ("a", "b")]
        summary, _ = self.batch(self.requests(docs), "--to", "oci:out/{name}",
                                status=1)
        self.assertIn("is not a folder", summary["images"][0]["error"])
        self.assertEqual(summary["images"][1]["status"], "done")

    def test_nothing_can_be_made(self):
        bad = [{"name": "a", "x": 1}, {"name": "b", "contents": 7}]
        summary, _ = self.batch(self.requests(bad), "--to", "none", status=2)
        self.assertEqual(summary["totals"]["failed"], 2)

    def refused(self, text, want, *args):
        file = write(self.path("bad"), text)
        r = self.quarry(*self.batch_args(file, *args), status=2)
        self.assertIn(want, r.stderr)
        self.assertFalse(os.path.exists(self.path("summary.json")))
        self.assertEqual(os.listdir(self.path("out")), [])

    def test_the_file_is_wrong(self):
        to = ["--to", "oci:out/{name}"]
        a = json.dumps({"name": "a", "contents": [self.paths[0]]})
        b = json.dumps({"name": "b", "contents": [self.paths[0]]})
        self.refused(a + "\n" + a, b"have the same name: a", *to)
        self.refused(a + "\n" + b, b"have the same place", "--to", "oci:out/x")
        self.refused(a[:-2] + "\n" + b[:-2], b"bad: line 1", *to)
        self.refused("[%s" % a, b"bad", *to)
        self.refused("", b"holds no request", *to)
        self.refused(a + "\n" + b, b"have the same place", "--to",
                     "oci:out/new/../x/./y")
        self.refused("\n".join(
            json.dumps({"name": name, "contents": [self.paths[0]]})
            for name in ("t/a", "t-b", "t")), b"is inside of", *to)
        os.mkdir(self.path("m"))
        self.refused(a, b"in the place of a", "--metadata-file",
                     self.path("m/summary.json"), "--to", "oci:m")
        # Not for one of them: the second is told from the first by its tag.
        tagged = json.dumps({"name": "a", "contents": [self.paths[0]],
                             "tag": "2"})
        self.refused(a + "\n" + tagged, b"have the same place", *to)
        self.batch(write(self.path("good"), a + "\n" + tagged), "--to",
                   "oci:out/{name}-{tag}")
        for args, want in ((["--name", "x"], b"--name"),
                           ([self.path("good")], b"one FILE"),
                           (["--config", "-"], b"--config"),
                           (["--metadata-file", "-", "--json"], b"--json")):
            r = self.quarry(*self.batch_args(self.path("good"), *args),
                            status=2)
            self.assertIn(want, r.stderr)
        r = self.quarry(*self.batch_args(self.path("good")), status=2)
        self.assertIn(b"it has no output", r.stderr)

    def test_killed_and_run_again(self):
        """Nothing that was finished is made again."""
        store = make_store.small_store(self.path("s"), n=30, size=300000)
        docs = [{"name": "i%d" % i, "paths": [info["path"]]}
                for i, info in enumerate(store.infos)]
        file = self.requests(docs)
        # Slow enough that it is not done when the test gets to kill it.
        args = ["--to", "oci:out/{name}", "--encoding", "zstd:19"]
        p = self.start(*self.batch_args(file, *args, store=store), "--slots",
                       "1")
        self.assertTrue(wait_for(lambda: len(self.records()) >= 5, step=0.001))
        p.send_signal(signal.SIGKILL)
        self.finish(p)
        self.assertTrue(wait_for(lambda: not self.processes()))
        made = len(self.records())
        whole = os.listdir(self.path("out"))
        self.assertLess(made, 30)
        summary, _ = self.batch(file, *args, store=store)
        totals = summary["totals"]
        self.assertEqual(totals["done"], 30)
        self.assertEqual(totals["cached_layers"], made)
        self.assertEqual(totals["made_layers"], 60 - made)
        self.assertTrue(set(whole) < set(os.listdir(self.path("out"))))

    def test_interrupted(self):
        store = make_store.small_store(self.path("s"), n=20, size=300000)
        docs = [{"name": "i%d" % i, "paths": [info["path"]]}
                for i, info in enumerate(store.infos)]
        p = self.start(*self.batch_args(self.requests(docs), "--to",
                                        "oci:out/{name}", "--encoding",
                                        "zstd:19", "--slots", "1",
                                        store=store))
        self.assertTrue(wait_for(lambda: len(self.records()) >= 2, step=0.001))
        p.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(p).status, 143)


class TestWorkers(Remote, BatchBase):
    def test_three_workers(self):
        docs = self.many(200)
        file = self.requests(docs)
        here, _ = self.batch(file, "--to", "none")
        for name in ("w1", "w2", "w3"):
            self.worker(name, "--once", "--spool", self.path("spool-" + name))
        summary, events = self.batch(
            file, "--to", "oci:out/{name}", "--cache", self.path("fresh"),
            *self.listen("--local-slots", "0", "--min-workers", "3"))
        self.assertEqual(summary["totals"]["done"], 200)
        self.assertEqual([i["image_id"] for i in summary["images"]],
                         [i["image_id"] for i in here["images"]])
        done = [e for e in events if e["event"] == "done"]
        self.assertEqual(len(done), summary["totals"]["made_layers"])
        self.assertEqual(len({e["layer"] for e in done}), len(done))
        self.assertEqual(len({e["worker"] for e in done}), 3)
        self.assertTrue(wait_for(lambda: not self.workers()))


if __name__ == "__main__":
    quarrytest.main()
