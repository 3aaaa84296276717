#!/usr/bin/env python3
"""An independent oracle: what `streamLayeredImage` would put out.

Takes the reference's request (already planned) and writes the docker-archive,
with nothing but Python's tarfile and json.  It shares no code and no author's
idea with quarry itself; it reads every file twice and is in no hurry.

  reference.py image [--store-root DIR] REQUEST.json > image.tar
  reference.py config [--store-root DIR] REQUEST.json    the image config
  reference.py diffids [--store-root DIR] REQUEST.json   one a line
"""

import argparse
import datetime
import hashlib
import json
import os
import stat
import sys
import tarfile

CHUNK = 1 << 20


class Sink:
    """Counts and hashes what is written to it, and may pass it on."""

    def __init__(self, out=None):
        self.out, self.size, self.sha = out, 0, hashlib.sha256()

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        if self.out is not None:
            self.out.write(data)
        return len(data)

    def hex(self):
        return self.sha.hexdigest()


def text(name):
    return name.decode("utf-8", "surrogateescape")


def open_tar(out):
    return tarfile.open(
        fileobj=out, mode="w|", format=tarfile.PAX_FORMAT,
        encoding="utf-8", errors="surrogateescape")


class Layer:
    """The tar of one list of store paths."""

    def __init__(self, request, paths, store_root=""):
        self.request, self.paths, self.root = request, paths, store_root

    def info(self, name, kind, mode):
        ti = tarfile.TarInfo(name)
        ti.type, ti.mode = kind, mode
        ti.mtime = self.request["mtime"]
        ti.uid, ti.gid = self.request["uid"], self.request["gid"]
        ti.uname, ti.gname = self.request["uname"], self.request["gname"]
        return ti

    def put(self, tar, path):
        real = os.fsencode(self.root) + path
        st = os.lstat(real)
        mode = stat.S_IMODE(st.st_mode)
        if stat.S_ISLNK(st.st_mode):
            ti = self.info(text(path), tarfile.SYMTYPE, mode)
            ti.linkname = text(os.readlink(real))
            tar.addfile(ti)
        elif stat.S_ISDIR(st.st_mode):
            tar.addfile(self.info(text(path), tarfile.DIRTYPE, mode))
            for name in sorted(os.listdir(real)):
                self.put(tar, path + b"/" + name)
        elif stat.S_ISREG(st.st_mode):
            ti = self.info(text(path), tarfile.REGTYPE, mode)
            ti.size = st.st_size
            with open(real, "rb") as f:
                tar.addfile(ti, f)
        else:
            raise SystemExit("%r: neither file, folder nor link" % real)

    def write(self, out):
        with open_tar(out) as tar:
            up = self.request["store_dir"].strip("/").split("/")
            for i in range(len(up)):
                name = "/" + "/".join(up[:i + 1])
                tar.addfile(self.info(name, tarfile.DIRTYPE, 0o755))
            for path in self.paths:
                self.put(tar, os.fsencode(path))


class FileLayer:
    """A layer.tar that exists."""

    def __init__(self, name):
        self.name = name

    def write(self, out):
        with open(self.name, "rb") as f:
            while data := f.read(CHUNK):
                out.write(data)


class BaseLayer:
    def __init__(self, archive, name):
        self.archive, self.name = archive, name

    def write(self, out):
        with tarfile.open(self.archive) as tar:
            f = tar.extractfile(self.name)
            while data := f.read(CHUNK):
                out.write(data)


def when(value):
    if value == "now":
        return datetime.datetime.now(tz=datetime.timezone.utc)
    return datetime.datetime.fromisoformat(value)


def merge_env(base, config):
    both = (base.get("Env") or []) + (config.get("Env") or [])
    if both:
        last = {}
        for entry in both:
            last[entry.split("=", 1)[0]] = entry
        config = dict(config)
        config["Env"] = list(last.values())
    return config


class Image:
    def __init__(self, request, store_root=""):
        self.request = dict(request)
        self.request["mtime"] = int(when(request["mtime"]).timestamp())
        config = request["config"] or {}
        self.layers = []  # (diff id, name in the archive, layer, size, paths)
        if request.get("from_image"):
            config = self.base(inside(request["from_image"], store_root),
                               config)
        for paths in request["store_layers"]:
            self.add(Layer(self.request, paths, store_root), None, paths)
        folder = request["customisation_layer"]
        self.add(FileLayer(inside(folder, store_root) + "/layer.tar"), None,
                 [folder])
        self.config = config

    def base(self, archive, config):
        with tarfile.open(archive) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))[0]
            image = json.load(tar.extractfile(manifest["Config"]))
        for name in manifest["Layers"]:
            self.add(BaseLayer(archive, name), name, [name])
        return merge_env(image.get("config") or {}, config)

    def add(self, layer, name, paths):
        sink = Sink()
        layer.write(sink)
        self.layers.append((sink.hex(), name or sink.hex() + "/layer.tar",
                            layer, sink.size, paths))

    def config_json(self):
        created = when(self.request["created"]).isoformat()
        return json.dumps({
            "created": created,
            "architecture": self.request["architecture"],
            "os": self.request.get("os", "linux"),
            "config": self.config,
            "rootfs": {
                "diff_ids": ["sha256:" + l[0] for l in self.layers],
                "type": "layers",
            },
            "history": [
                {"created": created, "comment": "store paths: %r" % (l[4],)}
                for l in self.layers
            ],
        }, indent=4).encode()

    def outer(self, tar, name, size):
        ti = tarfile.TarInfo(name)
        ti.mtime, ti.mode, ti.size = self.request["mtime"], 0o644, size
        return ti

    def write(self, out):
        config = self.config_json()
        config_name = hashlib.sha256(config).hexdigest() + ".json"
        tag = self.request.get("repo_tag")
        manifest = json.dumps([{
            "Config": config_name,
            "RepoTags": [tag],
            "Layers": [l[1] for l in self.layers],
        }], indent=4).encode()
        with open_tar(out) as tar:
            for _, name, layer, size, _ in self.layers:
                # Streamed: the header, then the bytes as they are made.
                head = self.outer(tar, name, size).tobuf(
                    tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
                tar.fileobj.write(head)
                layer.write(tar.fileobj)
                tar.fileobj.write(bytes(-size % 512))
                tar.offset += len(head) + size + -size % 512
            for name, data in ((config_name, config),
                               ("manifest.json", manifest)):
                ti = self.outer(tar, name, len(data))
                tar.addfile(ti, _Bytes(data))


class _Bytes:
    def __init__(self, data):
        self.data = data

    def read(self, n):
        head, self.data = self.data[:n], self.data[n:]
        return head


def inside(path, store_root):
    """Store paths lie under the store's root, other paths do not."""
    if path.startswith("/nix/store/"):
        return store_root + path
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["image", "config", "diffids"])
    parser.add_argument("--store-root", default="")
    parser.add_argument("request")
    args = parser.parse_args()
    with open(args.request, encoding="utf-8") as f:
        image = Image(json.load(f), args.store_root)
    if args.what == "image":
        image.write(sys.stdout.buffer)
    elif args.what == "config":
        sys.stdout.buffer.write(image.config_json())
    else:
        for layer in image.layers:
            print(layer[0])


if __name__ == "__main__":
    main()
