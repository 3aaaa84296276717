"""Synthetic closures: stores of small or large files, and bare graphs."""

import json
import os
import random
import sys

sys.path.insert(0, os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import make_store  # noqa: E402


def _made(root, make):
    """Fills a store once; what is there already is used as it is."""
    if not os.path.exists(root + "/registration"):
        store = make_store.Store(root)
        make(store)
        with open(root + "/registration.new", "w") as f:
            f.write(make_store.registration(store.infos))
        os.rename(root + "/registration.new", root + "/registration")
    return root


def small_files(root, count=50000, paths=50):
    """Files of 1 to 4 KiB, 100 a folder."""
    rng = random.Random(1)

    def make(store):
        data = rng.randbytes(8192)
        for i in range(paths):
            tree = {}
            for k in range(count // paths):
                at = rng.randrange(4096)
                tree.setdefault("d%02d" % (k // 100), {})["file-%04d" % k] = (
                    data[at:at + rng.randint(1024, 4096)])
            store.add("small-%03d" % i, tree)

    return _made(root, make)


def large_files(root, count=15, size=100_000_000):
    rng = random.Random(2)

    def make(store):
        for i in range(count):
            store.add("large-%02d" % i, {"data": rng.randbytes(size)})

    return _made(root, make)


def one_file(root, size):
    """A store path of one file, all holes: as much to read as any other."""
    return _made(root, lambda store: store.add(
        "one-%d" % size, {"data": make_store.Sparse(size)}))


ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"


def graph(name, count, refs, dense=False):
    """path-info JSON of count paths with some refs each, mostly to the first
    (a power law), or, dense, to any before, so that nearly all pairs are
    related."""
    if os.path.exists(name):
        return name
    rng = random.Random(count)

    def path(i):
        digits = "".join(ALPHABET[(i * 7919 >> s) % 32] for s in range(32))
        return "/nix/store/%s-package-%d" % (digits[:32], i)

    paths = [path(i) for i in range(count)]
    with open(name + ".new", "w") as f:
        f.write("[")
        for i in range(count):
            if dense:
                chosen = {rng.randrange(i) for _ in range(refs)} if i else ()
            else:
                chosen = {int(i * rng.random() ** 3) for _ in range(
                    rng.randint(1, 2 * refs - 1))} if i else ()
            f.write(",\n" if i else "\n")
            f.write(json.dumps({
                "path": paths[i], "narHash": "sha256:" + "0" * 52,
                "narSize": rng.randint(1 << 10, 1 << 24),
                "references": sorted(paths[k] for k in chosen)}))
        f.write("]\n")
    os.rename(name + ".new", name)
    return name
