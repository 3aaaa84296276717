#!/usr/bin/env python3
"""What is made again when one store path of a real closure has changed.

    tests/bench/make_closure.py ROOT git python3 perl
    tests/bench/changed.py ROOT [--paths N] [--max-layers N]

Builds an image of the closure that tests/bench/make_closure.py has made at ROOT
with an empty cache, then for each of N store paths, spread over the closure,
once more as if that one had other contents (and only that, as a build that is
not reproducible has it).  The layers made must be those that hold the path.
"""

import argparse
import json
import os
import sys
import tempfile

import measure

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BIN = os.environ.get("QUARRY_BIN", os.path.join(TOP, "build", "bin"))


def load(name):
    with open(name, encoding="utf-8") as f:
        return json.load(f)


def build(top, args, closure):
    """(layers, those that were made, the root layer's not among them)"""
    with open(top + "/closure", "w", encoding="utf-8") as f:
        json.dump(closure, f)
    cost = measure.run([
        os.path.join(BIN, "quarry"), "build", "--progress", "none", "--name",
        "changed", "--closure", top + "/closure", "--store-root", args.root,
        "--max-layers", str(args.max_layers), "--cache", top + "/cache",
        "--encoding", "gzip", "--to", "none",
        "--metadata-file", top + "/metadata"])[0]
    layers = [x for x in load(top + "/metadata")["layers"] if x["paths"]]
    made = [x for x in layers if not x["cached"]]
    print("%d of %d layers made, %.1f of %.1f MB, %.2f s, %.2f s CPU" % (
        len(made), len(layers), sum(x["tar_size"] for x in made) / 1e6,
        sum(x["tar_size"] for x in layers) / 1e6, cost.wall, cost.cpu))
    return layers, made


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--paths", type=int, default=5)
    parser.add_argument("--max-layers", type=int, default=40)
    args = parser.parse_args()
    closure = load(args.root + "/paths.json")
    with tempfile.TemporaryDirectory() as top:
        layers, made = build(top, args, closure)
        if made != layers:
            sys.exit("changed: an empty cache knew a layer")
        for i in range(args.paths):
            path = closure[i * len(closure) // args.paths]
            path["narHash"] = "sha256:" + "0" * 51 + "%d" % (i % 2)
            _, made = build(top, args, closure)
            if [path["path"] in x["paths"] for x in made] != [True]:
                sys.exit("changed: %s: made were %s" % (
                    path["path"], [x["paths"] for x in made]))


if __name__ == "__main__":
    main()
