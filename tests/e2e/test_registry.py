"""Images pushed to a real registry, Debian's, and pulled by real tools."""

import base64
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import quarrytest
from ports import free_ports
from quarrytest import Base, make_store, need, need_root, sha256


@need("docker-registry", "skopeo", "htpasswd", "openssl")
class RegistryBase(Base):
    USER, PASSWORD = "alice", "correct-horse-battery"

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=8, size=100000)

    def serve(self, tls=False, auth=False, port=None, token=None):
        """Starts a registry; its HOST:PORT.  token: its settings."""
        port = port or free_ports(1)
        config = {
            "version": "0.1", "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": self.path("r")}},
            "http": {"addr": "127.0.0.1:%d" % port, "secret": "s"}}
        if tls:
            self.certificates()
            config["http"]["tls"] = {"certificate": self.path("reg.crt"),
                                     "key": self.path("reg.key")}
        if auth:
            self.command("htpasswd", "-Bbc", self.path("htpasswd"), self.USER,
                         self.PASSWORD)
            config["auth"] = {"htpasswd": {"realm": "test",
                                           "path": self.path("htpasswd")}}
        if token:
            config["auth"] = {"token": token}
        name = self.path("registry.yml")
        with open(name, "w", encoding="utf-8") as f:
            json.dump(config, f)  # JSON is YAML
        env = {k: v for k, v in self.env.items() if k != "AWS_CA_BUNDLE"}
        with open(self.path("registry.log"), "ab") as log:
            self.server = self.start("serve", name, env=env, stdout=log,
                                     stderr=log, program=["docker-registry"])
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return "%s:%d" % ("localhost" if tls else "127.0.0.1", port)
            except OSError:
                self.assertLess(time.monotonic(), until)
                self.assertIsNone(self.server.poll())
                time.sleep(0.05)

    def close_down(self):
        self.stop_server()

    def stop_server(self):
        if getattr(self, "server", None) is not None:
            self.server.kill()
            self.server.communicate()
            self.server = None

    def certificates(self):
        if os.path.exists(self.path("reg.crt")):
            return
        os.mkdir(self.path("certs"))
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes"]
        self.command(
            "openssl", "req", "-x509", *key, "-keyout", self.path("ca.key"),
            "-out", self.path("certs/ca.crt"), "-days", "30", "-subj",
            "/CN=test", "-addext", "basicConstraints=critical,CA:TRUE")
        self.command(
            "openssl", "req", *key, "-keyout", self.path("reg.key"), "-out",
            self.path("reg.csr"), "-subj", "/CN=localhost")
        with open(self.path("names"), "w", encoding="ascii") as f:
            f.write("subjectAltName=DNS:localhost,DNS:registry.test,"
                    "IP:127.0.0.1")
        self.command(
            "openssl", "x509", "-req", "-in", self.path("reg.csr"), "-CA",
            self.path("certs/ca.crt"), "-CAkey", self.path("ca.key"),
            "-CAcreateserial", "-out", self.path("reg.crt"), "-days", "30",
            "-extfile", self.path("names"))

    def logged_in(self, host, password=None):
        pair = "%s:%s" % (self.USER, password or self.PASSWORD)
        name = self.path("auth.json")
        with open(name, "w", encoding="utf-8") as f:
            json.dump({"auths": {host: {"auth": base64.b64encode(
                pair.encode()).decode()}}}, f)
        return ["--authfile", name]

    def args(self, store=None):
        store = store or self.store
        return ["--name", "x", "--tag", "1", "--closure",
                self.closure_file(store), "--store-root", store.root]

    def push(self, to, *more, store=None, **kw):
        return self.quarry("build", "--progress", "plain", *self.args(store),
                           "--to", "docker://" + to, *more, **kw)

    def local(self, *more, store=None):
        """(config, manifest) of the same image as a layout."""
        folder = self.path("out", "layout")
        shutil.rmtree(folder, ignore_errors=True)
        self.build(*self.args(store), "--to", "oci:" + folder, *more)

        def blob(digest):
            return quarrytest.read(os.path.join(
                folder, "blobs/sha256", digest.removeprefix("sha256:")))

        index = json.loads(quarrytest.read(os.path.join(folder, "index.json")))
        manifest = blob(index["manifests"][0]["digest"])
        return blob(json.loads(manifest)["config"]["digest"]), manifest

    def pulled(self, name, *more):
        """(config, manifest), all blobs held against their digests."""
        folder = self.path("out", "pulled")
        shutil.rmtree(folder, ignore_errors=True)
        self.command("skopeo", "copy", "--preserve-digests", *more,
                     "docker://" + name, "dir:" + folder)
        manifest = quarrytest.read(os.path.join(folder, "manifest.json"))
        parsed = json.loads(manifest)
        for part in parsed["layers"] + [parsed["config"]]:
            hexadecimal = part["digest"].removeprefix("sha256:")
            data = quarrytest.read(os.path.join(folder, hexadecimal))
            self.assertEqual(sha256(data), hexadecimal)
        return quarrytest.read(os.path.join(
            folder, parsed["config"]["digest"][7:])), manifest


