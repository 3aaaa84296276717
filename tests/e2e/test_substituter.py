"""Store paths out of binary caches: the same image as out of the store, and
whom a worker believes."""

import base64
import os
import shutil
import ssl
import time

import quarrytest
from caches import COMPRESSIONS, Caches, change
from quarrytest import DockerArchive, OciLayout, make_store, read



class TestSame(Caches):
    def test_archive_from_files(self):
        for name in COMPRESSIONS:
            r = self.archive("file://" + self.cache(name))
            self.assertEqual(r.errors, "")

    def test_archive_from_http(self):
        for name in COMPRESSIONS:
            server = self.serve(name)
            r = self.archive(server)
            self.assertEqual(r.errors, "")
            self.assertEqual(len(server.asked), 2 * len(self.store.infos))

    def test_other_outputs(self):
        good = DockerArchive(self.from_store())
        server = self.serve("xz")
        self.fetch(server, more=("--to", "oci:" + self.path("out/o"),
                                 "--encoding", "zstd"))
        oci = OciLayout(self.path("out/o"))
        self.assertEqual(oci.diff_ids(), good.diff_ids())
        self.assertEqual(oci.id, good.id)
        found = self.metadata(*self.options(server), "--trusted-key",
                              self.key, "--to", "none")
        self.assertEqual(found["image_id"], "sha256:" + good.id)
        self.assertEqual([l["diff_id"] for l in found["layers"]],
                         ["sha256:" + d for d in good.diff_ids()])
        same = self.fetch(server, more=("--to", "docker-archive:-")).stdout
        self.same_bytes(same, self.from_store())

    def test_several_at_once(self):
        """Archive, layout and stream, from one fetch."""
        server = self.serve()
        r = self.fetch(server, more=(
            "--to", "docker-archive:" + self.path("out/a"), "--to",
            "oci:" + self.path("out/o"), "--to", "docker-archive:-"))
        self.same_bytes(r.stdout, self.from_store())
        self.same_bytes(read(self.path("out/a")), self.from_store())
        self.assertEqual(OciLayout(self.path("out/o")).id,
                         DockerArchive(self.from_store()).id)
        self.assertEqual(len(server.asked), 2 * len(self.store.infos))

    def test_few_layers(self):
        """Many store paths in a layer, from here and there in turn."""
        want = self.build(*self.options(root=self.store.root), "--max-layers",
                          "2", "--to", "docker-archive:-").stdout
        for keep in (0, 1):
            root = self.path("half-%d" % keep)
            for i, info in enumerate(sorted(i["path"] for i in
                                            self.store.infos)):
                if i % 2 == keep:
                    os.makedirs(root + "/nix/store", exist_ok=True)
                    self.command("cp", "-a", self.store.real(info),
                                 root + info)
            server = self.serve()
            for verify in ((), ("--verify-store",)):
                r = self.fetch(server, root=root, more=(
                    "--max-layers", "2", "--to", "docker-archive:-", *verify))
                self.same_bytes(r.stdout, want)
            self.assertEqual(len(server.asked), 2 * len(self.store.infos))
            shutil.rmtree(root)

    def test_what_is_here_is_not_asked_for(self):
        server = self.serve()
        r = self.build(*self.options(server, root=self.store.root),
                       "--trusted-key", self.key, "--to",
                       "docker-archive:" + self.path("out/i.tar"))
        self.assertEqual((r.errors, server.asked), ("", []))
        self.same_bytes(read(self.path("out/i.tar")), self.from_store())

    def test_workers_and_slots(self):
        server = self.serve("gzip")
        for more in (("--slots", "1"), ("--slots", "8", "--workers", "3")):
            r = self.fetch(server, more=(*more, "--to", "docker-archive:-"))
            self.same_bytes(r.stdout, self.from_store())

    def test_gnu(self):
        args = ("--dialect", "gnu", "--to", "docker-archive:-")
        want = self.build(*self.options(root=self.store.root), *args).stdout
        got = self.fetch(self.serve("none"), more=args).stdout
        self.same_bytes(got, want)


