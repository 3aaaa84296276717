"""Bad input: one clear line, the right status, no output, nothing left."""

import gzip
import io
import json
import os
import pty
import resource
import socket
import stat
import subprocess
import tarfile

import quarrytest
import test_base_image as base_image
from quarrytest import Base, make_store, need, need_root, sha256

GONE = "/nix/store/" + "0" * 32 + "-gone"
GOOD = "/nix/store/" + "1" * 32 + "-good"


def record(path, refs=(), size=100, **more):
    return dict({"path": path, "narHash": make_store.sri(bytes(32)),
                 "narSize": size, "references": list(refs)}, **more)


class Bad(Base):
    @classmethod
    def setUpClass(cls):
        cls.store = make_store.small_store(cls.folder(), n=4)

    def setUp(self):
        super().setUp()
        self.closure = self.closure_file(self.store)
        self.first = self.store.infos[0]["path"]

    def refused(self, *args, words=(), status=2, to=True, **kw):
        """One line that has all words; nothing is made and nothing left."""
        if to is True:
            to = ["--to", "docker-archive:" + self.path("out/i.tar"),
                  "--to", "oci:" + self.path("out/oci"),
                  "--metadata-file", self.path("out/m.json")]
        r = self.build(*args, *(to or []), status=None, **kw)
        said = " ".join(map(str, args))[:300] + "\n" + r.errors
        if isinstance(status, int):
            status = (status,)
        if r.status == 0:  # what was made must not spoil further checks
            subprocess.run(["rm", "-rf", self.out], check=True)
            os.mkdir(self.out)
        self.assertIn(r.status, status, said)
        lines = [l for l in r.errors.split("\n") if l]
        self.assertEqual(len(lines), 1, said)
        self.assertTrue(lines[0].startswith("quarry: "), said)
        self.assertLess(len(lines[0]), 1200, said)
        for word in [words] if isinstance(words, str) else words:
            self.assertRegex(lines[0], word)
        self.assertNotIn("Assertion", r.errors)
        if os.path.isdir(self.out):
            self.assertEqual(os.listdir(self.out), [], said)
        self.check_nothing_left()
        return lines[0]

    def with_store(self, *args, **kw):
        return self.refused("--name", "x", "--closure", self.closure,
                            "--store-root", self.store.root, *args, **kw)

    def with_request(self, request, *args, **kw):
        text = request if isinstance(request, (str, bytes)) \
            else json.dumps(request)
        file = quarrytest.write(self.path("request.json"), text)
        kw.setdefault("words", "request.json")
        return self.refused(file, "--closure", self.closure, "--store-root",
                            self.store.root, *args, **kw)

    def with_closure(self, text, *args, **kw):
        if not isinstance(text, (str, bytes)):
            text = json.dumps(text)
        file = quarrytest.write(self.path("bad-closure"), text)
        return self.refused("--name", "x", "--closure", file, *args, **kw)


# Bytes that are no JSON object of any kind.
NOT_JSON = {
    "empty": b"", "space": b"  \n", "binary": bytes(range(256)) * 20,
    "zeros": bytes(4096), "truncated": b'{"name": "x", "contents": [',
    "half a string": b'{"name": "x', "deep": b"[" * 100000,
    "deep object": b'{"a":' * 100000,
    "deep in a key": b'{"config": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "trailing": b'{"name": "x"} {"name": "y"}', "comma": b'{"name": "x",}',
    "single quotes": b"{'name': 'x'}", "utf-16": '{"name":"x"}'.encode("utf-16"),
    "invalid utf-8": b'{"name": "\xff\xfe"}', "nul": b'{"name": "a\\u0000b"}',
    "number": b"17", "string": b'"x"', "null": b"null", "array": b"[]",
    "nan": b'{"name": NaN}',
}


