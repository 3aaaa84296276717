#!/usr/bin/env python3
"""Makes a real closure out of Debian packages, in a store of its own.

  make_closure.py [--cache DIR] ROOT PACKAGE...

A package becomes a store path: its unpacked files, and a text that names the
store paths it depends on.  ROOT/nix/store holds them, ROOT/registration and
ROOT/paths.json describe them.  A run that was stopped is continued by the
next.  Needs apt's lists (apt-get update) and the archive.
"""

import argparse
import collections
import concurrent.futures
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import make_store  # noqa: E402

Package = collections.namedtuple("Package", "name version filename sha256")


def tell(text):
    if sys.stderr.isatty():
        print("\r\033[K" + text, end="", file=sys.stderr, flush=True)


def output(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE,
                          env=dict(os.environ, LC_ALL="C")).stdout.decode()


def depends(roots):
    """{package: [packages]} of roots and all below: first alternatives."""
    text = output(
        "apt-cache", "depends", "--recurse", "--no-recommends",
        "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
        "--no-enhances", *roots)
    graph, name, first = {}, None, True
    for line in text.splitlines():
        if not line.startswith(" "):
            name, first = line.strip(), True
            graph[name] = []
            continue
        m = re.match(r" ( |\|)(PreDepends|Depends): (\S+)", line)
        if m and first and not m.group(3).startswith("<"):
            graph[name].append(m.group(3))
        if m:  # the lines of one "a | b" all but the last begin with |
            first = m.group(1) != "|"
    return graph


def order(graph, roots):
    """Dependencies first; of a cycle, the reference back is left out."""
    done, under, out = set(), set(), []

    def visit(name):
        under.add(name)
        refs = []
        for ref in graph.get(name, []):
            if ref in under or ref.startswith("<"):
                continue
            if ref not in done:
                visit(ref)
            refs.append(ref)
        under.discard(name)
        done.add(name)
        out.append((name, refs))

    for root in roots:
        if root not in done:
            visit(root)
    return out


def packages(names):
    """What apt would download of each."""
    text = output("apt-cache", "show", "--no-all-versions", *names)
    found = {}
    for record in text.split("\n\n"):
        field = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", record, re.M))
        if "Filename" in field:
            found.setdefault(field["Package"], Package(
                field["Package"], field["Version"], field["Filename"],
                field["SHA256"]))
    return found


def download(wanted, cache):
    os.makedirs(cache, exist_ok=True)

    def name_of(p):
        names = glob.glob(os.path.join(cache, "%s_*.deb" % p.name))
        version = p.version.replace(":", "%3a")
        return next((n for n in names if "_%s_" % version in n), None)

    missing = [p for p in wanted if not name_of(p)]
    for i in range(0, len(missing), 50):
        tell("downloaded %d of %d packages" % (i, len(missing)))
        subprocess.run(
            ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root"]
            + ["%s=%s" % (p.name, p.version) for p in missing[i:i + 50]],
            cwd=cache, check=True, stdout=subprocess.DEVNULL)
    return {p.name: name_of(p) for p in wanted}


def canonical(top):
    """Modes and times as Nix has them; folders last, from below."""
    for folder, dirs, files in os.walk(top, topdown=False):
        for name in files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if stat.S_ISREG(st.st_mode):
                os.chmod(path, 0o555 if st.st_mode & 0o111 else 0o444)
            elif not stat.S_ISLNK(st.st_mode):
                os.unlink(path)
                continue
            os.utime(path, (1, 1), follow_symlinks=False)
        for name in dirs:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                os.utime(path, (1, 1), follow_symlinks=False)
        os.chmod(folder, 0o555)
        os.utime(folder, (1, 1))


def unpack(root, path, deb, refs):
    """Returns the NAR's hash and size."""
    real = root + path
    mark = os.path.join(root, "done", os.path.basename(path))
    if not os.path.exists(mark):
        if os.path.exists(real):
            subprocess.run(["chmod", "-R", "u+w", real], check=True)
            shutil.rmtree(real)
        subprocess.run(["dpkg-deb", "--extract", deb, real], check=True)
        os.chmod(real, 0o755)
        os.makedirs(real + "/nix-support", exist_ok=True)
        with open(real + "/nix-support/propagated", "w") as f:
            f.write("".join(r + "\n" for r in refs))
        canonical(real)
        nar = make_store.Nar(real)
        with open(mark, "w") as f:
            f.write("%s %d" % (nar.sha.hexdigest(), nar.size))
    with open(mark) as f:
        digits, size = f.read().split()
    return bytes.fromhex(digits), int(size)


def make(root, roots, cache):
    """The closure's path-info records, dependencies first."""
    os.makedirs(root + "/nix/store", exist_ok=True)
    os.makedirs(root + "/done", exist_ok=True)
    graph = depends(roots)
    known = packages([n for n in graph if not n.startswith("<")])
    chain = [(name, refs) for name, refs in order(graph, roots)
             if name in known]
    debs = download([known[name] for name, _ in chain], cache)
    paths, jobs = {}, []
    for name, refs in chain:
        p = known[name]
        # Nix takes fewer characters in names than Debian in versions.
        version = re.sub(r"[^\w.+?=-]", "_", p.version.split(":")[-1])
        refs = sorted({paths[r] for r in refs if r in paths})
        seed = hashlib.sha256("\n".join([p.sha256] + refs).encode())
        digits = make_store.base32(make_store.fold(seed.digest()))
        paths[name] = "/nix/store/%s-%s-%s" % (digits, name, version)
        jobs.append((paths[name], debs[name], refs))
    with concurrent.futures.ProcessPoolExecutor() as pool:
        made = pool.map(unpack, [root] * len(jobs), *zip(*jobs))
        infos = []
        for (path, _, refs), (digest, size) in zip(jobs, made):
            infos.append({"path": path, "references": refs,
                          "narHash": digest, "narSize": size})
            tell("unpacked %d of %d packages" % (len(infos), len(jobs)))
    return infos


def write(root, infos):
    with open(root + "/registration", "w") as f:
        f.write(make_store.registration(infos))
    with open(root + "/paths.json", "w") as f:
        json.dump([dict(i, narHash=make_store.sri(i["narHash"]))
                   for i in infos], f)


def default_cache():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "quarry-bench")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cache", default=default_cache())
    parser.add_argument("root")
    parser.add_argument("package", nargs="+")
    args = parser.parse_args()
    sys.setrecursionlimit(10000)
    infos = make(os.path.abspath(args.root), args.package, args.cache)
    write(args.root, infos)
    tell("")
    print("%d store paths, %.0f MB" % (
        len(infos), sum(i["narSize"] for i in infos) / 1e6))


if __name__ == "__main__":
    main()
