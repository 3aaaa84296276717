"""Checks a dump of tar headers against Python's tarfile and GNU tar.

Usage: tar_header.py DUMP SCRATCH.  A line of DUMP: dialect, type, mode, uid,
gid, size, mtime in decimal; name, link, uname, gname and the header in hex.
gnu headers are compared with those of GNU tar over files made in SCRATCH.
"""
import os
import subprocess
import sys
import tarfile


def text(raw):
    return raw.decode("utf-8", "surrogateescape")


def pax(entry):
    info = tarfile.TarInfo(text(entry["name"]))
    info.type = bytes([entry["type"]])
    info.linkname = text(entry["link"])
    info.uname = text(entry["uname"])
    info.gname = text(entry["gname"])
    for key in ("mode", "uid", "gid", "size", "mtime"):
        setattr(info, key, entry[key])
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def gnu(entry, scratch):
    """The first bytes of what GNU tar writes for such a file."""
    root = os.fsencode(scratch)
    name = entry["name"]
    os.makedirs(os.path.dirname(os.path.join(root, name)) or b".",
                exist_ok=True)
    path = os.path.join(root, name)
    kind = chr(entry["type"])
    if kind == "5":
        os.makedirs(path, exist_ok=True)
    elif kind == "2":
        os.symlink(entry["link"], path)
    else:
        with open(path, "wb") as f:
            f.truncate(entry["size"])
    if kind != "2":
        os.chmod(path, entry["mode"])
    tar = subprocess.Popen(
        ["tar", "--format=gnu", "--sort=name", "--hard-dereference",
         "--numeric-owner", "-P", "--no-recursion", "--null",
         "--verbatim-files-from", "--mtime=@%d" % entry["mtime"],
         "--owner=%d" % entry["uid"], "--group=%d" % entry["gid"],
         "-C", scratch, "-cf", "-", "-T", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    tar.stdin.write(name + b"\0")
    tar.stdin.close()
    head = tar.stdout.read(len(entry["bytes"]))
    tar.stdout.close()
    tar.wait()
    if kind == "5":
        os.chmod(path, 0o755)
    else:
        os.unlink(path)
    return head


def main(dump, scratch):
    counts = {"pax": 0, "gnu": 0}
    for number, line in enumerate(open(dump, encoding="ascii"), 1):
        f = line.rstrip("\n").split(" ")
        keys = ("type", "mode", "uid", "gid", "size", "mtime")
        entry = {k: int(v) for k, v in zip(keys, f[1:7])}
        keys = ("name", "link", "uname", "gname", "bytes")
        entry.update((k, bytes.fromhex(v)) for k, v in zip(keys, f[7:12]))
        want = pax(entry) if f[0] == "pax" else gnu(entry, scratch)
        if entry["bytes"] != want:
            print("line %d: %s %r" % (number, f[0], entry))
            print("expected %r" % want)
            return 1
        counts[f[0]] += 1
    print("%(pax)d pax and %(gnu)d gnu headers agree" % counts)
    return 0 if counts["pax"] and counts["gnu"] else 1


sys.exit(main(*sys.argv[1:]))
