"""A ZeroMQ peer in plain sockets: ZMTP 3.0 with NULL security, and msgpack.

So that tests can say to the coordinator's socket what libzmq never would.
Also a worker program by itself: `zmtp.py MODE --connect ipc://... ...` is a
worker that misbehaves as MODE says.
"""

import os
import socket
import struct
import sys
import time

GREETING = (b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00"
            + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31))

HELLO, WELCOME, REFUSE, JOB, ITEMS, ENTRIES = 1, 2, 3, 4, 5, 6
CANCEL, BEAT, SIZED, DONE, FAIL, BYE = 7, 8, 9, 10, 11, 12


def pack(x):
    if x is None:
        return b"\xc0"
    if isinstance(x, bool):
        return b"\xc3" if x else b"\xc2"
    if isinstance(x, int):
        if x < 0:
            return b"\xd3" + struct.pack(">q", x)
        return (bytes([x]) if x < 128
                else b"\xcf" + struct.pack(">Q", x))
    if isinstance(x, str):
        return b"\xdb" + struct.pack(">I", len(x.encode())) + x.encode()
    if isinstance(x, bytes):
        return b"\xc6" + struct.pack(">I", len(x)) + x
    return b"\xdd" + struct.pack(">I", len(x)) + b"".join(map(pack, x))


def unpack(data, at=0):
    """(value, position after it) of what quarry sends."""
    c = data[at]
    at += 1
    if c < 0x80:
        return c, at
    if c >= 0xe0:
        return c - 256, at
    if c & 0xe0 == 0xa0:
        return data[at:at + (c & 31)].decode(), at + (c & 31)
    if c & 0xf0 == 0x90 or c in (0xdc, 0xdd):
        n = c & 15
        if c & 0xf0 != 0x90:
            size = 2 if c == 0xdc else 4
            n = int.from_bytes(data[at:at + size], "big")
            at += size
        out = []
        for _ in range(n):
            x, at = unpack(data, at)
            out.append(x)
        return out, at
    if c in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[c], at
    if 0xcc <= c <= 0xd3:
        size = 1 << ((c - 0xcc) & 3)
        return int.from_bytes(data[at:at + size], "big",
                              signed=c >= 0xd0), at + size
    size = {0xc4: 1, 0xc5: 2, 0xc6: 4, 0xd9: 1, 0xda: 2, 0xdb: 4}[c]
    n = int.from_bytes(data[at:at + size], "big")
    at += size
    raw = data[at:at + n]
    return (raw if c < 0xd0 else raw.decode()), at + n


class Peer:
    """A DEALER that is connected to the ipc path."""

    def __init__(self, path, handshake=True):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(10)
        self.s.connect(path)
        self.buf = b""
        if handshake:
            self.raw(GREETING)
            self.take(64)
            ready = (b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6)
                     + b"DEALER\x08Identity" + bytes(4))
            self.raw(b"\x04" + bytes([len(ready)]) + ready)

    def raw(self, data):
        self.s.sendall(data)

    def frame(self, body, flags=0):
        if len(body) < 256:
            self.raw(bytes([flags, len(body)]) + body)
        else:
            self.raw(bytes([flags | 2]) + struct.pack(">Q", len(body)) + body)

    def send(self, *fields):
        self.frame(pack(list(fields)))

    def hello(self, protocol=2, program="0.1.0", host="impostor", pid=None,
              slots=1):
        self.send(HELLO, protocol, program, host, pid or os.getpid(), slots,
                  "libdeflate", "zstd", os.urandom(16))

    def take(self, n):
        while len(self.buf) < n:
            data = self.s.recv(65536)
            if not data:
                raise EOFError
            self.buf += data
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def receive(self):
        """The next message; answers libzmq's pings on the way."""
        while True:
            flags = self.take(1)[0]
            n = int.from_bytes(self.take(8 if flags & 2 else 1), "big")
            body = self.take(n)
            if flags & 4:
                if body.startswith(b"\x04PING"):
                    self.frame(b"\x04PONG" + body[7:], 4)
                continue
            return unpack(body)[0]

    def close(self):
        self.s.close()


def endpoint(argv):
    """The path in --connect ipc://PATH."""
    return next(a for a in argv if a.startswith("ipc://"))[6:]


def worker(mode, argv):
    if mode == "silent":
        time.sleep(600)
    peer = Peer(endpoint(argv))
    if mode == "protocol":
        peer.hello(protocol=99)
    elif mode == "version":
        peer.hello(program="99.98.97")
    elif mode == "die-on-job":
        peer.hello()
        while peer.receive()[0] != JOB:
            pass
        os.kill(os.getpid(), 9)
    elif mode == "fail":
        peer.hello()
        while True:
            m = peer.receive()
            if m[0] == JOB:
                peer.send(FAIL, m[1], m[2], 2, 5, "the disk is on fire")
    while peer.receive()[0] not in (REFUSE, BYE):
        pass


if __name__ == "__main__":
    try:
        worker(sys.argv[1], sys.argv[2:])
    except (EOFError, ConnectionError, TimeoutError):
        pass
