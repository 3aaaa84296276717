"""The fake registry against the rules of the distribution specification.

What it gets wrong, the tests that use it would not see: each rule of
distribution-spec 1.1 that a client's push and pull rests on is asked of it.
"""

import http.client
import json
import re
import unittest

import quarrytest
import fake_registry
from fake_registry import Registry, sha256

BLOB = bytes(range(256)) * 40
EMPTY = {"mediaType": "application/vnd.oci.image.config.v1+json",
         "digest": sha256(b"{}"), "size": 2}
TYPE = "application/vnd.oci.image.manifest.v1+json"


class Asks(unittest.TestCase):
    profile = None

    def setUp(self):
        self.r = Registry(self.profile)
        self.addCleanup(self.r.close)

    def ask(self, method, path, body=None, **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.r.port, timeout=10)
        self.addCleanup(c.close)
        c.request(method, path.replace(self.r.url, ""), body, {
            k.replace("_", "-"): v for k, v in headers.items()})
        a = c.getresponse()
        a.data = a.read()
        return a

    def want(self, code, method, path, body=None, error=None, **headers):
        a = self.ask(method, path, body, **headers)
        self.assertEqual(a.status, code, (method, path, a.data))
        if error:
            self.assertEqual(json.loads(a.data)["errors"][0]["code"], error)
        return a

    def start(self, repo="a/b"):
        return self.want(202, "POST", "/v2/%s/blobs/uploads/" % repo)\
            .headers["Location"]

    def put(self, where, data, digest=None, code=201, error=None):
        return self.want(code, "PUT", "%s&digest=%s" % (
            where, digest or sha256(data)), data, error)

    def push(self, data, repo="a/b"):
        self.put(self.start(repo), data)
        return sha256(data)