class TestTrust(Caches):
    def edited(self, pairs, name="none"):
        """The victim's narinfo with other text in it."""
        def edit(handler):
            text = handler.file().decode()
            for old, new in pairs:
                self.assertIn(old, text)
                text = text.replace(old, new)
            return handler.body(text.encode())
        return self.serve(name, {self.hash + ".narinfo": edit})

    def narinfo(self, name="none"):
        text = read("%s/%s.narinfo" % (self.cache(name), self.hash)).decode()
        return dict(line.split(": ", 1) for line in text.splitlines())

    def test_other_key(self):
        other = "test-1:" + base64.b64encode(bytes(range(32))).decode()
        self.refused(self.serve(), key=other, path="/nix/store/",
                     says="no signature of a trusted key")
        self.refused(self.serve(), key="other" + self.key[4:],
                     path="/nix/store/", says="no signature")

    def test_several_keys(self):
        other = "other-1:" + base64.b64encode(bytes(range(32))).decode()
        r = self.fetch(self.serve(), key=other, more=(
            "--trusted-key", self.key, "--to", "docker-archive:-"))
        self.same_bytes(r.stdout, self.from_store())

    def test_wrong_signature(self):
        sig = self.narinfo()["Sig"]
        at = len("test-1:") + 5
        wrong = sig[:at] + ("A" if sig[at] != "A" else "B") + sig[at + 1:]
        self.falls_back(self.edited([(sig, wrong)]),
                        "no signature of a trusted key")

    def test_unsigned(self):
        server = self.edited([("Sig: ", "Gis: ")])
        self.falls_back(server, "not signed")
        r = self.build(*self.options(server), "--no-require-sigs", "--to",
                       "docker-archive:-")
        self.same_bytes(r.stdout, self.from_store())

    def test_a_way_to_trust_is_needed(self):
        r = self.build(*self.options(self.serve()), "--to", "none", status=2)
        self.assertIn("--trusted-key", r.errors)

    def test_other_store_path(self):
        other = self.victim[:-1] + "x"
        self.falls_back(self.edited([("StorePath: " + self.victim,
                                      "StorePath: " + other)]),
                        "is of another store path")

    def test_closure_is_the_authority(self):
        """A signed narinfo of another NAR than the closure's is refused."""
        info = self.store.info(self.victim)
        size, nar_hash = info["narSize"], info["narHash"]
        try:
            info["narSize"] += 8
            closure = self.closure_file(self.store, name="sizes")
            self.refused(self.serve(), closure=closure,
                         says="narinfo: NarSize is")
            info["narSize"], info["narHash"] = size, b"\1" * 32
            closure = self.closure_file(self.store, name="hashes")
            self.refused(self.serve(), closure=closure,
                         says="narinfo: NarHash is")
        finally:
            info["narSize"], info["narHash"] = size, nar_hash

    def test_nar_size_lies(self):
        """Neither closure nor signature tells: the NAR itself does."""
        size = self.narinfo()["NarSize"]
        for lie, says in ((1, "NarSize"), (96, "NarSize"),
                          (int(size) - 8, "NarSize"),
                          (int(size) + 8, "NarSize is")):
            server = self.edited([("NarSize: " + size,
                                   "NarSize: %d" % lie)])
            self.refused(server, closure=self.bare, says=says,
                         more=("--no-require-sigs", "--to", "none"))

    def test_nar_hash_lies(self):
        digits = self.narinfo()["NarHash"]
        other = "sha256:" + "0" * 52
        server = self.edited([("NarHash: " + digits, "NarHash: " + other)])
        self.refused(server, closure=self.bare, says="is damaged",
                     more=("--no-require-sigs", "--to", "none"))

    def test_url_elsewhere(self):
        url = self.narinfo()["URL"]
        for other in ("http://127.0.0.1:1/" + url,
                      "https://127.0.0.1/" + url, "/etc/passwd",
                      "../" + url, "nar/../../x", "file:///etc/passwd"):
            server = self.edited([("URL: " + url, "URL: " + other)])
            self.refused(server, says="is not a place in the cache")
            self.assertEqual([p for p in server.asked if "nar/" in p
                              and url in p], [])

    def test_absolute_url_of_its_own(self):
        url = self.narinfo()["URL"]
        server = self.edited([])
        server.faults[self.hash + ".narinfo"] = change(
            lambda data: data.replace(
                b"URL: ", b"URL: " + server.url.encode() + b"/"))
        self.archive(server)
        self.assertIn("/" + url, server.asked)

    def test_no_narinfo_at_all(self):
        for data, says in (
                (b"<html>Sign in</html>", "is no line of NAME: VALUE"),
                (b"", "no StorePath"), (b"x" * 70000, "longer than"),
                (b"\x1b[2J\n", "not plain text"),
                (b"\0" * 10, "not plain text")):
            server = self.serve(faults={
                self.hash + ".narinfo": change(lambda _, d=data: d)})
            self.refused(server, says=says)

    def test_unknown_compression(self):
        self.falls_back(self.edited([("Compression: none",
                                      "Compression: br")]),
                        "'br' is none of")
        self.falls_back(self.edited([("Compression: none",
                                      "Compression: xz")]),
                        "is not compressed with xz")


