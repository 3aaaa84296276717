"""Makes small, real stores without any network: DIR/nix/store/HASH-NAME.

A tree is a dict (a directory) of names to trees, bytes (a file), or one of
File, Exec, Link, Sparse, Hard, Dir.  Store.add writes it, canonical as Nix
wants it, hashes it as Nix does (our own NAR hasher) and keeps its path-info;
the closure is then written in any shape that people have.
"""

import base64
import hashlib
import json
import os
import stat
import subprocess

B32 = "0123456789abcdfghijklmnpqrsvwxyz"
CHUNK = 1 << 20


def base32(raw):
    out = []
    for n in range((len(raw) * 8 + 4) // 5 - 1, -1, -1):
        at, bit = n * 5 // 8, n * 5 % 8
        c = raw[at] >> bit
        if at + 1 < len(raw):
            c |= raw[at + 1] << (8 - bit)
        out.append(B32[c & 31])
    return "".join(out)


def fold(raw, size=20):
    out = bytearray(size)
    for i, b in enumerate(raw):
        out[i % size] ^= b
    return bytes(out)


class File:
    def __init__(self, data=b"", mode=0o444):
        self.data, self.mode = data, mode


class Exec(File):
    def __init__(self, data=b""):
        super().__init__(data, 0o555)


class Sparse:
    """size bytes, of which only tail at the end are not zero."""

    def __init__(self, size, tail=b"end"):
        self.size, self.tail = size, tail


class Link:
    def __init__(self, target):
        self.target = target


class Hard:
    """Another name of a file that was made earlier in the same tree."""

    def __init__(self, of):
        self.of = of


class Dir:
    def __init__(self, entries, mode=0o555):
        self.entries, self.mode = entries, mode


def to_bytes(name):
    return name if isinstance(name, bytes) else os.fsencode(name)


def write_tree(path, tree, top=None):
    """Writes tree at path (bytes), which must not exist."""
    top = path if top is None else top
    if isinstance(tree, dict):
        tree = Dir(tree)
    if isinstance(tree, (bytes, str)):
        tree = File(to_bytes(tree))
    if isinstance(tree, Dir):
        os.mkdir(path, 0o755)
        for name, sub in tree.entries.items():
            write_tree(path + b"/" + to_bytes(name), sub, top)
        os.chmod(path, tree.mode)
    elif isinstance(tree, Link):
        os.symlink(to_bytes(tree.target), path)
    elif isinstance(tree, Hard):
        os.link(top + b"/" + to_bytes(tree.of), path)
        return
    elif isinstance(tree, Sparse):
        with open(path, "wb") as f:
            f.truncate(tree.size)
            f.seek(tree.size - len(tree.tail))
            f.write(tree.tail)
        os.chmod(path, 0o444)
    else:
        with open(path, "wb") as f:
            f.write(tree.data)
        os.chmod(path, tree.mode)
    os.utime(path, (1, 1), follow_symlinks=False)


class Nar:
    """The NAR of a file system object, for its hash and size alone."""

    def __init__(self, path):
        self.sha, self.size = hashlib.sha256(), 0
        self.str(b"nix-archive-1")
        self.node(os.fsencode(path))

    def put(self, data):
        self.sha.update(data)
        self.size += len(data)

    def str(self, *strings):
        for s in strings:
            self.put(len(s).to_bytes(8, "little") + s + bytes(-len(s) % 8))

    def node(self, path):
        st = os.lstat(path)
        self.str(b"(", b"type")
        if stat.S_ISLNK(st.st_mode):
            self.str(b"symlink", b"target", os.readlink(path))
        elif stat.S_ISDIR(st.st_mode):
            self.str(b"directory")
            for name in sorted(os.listdir(path)):
                self.str(b"entry", b"(", b"name", name, b"node")
                self.node(path + b"/" + name)
                self.str(b")")
        else:
            self.str(b"regular")
            if st.st_mode & stat.S_IXUSR:
                self.str(b"executable", b"")
            self.str(b"contents")
            self.put(st.st_size.to_bytes(8, "little"))
            with open(path, "rb") as f:
                while data := f.read(CHUNK):
                    self.put(data)
            self.put(bytes(-st.st_size % 8))
        self.str(b")")


class Store:
    def __init__(self, root, store_dir="/nix/store"):
        self.root, self.dir = root, store_dir
        self.infos = []  # path-info records, in the order of adding
        os.makedirs(root + store_dir, exist_ok=True)

    def new_path(self, name):
        seed = "%s:%s:%d" % (self.dir, name, len(self.infos))
        digits = base32(fold(hashlib.sha256(seed.encode()).digest()))
        return "%s/%s-%s" % (self.dir, digits, name)

    def real(self, path):
        return self.root + path

    def add(self, name, tree=b"", refs=(), self_ref=False, hashed=True):
        path = self.new_path(name)
        if callable(tree):
            tree = tree(path)
        write_tree(os.fsencode(self.real(path)), tree)
        info = {"path": path, "narHash": b"\0" * 32, "narSize": 0,
                "references": sorted(set(refs) | ({path} if self_ref
                                                  else set()))}
        self.infos.append(info)
        if hashed:
            self.rehash(path)
        return path

    def rehash(self, path):
        nar = Nar(self.real(path))
        info = self.info(path)
        info["narHash"], info["narSize"] = nar.sha.digest(), nar.size

    def info(self, path):
        return next(i for i in self.infos if i["path"] == path)

    def closure(self):
        """Path-info records as JSON has them, with SRI hashes."""
        return [dict(i, narHash=sri(i["narHash"])) for i in self.infos]


def sri(raw):
    return "sha256-" + base64.b64encode(raw).decode()


def short(path):
    return path.rsplit("/", 1)[1]


def old_json(infos):
    """Nix 2.3 to 2.18: an array; the hash in base 32."""
    return json.dumps([dict(i, narHash="sha256:" + base32(i["narHash"]))
                       for i in infos])


def array_json(infos):
    return json.dumps([dict(i, narHash=sri(i["narHash"]),
                            registrationTime=1, ultimate=True,
                            signatures=["k-1:abc=="]) for i in infos])


def map_json(infos):
    """Nix 2.19 and later: an object keyed by path."""
    return json.dumps({
        i["path"]: {"narHash": sri(i["narHash"]), "narSize": i["narSize"],
                    "references": i["references"], "deriver": None,
                    "ca": None, "registrationTime": 1, "signatures": [],
                    "ultimate": False}
        for i in infos})


def wrapped_json(infos):
    """Newest: wrapped, and store paths without the store directory."""
    return json.dumps({
        "version": 2,
        "storeDir": infos[0]["path"].rsplit("/", 1)[0],
        "info": {
            short(i["path"]): {
                "narHash": sri(i["narHash"]), "narSize": i["narSize"],
                "references": [short(r) for r in i["references"]]}
            for i in infos}})


def attrs_json(infos):
    """The .attrs.json of a derivation with exportReferencesGraph."""
    return json.dumps({
        "builder": "/bin/sh",
        "exportReferencesGraph": {"anyName": [infos[0]["path"]]},
        "outputs": {"out": "/nix/store/x"},
        "anyName": [dict(i, narHash=sri(i["narHash"]), closureSize=1)
                    for i in infos],
        "system": "x86_64-linux"})


def registration(infos):
    """closureInfo's registration, as nix-store --load-db takes it."""
    out = []
    for i in infos:
        out += [i["path"], i["narHash"].hex(), str(i["narSize"]), "",
                str(len(i["references"]))] + i["references"]
    return "\n".join(out) + "\n"


def graph_text(infos):
    """The classic exportReferencesGraph: no hashes, no sizes."""
    out = []
    for i in infos:
        out += [i["path"], "", str(len(i["references"]))] + i["references"]
    return "\n".join(out) + "\n"


SHAPES = {
    "array": array_json, "base32": old_json, "map": map_json,
    "wrapped": wrapped_json, "attrs": attrs_json,
    "registration": registration, "graph": graph_text,
}


def ordered(infos):
    """Dependencies first, as --load-db wants them."""
    by_path = {i["path"]: i for i in infos}
    out, seen = [], set()

    def visit(path):
        if path not in seen:
            seen.add(path)
            for ref in by_path[path]["references"]:
                visit(ref)
            out.append(by_path[path])

    for i in infos:
        visit(i["path"])
    return out


def register(store, env):
    """Makes the store known to Nix itself (local?root=...)."""
    subprocess.run(
        ["nix-store", "--store", "local?root=" + store.root, "--load-db"],
        input=registration(ordered(store.infos)).encode(), env=env,
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


# --- Trees -----------------------------------------------------------------

def named(path, length, fill="n"):
    """A file name that makes STORE-PATH/NAME exactly length bytes long."""
    return fill * (length - len(path) - 1)


def long_path(path, length, leaf):
    """Nested directories until STORE-PATH/.../leaf has length bytes."""
    left = length - len(path)
    names = []
    while left > 256 + 2:
        names.append("d" * 255)
        left -= 256
    if left > 256:
        names.append("e")
        left -= 2
    tree = {"f" * (left - 1): leaf}
    for name in reversed(names):
        tree = {name: tree}
    return tree


def deep(levels):
    tree = {"bottom": b"deep\n"}
    for _ in range(levels):
        tree = {"a": tree}
    return tree


def traps(path):
    """Everything that a tar writer gets wrong, for a store path of traps."""
    tree = {
        "a": {"b": b"slash sorts after dot by strings"},
        "a.b": b"dot", "a-b": b"dash", "ab": {"c": b"c"}, "a b": b"space",
        "UPPER": b"upper", "lower": b"lower", "~tilde": b"",
        "empty": b"", "empty-dir": {}, ".hidden": b"hidden",
        "exec": Exec(b"#!/bin/sh\n"),
        "setuid": File(b"kept", 0o6555), "writable": File(b"w", 0o644),
        "open-dir": Dir({"x": b"x"}, 0o1777), "no-mode": File(b"", 0),
        "utf8-\u00fcml\u00e4ut-\u65e5\u672c-\U0001f600": "caf\u00e9\n",
        b"latin-\xfc\xff": b"not UTF-8",
        b"latin-dir-\xe9": {"in": b"x", b"\xf0\x9f\x98": Link(b"\xff\xfe")},
        b"surrogate-\xed\xa0\x80": b"",
        b"overlong-\xc0\xaf": b"",
        "new\nline": b"\n", "tab\there": b"\t", "back\\slash": b"\\",
        "quote'\"": b"'\"", b"bell-\x07\x01\x7f": b"", "star*?[": b"",
        "-dash": b"", "=equals=": b"", "%s%n": b"",
        "dangling": Link("/nowhere/at/all"), "self": Link("self"),
        "up": Link("../../.."), "link-utf8": Link("\u65e5\u672c"),
        "link-latin": Link(b"\xe9t\xe9"), "link-dir": Link("a"),
        "hard-1": b"hard links are files", "hard-2": Hard("hard-1"),
        "sub": {"hard-3": Hard("hard-1")},
    }
    for size in (1, 511, 512, 513, 1023, 1024, 9215, 9216, 9217, 9728,
                 10239, 10240, 10241, 20480, 65535, 65536, 65537,
                 (1 << 20) - 1, 1 << 20, (1 << 20) + 1):
        tree["size-%d" % size] = bytes(i * 7 & 255 for i in range(251)) \
            * (size // 251 + 1)
        tree["size-%d" % size] = tree["size-%d" % size][:size]
    for n in (98, 99, 100, 101, 102, 155, 156, 255, 256):
        tree[named(path, n)] = b"%d" % n
        tree[named(path, n, "D")] = {"x": b""}
        tree[named(path, n, "L")] = Link("t" * n)
    for n in (99, 100, 101, 255, 4000):
        tree["link-%d" % n] = Link("x/" * (n // 2) + "y" * (n % 2))
    # 100 code points are more than 100 bytes, and the cut falls inside one.
    for n in (98, 99, 100, 101):
        tree["\u00fc" + named(path, n - 1, "u")] = b"%d" % n
        tree["\u00fc" + named(path, n - 1, "v")] = {}
    tree[b"\xfc" + named(path, 99).encode()] = b"invalid and long"
    tree["x" * 255] = {"y" * 255: b"names of 255"}
    tree["deep"] = deep(300)
    tree["long"] = long_path(path + "/long", 3900, b"long path\n")
    tree["long-link"] = long_path(path + "/long-link", 3900,
                                  Link("z" * 3000))
    return tree


def trap_store(root, store_dir="/nix/store"):
    """A closure of traps: 8 store paths."""
    s = Store(root, store_dir)
    file = s.add("a-file.txt", b"a store path that is a file\n")
    exe = s.add("exe-file", Exec(b"#!/bin/sh\n"))
    link = s.add("a-link", Link(file), refs=[file])
    broken = s.add("broken-link", Link("/nix/store/nowhere"))
    empty = s.add("empty", {})
    tree = s.add("traps", traps, refs=[file], self_ref=True)
    s.add("n" * 211, {"x": b"the longest name"})
    s.add("top", {"bin": {"run": Link(exe + "/x")}},
          refs=[link, broken, empty, tree, exe, s.infos[-1]["path"]])
    return s


def small_store(root, store_dir="/nix/store", n=12, size=3000):
    """A chain with shortcuts: every path has some files and references."""
    s = Store(root, store_dir)
    paths = []
    for i in range(n):
        refs = [p for j, p in enumerate(paths) if (i * 7 + j * 3) % 4 == 0]
        if paths:
            refs.append(paths[-1])
        tree = {"bin": {"tool-%d" % i: Exec(b"#!/bin/sh\necho %d\n" % i)},
                "share": {"data-%d" % j: bytes([65 + (i + j) % 26])
                          * (size * (j + 1) + i) for j in range(4)},
                "refs": "\n".join(refs)}
        paths.append(s.add("part-%d" % i, tree, refs, self_ref=i % 2 == 0))
    return s


def runnable_store(root):
    """What `podman run` can start: a static busybox behind references."""
    s = Store(root)
    with open("/bin/busybox", "rb") as f:
        box = f.read()
    applets = ("sh", "echo", "cat", "ls", "id", "env", "readlink", "stat")
    busybox = s.add("busybox-1", {
        "bin": dict({"busybox": Exec(box)},
                    **{a: Link("busybox") for a in applets})})
    etc = s.add("etc-1", {"etc": {"motd": b"made of a closure\n"}})
    s.add("hello-1", {"bin": {"hello": Exec(
        b"#!%s/bin/sh\n%s/bin/cat %s/etc/motd\n"
        % (busybox.encode(), busybox.encode(), etc.encode()))}},
        refs=[busybox, etc])
    return s


def slow_store(root, n=4, size=1 << 31):
    """Paths that take a while: nothing on disk, but much to hash."""
    s = Store(root)
    paths = [s.add("slow-%d" % i, {"f": Sparse(size - i)}, hashed=False)
             for i in range(n)]
    for path in paths:
        s.info(path)["narSize"] = size
    s.add("slow-top", b"top", refs=paths)
    return s
