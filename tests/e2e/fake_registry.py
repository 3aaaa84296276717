"""A registry for tests: distribution-spec 1.1, and what real ones make of it.

Honest unless told otherwise: test_fake_registry.py holds it against the
specification.  A profile makes it behave as a known product; rules inject
faults into single steps; all requests are recorded.  Everything is in memory.

    with Registry(profile="ghcr") as r:
        r.rule("PUT blob", status(503), times=2)
"""

import base64
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
import time
import urllib.parse

NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REPO = NAME + "(?:/" + NAME + ")*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
PATHS = [(what, re.compile(pattern)) for what, pattern in (
    ("base", r"/v2/\Z"),
    ("start", r"/v2/(?P<repo>%s)/blobs/uploads/\Z" % REPO),
    ("blob", r"/v2/(?P<repo>%s)/blobs/uploads/(?P<id>[0-9]+)\Z" % REPO),
    ("stored", r"/v2/(?P<repo>%s)/blobs/(?P<digest>[^/]+)\Z" % REPO),
    ("manifest", r"/v2/(?P<repo>%s)/manifests/(?P<ref>[^/]+)\Z" % REPO),
    ("tags", r"/v2/(?P<repo>%s)/tags/list\Z" % REPO),
    ("token", r"/token\Z"),
)]
MANIFEST_MAX = 4 << 20

PROFILES = {
    None: {},
    "ghcr": {"patch_max": 4 << 20, "put_max": 5 << 20},
    "gar": {"patch": False},
    "ecr": {"patch_status": 201, "stuck_range": True},
    "acr": {"exact_range": True, "put_max": 1 << 20},
    "quay": {"mount_needs_from": True},
    "harbor": {"cookies": True},
    "artifactory": {"whole": False},
    "hub": {"bare_429": 1},
    "cloudflare": {"body_max": 5 << 20},
    "distribution": {"strict_state": True},
}


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Cut(Exception):
    """The connection ends without (the rest of) an answer."""


# --- Faults: each is called with the handler, and says whether it answered ---

def status(code, body=None, **headers):
    def act(h):
        h.drain()
        data = body if body is not None else error_body("UNKNOWN", "injected")
        h.answer(code, data, {k.replace("_", "-"): v
                              for k, v in headers.items()})
        return True
    return act


def early_status(code):
    """Answers before the body was read, and closes."""
    def act(h):
        h.close_connection = True
        h.answer(code, error_body("UNKNOWN", "injected"))
        return True
    return act


def hang(seconds=30, after=None):
    """Says nothing; after: so many bytes of the body were read."""
    def act(h):
        if after is not None:
            h.rfile.read(min(after, h.length()))
        h.server.registry.stop.wait(seconds)
        raise Cut
    return act


def hang_in_answer(h):
    h.drain()
    h.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nabc")
    h.wfile.flush()
    h.server.registry.stop.wait(30)
    raise Cut


def reset(h):
    h.rfile.read(min(1000, h.length()))
    h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            struct.pack("ii", 1, 0))
    raise Cut


def break_off(n):
    """The connection breaks; so many bytes of a part were taken."""
    def act(h):
        session = h.session()
        if session is not None:
            session["data"] += h.rfile.read(min(n, h.length()))
        raise Cut
    return act


def lose_upload(h):
    """What was there of an upload is not any more."""
    h.repo["sessions"].pop(h.match["id"], None)
    return False


def lose_blob(h):
    """What is looked for, the first time that it is there, is there no more."""
    r = h.server.registry
    r.blobs.pop(h.match["digest"], None)
    return False


def lose_answer(h):
    """All is done as asked, and nobody hears of it."""
    h.lose = True
    return False


def slow_answer(h):
    """All is done as asked, and the answer does not come."""
    h.lose = "slow"
    return False


def bare_429(h):
    h.drain()
    h.wfile.write(b"HTTP/1.1 429 Too Many Requests\nContent-Type: text/plain\n"
                  b"Content-Length: 18\nRetry-After: 1\n\ntoo many requests\n")
    h.recorded["status"] = 429
    return True


def wrong_digest(h):
    h.said_digest = sha256(b"other bytes")
    return False


def forget_token(h):
    h.server.registry.tokens.clear()
    return False


def location(url):
    """The answer's Location; {path} is what it would be."""
    def act(h):
        h.location = url
        return False
    return act


def redirect(url):
    """To another place for the blob; {path} is this one's."""
    def act(h):
        h.drain()
        h.answer(307, b"", {"Location": url.format(
            path=h.path, url=h.server.registry.url)} if url else {})
        return True
    return act


