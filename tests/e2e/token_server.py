"""A token server as distribution wants one: it signs with a key of its own,
whose certificate the registry trusts (token authentication, RS256)."""

import base64
import http.server
import json
import subprocess
import threading
import time
import urllib.parse

from fake_registry import basic


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        s = self.server.tokens
        if self.headers.get("Authorization") != basic(*s.who):
            return self.answer(401, b"{}")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name,
                           "actions": actions.split(",")})
        s.given.append(access)
        self.answer(200, json.dumps({
            "token": s.sign(query["service"][0], access),
            "expires_in": s.seconds}).encode())

    def answer(self, code, data):
        self.send_response_only(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class TokenServer:
    """who: (USER, PASSWORD); seconds: how long tokens are good."""

    def __init__(self, key, certificate, who, seconds=300):
        self.key, self.who, self.seconds = key, who, seconds
        with open(certificate, encoding="ascii") as f:
            self.x5c = "".join(f.read().split("-----")[2].split())
        self.given, self.tokens = [], []
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.tokens = self
        self.url = "http://127.0.0.1:%d/token" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,),
                         daemon=True).start()

    def sign(self, service, access):
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self.x5c]}
        claims = {"iss": "test", "sub": self.who[0], "aud": service,
                  "exp": now + self.seconds, "nbf": now - 10, "iat": now,
                  "jti": str(len(self.given)), "access": access}
        text = b".".join(encode(json.dumps(part).encode())
                         for part in (head, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.key], input=text,
            stdout=subprocess.PIPE, check=True, timeout=60).stdout
        token = (text + b"." + encode(signature)).decode()
        self.tokens.append(token)
        return token

    def close(self):
        self.server.shutdown()
        self.server.server_close()
