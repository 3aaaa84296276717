"""Makes ROOT/nix/store with every trap a layer can meet; prints the paths.

Usage: trap_store.py ROOT
"""
import hashlib
import os
import random
import sys

STORE = b"/nix/store"
ODD = ["é", "日本語", "😀", "a\u0301", "ß" * 60, "x" * 60 + "é" * 30]
RAW = [b"\xff", b"\xe2\x82", b"ok-\xc3\xa9-\xfe", b"\xed\xa0\x80",
       b"\xf4\x90\x80\x80", b"\xc0\xaf", b"new\nline", b"tab\t", b"back\\slash",
       b" ", b"-dash", b"a b", b"\x01\x7f", b"%s%n", b"*", b"'\"", b".hidden",
       b"..dots", b"...", b"~"]
SIZES = [0, 1, 2, 511, 512, 513, 1023, 1024, 10239, 10240, 10241, 65536,
         262143, 262144, 262145, 261632, 261631, 261633, 524288, 1048575,
         1048576, 1048577, 3000000]


class Store:
    def __init__(self, root):
        self.root, self.paths = os.fsencode(root), []
        os.makedirs(self.root + STORE, exist_ok=True)
        for part in (b"/nix", STORE):
            os.chmod(self.root + part, 0o755)

    def path(self, name):
        letters = "0123456789abcdfghijklmnpqrsvwxyz"
        data = hashlib.sha256(name.encode()).digest()
        path = STORE + b"/" + "".join(
            letters[b % 32] for b in data).encode() + b"-" + name.encode()
        self.paths.append(path)
        return self.root + path


def put(path, data=b"", mode=0o444):
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


def lengths(top, root_len):
    """Names and link targets around every border."""
    for total in (98, 99, 100, 101, 102, 155, 156, 254, 255, 256):
        rest = total - (len(top) - root_len) - 2
        put(os.path.join(top, b"f" + b"x" * rest))
        os.mkdir(os.path.join(top, b"d" + b"x" * rest))
        os.symlink(b"t" * total, os.path.join(top, b"l" + b"x" * rest))
    for total in (1000, 4000, 4095):
        os.symlink(b"u" * total, os.path.join(top, b"long-%d" % total))
    deep = top
    while len(deep) - root_len < 3700:
        deep = os.path.join(deep, b"n" * 255)
        os.mkdir(deep)
    rest = 4000 - (len(deep) - root_len) - 1
    while rest > 255:
        deep = os.path.join(deep, b"m" * 100)
        os.mkdir(deep)
        rest -= 101
    # Reached from inside: with the root before it the name is too long.
    here = os.getcwd()
    os.chdir(deep)
    put(b"z" * rest, b"at the end of 4000 bytes")
    os.chdir(here)


def names(top):
    for name in ODD:
        put(os.path.join(top, os.fsencode(name)), name.encode())
    for name in RAW:
        put(os.path.join(top, name), name)
        os.symlink(name, os.path.join(top, b"to-" + name))
        os.mkdir(os.path.join(top, b"in-" + name))
        put(os.path.join(top, b"in-" + name, name), b"in")
    # Longer than the field in bytes, shorter in code points, and cut in one.
    put(os.path.join(top, b"y" * 90 + "é".encode() * 20))


def order(top):
    for name in ("a", "a/b", "a-b", "A", "b"):
        os.mkdir(os.path.join(top, name.encode()))
    for name in ("a.b", "a0", "a/b/c", "a/b.c", "a/b-c", "aa", "B", "10", "9",
                 "abcdefgh", "abcdefgh1", "abcdefg", "abcdefgh\x7f"):
        put(os.path.join(top, name.encode()), name.encode())
    put(os.path.join(top, b"abcdefgh\xff"))
    put(os.path.join(top, b"\x80"))


def content(top):
    rng = random.Random(7)
    for i, size in enumerate(SIZES):
        put(os.path.join(top, b"size-%02d-%d" % (i, size)),
            rng.randbytes(size))
    for mode in (0o400, 0o444, 0o555, 0o644, 0o755, 0o4755, 0o2755, 0o1644):
        put(os.path.join(top, b"mode-%o" % mode), b"m", mode)
    for mode in (0o555, 0o755, 0o1777, 0o2755):
        os.mkdir(os.path.join(top, b"dir-%o" % mode))
        os.chmod(os.path.join(top, b"dir-%o" % mode), mode)
    put(os.path.join(top, b"hard-1"), b"one file, three names")
    os.link(os.path.join(top, b"hard-1"), os.path.join(top, b"hard-2"))
    os.link(os.path.join(top, b"hard-1"), os.path.join(top, b"dir-755/hard-3"))
    for target in (b"nowhere", b"/", b"..", b".", b"a//b/", b"hard-1"):
        os.symlink(target, os.path.join(top, b"to-" + target.hex().encode()))
    with open(os.path.join(top, b"sparse"), "wb") as f:
        f.truncate(5 << 20)


def main(root):
    os.umask(0o022)
    store = Store(root)
    root_len = len(store.root)
    for name, fill in (("lengths", lambda t: lengths(t, root_len)),
                       ("names", names), ("order", order),
                       ("content", content)):
        top = store.path(name)
        os.mkdir(top)
        fill(top)
    many = store.path("many")
    os.mkdir(many)
    for i in range(1500):
        put(os.path.join(many, b"%d" % (i * 7919 % 1500)), b"%d" % i)
    deep = store.path("deep")
    os.mkdir(deep)
    for i in range(700):
        deep += b"/d%d" % (i % 10)
        os.mkdir(deep)
        if i % 100 == 0:
            put(deep + b"/file", b"%d" % i)
    os.mkdir(store.path("empty"))
    put(store.path("file"), b"a store path that is a file")
    put(store.path("program"), b"#!/bin/sh\n", 0o555)
    os.symlink(b"/nix/store/elsewhere", store.path("symlink"))
    for path in store.paths:
        print(path.decode())


main(sys.argv[1])
