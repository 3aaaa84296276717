#!/usr/bin/env python3
"""The peer: an image streamed step by step as nixpkgs does it today.

Each layer's tar is made twice with Python's tarfile: first for its digest and
size, then, by a second thread through a pipe, into the outer tar on standard
output.  Files come from pathlib, sorted, with tarfile's own look at each.

  streamed.py STORE-ROOT REQUEST.json > IMAGE      (the reference's request)
"""

import datetime
import hashlib
import io
import itertools
import json
import os
import pathlib
import sys
import tarfile
import threading


def seconds(iso):
    return int(datetime.datetime.fromisoformat(iso).timestamp())


class Digest:
    """A file that is only hashed and counted."""

    def __init__(self):
        self.sha, self.size = hashlib.sha256(), 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)


class Streamer:
    def __init__(self, root, request):
        self.root, self.request = root, request
        self.mtime = seconds(request["mtime"])

    def owned(self, ti):
        ti.mtime = self.mtime
        for field in ("uid", "gid", "uname", "gname"):
            setattr(ti, field, self.request[field])
        return ti

    def layer(self, out, paths):
        with tarfile.open(fileobj=out, mode="w|") as tar:
            for name in ("/nix", "/nix/store"):
                ti = tarfile.TarInfo(name)
                ti.type, ti.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(self.owned(ti))
            for path in paths:
                top = pathlib.Path(self.root + path)
                files = [top] if top.is_symlink() else itertools.chain(
                    [top], top.rglob("*"))
                for name in sorted(files):
                    ti = tar.gettarinfo(name)
                    ti.name = str(name)[len(self.root):]
                    if ti.islnk():
                        ti.type, ti.linkname = tarfile.REGTYPE, ""
                        ti.size = name.stat().st_size
                    self.owned(ti)
                    if ti.isfile():
                        with open(name, "rb") as f:
                            tar.addfile(ti, f)
                    else:
                        tar.addfile(ti)

    def outer(self, name, size):
        ti = tarfile.TarInfo(name)
        ti.size, ti.mtime = size, self.mtime
        return ti

    def put_layer(self, tar, paths):
        digest = Digest()
        self.layer(digest, paths)
        digits = digest.sha.hexdigest()
        receive, send = os.pipe()

        def produce():
            with open(send, "wb") as out:
                self.layer(out, paths)

        thread = threading.Thread(target=produce)
        thread.start()
        with open(receive, "rb") as source:
            tar.addfile(self.outer(digits + "/layer.tar", digest.size),
                        source)
        thread.join()
        return digits

    def put_file(self, tar, name, data):
        tar.addfile(self.outer(name, len(data)), io.BytesIO(data))

    def image(self, out):
        request, digests = self.request, []
        with tarfile.open(fileobj=out, mode="w|") as tar:
            for paths in request["store_layers"]:
                digests.append(self.put_layer(tar, paths))
            custom = request["customisation_layer"]
            with open(custom + "/layer.tar", "rb") as f:
                data = f.read()
            digests.append(hashlib.sha256(data).hexdigest())
            self.put_file(tar, digests[-1] + "/layer.tar", data)
            config = self.config(digests).encode()
            name = hashlib.sha256(config).hexdigest()
            self.put_file(tar, name + ".json", config)
            self.put_file(tar, "manifest.json", json.dumps([{
                "Config": name + ".json",
                "RepoTags": [request["repo_tag"]],
                "Layers": [d + "/layer.tar" for d in digests],
            }], indent=4).encode())
        return name

    def config(self, digests):
        request = self.request
        created = datetime.datetime.fromisoformat(
            request["created"]).isoformat()
        made_of = request["store_layers"] + [[request["customisation_layer"]]]
        return json.dumps({
            "created": created,
            "architecture": request["architecture"],
            "os": request["os"],
            "config": request["config"],
            "rootfs": {"diff_ids": ["sha256:" + d for d in digests],
                       "type": "layers"},
            "history": [{"created": created, "comment": "store paths: %r" % (
                paths,)} for paths in made_of],
        }, indent=4)


def main():
    with open(sys.argv[2], encoding="utf-8") as f:
        request = json.load(f)
    name = Streamer(sys.argv[1], request).image(sys.stdout.buffer)
    print("sha256:" + name, file=sys.stderr)


if __name__ == "__main__":
    main()