class TestHonest(Asks):
    def test_base(self):
        self.want(200, "GET", "/v2/")
        self.want(404, "GET", "/v2/UPPER/blobs/" + sha256(b""))

    def test_post_then_put(self):
        a = self.put(self.start(), BLOB)
        self.assertIn("/v2/a/b/blobs/" + sha256(BLOB), a.headers["Location"])
        self.assertEqual(self.want(200, "GET", a.headers["Location"]).data,
                         BLOB)

    def test_one_post(self):
        self.want(201, "POST", "/v2/a/b/blobs/uploads/?digest="
                  + sha256(BLOB), BLOB)
        self.want(200, "GET", "/v2/a/b/blobs/" + sha256(BLOB))
        self.want(400, "POST", "/v2/a/b/blobs/uploads/?digest="
                  + sha256(b"other"), BLOB, "DIGEST_INVALID")

    def test_wrong_digest(self):
        where = self.start()
        for digest in (sha256(b"other"), "sha256:00", "md5:" + "0" * 32):
            self.put(where, BLOB, digest, 400, "DIGEST_INVALID")
        self.want(404, "HEAD", "/v2/a/b/blobs/" + sha256(BLOB))
        self.put(where, BLOB)

    def test_in_parts(self):
        where = self.start()
        for at in range(0, len(BLOB), 3000):
            part = BLOB[at:at + 3000]
            a = self.want(202, "PATCH", where, part, Content_Range="%d-%d" % (
                at, at + len(part) - 1))
            self.assertEqual(a.headers["Range"],
                             "0-%d" % (at + len(part) - 1))
            self.assertNotEqual(a.headers["Location"], where)
            where = a.headers["Location"]
        a = self.want(204, "GET", where)
        self.assertEqual(a.headers["Range"], "0-%d" % (len(BLOB) - 1))
        self.put(a.headers["Location"], b"", sha256(BLOB))
        self.assertEqual(self.r.blobs[sha256(BLOB)], BLOB)

    def test_parts_out_of_order(self):
        where = self.start()
        self.want(416, "PATCH", where, b"x" * 10, Content_Range="10-19")
        self.want(416, "PATCH", where, b"x" * 10, Content_Range="bytes 0-9")
        self.want(416, "PATCH", where, b"x" * 10, Content_Range="0-8")
        where = self.want(202, "PATCH", where, b"x" * 10,
                          Content_Range="0-9").headers["Location"]
        self.want(416, "PATCH", where, b"x" * 10, Content_Range="0-9")

    def test_last_part_in_the_put(self):
        where = self.want(202, "PATCH", self.start(), BLOB[:100],
                          Content_Range="0-99").headers["Location"]
        self.put(where, BLOB[100:], sha256(BLOB))

    def test_least_size_of_parts(self):
        self.r.chunk_min = 1000
        a = self.want(202, "POST", "/v2/a/b/blobs/uploads/")
        self.assertEqual(a.headers["OCI-Chunk-Min-Length"], "1000")
        where = self.want(202, "PATCH", a.headers["Location"],
                          BLOB[:10]).headers["Location"]
        self.want(416, "PATCH", where, BLOB[10:20])

    def test_old_locations_do_not_count(self):
        where = self.start()
        self.want(202, "PATCH", where, b"x")
        self.want(404, "PATCH", where, b"x", "BLOB_UPLOAD_UNKNOWN")
        self.want(404, "PUT", where.split("?")[0] + "?digest=" + sha256(b"x"),
                  b"", "BLOB_UPLOAD_UNKNOWN")

    def test_cancel(self):
        where = self.start()
        self.want(204, "DELETE", where)
        self.want(404, "PATCH", where, b"x", "BLOB_UPLOAD_UNKNOWN")

    def test_head(self):
        digest = self.push(BLOB)
        a = self.want(200, "HEAD", "/v2/a/b/blobs/" + digest)
        self.assertEqual(a.headers["Content-Length"], str(len(BLOB)))
        self.assertEqual(a.headers["Docker-Content-Digest"], digest)
        self.want(404, "GET", "/v2/a/b/blobs/" + sha256(b"none"), None,
                  "BLOB_UNKNOWN")
        self.want(404, "HEAD", "/v2/other/blobs/" + digest)

    def test_ranges(self):
        where = "/v2/a/b/blobs/" + self.push(BLOB)
        a = self.want(206, "GET", where, Range="bytes=10-19")
        self.assertEqual(a.data, BLOB[10:20])
        self.assertEqual(a.headers["Content-Range"],
                         "bytes 10-19/%d" % len(BLOB))
        self.assertEqual(self.want(206, "GET", where, Range="bytes=100-").data,
                         BLOB[100:])
        self.want(416, "GET", where, Range="bytes=%d-" % len(BLOB))

    def test_mount(self):
        digest = self.push(BLOB, "one")
        self.want(201, "POST", "/v2/two/blobs/uploads/?mount=%s&from=one"
                  % digest)
        self.want(200, "HEAD", "/v2/two/blobs/" + digest)
        self.want(201, "POST", "/v2/three/blobs/uploads/?mount=" + digest)
        a = self.want(202, "POST", "/v2/two/blobs/uploads/?mount=%s&from=one"
                      % sha256(b"no"))
        self.put(a.headers["Location"], b"no")

    def manifest(self, *layers):
        return json.dumps({
            "schemaVersion": 2, "mediaType": TYPE, "config": EMPTY,
            "layers": [{"mediaType": "x/y", "digest": sha256(l),
                        "size": len(l)} for l in layers]}).encode()

    def test_manifest(self):
        data = self.manifest(BLOB)
        self.want(400, "PUT", "/v2/a/b/manifests/t", data,
                  "MANIFEST_BLOB_UNKNOWN")
        self.push(b"{}")
        self.push(BLOB)
        a = self.want(201, "PUT", "/v2/a/b/manifests/t", data,
                      Content_Type=TYPE)
        self.assertEqual(a.headers["Docker-Content-Digest"], sha256(data))
        for ref in ("t", sha256(data)):
            a = self.want(200, "GET", "/v2/a/b/manifests/" + ref)
            self.assertEqual((a.data, a.headers["Content-Type"]),
                             (data, TYPE))
            self.want(200, "HEAD", "/v2/a/b/manifests/" + ref)
        self.want(404, "GET", "/v2/a/b/manifests/u", None, "MANIFEST_UNKNOWN")

    def test_index(self):
        kind = "application/vnd.oci.image.index.v1+json"
        data = self.manifest(BLOB)
        index = json.dumps({
            "schemaVersion": 2, "mediaType": kind, "manifests": [
                {"mediaType": TYPE, "size": len(data),
                 "digest": sha256(data)}]}).encode()
        self.want(404, "PUT", "/v2/a/b/manifests/i", index,
                  "MANIFEST_UNKNOWN", Content_Type=kind)
        self.push(BLOB)
        self.push(b"{}")
        self.want(201, "PUT", "/v2/a/b/manifests/" + sha256(data), data,
                  Content_Type=TYPE)
        self.want(201, "PUT", "/v2/a/b/manifests/i", index,
                  Content_Type=kind)
        a = self.want(200, "GET", "/v2/a/b/manifests/i")
        self.assertEqual((a.data, a.headers["Content-Type"]), (index, kind))

    def test_manifests_that_are_refused(self):
        self.push(b"{}")
        self.want(400, "PUT", "/v2/a/b/manifests/t", b"{",
                  "MANIFEST_INVALID")
        self.want(400, "PUT", "/v2/a/b/manifests/" + sha256(b"no"),
                  self.manifest(), "DIGEST_INVALID")
        self.want(400, "PUT", "/v2/a/b/manifests/-t", self.manifest(),
                  "TAG_INVALID")

    def test_delete(self):
        digest = self.push(b"{}")
        data = self.manifest()
        self.want(201, "PUT", "/v2/a/b/manifests/t", data)
        self.want(202, "DELETE", "/v2/a/b/manifests/t")
        self.want(404, "GET", "/v2/a/b/manifests/t")
        self.want(200, "GET", "/v2/a/b/manifests/" + sha256(data))
        self.want(202, "DELETE", "/v2/a/b/manifests/" + sha256(data))
        self.want(404, "DELETE", "/v2/a/b/manifests/" + sha256(data))
        self.want(202, "DELETE", "/v2/a/b/blobs/" + digest)
        self.want(404, "GET", "/v2/a/b/blobs/" + digest)

    def test_tags(self):
        self.want(404, "GET", "/v2/none/tags/list", None, "NAME_UNKNOWN")
        self.push(b"{}")
        for tag in ("b", "a", "c"):
            self.want(201, "PUT", "/v2/a/b/manifests/" + tag, self.manifest())
        a = self.want(200, "GET", "/v2/a/b/tags/list")
        self.assertEqual(json.loads(a.data),
                         {"name": "a/b", "tags": ["a", "b", "c"]})
        a = self.want(200, "GET", "/v2/a/b/tags/list?n=2")
        self.assertEqual(json.loads(a.data)["tags"], ["a", "b"])
        following = re.match(r'<(.*)>; rel="next"', a.headers["Link"])[1]
        a = self.want(200, "GET", following)
        self.assertEqual(json.loads(a.data)["tags"], ["c"])
        self.assertIsNone(a.headers["Link"])