class TestPlain(RegistryBase):
    def test_push_and_pull(self):
        host = self.serve()
        for encoding in ("gzip", "zstd:3", "none"):
            with self.subTest(encoding=encoding):
                name = "%s/team/x:%s" % (host, encoding.partition(":")[0])
                self.push(name, "--encoding", encoding)
                self.assertEqual(
                    self.pulled(name, "--src-tls-verify=false"),
                    self.local("--encoding", encoding))

    def test_docker_format(self):
        host = self.serve()
        config, _ = self.local("--encoding", "gzip")
        docker = "application/vnd.docker."
        for encoding, suffix in (("gzip", ".gzip"), ("none", "")):
            name = "%s/team/d:%s" % (host, encoding)
            self.push(name, "--format", "docker", "--encoding", encoding)
            found, manifest = self.pulled(name, "--src-tls-verify=false")
            self.assertEqual(found, config)
            self.assertEqual(manifest, self.command(
                "skopeo", "inspect", "--raw", "--tls-verify=false",
                "docker://" + name))
            manifest = json.loads(manifest)
            self.assertEqual(manifest["mediaType"],
                             docker + "distribution.manifest.v2+json")
            self.assertEqual(manifest["config"]["mediaType"],
                             docker + "container.image.v1+json")
            self.assertEqual(
                {l["mediaType"] for l in manifest["layers"]},
                {docker + "image.rootfs.diff.tar" + suffix})
            shown = json.loads(self.command(
                "skopeo", "inspect", "--tls-verify=false", "docker://" + name))
            self.assertEqual(shown["Digest"],
                             "sha256:" + sha256(self.command(
                                 "skopeo", "inspect", "--raw",
                                 "--tls-verify=false", "docker://" + name)))

    def test_docker_format_has_no_zstd(self):
        host = self.serve()
        r = self.push(host + "/d:1", "--format", "docker", "--encoding",
                      "zstd", status=2)
        self.assertIn(b"no layers of zstd", r.stderr)
        self.build(*self.args(), "--to", "oci:" + self.path("base"),
                   "--encoding", "zstd")
        r = self.push(host + "/d:1", "--format", "docker", "--from-image",
                      self.path("base"), status=2)
        self.assertIn(b"layer 1 of the base image", r.stderr)

    def test_only_what_is_not_there(self):
        host = self.serve()
        first = self.push(host + "/a:1").stderr
        self.assertRegex(first, rb"pushed +1[0-9] blobs uploaded .*, 0 were")
        again = self.push(host + "/a:1").stderr
        self.assertRegex(again, rb"pushed +0 blobs uploaded \(0 B\)")
        # The same closure and one path more: its layer and the config.
        other = make_store.small_store(self.path("s"), n=9, size=100000)
        third = self.push(host + "/a:2", store=other).stderr
        self.assertRegex(third, rb"pushed +2 blobs uploaded")
        self.assertEqual(
            self.pulled(host + "/a:2", "--src-tls-verify=false"),
            self.local("--encoding", "gzip", store=other))

    def test_base_image(self):
        host = self.serve()
        self.build(*self.args(), "--to", "oci-archive:" + self.path("base"),
                   "--encoding", "gzip")
        more = ["--from-image", self.path("base")]
        self.push(host + "/b:1", *more)
        self.assertEqual(self.pulled(host + "/b:1", "--src-tls-verify=false"),
                         self.local(*more, "--encoding", "gzip"))

    def test_base_image_in_the_registry(self):
        """Mounted, there already, or fetched: the same image."""
        host = self.serve()
        self.build(*self.args(), "--to", "oci:" + self.path("base"),
                   "--encoding", "gzip")
        want = self.local("--from-image", self.path("base"), "--encoding",
                          "gzip")
        for form in ("oci", "docker"):
            name = "%s/%s/base:1" % (host, form)
            self.push(name, "--format", form)
            for to in ("t/" + form, form + "/base"):
                r = self.push("%s/%s:2" % (host, to), "--from-image",
                              "docker://" + name)
                self.assertEqual(
                    self.pulled("%s/%s:2" % (host, to),
                                "--src-tls-verify=false"), want)
            # All but the config were there, most of them in the base.
            self.assertRegex(r.stderr, rb"pushed +1 blobs uploaded")
            self.assertEqual(want, self.local(
                "--from-image", "docker://" + name, "--encoding", "gzip"))

    def test_beside_other_outputs(self):
        host = self.serve()
        self.push(host + "/c:1", "--to", "oci:" + self.path("out/i"), "--to",
                  "docker-archive:" + self.path("out/d.tar"))
        self.pulled(host + "/c:1", "--src-tls-verify=false")
        self.assertTrue(os.path.exists(self.path("out/d.tar")))

    def test_registry_that_dies(self):
        """Status 1 and nothing left; once it is back, the same again works."""
        host = self.serve()
        port = int(host.rpartition(":")[2])
        self.stop_server()
        r = self.push(host + "/d:1", status=1, timeout=100)
        self.assertIn(b"registry", r.stderr)
        self.serve(port=port)
        self.push(host + "/d:1")
        self.pulled(host + "/d:1", "--src-tls-verify=false")

    @need("podman")
    @need_root()
    def test_podman_pulls(self):
        host = self.serve()
        self.push(host + "/p:1", "--encoding", "zstd")
        self.push(host + "/p:2", "--format", "docker")
        podman = ["podman", "--root", self.path("pod"), "--runroot",
                  self.path("podrun"), "--storage-driver", "vfs"]
        config, _ = self.local("--encoding", "zstd")
        for tag in ("1", "2"):
            name = host + "/p:" + tag
            self.command(*podman, "pull", "--tls-verify=false", name)
            found = json.loads(self.command(*podman, "image", "inspect", name))
            self.assertEqual(found[0]["Id"], sha256(config))
        subprocess.run(podman + ["system", "reset", "--force"], timeout=60,
                       env=self.env, capture_output=True)


