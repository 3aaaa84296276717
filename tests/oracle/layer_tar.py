"""A layer's tar, written by Python's tarfile (pax) or GNU tar (gnu).

An implementation of its own, to compare with: usable as a module (write_pax,
write_gnu) and as a program that writes the tar, or with --digest its SHA-256
and size, to standard output.
"""
import argparse
import hashlib
import os
import stat
import subprocess
import sys
import tarfile


class Meta:
    """What all entries of a layer have in common."""

    def __init__(self, mtime=1, uid=0, gid=0, uname="root", gname="root"):
        self.mtime, self.uid, self.gid = mtime, uid, gid
        self.uname, self.gname = uname, gname

    def info(self, name, kind, mode):
        info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
        info.type, info.mode = kind, mode & 0o7777
        info.mtime, info.uid, info.gid = self.mtime, self.uid, self.gid
        info.uname, info.gname = self.uname, self.gname
        return info


def ancestors(store_dir):
    parts = store_dir.strip("/").split("/")
    return ["/" + "/".join(parts[:i + 1]) for i in range(len(parts))]


def tree(path):
    """path and all under it, depth first, sorted by bytes."""
    todo = [path]
    while todo:
        path = todo.pop()
        st = os.lstat(path)
        yield path, st
        if stat.S_ISDIR(st.st_mode):
            names = sorted(os.listdir(path), reverse=True)
            todo.extend(os.path.join(path, name) for name in names)


def add_path(tar, path, root, meta):
    for real, st in tree(os.fsencode(root + path)):
        name = real[len(os.fsencode(root)):]
        if stat.S_ISDIR(st.st_mode):
            tar.addfile(meta.info(name, tarfile.DIRTYPE, st.st_mode))
        elif stat.S_ISLNK(st.st_mode):
            info = meta.info(name, tarfile.SYMTYPE, st.st_mode)
            info.linkname = os.fsdecode(os.readlink(real))
            tar.addfile(info)
        elif stat.S_ISREG(st.st_mode):
            info = meta.info(name, tarfile.REGTYPE, st.st_mode)
            info.size = st.st_size
            with open(real, "rb") as f:
                tar.addfile(info, f)
        else:
            raise ValueError("%r cannot be in a layer" % real)


def write_pax(out, paths, meta=None, store_dir="/nix/store", store_root=""):
    """out: a file with write() and tell()."""
    meta = meta or Meta()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT,
                      encoding="utf-8", errors="surrogateescape") as tar:
        for name in ancestors(store_dir):
            tar.addfile(meta.info(name.encode(), tarfile.DIRTYPE, 0o755))
        for path in paths:
            add_path(tar, path, store_root, meta)


def write_gnu(out, paths, meta=None, store_dir="/nix/store", store_root=""):
    """The ancestors under store_root must have mode 0755."""
    meta = meta or Meta()
    for name in ancestors(store_dir):
        if stat.S_IMODE(os.stat(store_root + name).st_mode) != 0o755:
            raise ValueError("%s has not mode 0755" % name)
    command = ["tar", "--format=gnu", "--sort=name", "--hard-dereference",
               "--mtime=@%d" % meta.mtime, "--owner=%d" % meta.uid,
               "--group=%d" % meta.gid, "--numeric-owner", "-P",
               "--transform=s,^,/,rSH", "-C", store_root or "/", "-cf", "-"]
    command += ["--no-recursion"] + [n[1:] for n in ancestors(store_dir)]
    command += ["--recursion"] + [p[1:] for p in paths]
    tar = subprocess.Popen(command, stdout=subprocess.PIPE,
                           env=dict(os.environ, LC_ALL="C"))
    while True:
        data = tar.stdout.read(1 << 20)
        if not data:
            break
        out.write(data)
    if tar.wait() != 0:
        raise ValueError("tar: exit status %d" % tar.returncode)


class Digest:
    """A file that is only hashed."""

    def __init__(self):
        self.sha, self.size = hashlib.sha256(), 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        return len(data)

    def tell(self):
        return self.size


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--dialect", choices=("pax", "gnu"), default="pax")
    p.add_argument("--store-dir", default="/nix/store")
    p.add_argument("--store-root", default="")
    p.add_argument("--mtime", type=int, default=1)
    p.add_argument("--uid", type=int, default=0)
    p.add_argument("--gid", type=int, default=0)
    p.add_argument("--uname", default="root")
    p.add_argument("--gname", default="root")
    p.add_argument("--digest", action="store_true")
    p.add_argument("path", nargs="*")
    a = p.parse_args()
    out = Digest() if a.digest else sys.stdout.buffer
    write = write_gnu if a.dialect == "gnu" else write_pax
    write(out, a.path, Meta(a.mtime, a.uid, a.gid, a.uname, a.gname),
          a.store_dir, a.store_root)
    if a.digest:
        print(out.sha.hexdigest(), out.size)


if __name__ == "__main__":
    main()
