#!/usr/bin/env python3
"""What a batch reads, makes and uploads, with workers of their own that push.

    tests/bench/make_closure.py ROOT git python3 perl
    tests/bench/batch_push.py ROOT [--images N] [--workers N] [--no-cache]

Makes images over the closure that tests/bench/make_closure.py has made at ROOT,
each of two of its packages with what they depend on, and pushes each into a
repository of its own of Debian's docker-registry; then once more.  Workers are
processes which do not see the coordinator's files (in mount namespaces: needs
root).
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from pushed import Registry

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
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


def read_by(pids):
    """Bytes that these processes have read, of files and otherwise."""
    total = 0
    for pid in pids:
        with open("/proc/%d/io" % pid, encoding="ascii") as f:
            total += int(f.readline().split()[1])
    return total


def start_worker(folder, endpoint):
    os.makedirs(folder)
    return subprocess.Popen([
        "unshare", "--mount", "sh", "-c",
        'mount -t tmpfs none "$0" && exec "$@"', folder,
        BIN + "/quarry-worker", "--connect", endpoint, "--slots", "1"],
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("root", help="what make_closure.py has made")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--no-cache", action="store_true")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="quarry-batch-push-", dir="/var/tmp")
    port = free_port()
    workers = []
    try:
        with open(work + "/requests.jsonl", "w", encoding="ascii") as f:
            for doc in requests(args.root, args.images):
                f.write(json.dumps(doc) + "\n")
        workers = [start_worker("%s/w%d" % (work, i),
                                "tcp://127.0.0.1:%d" % port)
                   for i in range(args.workers)]
        with Registry(work) as registry:
            before = 0
            for name in ("first", "again"):
                seconds, pushes, t = batch(args, work, registry, port)
                now = read_by([w.pid for w in workers])
                p = t["pushed"]
                print("%s: %d images in %.1f s; %d layers wanted, %d "
                      "different, %d made: %.1f MB of tar; workers read %.1f "
                      "MB; %d blobs uploaded: %.1f MB, %.1f MB of it by "
                      "workers; %d mounted, %d there; the registry has "
                      "%.1f MB" % (
                          name, t["done"], seconds, t["wanted_layers"],
                          t["distinct_layers"], t["made_layers"],
                          t["made_bytes"] / 1e6, (now - before) / 1e6,
                          p["uploaded"], p["uploaded_bytes"] / 1e6,
                          pushes["bytes_uploaded"] / 1e6, p["mounted"],
                          p["there"], registry.size() / 1e6), flush=True)
                before = now
    finally:
        for w in workers:
            w.kill()
            w.wait()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