@quarrytest.need("openssl")
class TestTls(Caches):
    def setUp(self):
        super().setUp()
        self.command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                     "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                     "-subj", "/CN=127.0.0.1", "-addext",
                     "subjectAltName=IP:127.0.0.1", "-keyout",
                     self.path("key"), "-out", self.path("cert"))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path("cert"), self.path("key"))

    def test_verified(self):
        server = self.serve(context=self.context)
        self.refused(server, path="/nix/store/", says="certificate")
        self.assertEqual(server.asked, [])
        for name in ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE"):
            env = dict(self.env, **{name: self.path("cert")})
            r = self.archive(server, env=env)
            self.assertEqual(r.errors, "")

    def test_never_back_to_http(self):
        plain = self.serve()
        server = self.serve(context=self.context, faults={
            "": lambda handler: handler.status(
                302, Location=plain.url + handler.path)})
        self.env["NIX_SSL_CERT_FILE"] = self.path("cert")
        self.refused(server, path="/nix/store/", says="http")
        self.assertEqual(plain.asked, [])


class TestMemory(Caches):
    def peak(self, size):
        """The worker's greatest resident size, in KiB."""
        store = make_store.Store(self.path("big-%d" % size))
        store.add("big", {"f": make_store.Sparse(size)})
        make_store.register(store, self.env)
        self.make_cache("big-%d" % size, "compression=zstd", root=store.root)
        p = self.start(
            "build", "--progress", "none", *self.options(
                "file://" + self.cache("big-%d" % size),
                closure=self.closure_file(store, name="big.json")),
            "--trusted-key", self.key, "--to", "none")
        peak = 0
        while p.poll() is None:
            for pid in self.workers():
                try:
                    with open("/proc/%d/status" % pid) as f:
                        peak = max([peak] + [int(l.split()[1]) for l in f
                                             if l.startswith("VmHWM")])
                except (FileNotFoundError, ProcessLookupError):
                    pass
            time.sleep(0.01)
        self.assertEqual(self.finish(p).status, 0)
        self.assertGreater(peak, 0)
        return peak

    def test_flat(self):
        if quarrytest.sanitized():
            return  # ASan keeps what is freed
        small, big = self.peak(64 << 20), self.peak(640 << 20)
        self.assertLess(big, small + (16 << 10))


if __name__ == "__main__":
    quarrytest.main()
