"""deploy/image: the worker's image, made by quarry, works as one."""

import json
import os
import subprocess

import quarrytest
import workers
from quarrytest import OciLayout, make_store, need, need_root, untar, write

MAKE = os.path.join(workers.TOP, "deploy", "image", "make")


class TestImage(workers.Remote):
    def setUp(self):
        super().setUp()
        conf = write(self.path("containers.conf"), (
            '[containers]\n'
            'default_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n'))
        os.mkdir(self.path("ptmp"))
        self.podman_env = dict(
            self.env, CONTAINERS_CONF=conf, TMPDIR=self.path("ptmp"),
            XDG_RUNTIME_DIR=self.path("ptmp"))
        self.podman_words = [
            "podman", "--root", self.path("root"), "--runroot",
            self.path("runroot"), "--tmpdir", self.path("ptmp"),
            "--storage-driver", "vfs", "--runtime", "runc",
            "--cgroup-manager", "cgroupfs", "--events-backend", "none"]

    def podman(self, *args):
        return self.command(*self.podman_words, *args, env=self.podman_env)

    def make(self, *args, status=0):
        p = self.start("--bin", quarrytest.BIN, *args, program=[MAKE])
        r = self.finish(p)
        self.assertEqual(r.status, status, r.errors)
        return r

    def mounted(self, *names):
        """Files and folders as they are, read-only."""
        return ["--volume=%s:%s:ro" % (self.path(n), self.path(n))
                for n in names]

    def remote_worker(self, image):
        """A build by a worker in a container: the same as a local one."""
        store = make_store.small_store(self.path("store"))
        common = ["--name", "x", "--closure", self.closure_file(store),
                  "--store-root", store.root, "--encoding", "zstd"]
        local = self.metadata(*common, "--to", "oci:" + self.path("out/a"))
        self.keys()
        # As Kubernetes hands a secret to a user.
        os.chown(self.path("worker"), 0, 65534)
        os.chmod(self.path("worker"), 0o440)
        os.chmod(self.path("coordinator.pub"), 0o644)
        os.mkdir(self.path("spool"))
        os.chown(self.path("spool"), 65534, 65534)
        self.podman(
            "run", "--detach", "--name=w", "--network=host", "--read-only",
            "--cap-drop=all", *self.mounted("store", "worker",
                                            "coordinator.pub"),
            "--volume=%s:/spool" % self.path("spool"), image,
            "--connect", self.endpoint, "--key", self.path("worker"),
            "--server-key", self.path("coordinator.pub"), "--spool", "/spool")
        remote = self.remote_build(*common, "--to",
                                   "oci:" + self.path("out/b"))
        self.assertEqual(remote["image_id"], local["image_id"])
        self.command("diff", "-r", self.path("out/a"), self.path("out/b"))
        self.podman("kill", "--signal=TERM", "w")
        status = self.podman("wait", "w").decode().strip()
        self.assertEqual(status, "0", self.podman("logs", "w"))

    @need("podman", "runc", "nix-store")
    @need_root()
    def test_runs_as_a_remote_worker(self):
        file = self.path("quarry.tar")
        # Few layers: podman's vfs driver copies all that is below each.
        self.make("--to", "oci-archive:" + file, "--max-layers", "3")
        try:
            image = self.podman("load", "-i", file).decode().split()[-1]
            self.assertIn("quarry:" + self.version(), image)
            said = self.podman("run", "--rm", "--network=none", image,
                               "--version").decode()
            self.assertEqual(said, "quarry-worker %s\n" % self.version())
            said = self.podman("run", "--rm", "--network=none",
                               "--entrypoint=/bin/quarry", image,
                               "--version").decode()
            self.assertEqual(said, "quarry %s\n" % self.version())
            self.remote_worker(image)
        finally:
            for what in (["rm", "-af", "-t", "0"], ["rmi", "-af"]):
                subprocess.run([*self.podman_words, *what],
                               env=self.podman_env, timeout=60,
                               stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        self.of_the_image(file)

    def of_the_image(self, file):
        oci = OciLayout(untar(file, self.path("layout")))
        config = json.loads(oci.config_bytes)
        self.assertEqual(config["config"]["User"], "65534:65534")
        self.assertEqual(config["config"]["Entrypoint"],
                         ["/bin/quarry-worker"])

    def version(self):
        return self.quarry("--version").stdout.decode().split()[1]

    def test_wrong_use(self):
        self.assertIn("--to", self.make(status=1).errors)
        p = self.start("--bin", self.path("t"), "--to", "none",
                       program=[MAKE])
        r = self.finish(p)
        self.assertEqual(r.status, 1)
        self.assertIn("no quarry and quarry-worker", r.errors)


if __name__ == "__main__":
    quarrytest.main()
