"""A registry of Debian's on this machine, and what it costs to get an image
there: wall and CPU time, and bytes written to disk by everybody but it.
"""

import collections
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

Cost = collections.namedtuple("Cost", "wall cpu written")


class Registry:
    """HOST:PORT of one that starts empty; a context manager."""

    def __init__(self, work):
        self.folder = tempfile.mkdtemp(dir=work)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.host = "127.0.0.1:%d" % self.port

    def __enter__(self):
        config = os.path.join(self.folder, "config.yml")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({  # JSON is YAML
                "version": "0.1", "log": {"level": "error"},
                "storage": {"filesystem": {"rootdirectory": self.folder}},
                "http": {"addr": self.host, "secret": "s"}}, f)
        env = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        self.server = subprocess.Popen(
            ["docker-registry", "serve", config], env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit("bench: docker-registry does not start")

    def __exit__(self, *ignored):
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.folder)

    def size(self):
        """Bytes of all blobs."""
        total = 0
        for folder, _, files in os.walk(
                self.folder + "/docker/registry/v2/blobs"):
            total += sum(os.path.getsize(os.path.join(folder, n))
                         for n in files)
        return total


def run(command):
    """One run, of a shell command."""
    begin = time.perf_counter()
    p = subprocess.Popen(["bash", "-euo", "pipefail", "-c", command],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE)
    errors = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise SystemExit("bench: status %d: %s\n%s" % (
            p.returncode, command, errors.decode(errors="replace")))
    return Cost(time.perf_counter() - begin,
                usage.ru_utime + usage.ru_stime, usage.ru_oublock * 512)


def alternate(times, warm, work, **peers):
    """
    Medians; peers take turns.  Each is a shell command with {to}, where the
    image goes: a registry that is empty.
    """
    costs = {name: [] for name in peers}
    size = {}
    for _ in range(times):
        for name, command in peers.items():
            with Registry(work) as registry:
                warm()
                os.sync()
                costs[name].append(run(command.format(
                    to="docker://%s/bench:1" % registry.host)))
                size[name] = registry.size()
    return {name: Cost(*(statistics.median(c) for c in zip(*found)))
            for name, found in costs.items()}, size
