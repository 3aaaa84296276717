#!/usr/bin/env python3
"""What a batch costs the coordinator: many images over one large graph.

    tests/bench/batch.py [--images N] [--paths N] [--to TEMPLATE]

Makes a store of small files in memory (TMPDIR or /dev/shm), whose paths refer
to each other as those of a distribution do: a base that all have, and
programs of some hundred paths each that use others.  Then `quarry batch` makes
an image of each program, and then once more, with all layers known.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
QUARRY = os.path.join(
    os.environ.get("QUARRY_BIN", os.path.join(TOP, "build", "bin")), "quarry")
DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"
BASE = 1000  # paths that all programs stand on


def nar_of_file(data):
    def text(s):
        return len(s).to_bytes(8, "little") + s + bytes(-len(s) % 8)

    return b"".join(map(text, (b"nix-archive-1", b"(", b"type", b"regular",
                               b"contents", data, b")")))


def references(n, programs, rng):
    """[[indices]] of each path, and the top path of each program."""
    refs = [sorted(rng.sample(range(i), min(i, 4))) for i in range(BASE)]
    tops, size = [], max(1, (n - BASE) // programs)
    while len(refs) < n:
        at = (len(refs) - BASE) % size
        few = [len(refs) - 1] if at else []
        few += rng.sample(range(BASE), 3)
        if len(tops) % 2 and at % 40 == 0:  # these use others, which do not
            few.append(rng.choice(tops[::2]))
        refs.append(sorted(set(few)))
        if at == size - 1:
            tops.append(len(refs) - 1)
    return refs, tops


def make_store(root, n, programs):
    rng = random.Random(1)
    refs, tops = references(n, programs, rng)
    os.makedirs(root + "/nix/store")
    paths = ["/nix/store/%s-%s-%d" % (
        "".join(rng.choices(DIGITS, k=32)), "package-of-some-name", i)
        for i in range(n)]
    infos = []
    for i, path in enumerate(paths):
        data = (path * rng.choice((1, 1, 2, 10))).encode()
        with open(root + path, "wb") as f:
            f.write(data)
        os.chmod(root + path, 0o444)
        nar = nar_of_file(data)
        digest = base64.b64encode(hashlib.sha256(nar).digest()).decode()
        infos.append({"path": path, "narHash": "sha256-" + digest,
                      "narSize": len(nar),
                      "references": [paths[k] for k in refs[i]]})
    with open(root + "/graph.json", "w", encoding="ascii") as f:
        json.dump(infos, f)
    return [paths[k] for k in tops]


def peak(pid):
    try:
        with open("/proc/%d/status" % pid, encoding="ascii") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0


def run(args):
    """(seconds, MiB, summary, seconds of planning)"""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.PIPE)
        most, planned = 0, 0
        os.set_blocking(p.stderr.fileno(), False)
        while p.poll() is None:
            most = max(most, peak(p.pid))
            if b" layers: " in (p.stderr.read() or b""):
                planned = time.monotonic() - begin
            time.sleep(0.02)
        if p.returncode != 0:
            raise SystemExit("batch: status %d" % p.returncode)
        seconds = time.monotonic() - begin
        out.seek(0)
        return seconds, most, json.load(out), planned


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--paths", type=int, default=100000)
    parser.add_argument("--to", default="oci:{name}")
    args = parser.parse_args()
    memory = os.environ.get("TMPDIR", "/dev/shm")
    top = tempfile.mkdtemp(prefix="quarry-batch-", dir=memory)
    try:
        tops = make_store(top, args.paths, args.images)
        with open(top + "/requests.jsonl", "w", encoding="ascii") as f:
            for i in range(args.images):
                f.write(json.dumps({
                    "name": "program-%d" % i, "tag": "1",
                    "contents": [tops[i % len(tops)]],
                    "config": {"Cmd": [tops[i % len(tops)]]}}) + "\n")
        for name in ("first", "again"):
            to = args.to.replace(
                "oci:", "oci:%s/%s/" % (top, name), 1)
            seconds, most, found, planned = run([
                QUARRY, "batch", top + "/requests.jsonl", "--closure",
                top + "/graph.json", "--store-root", top, "--cache",
                top + "/cache", "--to", to, "--json"])
            t = found["totals"]
            firsts = sorted(i["seconds"] for i in found["images"])
            print("%s: %d images, %d layers wanted, %d different, %d made: "
                  "%.1f s (planned after %.1f s; the first image after %.1f, "
                  "half of them after %.1f), %.0f MiB" % (
                      name, t["done"], t["wanted_layers"],
                      t["distinct_layers"], t["made_layers"], seconds,
                      planned, firsts[0], firsts[len(firsts) // 2], most))
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
