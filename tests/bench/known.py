#!/usr/bin/env python3
"""What an image costs whose layers are all known.

    tests/bench/known.py [--paths N] [--rounds N]

Makes a store of N small store paths, each of which refers to a few before it,
and builds an image of it into an OCI layout: first with an empty cache, then,
when all store paths are gone, several times with what is in the cache.  Says
what CPU time each took, children included.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True

import make_store  # noqa: E402
import measure  # noqa: E402
import quarrytest  # noqa: E402


def make(top, n):
    store = make_store.Store(top + "/s")
    paths = []
    for i in range(n):
        refs = [paths[i // k] for k in (2, 3, 5) if i // k < i]
        paths.append(store.add("part-%d" % i, {"f": b"%d\n" % i * 20},
                               refs=sorted(set(refs))))
    end = store.add("top", b"top", refs=paths)
    quarrytest.write(top + "/closure", make_store.SHAPES["array"](
        store.infos).encode())
    quarrytest.write(top + "/request.json", json.dumps(
        {"name": "known", "config": {"Env": ["TOP=" + end]}}).encode())
    return store


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--paths", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        store = make(top, args.paths)
        command = [os.path.join(quarrytest.BIN, "quarry"), "build",
                   "--progress", "none", "--closure", top + "/closure",
                   "--store-root", store.root, "--cache", top + "/cache",
                   "--to", "oci:" + top + "/image",
                   top + "/request.json"]
        first = measure.run(command)[0]
        before = sorted(os.listdir(top + "/image/blobs/sha256"))
        shutil.rmtree(store.root)
        known = []
        for _ in range(args.rounds):
            shutil.rmtree(top + "/image")
            known.append(measure.run(command)[0])
            assert before == sorted(os.listdir(top + "/image/blobs/sha256"))
        print("%d store paths: made %.2f s CPU, %.2f s wall; known "
              "%.2f s CPU, %.2f s wall (medians of %d)" % (
                  args.paths, first.cpu, first.wall,
                  statistics.median(c.cpu for c in known),
                  statistics.median(c.wall for c in known), args.rounds))


if __name__ == "__main__":
    main()
