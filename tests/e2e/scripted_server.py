"""A coordinator that stays up, in plain sockets: it makes nothing, but hands
over what was made before, and does what the test says."""

import os
import socket
import struct
import threading

import zmtp
from zmtp import (BEAT, BYE, CANCEL, CHUNK, CHUNK_SIZE, COMMITTED, DATA_HELLO,
                  DONE, DROP, FAIL, ITEMS, JOB, POSTPONE, PULL, REFUSE,
                  RELEASED, WELCOME, WHO)

CLIENT, MADE, PULL_FAIL = 21, 22, 68


class Accepted(zmtp.Peer):
    """The other end of a connection that somebody made."""

    def __init__(self, s):
        self.s, self.buf = s, b""
        s.settimeout(60)
        self.raw(zmtp.GREETING)
        self.take(64)
        flags, n = self.take(2)
        self.take(n)
        ready = (b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6)
                 + b"ROUTER\x08Identity" + bytes(4))
        self.raw(b"\x04" + bytes([len(ready)]) + ready)


class Made:
    """The layers of a plain build, by their store paths."""

    def __init__(self, metadata, folder):
        self.by_paths = {}
        for layer in metadata["layers"]:
            digest = layer["digest"].split(":")[1]
            with open("%s/blobs/sha256/%s" % (folder, digest), "rb") as f:
                self.by_paths[tuple(layer["paths"])] = layer, f.read()


class Server:
    """rule(nth, attempt, paths) says what becomes of the n-th job that comes:
    None: it is made; "hold": nothing; "damage": made, but other bytes are
    handed over; or a message without its job and attempt, [FAIL, ...]."""

    def __init__(self, made, rule=None, port=0, data_port=0, session=1,
                 refuse=None, worker="far-away/77"):
        self.made, self.rule, self.refuse = made, rule, refuse
        self.session, self.worker = session, worker
        self.token = os.urandom(16)
        self.lock = threading.Lock()
        self.seen = []     # (type, job, attempt) of all messages
        self.clients = []  # what they said in CLIENT
        self.specs = []    # of JOBs, as they came
        self.offers, self.sockets, self.n_jobs = {}, [], 0
        self.port = self.listen(port, self.control)
        self.data_port = self.listen(data_port, self.data)
        self.endpoint = "tcp://127.0.0.1:%d" % self.port

    def listen(self, port, talk):
        listener = socket.create_server(("127.0.0.1", port))
        self.sockets.append(listener)
        threading.Thread(target=self.accept, args=(listener, talk),
                         daemon=True).start()
        return listener.getsockname()[1]

    def accept(self, listener, talk):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            self.sockets.append(s)
            threading.Thread(target=self.serve, args=(s, talk),
                             daemon=True).start()

    def serve(self, s, talk):
        try:
            talk(Accepted(s))
        except (OSError, EOFError):
            pass
        s.close()

    def close(self):
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    # --- What a client says ------------------------------------------------

    def types(self, kind):
        with self.lock:
            return [m for m in self.seen if m[0] == kind]

    def control(self, peer):
        known, jobs = False, {}
        peer.s.settimeout(0.2)
        while True:
            try:
                m = peer.receive()
            except TimeoutError:
                if known:
                    peer.send(BEAT, [[j, a, 512] for j, a in jobs])
                continue
            with self.lock:
                self.seen.append(tuple(m[:3]))
            if m[0] == CLIENT:
                self.clients.append(m)
                if self.refuse:
                    peer.send(REFUSE, self.refuse)
                    continue
                known = True
                peer.send(WELCOME, m[1], 200, self.session,
                          "tcp://*:%d" % self.data_port, self.token, "")
            elif not known:
                peer.send(WHO)
            elif m[0] == JOB:
                jobs[m[1], m[2]] = []
                self.specs.append(m[4:])
                self.wanted = {**getattr(self, "wanted", {}), m[1]: m[3]}
                self.when_whole(peer, jobs, m[1], m[2])
            elif m[0] == ITEMS:
                jobs[m[1], m[2]] += [item[0] for item in m[3]]
                self.when_whole(peer, jobs, m[1], m[2])
            elif m[0] == CANCEL:
                jobs.pop((m[1], m[2]), None)
            elif m[0] == BYE:
                known = False

    def when_whole(self, peer, jobs, job, attempt):
        paths = tuple(jobs[job, attempt])
        if len(paths) < self.wanted[job]:
            return
        with self.lock:
            self.n_jobs += 1
            what = self.rule and self.rule(self.n_jobs, attempt, paths)
        if what == "hold":
            return
        del jobs[job, attempt]
        if isinstance(what, list):
            peer.send(what[0], job, attempt, *what[1:])
            return
        layer, data = self.made.by_paths[paths]
        if what == "damage":
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.offers[job, attempt] = data
        peer.send(MADE, job, attempt, self.worker, 1500)
        peer.send(DONE, job, attempt,
                  bytes.fromhex(layer["diff_id"][7:]), layer["tar_size"],
                  bytes.fromhex(layer["digest"][7:]), layer["size"],
                  1, 1, 1, 0, 0, 0)

    # --- What it pulls -----------------------------------------------------

    def data(self, peer):
        told = False
        peer.s.settimeout(60)
        while True:
            m = peer.receive()
            if m[0] == DATA_HELLO and m[1] == self.token and not told:
                told = True
                peer.send(DATA_HELLO, self.token)
            elif m[0] == PULL and (m[1], m[2]) in self.offers:
                data = self.offers[m[1], m[2]]
                for i in range(m[6]):
                    at = m[5] + i * CHUNK_SIZE
                    part = data[at:at + CHUNK_SIZE]
                    if part:
                        peer.send(CHUNK, m[1], m[2], m[3], m[4], at, part)
            elif m[0] == PULL:
                peer.send(PULL_FAIL, m[1], m[2], m[3], m[4], 2, 2,
                          "it is not offered")
            elif m[0] in (COMMITTED, DROP):
                with self.lock:
                    self.seen.append(tuple(m[:3]))
                self.offers.pop((m[1], m[2]), None)
                peer.send(RELEASED, m[1], m[2])