class TestRequests(Bad):
    def test_missing(self):
        self.refused(self.path("nowhere.json"), words="nowhere.json")
        self.refused(self.path("x/y/z.json"), words="z.json")
        os.mkdir(self.path("folder.json"))
        self.refused(self.path("folder.json"), words="folder.json")

    def test_not_json(self):
        for name, data in NOT_JSON.items():
            with self.subTest(name):
                self.with_request(data)

    def test_not_json_on_stdin(self):
        for name in ("empty", "binary", "truncated"):
            self.refused("-", "--closure", self.closure,
                         input=NOT_JSON[name], words="(stdin|standard input|-)")

    def test_every_prefix(self):
        """A request that was cut anywhere."""
        text = json.dumps({"name": "x", "tag": "t", "config": {"Env": ["a"]},
                           "contents": [self.first], "maxLayers": 7})
        for n in range(0, len(text), 3 if quarrytest.sanitized() else 2):
            file = quarrytest.write(self.path("r.json"), text[:n])
            r = self.quarry("plan", file, "--closure", self.closure,
                            status=2)
            self.assertIn("r.json", r.errors)

    def test_duplicate_keys(self):
        self.with_request('{"name": "x", "name": "y"}',
                          words=["request.json", "name"])
        self.with_request('{"name": "x", "config": {"Env": [], "Env": []}}',
                          words=["request.json", "Env"])

    def test_wrong_types(self):
        for key, values in {
                "name": [1, None, [], {}], "tag": [1, [], {}],
                "contents": ["x", {}, [1], [None], [[]], 1],
                "paths": ["x", [1]], "config": [[], "x", 1],
                "created": [1.5, [], True], "mtime": [[], {}],
                "uid": ["zero", -1, 1.5, [], True, 1 << 40],
                "gid": [-5, "x", {}], "uname": [1, []], "gname": [{}],
                "architecture": [1, []], "strategy": [1, "biggest", []],
                "fromImage": [1, []], "includeStorePaths": ["yes", 1, []],
                "directories": ["x", {}, [1], [{}], [{"path": 1}],
                                [{"path": "/x", "mode": "rwx"}],
                                [{"path": "/x", "mode": "99999"}],
                                [{"path": "x", "mode": "0755"}],
                                [{"path": "/a/../b", "mode": "0755"}],
                                [{"path": "/x", "mode": "0755", "uid": -1}],
                                [{"path": "/x", "mode": "0755", "oid": 1}]],
                "rootTree": [1, []], "storeDir": [1, "relative", "/", "/a/../b",
                                                  ""]}.items():
            for value in values:
                with self.subTest(key=key, value=value):
                    self.with_request({"name": "x", key: value}, words=(
                        "store ?[dD]ir" if key == "storeDir" else key))

    def test_unknown_keys_name_the_nearest(self):
        for wrong, right in (("nmae", "name"), ("content", "contents"),
                             ("maxlayers", "maxLayers"),
                             ("max_layers", "maxLayers"), ("confg", "config"),
                             ("fromimage", "fromImage"), ("Tag", "tag")):
            self.with_request({"name": "x", wrong: 1}, words=[wrong, right])

    def test_max_layers(self):
        for value in (0, 1, -1, 10 ** 9, "x", "10", 1.5, None,
                      True, []):
            with self.subTest(value):
                self.with_request({"name": "x", "maxLayers": value},
                                  words="maxLayers|layer")
        for value in ("0", "1", "-1", "1000000000", "9" * 40, "x", "", "1.5",
                      "0x10", "5 "):
            with self.subTest(value):
                self.with_store("--max-layers", value,
                                words="max-layers|maxLayers|layer")

    def test_names(self):
        for name in ("", "UPPER", "a b", "-x", "a//b", "/a", "a/", "a:b",
                     "a@b", "\u00fc", "a..b", "a_-b", "x" * 300, "a\nb", "."):
            with self.subTest(name):
                self.with_store("--name", name, words="name")
                self.with_request({"name": name}, words="name")
        self.refused("--closure", self.closure, words="name")

    def test_tags(self):
        for tag in ("", ".x", "-x", "a b", "a/b", "a:b", "x" * 129, "\u00fc",
                    "a\nb"):
            with self.subTest(tag):
                self.with_store("--tag", tag, words="tag")
                self.with_request({"name": "x", "tag": tag}, words="tag")

    def test_created(self):
        for option in ("created", "mtime"):
            for value in ("yesterday", "", "2024-13-01T00:00:00Z",
                          "2023-02-29T00:00:00Z", "2024-01-01T25:00:00Z",
                          "2024-01-01T00:00:00+99:00", "2024-01-01T",
                          "2024-01-01T00:00:00Zjunk", "99999-01-01T00:00:00Z",
                          "-1", "Now"):
                with self.subTest(option=option, value=value):
                    self.with_store("--" + option, value, words=option)
                    self.with_request({"name": "x", option: value},
                                      words=option)

    def test_config(self):
        for name, data in NOT_JSON.items():
            file = quarrytest.write(self.path("config.json"), data)
            with self.subTest(name):
                if name == "nul" or data.startswith(b'{"name": "x"}\0'):
                    continue  # any string may stand in a config
                self.with_store("--config", file, words="config")
        self.with_store("--config", self.path("none"), words="none")
        base = base_image.docker_archive(
            self.path("base.tar"), [base_image.layer_tar(("a", b"a"))])
        for env in ("A=1", [1], {"A": "1"}, [["A=1"]]):
            self.with_request({"name": "x", "config": {"Env": env},
                               "fromImage": base}, words="Env")

    def test_directories_that_collide(self):
        one = make_store.Store(self.path("s"))
        path = one.add("one", {"tmp": b"a file"})
        closure = self.closure_file(one, name="one")
        file = quarrytest.write(self.path("r.json"), json.dumps({
            "name": "x", "contents": [path],
            "directories": [{"path": "/tmp", "mode": "1777"}]}))
        self.refused(file, "--closure", closure, "--store-root", one.root,
                     words="/tmp")

    def test_root_tree(self):
        self.with_store("--root-tree", self.path("none"), words="none")
        file = quarrytest.write(self.path("file"), b"")
        self.with_store("--root-tree", file, words="file")
        os.mkdir(self.path("tree"))
        os.mkfifo(self.path("tree/fifo"))
        self.with_store("--root-tree", self.path("tree"), words="fifo",
                        status=(1, 2))

    def test_reference_request(self):
        """The reference's own file, damaged."""
        good = quarrytest.reference_request(
            make_store.small_store(self.path("s"), n=2), [[self.first]],
            customisation_layer=self.path("cl"))
        os.mkdir(self.path("cl"))
        quarrytest.write(self.path("cl/layer.tar"), bytes(10240))
        for change, words in (
                ({"store_layers": "x"}, "store_layers"),
                ({"store_layers": [self.first]}, "store_layers"),
                ({"store_layers": [[1]]}, "store_layers"),
                ({"store_layers": [["/etc"]]}, "/etc"),
                ({"store_layers": [[self.first], [self.first]]}, self.first),
                ({"customisation_layer": self.path("nope")}, "nope"),
                ({"customisation_layer": None}, "customisation_layer"),
                ({"mtime": "x"}, "mtime"), ({"uid": "x"}, "uid"),
                ({"from_image": self.path("nope.tar")}, "nope.tar"),
                ({"repo_tag": "no tag"}, "repo_tag|name|tag"),
                ({"surprise": 1}, "surprise"),
                ({"store_dir": "relative"}, "store dir")):
            with self.subTest(change):
                file = quarrytest.write(self.path("r.json"), json.dumps(
                    dict(good, **change)))
                self.refused(file, "--store-root", self.store.root,
                             words=words, status=(1, 2))

    def test_cut_customisation_layer(self):
        store = make_store.small_store(self.path("s"), n=1)
        os.mkdir(self.path("cl"))
        for size in (0, 100, 10239):
            data = bytes(size)
            quarrytest.write(self.path("cl/layer.tar"), data)
            quarrytest.write(self.path("cl/checksum"), sha256(data))
            file = quarrytest.write(self.path("r.json"), json.dumps(
                quarrytest.reference_request(
                    store, [], customisation_layer=self.path("cl"))))
            self.refused(file, words=["cl/layer.tar", "%d bytes" % size])

    def test_wrong_checksum_of_the_customisation_layer(self):
        os.mkdir(self.path("cl"))
        quarrytest.write(self.path("cl/layer.tar"), bytes(10240))
        quarrytest.write(self.path("cl/checksum"), "0" * 64 + "\n")
        file = quarrytest.write(self.path("r.json"), json.dumps(
            quarrytest.reference_request(
                make_store.small_store(self.path("s"), n=1), [],
                customisation_layer=self.path("cl"))))
        self.refused(file, words=["cl/layer.tar", "checksum"],
                     status=(1, 2))


    def test_customisation_layer_that_is_none(self):
        os.mkdir(self.path("cl"))
        file = quarrytest.write(self.path("r.json"), json.dumps(
            quarrytest.reference_request(
                make_store.small_store(self.path("s"), n=1), [],
                customisation_layer=self.path("cl"))))
        for data in (b"", b"x", bytes(10241)):
            with self.subTest(len(data)):
                quarrytest.write(self.path("cl/layer.tar"), data)
                quarrytest.write(self.path("cl/checksum"),
                                 quarrytest.sha256(data) + "\n")
                self.refused(file, words=["cl/layer.tar", "tar"])
        quarrytest.write(self.path("cl/layer.tar"), bytes(10240))
        os.unlink(self.path("cl/checksum"))
        os.mkfifo(self.path("cl/checksum"))
        self.refused(file, words="cl/checksum")