def cut_after(n):
    """The connection breaks after so many bytes of the answer's body."""
    def act(h):
        h.cut = n
        return False
    return act


def no_range(h):
    del h.headers["Range"]
    return False


def no_mount(h):
    """An upload is begun where a blob was to be mounted."""
    h.query.pop("mount", None)
    return False


def lie_of_mount(h):
    """It says that it has mounted a blob, and has not."""
    if "mount" not in h.query:
        return False
    h.drain()
    h.created(h.query["mount"])
    return True


def realm(url):
    def act(h):
        h.drain()
        h.answer(401, error_body("UNAUTHORIZED", ""), {
            "WWW-Authenticate": 'Bearer realm="%s",service="s"' % url})
        return True
    return act


def lose_blobs(h):
    """What was stored last is gone when the manifest comes."""
    r = h.server.registry
    if r.stored:
        del r.blobs[r.stored.pop()]
    return False


def error_body(code, message):
    return json.dumps({"errors": [
        {"code": code, "message": message, "detail": None}]}).encode()


class Rule:
    def __init__(self, step, action, times, skip):
        self.step, self.action = step, action
        self.times, self.skip, self.used = times, skip, 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    # --- One request -----------------------------------------------------

    def handle_any(self):
        r = self.server.registry
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, True))
        self.what, self.match = "other", None
        for what, pattern in PATHS:
            self.match = pattern.match(url.path)
            if self.match:
                self.what = what
                break
        self.left = self.length()
        self.lose = self.said_digest = self.location = self.cut = None
        self.recorded = {
            "step": "%s %s" % (self.command, self.what), "path": self.path,
            "headers": {k.lower(): v for k, v in self.headers.items()},
            "length": self.left, "status": None, "time": time.monotonic()}
        with r.lock:
            r.requests.append(self.recorded)
        try:
            for act in r.actions(self.recorded["step"]):
                if act(self):
                    return
            if not self.allowed():
                return
            getattr(self, "do_%s_%s" % (self.command.lower(), self.what),
                    self.unknown)()
        except (Cut, ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *args):
        pass

    @property
    def profile(self):
        return self.server.registry.profile

    @property
    def repo(self):
        return self.server.registry.repo(self.match["repo"])

    def length(self):
        return int(self.headers.get("Content-Length") or 0)

    def drain(self):
        self.body()

    def body(self):
        parts = []
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        while self.left:
            data = self.rfile.read(min(self.left, 1 << 20))
            if not data:
                raise Cut
            self.left -= len(data)
            parts.append(data)
        return b"".join(parts)

    def answer(self, code, data=b"", headers=()):
        if self.lose:
            if self.lose == "slow":
                self.server.registry.stop.wait(30)
            raise Cut
        headers = dict(headers)
        self.recorded["status"] = code
        self.send_response_only(code)
        if self.said_digest and "Docker-Content-Digest" in headers:
            headers["Docker-Content-Digest"] = self.said_digest
        if self.profile.get("cookies"):
            headers["Set-Cookie"] = "sid=%d; Path=/" % time.monotonic_ns()
        if code >= 400:
            headers.setdefault("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.cut is not None and len(data) > self.cut:
            self.wfile.write(data[:self.cut])
            self.wfile.flush()
            raise Cut
        if self.command != "HEAD" and code != 204:
            self.wfile.write(data)
        self.wfile.flush()

    def error(self, code, name, message="", **headers):
        self.drain()
        self.answer(code, error_body(name, message), headers)

    def unknown(self):
        if self.what == "other":
            self.error(404, "NAME_INVALID" if self.path.startswith("/v2/")
                       else "UNSUPPORTED")
        else:
            self.error(405, "UNSUPPORTED")

    # --- Who asks ----------------------------------------------------------

    def allowed(self):
        r = self.server.registry
        if self.what == "token" or not (r.basic or r.bearer):
            return True
        given = self.headers.get("Authorization") or ""
        if r.basic:
            if given == basic(*r.basic):
                return True
            challenge = 'Basic realm="test"'
        else:
            needs = self.needs()
            token = given[7:] if given.startswith("Bearer ") else None
            with r.lock:
                known = r.tokens.get(token)
            if known and known["until"] > time.monotonic() and \
                    needs <= known["scopes"]:
                return True
            challenge = 'Bearer realm="%s",service="fake"' % (
                r.realm or r.url + "/token")
            if needs:
                challenge += ',scope="repository:%s:pull,push"' % \
                    self.match["repo"]
        self.error(401, "UNAUTHORIZED", "authentication required",
                   **{"WWW-Authenticate": challenge})
        return False

    def needs(self):
        if self.what == "base":
            return set()
        repo = self.match["repo"] if self.match else ""
        need = {(repo, "pull")}
        if self.command not in ("GET", "HEAD"):
            need.add((repo, "push"))
        if "from" in self.query:
            need.add((self.query["from"], "pull"))
        return need

    def do_get_token(self):
        r = self.server.registry
        given = self.headers.get("Authorization") or ""
        if not r.bearer or given != basic(*r.bearer):
            return self.error(401, "UNAUTHORIZED")
        query = urllib.parse.urlsplit(self.path).query
        self.grant(urllib.parse.parse_qs(query), "token")

    def do_post_token(self):
        r = self.server.registry
        form = urllib.parse.parse_qs(self.body().decode())
        if form.get("grant_type") != ["refresh_token"] or \
                form.get("refresh_token") != [r.identity]:
            return self.error(401, "UNAUTHORIZED")
        self.grant(form, "access_token")

    def grant(self, form, key):
        r = self.server.registry
        if form.get("service") != ["fake"]:
            return self.error(400, "DENIED", "service")
        scopes = set()
        for scope in form.get("scope", []):
            kind, name, actions = scope.split(":")
            scopes |= {(name, a) for a in actions.split(",")
                       if kind == "repository"}
        with r.lock:
            r.n_tokens += 1
            token = "%s-%d" % (r.token_text, r.n_tokens)
            r.tokens[token] = {
                "scopes": scopes, "until": time.monotonic() + r.token_s}
        self.answer(200, json.dumps(
            {key: token, "expires_in": r.said_token_s}).encode())

    # --- Blobs -------------------------------------------------------------

    def do_get_base(self):
        self.answer(200, b"{}")

    def find(self):
        digest = self.match["digest"]
        if not DIGEST.match(digest):
            self.error(400, "DIGEST_INVALID")
        elif digest not in self.repo["blobs"] or \
                digest not in self.server.registry.blobs:
            self.error(404, "BLOB_UNKNOWN")
        else:
            return self.server.registry.blobs[digest]
        return None

    def do_get_stored(self):
        data = self.find()
        if data is None:
            return
        headers = {"Docker-Content-Digest": self.match["digest"],
                   "Content-Type": "application/octet-stream",
                   "Accept-Ranges": "bytes"}
        wanted = re.match(r"bytes=(\d+)-(\d*)\Z",
                          self.headers.get("Range") or "")
        if not wanted:
            return self.answer(200, data, headers)
        start = int(wanted[1])
        end = min(int(wanted[2] or len(data)), len(data) - 1)
        if start > end:
            return self.answer(416, b"", {
                "Content-Range": "bytes */%d" % len(data)})
        headers["Content-Range"] = "bytes %d-%d/%d" % (start, end, len(data))
        self.answer(206, data[start:end + 1], headers)

    do_head_stored = do_get_stored

    def do_delete_stored(self):
        if self.find() is not None:
            self.repo["blobs"].discard(self.match["digest"])
            self.answer(202)

    def store(self, digest, data):
        r = self.server.registry
        if not DIGEST.match(digest) or sha256(data) != digest:
            self.answer(400, error_body("DIGEST_INVALID", digest))
            return False
        with r.lock:
            if digest not in r.blobs:
                r.stored.append(digest)
            r.blobs[digest] = data
            self.repo["blobs"].add(digest)
            r.uploads_done += 1
        return True

    def created(self, digest):
        self.answer(201, b"", {
            "Location": "/v2/%s/blobs/%s" % (self.match["repo"], digest),
            "Docker-Content-Digest": digest})

    # --- Uploads -----------------------------------------------------------

    def do_post_start(self):
        r, p = self.server.registry, self.profile
        if "mount" in self.query:
            source = self.query.get("from")
            if source is None and p.get("mount_needs_from"):
                return self.error(400, "NAME_INVALID", "from")
            digest = self.query["mount"]
            repos = [r.repo(source)] if source else list(r.repos.values())
            if digest in r.blobs and any(digest in x["blobs"] for x in repos):
                self.drain()
                self.repo["blobs"].add(digest)
                return self.created(digest)
        elif "digest" in self.query and p.get("whole", True):
            if self.store(self.query["digest"], self.body()):
                self.created(self.query["digest"])
            return
        self.drain()
        with r.lock:
            r.n_sessions += 1
            self.repo["sessions"][str(r.n_sessions)] = {
                "data": bytearray(), "state": 0}
        self.progress(202, str(r.n_sessions))

    def progress(self, code, number):
        r = self.server.registry
        session = self.repo["sessions"][number]
        session["state"] += 1
        path = "/v2/%s/blobs/uploads/%s?_state=%d" % (
            self.match["repo"], number, session["state"])
        headers = {"Location": (self.location or r.location).format(
            path=path, url=r.url, port=r.port), "Upload-UUID": number}
        size = len(session["data"])
        if self.profile.get("stuck_range"):
            size = min(size, 10)
        headers["Range"] = "0-%d" % max(size - 1, 0)
        if r.chunk_min:
            headers["OCI-Chunk-Min-Length"] = str(r.chunk_min)
        self.answer(code, b"", headers)

    def session(self):
        """An older state will do to ask how far an upload is."""
        found = self.repo["sessions"].get(self.match["id"])
        said = self.query.get("_state") or ""
        if found is None or not said.isdigit() or not (
                int(said) == found["state"] or
                (self.command == "GET" and int(said) < found["state"] and
                 not self.profile.get("strict_state"))):
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
            return None
        return found

    def fits(self, limit):
        """413 as a proxy gives it: at once, the body is not read."""
        most = min(self.profile.get("body_max", 1 << 62),
                   self.profile.get(limit, 1 << 62))
        if self.length() <= most:
            return True
        if limit == "patch_max" and limit in self.profile:
            self.error(416, "BLOB_UPLOAD_INVALID", "chunk is too large")
        else:
            self.close_connection = True
            self.answer(413, b"<html>413 Request Entity Too Large</html>",
                        {"Content-Type": "text/html"})
        return False

    def do_patch_blob(self):
        p, r = self.profile, self.server.registry
        if not p.get("patch", True):
            return self.error(405, "UNSUPPORTED", "chunked uploads")
        session = self.session()
        if session is None or not self.fits("patch_max"):
            return
        said = self.headers.get("Content-Range")
        have = len(session["data"])
        if said is None and p.get("exact_range"):
            return self.error(400, "BLOB_UPLOAD_INVALID", "no Content-Range")
        if said is not None:
            m = re.match(r"(\d+)-(\d+)\Z", said)
            if not m or int(m[1]) != have or \
                    int(m[2]) - int(m[1]) + 1 != self.length():
                return self.error(416, "BLOB_UPLOAD_INVALID", said)
        data = self.body()
        # Only the last part may be smaller; so none may follow one.
        if session.get("short"):
            return self.answer(416, error_body("SIZE_INVALID", ""))
        session["short"] = len(data) < r.chunk_min
        session["data"] += data
        self.progress(p.get("patch_status", 202), self.match["id"])

    def do_put_blob(self):
        session = self.session()
        if session is None or not self.fits("put_max"):
            return
        if not self.profile.get("whole", True) and self.length():
            return self.error(405, "UNSUPPORTED", "monolithic")
        digest = self.query.get("digest")
        if digest is None:
            return self.error(400, "DIGEST_INVALID", "none")
        # What was wrong may be done once more.
        data = bytes(session["data"]) + self.body()
        if self.store(digest, data):
            del self.repo["sessions"][self.match["id"]]
            self.created(digest)

    def do_get_blob(self):
        session = self.session()
        if session is not None:
            self.progress(204, self.match["id"])

    def do_delete_blob(self):
        if self.session() is not None:
            del self.repo["sessions"][self.match["id"]]
            self.answer(204)

    # --- Manifests ---------------------------------------------------------

    def do_put_manifest(self):
        r, ref = self.server.registry, self.match["ref"]
        data = self.body()
        digest = sha256(data)
        if ":" in ref and ref != digest:
            return self.answer(400, error_body("DIGEST_INVALID", ref))
        if ":" not in ref and not re.fullmatch(TAG, ref):
            return self.answer(400, error_body("TAG_INVALID", ref))
        try:
            manifest = json.loads(data)
            listed = manifest.get("manifests")
            wanted = [] if listed is not None else \
                [manifest["config"]] + manifest["layers"]
            if len(data) > MANIFEST_MAX:
                raise ValueError
            for d in wanted + (listed or []):
                if not isinstance(d["size"], int) or not d["mediaType"]:
                    raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            return self.answer(400, error_body("MANIFEST_INVALID", ""))
        for d in listed or []:
            if d["digest"] not in self.repo["manifests"]:
                return self.answer(404, error_body(
                    "MANIFEST_UNKNOWN", d["digest"]))
        for d in wanted:
            blob = r.blobs.get(d["digest"])
            if d["digest"] not in self.repo["blobs"] or blob is None:
                return self.answer(400, error_body(
                    "MANIFEST_BLOB_UNKNOWN", d["digest"]))
            if len(blob) != d["size"]:
                return self.answer(400, error_body("SIZE_INVALID", ""))
        with r.lock:
            self.repo["manifests"][digest] = (
                self.headers.get("Content-Type"), data)
            if ":" not in ref:
                self.repo["tags"][ref] = digest
            r.manifests_put += 1
        self.answer(201, b"", {
            "Location": "/v2/%s/manifests/%s" % (self.match["repo"], digest),
            "Docker-Content-Digest": digest})

    def do_get_manifest(self):
        ref = self.match["ref"]
        digest = self.repo["tags"].get(ref, ref)
        if digest not in self.repo["manifests"]:
            return self.error(404, "MANIFEST_UNKNOWN", ref)
        media_type, data = self.repo["manifests"][digest]
        self.answer(200, data, {"Content-Type": media_type,
                                "Docker-Content-Digest": digest})

    do_head_manifest = do_get_manifest

    def do_delete_manifest(self):
        ref, repo = self.match["ref"], self.repo
        if ref in repo["tags"]:
            del repo["tags"][ref]
        elif ref in repo["manifests"]:
            del repo["manifests"][ref]
            repo["tags"] = {t: d for t, d in repo["tags"].items() if d != ref}
        else:
            return self.error(404, "MANIFEST_UNKNOWN", ref)
        self.answer(202)

    def do_get_tags(self):
        if self.match["repo"] not in self.server.registry.repos:
            return self.error(404, "NAME_UNKNOWN")
        tags = sorted(self.repo["tags"])
        if "last" in self.query:
            tags = [t for t in tags if t > self.query["last"]]
        headers = {}
        n = int(self.query.get("n", len(tags)))
        if 0 < n < len(tags):
            headers["Link"] = "</v2/%s/tags/list?n=%d&last=%s>; rel=\"next\"" \
                % (self.match["repo"], n, tags[n - 1])
        self.answer(200, json.dumps({
            "name": self.match["repo"], "tags": tags[:n]}).encode(), headers)


def basic(user, password):
    return "Basic " + base64.b64encode(
        ("%s:%s" % (user, password)).encode()).decode()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


class Registry:
    """basic, bearer: (USER, PASSWORD) that is asked for, by that scheme."""

    def __init__(self, profile=None, basic=None, bearer=None, identity=None,
                 host="127.0.0.1", tls=None):
        self.profile = dict(PROFILES[profile])
        self.basic, self.bearer, self.identity = basic, bearer, identity
        self.realm, self.token_s, self.said_token_s = None, 300, 300
        self.token_text, self.location = "token", "{path}"
        self.chunk_min = 0
        self.lock, self.stop = threading.RLock(), threading.Event()
        self.requests, self.rules = [], []
        self.repos, self.blobs, self.tokens, self.stored = {}, {}, {}, []
        self.n_tokens = self.n_sessions = 0
        self.uploads_done = self.manifests_put = 0
        self.server = Server((host, 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True,
                do_handshake_on_connect=False)
        self.server.registry = self
        self.port = self.server.server_address[1]
        self.name = "%s:%d" % (host, self.port)
        self.url = "%s://%s" % ("https" if tls else "http", self.name)
        if self.profile.get("bare_429"):
            self.rule("POST start", bare_429, times=self.profile["bare_429"])
        self.thread = threading.Thread(
            target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def close(self):
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()

    def repo(self, name):
        with self.lock:
            return self.repos.setdefault(name, {
                "blobs": set(), "sessions": {}, "manifests": {}, "tags": {}})

    def rule(self, step, action, times=1, skip=0):
        """step: "METHOD WHAT", or "WHAT" or "METHOD" alone, or "*"."""
        self.rules.append(Rule(step, action, times, skip))

    def actions(self, step):
        found = []
        with self.lock:
            for rule in self.rules:
                if rule.step not in (step, *step.split(), "*"):
                    continue
                rule.used += 1
                if rule.skip < rule.used <= rule.skip + rule.times:
                    found.append(rule.action)
        return found

    def count(self, step=None, code=None):
        with self.lock:
            return sum((step is None or r["step"] == step) and
                       (code is None or r["status"] == code)
                       for r in self.requests)
