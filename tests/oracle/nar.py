"""The NAR of a path: nar.py PATH... prints SHA-256 and size of each."""
import hashlib
import os
import stat
import struct
import sys


def text(data):
    return struct.pack("<Q", len(data)) + data + bytes(-len(data) % 8)


def node(path):
    st = os.lstat(path)
    yield text(b"(") + text(b"type")
    if stat.S_ISREG(st.st_mode):
        yield text(b"regular")
        if st.st_mode & 0o100:
            yield text(b"executable") + text(b"")
        with open(path, "rb") as f:
            yield text(b"contents") + text(f.read())
    elif stat.S_ISLNK(st.st_mode):
        yield text(b"symlink") + text(b"target") + text(os.readlink(path))
    else:
        yield text(b"directory")
        for name in sorted(os.listdir(path)):
            yield text(b"entry") + text(b"(") + text(b"name") + text(name)
            yield text(b"node")
            yield from node(os.path.join(path, name))
            yield text(b")")
    yield text(b")")


def digest(path):
    sha, size = hashlib.sha256(), 0
    for part in [text(b"nix-archive-1"), *node(os.fsencode(path))]:
        sha.update(part)
        size += len(part)
    return sha.hexdigest(), size


if __name__ == "__main__":
    sys.setrecursionlimit(20000)
    for argument in sys.argv[1:]:
        print(*digest(argument))
