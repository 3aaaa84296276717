"""What the tests of binary caches share: caches that Nix itself made of a
store of traps, and a server for them that can be told to break."""

import http.server
import os
import socket
import struct
import subprocess
import threading
import time

import quarrytest
from quarrytest import Base, make_store, read

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
    disable_nagle_algorithm = True
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


def in_parts(parts, lie=False):
    """A connection gives 1/parts of the body; the rest can be asked for."""
    def part(handler):
        data, begin = handler.file(), 0
        given = handler.headers.get("Range")
        if given:
            begin = int(given.split("=")[1].split("-")[0])
            handler.send_response(206)
            handler.send_header("Content-Range", "bytes %d-%d/%d" % (
                0 if lie else begin, len(data) - 1, len(data)))
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) - begin))
        handler.end_headers()
        end = begin + len(data) // parts + 1
        handler.wfile.write(data[begin:end])
        handler.close_connection = True
        return True
    return part


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


# --- The caches -------------------------------------------------------------

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

    def cache(self, name="zstd"):
        return "%s/cache-%s" % (self.shared, name)

    def serve(self, name="zstd", faults=None, folder=None, context=None):
        server = Server(folder or self.cache(name), context)
        server.faults.update(faults or {})
        self.servers.append(server)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
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
