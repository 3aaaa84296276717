#!/usr/bin/env python3
"""What a batch reads, makes and uploads, with workers of their own that push.

    tests/bench/make_closure.py ROOT git python3 perl
    tests/bench/batch_push.py ROOT [--images N] [--workers N] [--no-cache]
                                   [--trace]

Makes images over the closure that tests/bench/make_closure.py has made at ROOT,
each of two of its packages with what they depend on, and pushes each into a
repository of its own of Debian's docker-registry; then once more.  Workers are
processes which do not see the coordinator's files (in mount namespaces: needs
root).  What they say that they have read is held against the files in the
layers that the registry has then, and with --trace against what strace sees
them read below ROOT.
"""

import argparse
import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

from pushed import Registry

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
from traced import Traced, strace  # noqa: E402

BIN = os.environ.get("QUARRY_BIN", os.path.join(TOP, "build", "bin"))


def free_port():
    """
    And the one after it, mostly.  Not one that the system gives those who
    connect: to one where nobody listens yet they could connect themselves.
    """
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def files_in_layers(registry):
    """Bytes of the files that are in all layers that it has."""
    total = 0
    for at, _, names in os.walk(registry.folder + "/docker/registry/v2/blobs"):
        for name in names:
            with open(os.path.join(at, name), "rb") as f:
                if f.read(2) != b"\x1f\x8b":
                    continue
                f.seek(0)
                with gzip.open(f) as data, \
                        tarfile.open(fileobj=data, mode="r|") as tar:
                    total += sum(m.size for m in tar if m.isreg())
    return total


def traced_reads(logs, root):
    return sum(n for log in logs for path, n in Traced(log).got.items()
               if path.startswith(root + "/"))


def start_worker(folder, endpoint, before):
    os.makedirs(folder)
    return subprocess.Popen([
        "unshare", "--mount", "sh", "-c",
        'mount -t tmpfs none "$0" && exec "$@"', folder,
        *before, BIN + "/quarry-worker", "--connect", endpoint, "--slots",
        "1", "--once"],
        env=dict(os.environ, TMPDIR=folder),
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def requests(root, n):
    with open(root + "/paths.json", encoding="utf-8") as f:
        infos = json.load(f)
    paths = sorted(i["path"] for i in (
        infos.values() if isinstance(infos, dict) else infos))
    for i in range(n):
        yield {"name": "team/app-%d" % i, "tag": "1", "contents": [
            paths[i % len(paths)], paths[(i * 7 + i // len(paths)) %
                                         len(paths)]],
               "config": {"Env": ["N=%d" % i]}}


def batch(args, work, registry, port):
    command = [BIN + "/quarry", "batch", work + "/requests.jsonl",
               "--closure", args.root + "/registration", "--store-root",
               args.root, "--to", "docker://%s/{name}" % registry.host,
               "--listen", "tcp://127.0.0.1:%d" % port, "--local-slots", "0",
               "--min-workers", str(args.workers), "--progress", "json",
               "--metadata-file", work + "/summary.json"]
    command += ["--no-cache"] if args.no_cache else [
        "--cache", work + "/cache"]
    begin = time.monotonic()
    got = subprocess.run(command, stdin=subprocess.DEVNULL, check=False,
                         stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    if got.returncode != 0:
        raise SystemExit(got.stderr.decode()[-3000:])
    events = [json.loads(line) for line in got.stderr.splitlines()]
    # The last that was told: others are the summary's.
    totals = [e["totals"] for e in events if e["event"] == "progress"][-1]
    with open(work + "/summary.json", encoding="utf-8") as f:
        return seconds, totals, json.load(f)["totals"]


def one(args, work, registry, name, workers):
    port = free_port()
    logs = ["%s/%s-%d.strace" % (work, name, i) for i in range(args.workers)]
    workers[:] = [start_worker("%s/%s-%d" % (work, name, i),
                               "tcp://127.0.0.1:%d" % port,
                               strace(logs[i]) if args.trace else [])
                  for i in range(args.workers)]
    seconds, pushes, t = batch(args, work, registry, port)
    for w in workers:
        w.wait(60)
    p = t["pushed"]
    print("%s: %d images in %.1f s (load %.1f); %d layers wanted, %d "
          "different, %d made: %.1f MB of tar; %d blobs uploaded: %.1f MB, "
          "%.1f MB of it by workers; %d mounted, %d there; the registry has "
          "%.1f MB" % (
              name, t["done"], seconds, os.getloadavg()[0],
              t["wanted_layers"], t["distinct_layers"], t["made_layers"],
              t["made_bytes"] / 1e6, p["uploaded"], p["uploaded_bytes"] / 1e6,
              pushes["bytes_uploaded"] / 1e6, p["mounted"], p["there"],
              registry.size() / 1e6))
    print("%s: bytes of files in the registry's layers: %d; that workers say "
          "they read: %d; that strace saw them read below ROOT: %s; second "
          "copies for stragglers: %d" % (
              name, files_in_layers(registry), t["bytes_read"],
              traced_reads(logs, args.root) if args.trace else "-",
              pushes["copies"]),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("root", help="what make_closure.py has made")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--trace", action="store_true")
    args = parser.parse_args()
    args.root = os.path.realpath(args.root)
    work = tempfile.mkdtemp(prefix="quarry-batch-push-", dir="/var/tmp")
    workers = []
    try:
        with open(work + "/requests.jsonl", "w", encoding="ascii") as f:
            for doc in requests(args.root, args.images):
                f.write(json.dumps(doc) + "\n")
        with Registry(work) as registry:
            for name in ("first", "again"):
                one(args, work, registry, name, workers)
    finally:
        for w in workers:
            w.kill()
            w.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
