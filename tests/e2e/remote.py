"""What tests of workers on other machines share: a coordinator's key, workers
with keys of their own."""

import os
import re
import signal

from ports import free_ports
from quarrytest import (QUARRY, TIMEOUT, WORKER, Base, blocks, read,
                        wait_for)


class Remote(Base):
    host = "127.0.0.1"

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("keys"))
        os.mkdir(self.path("allowed"))
        self.keygen("coordinator")
        self.endpoint = "tcp://%s:%d" % (
            self.host, free_ports(2, self.host.strip("[]")))

    # --- Keys ------------------------------------------------------------

    def keygen(self, name):
        self.quarry("keygen", self.path("keys", name))
        return self.path("keys", name)

    def allow(self, name):
        os.symlink(self.path("keys", name + ".pub"),
                   self.path("allowed", name + ".pub"))

    def leftovers(self):
        """The folder of a user's spools stays, empty."""
        spools = self.path("t", "quarry-worker-%d" % os.geteuid())
        return [p for p in super().leftovers()
                if p != spools or os.listdir(spools)]

    # --- Both sides ------------------------------------------------------

    def listen(self, *more):
        return ["--listen", self.endpoint, "--key",
                self.path("keys", "coordinator"), "--workers-keys",
                self.path("allowed"), *more]

    def worker(self, name, *args, listed=True, **kw):
        """Starts a worker with a key of its own; its log is LOG(name)."""
        key = self.path("keys", name)
        if not os.path.exists(key):
            self.keygen(name)
            if listed:
                self.allow(name)
        with open(self.log_name(name), "ab") as log:
            return self.start(
                "--connect", self.endpoint, "--server-key",
                self.path("keys", "coordinator.pub"), "--key", key, *args,
                program=[WORKER], stderr=log, **kw)

    def log_name(self, name):
        return self.path("log-" + name)

    def log(self, name):
        return read(self.log_name(name)).decode(errors="replace")

    def wait_log(self, name, text, seconds=TIMEOUT):
        found = wait_for(lambda: re.search(text, self.log(name)), seconds)
        self.assertTrue(found, "%r is not in:\n%s" % (text, self.log(name)))

    def coordinator(self, *args, name="coordinator", **kw):
        """A build that goes on beside the test; its log is LOG(name)."""
        with open(self.log_name(name), "ab") as log:
            return self.start("build", *args, program=[QUARRY], stderr=log,
                              **kw)

    def end(self, worker, seconds=TIMEOUT):
        """SIGTERM, which must end a worker well, once it takes it."""
        self.assertTrue(wait_for(lambda: worker.poll() is not None
                                 or blocks(worker.pid, signal.SIGTERM)))
        worker.terminate()
        self.assertEqual(self.finish(worker, timeout=seconds).status, 0)
