"""What tests of workers that are on their own share."""

import os
import re
import subprocess

import quarrytest
from ports import free_ports

TOP = os.path.dirname(quarrytest.TESTS)


def text(*names):
    with open(os.path.join(TOP, *names), encoding="utf-8") as f:
        return f.read()


def known_options(*args):
    """The options that a program's own help has."""
    said = subprocess.run(args, stdin=subprocess.DEVNULL, timeout=60,
                          stdout=subprocess.PIPE, check=True).stdout.decode()
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", said))


def worker_options():
    return known_options(quarrytest.WORKER, "--help")


def options_of(words):
    return [w[2:].split("=")[0] for w in words if w.startswith("--")]


class Remote(quarrytest.Base):
    """A coordinator's and a worker's keys, and a build by that worker."""

    def keys(self):
        for name in ("coordinator", "worker"):
            self.quarry("keygen", self.path(name))
        self.port = free_ports(2)
        self.endpoint = "tcp://127.0.0.1:%d" % self.port

    def remote_build(self, *args, **kw):
        """All of its layers are made by the worker; the metadata."""
        return self.metadata(
            *args, "--listen", self.endpoint, "--key",
            self.path("coordinator"), "--workers-keys",
            self.path("worker.pub"), "--local-slots", "0",
            "--min-workers", "1", **kw)
