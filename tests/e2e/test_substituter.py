"""Store paths out of binary caches that Nix itself made: the same image as
out of the store, and what is said of caches that lie, break or hang."""

import base64
import http.server
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

import quarrytest
from quarrytest import Base, DockerArchive, OciLayout, make_store, read, write

COMPRESSIONS = ("none", "xz", "zstd", "gzip", "bzip2")


def canonical(tree):
    """The tree as Nix keeps one: only the owner's x is left of modes."""
    if isinstance(tree, make_store.Dir):
        tree = tree.entries
    if isinstance(tree, dict):
        return {name: canonical(sub) for name, sub in tree.items()}
    if isinstance(tree, make_store.File):
        return (make_store.Exec if tree.mode & 0o100
                else make_store.File)(tree.data)
    return tree


def traps(path):
    tree = make_store.traps(path)
    tree["deep"] = make_store.deep(61)  # with its top as deep as Nix allows
    return canonical(tree)


def cached_store(root):
    """Every trap that a NAR can hold; files and links as store paths."""
    s = make_store.Store(root)
    file = s.add("a-file.txt", b"a store path that is a file\n")
    exe = s.add("exe-file", make_store.Exec(b"#!/bin/sh\n"))
    link = s.add("a-link", make_store.Link(file), refs=[file])
    empty = s.add("empty", {})
    tree = s.add("traps", traps, refs=[file], self_ref=True)
    s.add("top", {"bin": {"run": make_store.Link(exe + "/x")}},
          refs=[link, empty, tree, exe])
    return s


# --- A server that can break ------------------------------------------------

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        for part, fault in self.server.faults.items():
            if part in self.path:
                try:
                    if fault(self):
                        return
                except OSError:
                    self.close_connection = True
                    return
        super().do_GET()

    def status(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"sad\n")
        return True

    def file(self):
        return read(self.translate_path(self.path))

    def body(self, data, length=None):
        self.send_response(200)
        self.send_header("Content-Length",
                         str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        return True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, folder, context=None):
        self.faults, self.asked = {}, []
        super().__init__(("127.0.0.1", 0), lambda *args: Handler(
            *args, directory=folder))
        if context:
            self.socket = context.wrap_socket(
                self.socket, server_side=True,
                do_handshake_on_connect=False)
        self.url = "%s://127.0.0.1:%d" % (
            "https" if context else "http", self.server_port)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass


def status(code, **headers):
    return lambda handler: handler.status(code, **headers)


def change(what):
    """The file, but changed."""
    return lambda handler: handler.body(what(handler.file()))