class TestClosures(Bad):
    def test_missing(self):
        self.refused("--name", "x", "--closure", self.path("none"),
                     words="none")
        self.refused("--name", "x", "--closure", self.top, words="qt-")

    def test_not_a_closure(self):
        for name, data in NOT_JSON.items():
            if name == "array":
                continue  # a closure of nothing
            with self.subTest(name):
                self.with_closure(data, words="bad-closure")

    def test_every_prefix(self):
        """Cut anywhere: JSON never passes, text only at its end."""
        infos = self.store.infos[:2]
        for shape in ("array", "map", "wrapped", "attrs", "registration"):
            text = make_store.SHAPES[shape](infos)
            step = max(1, len(text) // (20 if quarrytest.sanitized() else 60))
            for n in range(0, len(text) - 1, step):
                file = quarrytest.write(self.path("cut"), text[:n])
                r = self.quarry("plan", "--closure", file, status=None)
                self.assertIn(r.status, (0, 2), r.errors)
                if r.status == 0:
                    self.assertEqual(shape, "registration", text[:n])
                    self.assertRegex(text[:n], r"\n\Z|\A\Z|[0-9a-z-]\Z")
                else:
                    self.assertIn("cut", r.errors)

    def test_records(self):
        good = record(GOOD)
        for infos, words in (
                ([1], "bad-closure"), ([None], "bad-closure"),
                ([[]], "bad-closure"),
                ([{}], "path"), ([dict(good, path=1)], "path"),
                ([dict(good, references="x")], "references"),
                ([dict(good, references=[1])], "references"),
                ([dict(good, references={})], "references"),
                ([dict(good, narHash="sha256-x")], "narHash"),
                ([dict(good, narHash="sha512-" + "a" * 86)], "narHash"),
                ([dict(good, narHash=5)], "narHash"),
                ([dict(good, narSize=-1)], "narSize"),
                ([dict(good, narSize=1 << 60)], "narSize"),
                ([dict(good, narSize=10 ** 40)], "narSize"),
                ([dict(good, narSize="100")], "narSize"),
                ([dict(good, narSize=1.5)], "narSize"),
                ([dict(good, narSize=None)], "narSize"),
                ([good, good], [GOOD, "twice|second time"]),
                ([good, {k: v for k, v in record(GONE).items()
                         if k != "narSize"}], "narSize"),
                ([record(GOOD, [GONE])], [GOOD, GONE])):
            with self.subTest(str(infos)[:150]):
                self.with_closure(infos, words=words)

    def test_duplicate_keys(self):
        text = json.dumps([record(GOOD)])
        self.with_closure(text.replace('"narSize"', '"narSize": 1, "narSize"'),
                          words="narSize")
        text = make_store.map_json([{"path": GOOD, "narHash": bytes(32),
                                     "narSize": 1, "references": []}])
        self.with_closure(text[:-1] + ", " + text[1:], words=GOOD)

    def test_size_is_needed_for_size(self):
        infos = [{k: v for k, v in record(GOOD).items() if k != "narSize"}]
        self.with_closure(infos, "--strategy", "size", words="narSize|size")
        self.with_closure(make_store.graph_text([record(GOOD)]),
                          "--strategy", "size", words="narSize|size")

    def test_paths(self):
        for path in ("/etc/passwd", "/nix/store", "/nix/store/",
                     "/nix/store/../" + GOOD[11:], GOOD + "/bin/x",
                     GOOD + "/..", "/nix/store/short-x",
                     "/nix/store/" + "e" * 32 + "-x", GOOD[:43],
                     GOOD[:44], GOOD + " x", GOOD + "\n", GOOD + "\u00fc",
                     "/nix/store/" + "1" * 32 + "-" + "n" * 212,
                     "/gnu/store/" + GOOD[11:], "/nix//store/" + GOOD[11:],
                     "/nix/store/./" + GOOD[11:], ""):
            with self.subTest(path):
                self.with_closure([record(path)], words="store path|"
                                  "store dir|/nix/store|path")
                self.with_closure([record(GOOD, [path])],
                                  words="store path|store dir|references|"
                                  "/nix/store|path")
                if path:
                    self.with_store(path, words=r"store path|store dir|"
                                    r"/nix/store|closure")
                    self.with_request({"name": "x", "paths": [path]},
                                      words="path")

    def test_root_that_is_not_in_the_closure(self):
        self.with_store(GONE, words=[GONE, "closure|" + "c"])
        self.with_store("--path", GONE, words=GONE)
        self.with_request({"name": "x", "contents": [GONE]}, words=GONE)

    def test_cycle(self):
        a, b, c = ("/nix/store/%s-%s" % (x * 32, x) for x in "abc")
        infos = [record(a, [b]), record(b, [c]), record(c, [a, c])]
        for strategy in ("popularity", "size"):
            for extra in ([], [record(GOOD, [a])]):
                self.with_closure(infos + extra, "--strategy", strategy,
                                  words=["cycle", a, b, c])

    def test_texts(self):
        good = make_store.registration(
            [dict(record(GOOD), narHash=bytes(32))])
        lines = good.splitlines()
        for i, line, words in (
                (0, "garbage", "bad-closure"), (1, "xyz", "bad-closure"),
                (1, "0" * 63, "bad-closure"), (2, "-5", "bad-closure"),
                (2, "1" * 30, "bad-closure"), (2, "", "bad-closure"),
                (4, "-1", "bad-closure"), (4, "99999999999999", "bad-closure"),
                (4, "2", "bad-closure"), (4, "x", "bad-closure")):
            with self.subTest(i=i, line=line):
                self.with_closure("\n".join(
                    lines[:i] + [line] + lines[i + 1:]) + "\n", words=words)
        self.with_closure(good + good, words=[GOOD, "twice|second time"])
        self.with_closure("%s\n\n1\n%s\n" % (GOOD, GONE), words=[GOOD, GONE])

    def test_a_count_is_not_believed(self):
        """Sizes that a file announces cost nothing."""
        def limit():
            resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
        kw = {} if quarrytest.sanitized() else {"preexec_fn": limit}
        self.with_closure("%s\n%s\n100\n\n1000000000\n" % (GOOD, "0" * 64),
                          words="bad-closure", **kw)


class TestStore(Bad):
    """What lies in the store is not what it should be."""

    def make(self, tree):
        store = make_store.Store(self.path("s"))
        store.add("ok", {"f": b"1"})
        path = store.add("bad", tree)
        return store, path, store.real(path)

    def bad(self, store, *words, **kw):
        closure = self.closure_file(store, name="bad-store")
        args = ["--name", "x", "--closure", closure, "--store-root",
                store.root]
        kw.setdefault("status", (1, 2))
        for to in (True, ["--to", "none"],
                   ["--to", "oci-archive:" + self.path("out/o.tar"),
                    "--encoding", "gzip"]):
            self.refused(*args, words=words, to=to, **kw)

    def test_path_does_not_exist(self):
        store, path, real = self.make({"f": b"x"})
        os.rename(real, self.path("away"))
        self.bad(store, path)

    def test_no_store_at_all(self):
        store, path, _ = self.make({})
        self.refused("--name", "x", "--closure", self.closure_file(store),
                     "--store-root", self.path("nowhere"), words="nowhere",
                     status=(1, 2))

    def test_fifo(self):
        store, path, real = self.make({"d": {"a": b"", "z": b""}})
        os.mkfifo(real + "/d/fifo")
        self.bad(store, path + "/d/fifo")

    def test_socket(self):
        store, path, real = self.make({"d": {}})
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        here = os.getcwd()
        os.chdir(real + "/d")
        try:
            s.bind("sock")
        finally:
            os.chdir(here)
        self.bad(store, path + "/d/sock")

    def test_too_deep(self):
        store, _, real = self.make({"d": {}})
        here = os.getcwd()
        os.chdir(real + "/d")
        try:
            for _ in range(40):
                os.mkdir("d" * 250)
                os.chdir("d" * 250)
        finally:
            os.chdir(here)
        self.bad(store, "/d/ddd.*more than [0-9]+ bytes$")

    @need_root()
    def test_device(self):
        store, path, real = self.make({"d": {}})
        os.mknod(real + "/d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self.bad(store, path + "/d/null")

    def test_store_path_is_a_fifo(self):
        store, path, real = self.make(b"x")
        os.unlink(real)
        os.mkfifo(real)
        self.bad(store, path)

    @need_root()
    def test_unreadable(self):
        """As nobody: a file and a folder that may not be read."""
        for tree, name in (({"secret": make_store.File(b"x", 0)}, "/secret"),
                           ({"dark": make_store.Dir({"x": b""}, 0)},
                            "/dark")):
            store = make_store.Store(self.path("s" + name[1:]))
            path = store.add("bad", tree)
            closure = self.closure_file(store, name="closure")
            for folder in (self.top, self.out, self.path("t"),
                           self.path("run"), self.path("asan")):
                os.chown(folder, 65534, 65534)
                os.chmod(folder, 0o755)

            def nobody():
                os.setgid(65534)
                os.setuid(65534)
            probe = subprocess.run([quarrytest.QUARRY, "--version"],
                                   preexec_fn=nobody, capture_output=True)
            if probe.returncode:
                self.skipTest("nobody may not run " + quarrytest.QUARRY)
            self.refused("--name", "x", "--closure", closure, "--store-root",
                         store.root, words=[path + name, "ermission"],
                         status=(1, 2), preexec_fn=nobody)

    def test_file_that_changes_while_it_is_read(self):
        """Shrinks, grows or vanishes: an error that names it."""
        for how in ("shrink", "vanish"):
            store = make_store.Store(self.path("s-" + how))
            path = store.add("moving", {
                "a": make_store.Sparse(2 << 30), "b": b"b" * 100000},
                hashed=False)
            real = store.real(path)
            closure = self.closure_file(store, name="moving")
            p = self.start("build", "--progress", "none", "--name", "x",
                           "--closure", closure, "--store-root", store.root,
                           "--to", "oci:" + self.path("out/o"),
                           "--encoding", "gzip")

            def reading():
                for pid in self.workers():
                    try:
                        fds = os.listdir("/proc/%d/fd" % pid)
                        for fd in fds:
                            if os.readlink("/proc/%d/fd/%s" % (pid, fd)) \
                                    == real + "/a":
                                return True
                    except OSError:
                        pass
            self.assertTrue(quarrytest.wait_for(reading))
            if how == "shrink":
                os.truncate(real + "/a", 1000)
                name = path + "/a"
            else:
                os.unlink(real + "/b")
                name = path
            r = self.finish(p)
            self.assertIn(r.status, (1, 2), r.errors)
            self.assertEqual(len(r.errors.splitlines()), 1, r.errors)
            self.assertIn(name, r.errors)
            self.assertEqual(os.listdir(self.out), [])
            self.check_nothing_left()


class TestBaseImages(Bad):
    def setUp(self):
        super().setUp()
        self.layers = [base_image.layer_tar(("a", b"a" * 3000)),
                       base_image.layer_tar(("b", b"b"))]

    def bad(self, path, *words, **kw):
        return self.with_store("--from-image", path, words=[
            os.path.basename(path), *words], **kw)

    def archive(self, manifest, files, name="b.tar"):
        return base_image.tar_of(self.path(name), [
            *files, ("manifest.json", manifest if isinstance(
                manifest, bytes) else json.dumps(manifest).encode())])

    def test_missing_or_no_image(self):
        self.bad(self.path("none.tar"))
        self.bad(quarrytest.write(self.path("empty.tar"), b""))
        self.bad(quarrytest.write(self.path("zeros.tar"), bytes(10240)))
        self.bad(quarrytest.write(self.path("text.tar"), b"hello\n" * 500))
        self.bad(quarrytest.write(self.path("rnd.tar"), os.urandom(20480)))
        os.mkdir(self.path("folder"))
        self.bad(self.path("folder"))
        os.mkfifo(self.path("fifo.tar"))
        self.bad(self.path("fifo.tar"))
        self.bad(base_image.tar_of(self.path("other.tar"), [("x", b"x")]),
                 "manifest.json|index.json|image")
        self.bad("/dev/null")

    def test_truncated(self):
        good = base_image.docker_archive(self.path("g.tar"), self.layers)
        data = quarrytest.read(good)
        for part in (100, 512, 700, len(data) // 3, len(data) // 2):
            with self.subTest(part):
                self.bad(quarrytest.write(self.path("cut.tar"), data[:part]))
        packed = gzip.compress(data)
        self.bad(quarrytest.write(self.path("cut.tar.gz"),
                                  packed[:len(packed) // 2]))

    def test_wrong_digest(self):
        """diff_ids that are not the layers'."""
        config = base_image.image_config([self.layers[0], b"other"])
        self.bad(base_image.docker_archive(
            self.path("b.tar"), self.layers, config), sha256(b"other"))

    def test_wrong_blob_digest(self):
        folder = base_image.oci_layout(self.path("oci"), self.layers)
        blob = folder + "/blobs/sha256/" + sha256(self.layers[0])
        data = bytearray(quarrytest.read(blob))
        data[5] ^= 1
        quarrytest.write(blob, bytes(data))
        self.bad(folder, sha256(self.layers[0])[:12])
        self.bad(base_image.oci_archive(self.path("oci.tar"), folder),
                 "digest|diff_id|" + sha256(self.layers[0])[:12])

    def test_wrong_blob_size(self):
        folder = base_image.oci_layout(self.path("oci"), self.layers)
        blob = folder + "/blobs/sha256/" + sha256(self.layers[0])
        quarrytest.write(blob, quarrytest.read(blob) + b"x")
        self.bad(folder)

    def test_wrong_config_digest(self):
        folder = base_image.oci_layout(self.path("oci"), self.layers)
        config = sha256(base_image.image_config(self.layers))
        blob = folder + "/blobs/sha256/" + config
        quarrytest.write(blob, quarrytest.read(blob).replace(
            b"amd64", b"amd65"))
        self.bad(folder)

    def test_missing_layer(self):
        config = base_image.image_config(self.layers)
        self.bad(self.archive(
            [{"Config": "c", "Layers": ["a", "gone"]}],
            [("c", config), ("a", self.layers[0])]), "gone")
        folder = base_image.oci_layout(self.path("oci"), self.layers)
        os.unlink(folder + "/blobs/sha256/" + sha256(self.layers[1]))
        self.bad(folder, sha256(self.layers[1])[:12])

    def test_missing_config(self):
        self.bad(self.archive([{"Config": "gone", "Layers": ["a"]}],
                              [("a", self.layers[0])]), "gone")

    def test_counts_differ(self):
        config = base_image.image_config(self.layers)
        self.bad(self.archive([{"Config": "c", "Layers": ["a"]}],
                              [("c", config), ("a", self.layers[0])]))
        self.bad(self.archive(
            [{"Config": "c", "Layers": ["a", "b", "a"]}],
            [("c", config), ("a", self.layers[0]), ("b", self.layers[1])]))

    def test_manifests(self):
        config = base_image.image_config(self.layers[:1])
        files = [("c", config), ("a", self.layers[0])]
        for manifest in (b"", b"{", b"[]", b"{}", b"null", b"[1]", [{}],
                         [{"Config": 1, "Layers": []}],
                         [{"Config": "c"}], [{"Config": "c", "Layers": "a"}],
                         [{"Config": "c", "Layers": [1]}],
                         [{"Config": "a", "Layers": ["a"]}],
                         [{"Config": "../c", "Layers": ["a"]}],
                         b"[" * 100000):
            with self.subTest(str(manifest)[:80]):
                self.bad(self.archive(manifest, files))
        for config in (b"", b"[]", b"{}", b"null", b'{"rootfs": 1}',
                       b'{"rootfs": {"diff_ids": "x"}}',
                       b'{"rootfs": {"diff_ids": [1]}}',
                       b'{"rootfs": {"diff_ids": ["md5:00"]}}',
                       b'{"rootfs": {"diff_ids": ["sha256:zz"]}}'):
            with self.subTest(config):
                self.bad(self.archive(
                    [{"Config": "c", "Layers": ["a"]}],
                    [("c", config), ("a", self.layers[0])]))
        for env in ("A=1", [1], {}):
            config = base_image.image_config(self.layers[:1], Env=env)
            self.bad(self.archive(
                [{"Config": "c", "Layers": ["a"]}],
                [("c", config), ("a", self.layers[0])]), "Env")

    def test_escapes(self):
        """Names that lead out of where they should be."""
        config = base_image.image_config(self.layers[:1])
        for name in ("../../x", "/etc/passwd", "a/../../x", ".."):
            with self.subTest(name):
                self.bad(self.archive(
                    [{"Config": "c", "Layers": [name]}],
                    [("c", config), (name, self.layers[0])]))
        link = self.path("link.tar")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            with tarfile.open(link, "w") as tar:
                ti = tarfile.TarInfo("a")
                ti.type, ti.linkname = kind, "/etc/passwd"
                tar.addfile(ti)
                for n, data in (("c", config), ("manifest.json", json.dumps(
                        [{"Config": "c", "Layers": ["a"]}]).encode())):
                    ti = tarfile.TarInfo(n)
                    ti.size = len(data)
                    tar.addfile(ti, io.BytesIO(data))
            self.bad(link)
        self.assertFalse(os.path.exists(self.path("x")))
        self.assertFalse(os.path.exists("/tmp/x-layer"))

    def test_escapes_in_a_layout(self):
        """Digests that are paths; blobs that are links or fifos."""
        folder = base_image.oci_layout(self.path("oci"), self.layers)
        index = json.loads(quarrytest.read(folder + "/index.json"))
        good = json.dumps(index)
        for digest in ("sha256:../../index.json", "../x:y", "sha256:",
                       "md5:" + "0" * 32, "sha256:" + "A" * 64, 7, None):
            index["manifests"][0]["digest"] = digest
            quarrytest.write(folder + "/index.json", json.dumps(index))
            with self.subTest(digest):
                self.bad(folder)
        quarrytest.write(folder + "/index.json", good)
        blob = folder + "/blobs/sha256/" + sha256(self.layers[0])
        os.unlink(blob)
        os.mkfifo(blob)
        self.bad(folder)

    def test_manifest_lists(self):
        folder = base_image.oci_layout(self.path("oci"), self.layers)
        index = json.loads(quarrytest.read(folder + "/index.json"))
        one = index["manifests"][0]
        for manifests in ([], [1], {}, None, [dict(one, size=-1)],
                          [dict(one, size=1 << 62)],
                          [dict(one, size=one["size"] + 1)],
                          [dict(one, mediaType="text/plain")]):
            with self.subTest(str(manifests)[:80]):
                quarrytest.write(folder + "/index.json", json.dumps(
                    dict(index, manifests=manifests)))
                self.bad(folder)

    def limit(self):
        """Should a bomb go off, it stops at 3 GiB."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 30, 3 << 30))

    @need("zstd")
    def test_bombs(self):
        """Some kilobytes that unpack to terabytes: refused, and soon."""
        zeros = subprocess.run(
            ["sh", "-c", "head -c 1073741824 /dev/zero | zstd -qc"],
            check=True, stdout=subprocess.PIPE).stdout

        def bomb(layer_size):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                for n, data in (
                        ("c", base_image.image_config(self.layers[:1])),
                        ("manifest.json", json.dumps([
                            {"Config": "c", "Layers": ["a"]}]).encode())):
                    ti = tarfile.TarInfo(n)
                    ti.size = len(data)
                    tar.addfile(ti, io.BytesIO(data))
            ti = tarfile.TarInfo("a")
            ti.size = layer_size
            head = out.getvalue()[:-10240].rstrip(b"\0")
            head += bytes(-len(head) % 512) + ti.tobuf()
            return base_image.zstd(head) + zeros * 2000

        path = quarrytest.write(self.path("bomb.tar.zst"), bomb(2000 << 30))
        self.bad(path, preexec_fn=self.limit, status=(1, 2))
        # The same inside: a layer of an OCI layout.
        folder = base_image.oci_layout(
            self.path("oci"), self.layers[:1],
            lambda _: zeros * 2000, "+zstd")
        self.bad(folder, preexec_fn=self.limit, status=(1, 2))

    def test_manifest_bomb(self):
        """A manifest.json of gigabytes, a million layers."""
        config = base_image.image_config(self.layers[:1])
        self.bad(self.archive([{"Config": "c", "Layers": ["a"] * 1000000}],
                              [("c", config), ("a", self.layers[0])]))
        path = self.path("long.tar")
        with open(path, "wb") as f:
            ti = tarfile.TarInfo("manifest.json")
            ti.size = 4 << 30
            f.write(ti.tobuf())
            f.truncate((4 << 30) + 10240)
        self.bad(path)


class TestOutputs(Bad):
    def place(self, folder, *words, kinds=None, **kw):
        kw.setdefault("status", (1, 2))
        for to in kinds or ("docker-archive:%s/i.tar", "oci:%s/oci",
                            "oci-archive:%s/o.tar"):
            with self.subTest(to):
                self.with_store("--to", to % folder, to=None, words=words,
                                **kw)
                if os.path.isdir(folder):
                    self.assertEqual(os.listdir(folder), [])

    def test_missing_folder(self):
        self.place(self.path("no/such"), "no/such", status=2)
        self.assertFalse(os.path.exists(self.path("no")))

    def test_a_file_is_in_the_way(self):
        quarrytest.write(self.path("file"), b"x")
        self.place(self.path("file"), "file")
        self.with_store("--to", "oci:" + self.path("file"), to=None,
                        words="file")
        os.mkdir(self.path("folder"))
        self.with_store("--to", "docker-archive:" + self.path("folder"),
                        to=None, words="folder")
        self.assertEqual(os.listdir(self.path("folder")), [])

    def test_empty_and_unknown_targets(self):
        for to in ("docker-archive:", "oci:", "oci-archive:", "x", "",
                   "docker-archive", "oci:-", "tar:x", "none:x"):
            with self.subTest(to):
                self.with_store("--to", to, to=None, words="--to")
        self.with_store(to=None, words="--to")
        same = self.path("out/same")
        self.with_store("--to", "docker-archive:" + same, "--to",
                        "oci-archive:" + same, to=None, words="same")
        os.symlink("out", self.path("link"))
        for other in ("out/../out/same", "link/same", "./out//same"):
            self.with_store("--to", "docker-archive:" + same, "--to",
                            "oci-archive:" + self.path(other), to=None,
                            words="same")
            self.with_store("--to", "docker-archive:" + same,
                            "--metadata-file", self.path(other), to=None,
                            words="same")

    def store_words(self):
        return ["--name", "x", "--closure", self.closure, "--store-root",
                self.store.root]

    def test_inside_another_output(self):
        """The layout is replaced as a whole, and the other one with it."""
        os.mkdir(self.path("w"))
        os.symlink("layout", self.path("w/link"))
        layout = "oci:" + self.path("w/layout")
        self.build(*self.store_words(), "--to", layout)
        for other in ("docker-archive:w/layout/i.tar",
                      "oci:w/layout/blobs/", "oci-archive:w/link/i.tar"):
            for one, two in ((layout, other), (other, layout)):
                with self.subTest(one=one, two=two):
                    self.with_store("--to", one, "--to", two, to=None,
                                    words="inside of another output")
        self.build(*self.store_words(), "--to", layout, "--to", layout + "2",
                   "--to", "docker-archive:" + self.path("w/layout.tar"))

    def test_inside_the_root_tree(self):
        """The root layer would hold the half-written output."""
        os.makedirs(self.path("tree/d"))
        os.symlink("tree/d", self.path("link"))
        for args in (["--to", "docker-archive:tree/i"],
                     ["--to", "oci:tree/d/o"],
                     ["--to", "oci-archive:link/i"],
                     ["--to", "none", "--metadata-file", "tree/m"]):
            with self.subTest(args):
                self.with_store("--root-tree", "tree", *args, to=None,
                                words="inside of rootTree tree")
        self.with_store("--root-tree", ".", "--to", "docker-archive:i",
                        to=None, cwd=self.path("tree"),
                        words="inside of rootTree")
        self.assertEqual(os.listdir(self.path("tree")), ["d"])
        self.build(*self.store_words(), "--root-tree", "tree",
                   "--to", "docker-archive:tree2")
        self.build(*self.store_words(), "--root-tree", ".",
                   "--to", "docker-archive:-", cwd=self.path("tree"))

    def test_inside_the_image(self):
        """The layer would hold the half-written output."""
        store = make_store.Store(self.path("s"))
        path = store.add("open", {"d": make_store.Dir({}, 0o755)})
        closure = self.closure_file(store, name="c2")
        place = store.real(path) + "/d"
        os.symlink(place, self.path("link"))
        for to in ("oci:" + place + "/o", "docker-archive:" + place + "/i",
                   "oci-archive:" + self.path("link/i")):
            self.refused("--name", "x", "--closure", closure, "--store-root",
                         store.root, "--to", to, to=None,
                         words=["output .* inside", "-open"])
            self.assertEqual(os.listdir(place), [])
        beside = "docker-archive:" + store.root + store.dir + "/image.tar"
        self.build("--name", "x", "--closure", closure, "--store-root",
                   store.root, "--to", beside)

    def test_metadata_file(self):
        self.with_store("--to", "none", "--metadata-file",
                        self.path("no/such/m.json"), to=None,
                        words="no/such", status=(1, 2))

    def mount(self, *options):
        folder = self.path("mnt")
        os.makedirs(folder, exist_ok=True)
        p = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options),
                            "tmpfs", folder], capture_output=True)
        if p.returncode:
            self.skipTest("needs mount: %r" % p.stderr)
        self.addCleanup(subprocess.run, ["umount", "-l", folder])
        return folder

    @need_root()
    def test_mounted_file(self):
        """Nothing can be renamed to there: it is known before the work."""
        inside = self.mount() + "/i"
        quarrytest.write(inside, b"old")
        file = quarrytest.write(self.path("file"), b"")
        p = subprocess.run(["mount", "--bind", inside, file],
                           capture_output=True)
        if p.returncode:
            self.skipTest("needs mount: %r" % p.stderr)
        self.addCleanup(subprocess.run, ["umount", "-l", file])
        for to in (["--to", "docker-archive:" + file],
                   ["--to", "oci-archive:" + file],
                   ["--to", "none", "--metadata-file", file]):
            self.with_store(*to, to=None, words="mount point", status=2)
        self.assertEqual(quarrytest.read(file), b"old")

    @need_root()
    def test_read_only(self):
        self.place(self.mount("ro"), "mnt", "[Rr]ead-only", status=2)

    @need_root()
    def test_full(self):
        """The store has some hundred kB; the disk has not."""
        folder = self.mount("size=64k")
        self.place(folder, "No space left")
        self.with_store("--to", "oci:%s/oci" % folder, "--to",
                        "docker-archive:" + self.path("out/i.tar"), to=None,
                        words="No space left", status=1)

    @need_root()
    def test_no_inodes(self):
        folder = self.mount("size=64m", "nr_inodes=4")
        self.place(folder, "No space left", kinds=["oci:%s/oci"])

    @need_root()
    def test_not_writable(self):
        for folder in (self.top, self.path("t"), self.path("run"),
                       self.path("asan")):
            os.chown(folder, 65534, 65534)
        os.chmod(self.top, 0o755)
        os.chmod(self.out, 0o755)

        def nobody():
            os.setgid(65534)
            os.setuid(65534)
        probe = subprocess.run([quarrytest.QUARRY, "--version"],
                               preexec_fn=nobody, capture_output=True)
        if probe.returncode:
            self.skipTest("nobody may not run " + quarrytest.QUARRY)
        os.chmod(self.store.root, 0o755)
        self.place(self.out, "out", "ermission", status=2, preexec_fn=nobody)

    def test_closed_pipe(self):
        for kind in ("docker-archive", "oci-archive"):
            r, w = os.pipe()
            os.close(r)
            self.with_store("--to", kind + ":-", to=None, stdout=w,
                            words="standard output|stdout", status=1)
            os.close(w)

    def test_pipe_that_closes_half_way(self):
        store = make_store.small_store(self.path("big"), n=3, size=1 << 20)
        p = self.start("build", "--progress", "none", "--name", "x",
                       "--closure", self.closure_file(store, name="big.json"),
                       "--store-root", store.root, "--to",
                       "docker-archive:-")
        p.stdout.read(1000)
        p.stdout.close()
        p.stdout = None
        r = self.finish(p)
        self.assertEqual(r.status, 1, r.errors)
        self.assertEqual(len(r.errors.splitlines()), 1)

    def test_standard_output_by_another_name(self):
        """It is written on where it stands, and nothing else is there."""
        words = self.store_words()
        file = self.path("both")
        self.build(*words, "--to", "docker-archive:image.tar")
        image = quarrytest.read(self.path("image.tar"))
        with open(file, "ab") as f:
            for to in ("docker-archive:/dev/stdout", "docker-archive:-"):
                self.build(*words, "--to", to, stdout=f)
            self.build(*words, "--to", "none", "--metadata-file",
                       "/dev/stdout", stdout=f)
        data = quarrytest.read(file)
        self.assertTrue(data.startswith(2 * image))
        self.assertIn("image_id", json.loads(data[2 * len(image):]))
        archive = ["--to", "docker-archive:-"]
        for args in (archive + ["--metadata-file", file],
                     archive + ["--to", "oci-archive:" + file],
                     ["--to", "docker-archive:" + file,
                      "--metadata-file", "-"],
                     archive + ["--metadata-file", "/dev/stdout"]):
            with self.subTest(args), open(file, "ab") as f:
                self.with_store(*args, to=None, stdout=f,
                                words="standard output|same place")
        self.assertEqual(quarrytest.read(file), data)

    def test_no_standard_output(self):
        self.with_store("--to", "docker-archive:-", to=None, words="out",
                        status=(1, 2), preexec_fn=lambda: os.close(1))

    def test_full_device(self):
        with open("/dev/full", "wb") as full:
            self.with_store("--to", "docker-archive:-", to=None, stdout=full,
                            words="No space left", status=1)

    def test_full_device_for_what_is_printed(self):
        """A text that is larger than a buffer, and others."""
        plan = ["plan", "--closure", self.closure]
        for args in (["help", "build"], ["help"], ["--version"], plan,
                     plan + ["--json"], ["cache", "list"],
                     ["cache", "list", "--json"], ["keygen", "key"]):
            with self.subTest(args), open("/dev/full", "wb") as full:
                r = self.quarry(*args, stdout=full, status=1)
                self.assertRegex(
                    r.errors, "^quarry: write (standard output|the plan): "
                    "(No space left on device|Input/output error)\n$")

    def test_terminal(self):
        """An image is not poured onto a terminal."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.with_store("--to", "docker-archive:-", to=None, stdout=slave,
                        words="terminal", status=2)
        os.close(slave)

    @need_root()
    def test_devices_are_not_replaced(self):
        """A device or fifo as the target stays one."""
        device = self.path("null")
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        r = self.build("--name", "x", "--closure", self.closure,
                       "--store-root", self.store.root, "--to",
                       "docker-archive:" + device, status=None)
        self.assertTrue(stat.S_ISCHR(os.lstat(device).st_mode))
        self.assertIn(r.status, (0, 2), r.errors)


class TestAround(Bad):
    """The surroundings are odd."""

    def ok(self, **kw):
        r = self.build("--name", "x", "--closure", self.closure,
                       "--store-root", self.store.root, "--to", "none", **kw)
        self.assertEqual(r.errors, "")

    def test_long_tmpdir(self):
        """Sockets have short names; folders have not."""
        long = self.path("t", "x" * 200)
        os.mkdir(long)
        self.ok(env=dict(self.env, TMPDIR=long, XDG_RUNTIME_DIR=long))
        self.assertEqual(os.listdir(long), [])
        os.rmdir(long)

    def test_no_tmpdir(self):
        for folder in (self.path("gone"), "relative", ""):
            env = dict(self.env, TMPDIR=folder, XDG_RUNTIME_DIR=folder)
            self.ok(env=env)

    def test_empty_environment(self):
        self.ok(env={"QUARRY_TEST": self.env["QUARRY_TEST"]})

    def test_few_descriptors(self):
        self.ok(preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (64, 64)))

    def test_too_few_descriptors(self):
        """libzmq would abort, and temporary folders would stay."""
        for hard, workers in ((5, 1), (8, 1), (20, 1), (64, 64)):
            with self.subTest(hard):
                self.refused(
                    "--name", "x", "--closure", self.closure, "--store-root",
                    self.store.root, "--workers", str(workers), "--slots",
                    str(workers), words=["open", str(hard), "ulimit"],
                    status=1, preexec_fn=lambda: resource.setrlimit(
                        resource.RLIMIT_NOFILE, (hard, hard)))
        self.ok(preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (20, 256)))

    def test_closed_descriptors(self):
        def close():
            os.close(0)
            os.close(1)
        self.ok(preexec_fn=close)

    def test_quarry_from_path(self):
        """Found by PATH, the worker is found beside it."""
        env = dict(self.env, PATH=quarrytest.BIN + ":" + self.env["PATH"])
        r = self.finish(self.start(
            "build", "--name", "x", "--closure", self.closure,
            "--store-root", self.store.root, "--to", "none", "--progress",
            "none", program=["quarry"], env=env, cwd="/"))
        self.assertEqual(r.status, 0, r.errors)


if __name__ == "__main__":
    quarrytest.main()
