#!/usr/bin/env python3
"""What it is worth that layers go where their store paths are.

    tests/bench/locality.py [--hosts N] [--paths N] [--mb N] [--rate RATE]

Makes N hosts on this machine (network namespaces, as tests/e2e/hosts.py), each
with its share of a store, and a host with a binary cache that sends no more
than RATE.  Builds the image with and without --no-locality, with every host's
store whole, and with all stores empty; says how long that took, and how many
bytes the cache sent.  Needs root and Nix.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True

import hosts  # noqa: E402
import make_store  # noqa: E402
import quarrytest  # noqa: E402

NIX_CONFIG = ("build-users-group =\nsandbox = false\n"
              "experimental-features = nix-command\n")


def make(top, n, size):
    """A store of what cannot be compressed, and its cache."""
    store = make_store.Store(top + "/s")
    paths = [store.add("part-%d" % i, {"f": os.urandom(size)})
             for i in range(n)]
    env = dict(os.environ, HOME=top, NIX_CONFIG=NIX_CONFIG)
    make_store.register(store, env)
    subprocess.run(
        ["nix", "copy", "--all", "--no-check-sigs", "--from",
         "local?root=" + store.root, "--to",
         "file://%s/cache?compression=none" % top],
        env=env, check=True, stderr=subprocess.DEVNULL)
    quarrytest.write(top + "/closure", make_store.SHAPES["array"](
        store.infos).encode())
    return store, paths


def sent(host):
    return int(host.run("cat", "/sys/class/net/eth0/statistics/tx_bytes"))


class Bench:
    def __init__(self, top, args):
        self.top, self.args = top, args
        self.env = dict(os.environ, TMPDIR=top + "/t", PATH=os.environ["PATH"])
        os.mkdir(top + "/t")
        self.store, self.paths = make(top, args.paths, args.mb << 20)
        self.net = hosts.Net(self.env)
        self.coord, self.cache = self.net.add("coord"), self.net.add("cache")
        self.hosts = [self.net.add("w%d" % i) for i in range(args.hosts)]
        self.cache.rate(args.rate)
        for i, h in enumerate(self.hosts):
            h.run("mount", "-t", "sysfs", "sysfs", "/sys")
            for kind, here in (("share", self.paths[i::args.hosts]),
                               ("whole", self.paths), ("empty", [])):
                root = "%s/%s-%d" % (top, kind, i)
                os.makedirs(root + "/nix/store")
                for p in here:
                    shutil.copytree(self.store.real(p), root + p,
                                    copy_function=os.link)
        self.cache.run("mount", "-t", "sysfs", "sysfs", "/sys")
        self.server = self.start(
            self.cache, sys.executable, "-m", "http.server", "80",
            "--directory", top + "/cache")
        time.sleep(1)

    def start(self, host, *args, cwd=None):
        return subprocess.Popen(
            [*host.enter, "sh", "-c", 'cd "$0" && exec "$@"', cwd or self.top,
             *args], env=self.env, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

    def close(self):
        self.server.kill()
        self.server.wait()
        self.net.close()

    def run(self, kind, *more):
        """(seconds, bytes that the cache sent)"""
        workers = [self.start(
            h, quarrytest.WORKER, "--connect", hosts.ENDPOINT, "--slots", "1",
            "--connect-without-keys", "--once", "--spool",
            "%s/t/spool-%d" % (self.top, i), "--substituter",
            "http://%s" % self.cache.address, "--no-require-sigs",
            cwd="%s/%s-%d" % (self.top, kind, i))
            for i, h in enumerate(self.hosts)]
        before, begin = sent(self.cache), time.monotonic()
        p = self.start(
            self.coord, quarrytest.QUARRY, "build", "--name", "x",
            "--closure", self.top + "/closure", "--store-root",
            "/proc/self/cwd", "--to", "none", "--listen", hosts.ENDPOINT,
            "--listen-without-keys", "--local-slots", "0", "--no-cache",
            "--min-workers", str(len(self.hosts)), "--progress", "none",
            "--max-layers", str(len(self.paths) + 1), *more)
        if p.wait() != 0:
            raise SystemExit("locality.py: the build failed: %s" % kind)
        took = time.monotonic() - begin
        for w in workers:
            w.wait()
        return took, sent(self.cache) - before


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--paths", type=int, default=24)
    parser.add_argument("--mb", type=int, default=8)
    parser.add_argument("--rate", default="200mbit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="locality.") as top:
        os.chmod(top, 0o755)
        bench = Bench(top, args)
        try:
            print("%-42s %8s %10s" % ("", "s", "MB sent"))
            for what, kind, more in (
                    ("every host has all", "whole", []),
                    ("each has its share", "share", []),
                    ("each has its share, --no-locality", "share",
                     ["--no-locality"]),
                    ("nobody has anything", "empty", [])):
                took, size = bench.run(kind, *more)
                print("%-42s %8.1f %10.1f" % (what, took, size / 1e6),
                      flush=True)
        finally:
            bench.close()


if __name__ == "__main__":
    main()