def flip(data):
    data = bytearray(data)
    data[len(data) // 2] ^= 4
    return bytes(data)


def cut(data):
    return data[:len(data) // 2]


def reset(handler):
    """Half of the body, then the connection is reset."""
    data = handler.file()
    handler.body(cut(data), len(data))
    handler.wfile.flush()
    handler.connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    return True


def short(handler):
    """Half of the body, then the connection is closed in good order."""
    data = handler.file()
    handler.body(cut(data), len(data))
    handler.close_connection = True
    return True


def hang(handler):
    data = handler.file()
    handler.body(data[:100], len(data))
    handler.wfile.flush()
    time.sleep(40)
    handler.close_connection = True
    return True


def redirect(to):
    return lambda handler: handler.status(302, Location=to)


# --- Tests ------------------------------------------------------------------

@quarrytest.need("nix", "nix-store")
class Caches(Base):
    env_extra = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}

    @classmethod
    def setUpClass(cls):
        cls.shared = cls.folder()
        cls.store = cached_store(cls.shared + "/s")
        cls.nix_env = dict(
            os.environ, HOME=cls.shared, NIX_CONFIG="build-users-group =\n"
            "sandbox = false\nexperimental-features = nix-command\n")
        make_store.register(cls.store, cls.nix_env)
        cls.nix("nix-store", "--generate-binary-cache-key", "test-1",
                cls.shared + "/secret", cls.shared + "/public")
        cls.key = read(cls.shared + "/public").decode().strip()
        for name in COMPRESSIONS:
            cls.make_cache(name, "compression=" + name)
        cls.victim = next(i["path"] for i in cls.store.infos
                          if i["path"].endswith("-traps"))
        cls.hash = cls.victim.split("/")[-1].split("-")[0]

    @classmethod
    def nix(cls, *args):
        p = subprocess.run(args, env=cls.nix_env, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, check=False)
        if p.returncode != 0:
            raise AssertionError("%s\n%s" % (
                args, p.stdout.decode(errors="replace")))

    @classmethod
    def make_cache(cls, name, params, root=None):
        """The store copied by Nix to a cache folder, signed."""
        folder = "%s/cache-%s" % (cls.shared, name)
        cls.nix("nix", "copy", "--all", "--no-check-sigs", "--from",
                "local?root=" + (root or cls.store.root), "--to",
                "file://%s?%s&secret-key=%s/secret" % (
                    folder, params, cls.shared))
        return folder

    def setUp(self):
        super().setUp()
        self.closure = self.closure_file(self.store)
        self.bare = self.closure_file(self.store, shape="graph", name="bare")
        self.nowhere = self.path("nowhere")
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        super().tearDown()

    def cache(self, name="zstd"):
        return "%s/cache-%s" % (self.shared, name)

    def serve(self, name="zstd", faults=None, folder=None, context=None):
        server = Server(folder or self.cache(name), context)
        server.faults.update(faults or {})
        self.servers.append(server)
        return server

    def options(self, *caches, root=None, closure=None):
        args = ["--name", "x", "--tag", "t", "--closure",
                closure or self.closure, "--store-root", root or self.nowhere]
        for cache in caches:
            args += ["--substituter",
                     cache.url if isinstance(cache, Server) else cache]
        return args

    def fetch(self, *caches, key=None, root=None, closure=None, more=(), **kw):
        return self.build(*self.options(*caches, root=root, closure=closure),
                          "--trusted-key", key or self.key, *more, **kw)

    def from_store(self):
        """The docker-archive out of the store itself."""
        if not hasattr(type(self), "good"):
            type(self).good = self.build(
                *self.options(root=self.store.root), "--to",
                "docker-archive:-").stdout
        return self.good

    def archive(self, *caches, **kw):
        """A docker-archive out of caches is the one out of the store."""
        r = self.fetch(*caches, more=(
            "--to", "docker-archive:" + self.path("out/i.tar")), **kw)
        self.same_bytes(read(self.path("out/i.tar")), self.from_store())
        os.unlink(self.path("out/i.tar"))
        return r

    def refused(self, *caches, says=(), path=None, status=1, **kw):
        """One line of error, which names path, caches and reasons."""
        kw.setdefault("more", ("--to", "docker-archive:"
                               + self.path("out/i.tar")))
        r = self.fetch(*caches, status=None, **kw)
        self.assertEqual(r.status, status, r.errors)
        lines = r.errors.splitlines()
        self.assertEqual(len(lines), 1, r.errors)
        self.assertIn(path or self.victim, lines[0])
        for cache in caches:
            self.assertIn(cache.url if isinstance(cache, Server) else cache,
                          lines[0])
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, lines[0])
        self.assertEqual(os.listdir(self.out), [])
        return r

    def falls_back(self, bad, says, **kw):
        """Alone the cache is refused; before a good one it is warned of."""
        self.refused(bad, says=says, **kw)
        r = self.archive(bad, "file://" + self.cache("xz"))
        lines = r.errors.splitlines()
        self.assertEqual(len(lines), 1, r.errors)
        self.assertIn("warning: ", lines[0])
        for text in (self.victim, bad.url, says):
            self.assertIn(text, lines[0])


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

    def test_hang(self):
        begin = time.monotonic()
        server = self.nar(hang)
        r = self.archive(server, "file://" + self.cache("xz"))
        self.assertIn("in 20 s", r.errors)
        self.assertIn(server.url, r.errors)
        self.assertLess(time.monotonic() - begin, 60)

    def test_nobody_listens(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            url = "http://127.0.0.1:%d" % s.getsockname()[1]
            r = self.archive(url, "file://" + self.cache())
            self.assertIn("warning: ", r.errors)
            # Once it has failed it is not asked first again.
            self.assertLess(r.seconds, 30)
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
        self.assertLess(time.monotonic() - begin, 30)

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
        r = self.finish(p, timeout=10)
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