class TestAuth(Asks):
    def test_basic(self):
        self.r.basic = ("u", "p")
        a = self.want(401, "GET", "/v2/", None, "UNAUTHORIZED")
        self.assertRegex(a.headers["WWW-Authenticate"], "^Basic ")
        self.want(401, "GET", "/v2/",
                  Authorization=fake_registry.basic("u", "no"))
        self.want(200, "GET", "/v2/",
                  Authorization=fake_registry.basic("u", "p"))

    def token(self, scope):
        a = self.want(200, "GET", "/token?service=fake&scope=" + scope,
                      Authorization=fake_registry.basic("u", "p"))
        return "Bearer " + json.loads(a.data)["token"]

    def test_bearer(self):
        self.r.bearer = ("u", "p")
        self.want(401, "GET", "/token?service=fake")
        a = self.want(401, "POST", "/v2/a/blobs/uploads/")
        self.assertEqual(
            a.headers["WWW-Authenticate"],
            'Bearer realm="%s/token",service="fake",'
            'scope="repository:a:pull,push"' % self.r.url)
        pull = self.token("repository:a:pull")
        both = self.token("repository:a:pull,push")
        self.want(404, "HEAD", "/v2/a/blobs/" + sha256(b""),
                  Authorization=pull)
        self.want(401, "POST", "/v2/a/blobs/uploads/", Authorization=pull)
        self.want(202, "POST", "/v2/a/blobs/uploads/", Authorization=both)
        self.want(401, "POST", "/v2/b/blobs/uploads/", Authorization=both)

    def test_expiry(self):
        self.r.bearer, self.r.token_s = ("u", "p"), 0
        self.want(401, "POST", "/v2/a/blobs/uploads/",
                  Authorization=self.token("repository:a:pull,push"))

    def test_identity(self):
        self.r.bearer, self.r.identity = ("u", "p"), "id"
        body = "grant_type=refresh_token&refresh_token=%s&service=fake"
        self.want(401, "POST", "/token", body % "no")
        self.assertIn("access_token", json.loads(
            self.want(200, "POST", "/token", body % "id").data))


if __name__ == "__main__":
    quarrytest.main()