class TestTogether(RegistryBase):
    def test_two_pushes_to_one_tag(self):
        """The tag has one of the images, whole; which, nobody can say."""
        name = self.serve() + "/t/x:1"
        wanted = [self.local("--encoding", "gzip", "--created", "@%d" % i)
                  for i in range(3)]
        pushes = [self.start(
            "build", "--progress", "none", *self.args(), "--created",
            "@%d" % i, "--to", "docker://" + name) for i in range(3)]
        for p in pushes:
            r = self.finish(p)
            self.assertEqual(r.status, 0, r.errors)
        self.assertIn(self.pulled(name, "--src-tls-verify=false"), wanted)


class TestRuns(RegistryBase):
    """What was pushed runs, in each form, alone and on a base of the same."""

    @classmethod
    def setUpClass(cls):
        cls.store = make_store.runnable_store(cls.folder())

    @need("podman", "runc", "busybox")
    @need_root()
    def test_podman_runs(self):
        conf = quarrytest.write(self.path("containers.conf"), (
            '[containers]\n'
            'default_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n'))
        os.mkdir(self.path("ptmp"))
        env = dict(self.env, CONTAINERS_CONF=conf, TMPDIR=self.path("ptmp"),
                   XDG_RUNTIME_DIR=self.path("ptmp"))
        podman = ["podman", "--root", self.path("root"), "--runroot",
                  self.path("runroot"), "--tmpdir", self.path("ptmp"),
                  "--storage-driver", "vfs", "--runtime", "runc",
                  "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        host = self.serve()
        hello = self.store.infos[-1]["path"] + "/bin/hello"
        extra = make_store.Store(self.folder())
        extra.add("extra-1", {"f": "more"})
        try:
            for form, encoding in (("oci", "gzip"), ("oci", "zstd"),
                                   ("docker", "gzip")):
                more = "--format", form, "--encoding", encoding
                name = "%s/run/%s-%s:1" % (host, form, encoding)
                on = "%s/on/%s-%s:1" % (host, form, encoding)
                self.push(name, *more)
                self.push(on, *more, "--from-image", "docker://" + name,
                          store=extra)
                for layer in json.loads(self.pulled(
                        on, "--src-tls-verify=false")[1])["layers"]:
                    self.assertEqual(layer["mediaType"].endswith("zstd"),
                                     encoding == "zstd")
                for image in (name, on):
                    said = self.command(
                        *podman, "run", "--rm", "--network=none",
                        "--tls-verify=false", image, hello, env=env)
                    self.assertEqual(said, b"made of a closure\n")
        finally:
            subprocess.run([*podman, "rmi", "-af"], env=env,
                           stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)


class TestTls(RegistryBase):
    def test_who_is_trusted_and_who_asks(self):
        host = self.serve(tls=True, auth=True)
        certs = ["--cert-dir", self.path("certs")]
        name = host + "/t/x:1"
        r = self.push(name, *self.logged_in(host), status=1)
        self.assertIn(b"certificate", r.stderr)
        r = self.push(name, *certs, status=1)
        self.assertIn(b"wants a user and password", r.stderr)
        r = self.push(name, *certs, *self.logged_in(host, "wrong-one"),
                      status=1)
        self.assertIn(b"refuses the user or password", r.stderr)
        self.assertNotIn(b"wrong-one", r.stderr)
        r = self.push(name, *certs, *self.logged_in(host), "--verbose")
        self.assertNotIn(self.PASSWORD.encode(), r.stderr)
        self.assertEqual(
            self.pulled(name, "--src-cert-dir", self.path("certs"),
                        "--src-creds", self.USER + ":" + self.PASSWORD),
            self.local("--encoding", "gzip"))
        # Its own base, by the same way.
        base = ["--from-image", "docker://" + name]
        r = self.push(name + "2", *base, *certs, status=1)
        self.assertIn(b"wants a user and password", r.stderr)
        self.push(name + "2", *base, *certs, *self.logged_in(host))
        self.pulled(name + "2", "--src-cert-dir", self.path("certs"),
                    "--src-creds", self.USER + ":" + self.PASSWORD)
        r = self.push(name, "--tls-verify", "false", *self.logged_in(host))
        self.assertIn(b"may be anybody", r.stderr)

    @quarrytest.need_root()
    @quarrytest.need("unshare", "mount", "skopeo")
    def test_where_others_log_in(self):
        """What skopeo login (and podman's, its library) writes is found."""
        host = self.serve(tls=True, auth=True)
        del self.env["XDG_RUNTIME_DIR"]
        script = """set -e
            mkdir -p /run/containers && mount -t tmpfs none /run/containers
            [ -z "$LOGIN" ] || printf %s "$PASSWORD" |
                skopeo login -u "$USER" --password-stdin --cert-dir \
                    certs "$LOGIN" >login.out
            exec "$0" "$@"
        """

        def push(**env):
            return self.finish(self.start(
                "--mount", "sh", "-c", script, quarrytest.QUARRY, "build",
                *self.args(), "--to", "docker://" + host + "/t/x:1",
                "--cert-dir", self.path("certs"), program=["unshare"],
                env={**self.env, **env}))

        r = push(LOGIN="")
        self.assertEqual(r.status, 1, r.errors)
        self.assertIn("wants a user and password", r.errors)
        for name in {}, {"XDG_RUNTIME_DIR": self.path("out")}:
            r = push(LOGIN=host, USER=self.USER, PASSWORD=self.PASSWORD,
                     **name)
            self.assertEqual(r.status, 0, r.errors)

    @quarrytest.need_root()
    @quarrytest.need("unshare", "mount")
    def test_no_authorities_here(self):
        """A machine without ca-certificates: only TLS needs them."""
        for name in "NIX_SSL_CERT_FILE", "SSL_CERT_FILE":
            self.env.pop(name, None)

        def push(to, *more):
            return self.finish(self.start(
                "--mount", "sh", "-c",
                'mount -t tmpfs none /etc/ssl/certs && exec "$0" "$@"',
                quarrytest.QUARRY, "build", *self.args(), "--to",
                "docker://" + to, *more, program=["unshare"]))

        host = self.serve(tls=True)
        r = push(host + "/t/x:1")
        self.assertEqual(r.status, 1, r.errors)
        self.assertIn("install ca-certificates", r.errors)
        r = push(host + "/t/x:1", "--cert-dir", self.path("certs"))
        self.assertEqual(r.status, 0, r.errors)
        self.stop_server()
        r = push(self.serve() + "/t/x:1")
        self.assertEqual(r.status, 0, r.errors)


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    """A proxy that knows where registry.test is."""

    def do_CONNECT(self):
        self.server.seen.append(self.requestline + str(self.headers))
        there = socket.create_connection(("127.0.0.1", self.server.to), 10)
        self.send_response(200)
        self.end_headers()
        back = threading.Thread(target=self.pump, args=(there,
                                                        self.connection))
        back.start()
        self.pump(self.connection, there)
        back.join()
        there.close()
        self.close_connection = True

    @staticmethod
    def pump(of, to):
        try:
            while data := of.recv(1 << 16):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def log_message(self, *args):
        pass


class TestProxy(RegistryBase):
    def proxy(self, to):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                 ProxyHandler)
        server.seen, server.to = [], to
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY",
                     "all_proxy", "ALL_PROXY"):
            self.env.pop(name, None)
        self.env["https_proxy"] = "http://127.0.0.1:%d" % server.server_port
        return server

    def test_registry_behind_it(self):
        host = self.serve(tls=True, auth=True)
        proxy = self.proxy(int(host.rpartition(":")[2]))
        name = "registry.test/t/x:1"
        self.push(name, "--cert-dir", self.path("certs"),
                  *self.logged_in("registry.test"))
        self.assertGreaterEqual(len(proxy.seen), 1)
        for seen in proxy.seen:
            self.assertTrue(seen.startswith("CONNECT registry.test:443"), seen)
            self.assertNotIn("uthorization", seen)
        self.assertEqual(
            self.pulled(host + "/t/x:1", "--src-cert-dir", self.path("certs"),
                        "--src-creds", self.USER + ":" + self.PASSWORD),
            self.local("--encoding", "gzip"))
        self.env["no_proxy"] = "registry.test"
        r = self.push(name, *self.logged_in("registry.test"), status=1)
        self.assertIn(b"registry.test", r.stderr)

    def test_this_machine_is_not_behind_it(self):
        for tls in (False, True):
            with self.subTest(tls=tls):
                host = self.serve(tls=tls)
                proxy = self.proxy(1)
                self.env["http_proxy"] = self.env["https_proxy"]
                self.push(host + "/t/x:1", *(
                    ["--cert-dir", self.path("certs")] if tls else []))
                self.assertEqual(proxy.seen, [])
                self.stop_server()


if __name__ == "__main__":
    quarrytest.main()
