#!/usr/bin/env python3
"""What a layer costs whose store path comes out of a binary cache.

    tests/bench/from_cache.py [--tree DIR] [--times N] [--compression NAME...]

Makes a store path of DIR and caches of it with Nix, and compares the CPU time
of its layer out of a cache with that out of the store plus decompressing the
NAR alone; all files are in memory.  The least of N times counts.
"""

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BENCH = os.environ.get("LAYER_BENCH",
                       os.path.join(TOP, "build", "tests", "layer_bench"))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
sys.dont_write_bytecode = True

import make_store  # noqa: E402

NIX_CONFIG = ("build-users-group =\nsandbox = false\n"
              "experimental-features = nix-command\n")
UNPACK = {"none": ["cat"], "zstd": ["zstd", "-dc"], "xz": ["xz", "-dc"],
          "gzip": ["gzip", "-dc"], "bzip2": ["bzip2", "-dc"]}


def run(*args, **kw):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, **kw
                          ).stdout.decode()


def keep_canonical(folder):
    """Modes as Nix has them; what is no file, link or folder goes."""
    for top, dirs, files in os.walk(folder, topdown=False):
        for name in files + dirs:
            path = os.path.join(top, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISDIR(mode):
                os.chmod(path, 0o555)
            elif stat.S_ISREG(mode):
                os.chmod(path, 0o555 if mode & 0o100 else 0o444)
            elif not stat.S_ISLNK(mode):
                os.unlink(path)
    os.chmod(folder, 0o555)


def layer(times, *args):
    """Least CPU seconds of the layer, and its diffID."""
    best, diff_id = None, None
    for _ in range(times):
        out = run(BENCH, *args)
        cpu = float(re.search(r"([\d.]+) s CPU", out).group(1))
        best = cpu if best is None else min(best, cpu)
        diff_id = re.search(r"diff_id (\w+)", out).group(1)
    return best, diff_id


def unpack(times, name, file):
    """Least CPU seconds of decompressing the file alone."""
    best = None
    for _ in range(times):
        before = os.times()
        with open(file, "rb") as f:
            subprocess.run(UNPACK[name], stdin=f, check=True,
                           stdout=subprocess.DEVNULL)
        after = os.times()
        cpu = (after.children_user - before.children_user
               + after.children_system - before.children_system)
        best = cpu if best is None else min(best, cpu)
    return best


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tree", default="/usr/include")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--compression", nargs="*", default=["none", "zstd"],
                        choices=sorted(UNPACK))
    args = parser.parse_args()
    env = dict(os.environ, NIX_CONFIG=NIX_CONFIG)
    folder = tempfile.mkdtemp(prefix="from-cache-")
    try:
        bench(args, folder, env)
    finally:
        run("chmod", "-R", "u+w", folder)
        shutil.rmtree(folder)


def bench(args, folder, env):
    store = make_store.Store(folder + "/s")
    path = store.add("tree", {}, hashed=False)
    os.chmod(store.real(path), 0o755)
    run("cp", "-a", args.tree + "/.", store.real(path))
    keep_canonical(store.real(path))
    store.rehash(path)
    make_store.register(store, env)
    size = store.info(path)["narSize"]
    base, want = layer(args.times, "-r", store.root, path)
    print("%s: NAR of %d MB" % (args.tree, size // 10**6))
    print("%-12s %8s %8s %8s %8s" % ("", "CPU s", "unpack s", "sum s",
                                     "times"))
    print("%-12s %8.2f" % ("store", base))
    for name in args.compression:
        cache = "%s/%s" % (folder, name)
        run("nix", "copy", "--no-check-sigs", "--from",
            "local?root=" + store.root, "--to",
            "file://%s?compression=%s" % (cache, name), path, env=env)
        nar, = (os.path.join(cache, "nar", n)
                for n in os.listdir(cache + "/nar"))
        cpu, got = layer(args.times, "-r", folder + "/nowhere", "-u",
                         "file://" + cache, path)
        if got != want:
            sys.exit("%s: another layer than out of the store" % name)
        alone = unpack(args.times, name, nar)
        print("%-12s %8.2f %8.2f %8.2f %8.2f" % (
            "nar, " + name, cpu, alone, base + alone, cpu / (base + alone)))


if __name__ == "__main__":
    main()
