"""Batches whose layers `quarry serve` makes."""

import os

import quarrytest
from quarrytest import make_store, wait_for
from remote import Remote
from test_batch import BatchBase


class TestServed(Remote, BatchBase):
    def serve(self, store=None):
        with open(self.log_name("serve"), "ab") as log:
            p = self.start("serve", "--clients", self.endpoint,
                           "--store-root", (store or self.store).root,
                           "--cache", self.path("layers"), "--cache-size",
                           "1G", stderr=log)
        self.assertTrue(wait_for(lambda: "clients may come to" in
                                 self.log("serve")), self.log("serve"))
        return p

    def stop(self, p):
        p.terminate()
        self.assertEqual(self.finish(p).status, 0, self.log("serve"))

    def docs(self, n=12):
        """Of what the client's machine need not have."""
        return [{"name": "i%d" % i, "tag": "1", "paths": [self.paths[-1 - i % 5]],
                 "maxLayers": 2 + i % 7, "config": {"Env": ["I=%d" % i]}}
                for i in range(n)]

    def served(self, docs, *args, store=None, status=0, cache="client"):
        return self.batch(
            self.requests(docs), "--cache", self.path(cache), "--store-root",
            self.path("nothing"), "--coordinator", self.endpoint, *args,
            store=store, status=status)

    def test_same_images(self):
        docs = self.docs()
        os.mkdir(self.path("nothing"))
        serve = self.serve()
        for encoding in "gzip", "none":
            to = "oci:out/%s/{name}" % encoding
            want, _ = self.batch(
                self.requests(docs), "--cache", self.path("w" + encoding),
                "--to", to.replace("out", "out/want"), "--encoding", encoding)
            have, events = self.served(
                docs, "--to", to, "--encoding", encoding,
                "--image-metadata", "out/m/{name}.json")
            self.assertEqual(have["totals"]["made_layers"],
                             want["totals"]["made_layers"])
            for one, two in zip(want["images"], have["images"]):
                self.assertEqual(one["manifest_digest"],
                                 two["manifest_digest"])
                self.assertEqual(
                    self.files(self.path("out/want", encoding, one["name"])),
                    self.files(self.path("out", encoding, two["name"])))
            done = [e["layer"] for e in events if e["event"] == "done"]
            self.assertEqual(len(done), len(set(done)))
            self.assertEqual(len(done), have["totals"]["made_layers"])
        self.stop(serve)
        # What is known needs no server.
        again, _ = self.served(docs, "--to", "none", "--encoding", "gzip")
        self.assertEqual([i["image_id"] for i in again["images"]],
                         [i["image_id"] for i in have["images"]])

    def test_one_fails(self):
        """With the layer that the server cannot make; no other does."""
        store = make_store.small_store(self.path("s"), n=6)
        paths = [info["path"] for info in store.infos]
        os.mkdir(self.path("nothing"))
        os.rename(store.root + paths[4], store.root + paths[4] + ".away")
        docs = [{"name": "i%d" % i, "paths": [paths[i]], "to": "none"}
                for i in range(6)]
        docs.append({"name": "root", "paths": [paths[0]], "to": "none",
                     "rootTree": self.path("no-such-folder")})
        serve = self.serve(store)
        summary, _ = self.served(docs, store=store, status=1)
        self.assertEqual([i["status"] for i in summary["images"]],
                         ["done"] * 4 + ["failed"] * 3)
        for image in summary["images"][4:6]:
            self.assertIn(os.path.basename(paths[4]), image["error"])
            self.assertIn("line ", image["error"])
        self.assertIn("no-such-folder", summary["images"][6]["error"])
        self.stop(serve)

    def test_options(self):
        docs = self.docs(1)
        for args, want in ((["--slots", "2"], b"--slots"),
                           (["--key", "k"], b"--server-key")):
            r = self.quarry(*self.batch_args(
                self.requests(docs), "--to", "none", "--coordinator",
                self.endpoint, *args), status=2)
            self.assertIn(want, r.stderr)


if __name__ == "__main__":
    quarrytest.main()
