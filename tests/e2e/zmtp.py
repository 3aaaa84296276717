"""A ZeroMQ peer in plain sockets: ZMTP 3.0 with NULL security, and msgpack.

So that tests can say to the coordinator's socket what libzmq never would.
Also a worker program by itself: `zmtp.py MODE --connect ipc://... ...` is a
worker that misbehaves as MODE says.
"""

import os
import socket
import struct
import sys
import threading
import time

GREETING = (b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00"
            + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31))

HELLO, WELCOME, REFUSE, JOB, ITEMS, ENTRIES = 1, 2, 3, 4, 5, 6
CANCEL, BEAT, SIZED, DONE, FAIL, BYE, POSTPONE = 7, 8, 9, 10, 11, 12, 13
WHO, ASK, WANT, PATHS, HAVE = 16, 17, 18, 19, 20


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
    """A DEALER that is connected to an ipc path, or to ("HOST", PORT)."""

    def __init__(self, where, handshake=True):
        self.s = socket.socket(
            socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        self.s.settimeout(60)
        self.s.connect(where)
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

    def hello(self, protocol=9, program="0.1.0", host="impostor", pid=None,
              slots=1, instance=None, session=0, held=(), fetches=True,
              speed=(0, 0, 0), gzip="libdeflate"):
        self.send(HELLO, protocol, program, host, pid or os.getpid(), slots,
                  gzip, "zstd", instance or os.urandom(16), session,
                  [list(h) for h in held], fetches, *speed)

    def fill(self, n):
        while len(self.buf) < n:
            data = self.s.recv(65536)
            if not data:
                raise EOFError
            self.buf += data

    def take(self, n):
        self.fill(n)
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def receive(self):
        """The next message; answers libzmq's pings on the way.  One that has
        not come wholly when time is up is received the next time."""
        while True:
            self.fill(2)
            flags = self.buf[0]
            head = 9 if flags & 2 else 2
            self.fill(head)
            n = int.from_bytes(self.buf[1:head], "big")
            self.fill(head + n)
            body = self.take(head + n)[head:]
            if flags & 4:
                if body.startswith(b"\x04PING"):
                    self.frame(b"\x04PONG" + body[7:], 4)
                continue
            return unpack(body)[0]

    def close(self):
        self.s.close()


DATA_HELLO, PULL, CHUNK, PULL_FAIL = 65, 66, 67, 68
COMMITTED, DROP, RELEASED = 69, 70, 71
CHUNK_SIZE = 256 << 10


class Liar(threading.Thread):
    """A worker of plain TCP that makes nothing, but says that it has.

    result(job, attempt) gives a list of messages, what it answers to a JOB;
    always are messages that it says with each beat;
    served are the bytes that it hands over when they are pulled, or gives
    them for (job, attempt); None: it does not answer.
    """

    def __init__(self, port, result, served=None, always=(), **hello):
        super().__init__(daemon=True)
        self.port, self.result, self.served = port, result, served
        self.hello, self.always = hello, always
        self.jobs, self.pulls, self.beats = [], 0, 0
        self.pulled = set()
        self.end = self.text = None
        self.start()

    def run(self):
        peer = Peer(("127.0.0.1", self.port))
        try:
            self.talk(peer)
        except (OSError, EOFError) as e:
            self.end = repr(e)
        peer.close()

    def talk(self, peer):
        peer.hello(**self.hello)
        peer.s.settimeout(0.2)
        while True:
            try:
                m = peer.receive()
            except TimeoutError:
                for m in [[BEAT, []], *self.always]:
                    peer.send(*m)
                self.beats += 1
                continue
            if m[0] == WELCOME:
                self.data = threading.Thread(
                    target=self.hand_over, daemon=True,
                    args=(int(m[4].rsplit(":", 1)[1]), m[5]))
                self.data.start()
            elif m[0] == JOB:
                self.jobs.append((m[1], m[2]))
                for answer in self.result(m[1], m[2]):
                    peer.send(*answer)
            elif m[0] in (BYE, REFUSE, WHO):
                self.end = m[0]
                self.text = m[1] if m[0] == REFUSE else None
                return

    def hand_over(self, port, token):
        peer = Peer(("127.0.0.1", port))
        peer.s.settimeout(0.5)
        try:
            while self.is_alive():
                peer.send(DATA_HELLO, token)
                try:
                    m = peer.receive()
                except TimeoutError:
                    continue
                if m[0] == PULL and self.served is not None:
                    self.pulls += 1
                    self.pulled.add(m[1])
                    served = (self.served(m[1], m[2])
                              if callable(self.served) else self.served)
                    for i in range(m[6]):
                        at = m[5] + i * CHUNK_SIZE
                        part = served[at:at + CHUNK_SIZE]
                        if part:
                            peer.send(CHUNK, m[1], m[2], m[3], m[4], at, part)
                elif m[0] in (COMMITTED, DROP):
                    peer.send(RELEASED, m[1], m[2])
        except (OSError, EOFError):
            pass
        peer.close()


class Proxy:
    """Between workers and a coordinator of plain TCP, message by message.

    rule(to_worker, type, count) says what becomes of the count-th message of
    that type and direction: a number, how often it goes on (0: it is lost);
    "cut": it is lost, and the connection with it; "late": it goes after the
    next one.
    """

    def __init__(self, port, rule):
        self.target, self.rule, self.seen = port, rule, {}
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
                b = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.sockets += [a, b]
            for ends in (a, b, False), (b, a, True):
                threading.Thread(target=self.pass_on, args=ends,
                                 daemon=True).start()

    def verdict(self, to_worker, body):
        try:
            kind = unpack(body)[0][0]
        except (IndexError, TypeError, KeyError):
            return 1
        with self.lock:
            count = self.seen[to_worker, kind] = self.seen.get(
                (to_worker, kind), 0) + 1
            return self.rule(to_worker, kind, count)

    def pass_on(self, src, dst, to_worker):
        f, late = src.makefile("rb"), b""
        try:
            left = 64  # the greeting: each side waits for the other's parts
            while left > 0 and (part := f.read1(left)):
                dst.sendall(part)
                left -= len(part)
            while head := f.read(1):
                size = f.read(8 if head[0] & 2 else 1)
                body = f.read(int.from_bytes(size, "big"))
                n = 1 if head[0] & 4 else self.verdict(to_worker, body)
                frame = head + size + body
                if n == "cut":
                    break
                if n == "late":
                    late += frame
                    continue
                dst.sendall(frame * n + late)
                late = b""
        except OSError:
            pass
        for s in src, dst:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        f.close()

    def close(self):
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


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
                peer.send(FAIL, m[1], m[2], 2, 5, "the disk is on fire",
                          0)
    while peer.receive()[0] not in (REFUSE, BYE):
        pass


if __name__ == "__main__":
    try:
        worker(sys.argv[1], sys.argv[2:])
    except (EOFError, ConnectionError, TimeoutError):
        pass
