"""README's commands for registries, batches and caches, run as written.

What stands for the reader's own is put in their place: a registry for
registry.example.org, a request for REQUEST.json, store paths for those with
"...", and a quarry that is told where the store and its closure are.
"""

import json
import os
import re
import shlex

import quarrytest
from quarrytest import write
from test_docs import text
from test_registry import RegistryBase


def blocks(section):
    """The commands of each block of a section, to the next of its level."""
    rest = text("README.md").split("\n%s\n" % section)[1]
    level = len(section.split()[0])
    rest = re.split(r"^#{1,%d} " % level, rest, flags=re.M)[0]
    found = re.findall(r"^(?:    .*\n|\n(?=    ))+", "\n" + rest, re.M)
    return [re.sub("^    ", "", b, flags=re.M).strip("\n") for b in found]


class Readme(RegistryBase):
    cache = True

    def setUp(self):
        super().setUp()
        self.host = self.serve()
        paths = [info["path"] for info in self.store.infos]
        self.bash, self.hello = paths[-2:]
        write(self.path("REQUEST.json"), json.dumps(
            {"name": "team/shell", "tag": "1.0", "contents": [self.bash],
             "config": {"Cmd": ["/bin/bash"]}}))
        os.makedirs(self.path("bin"))
        write(self.path("bin/quarry"), "#!/bin/sh\n"
              "case $1 in\nbuild | batch) set -- \"$@\" --closure %s "
              "--store-root %s ;;\nesac\nexec %s \"$@\"\n" % tuple(map(
                  shlex.quote, (self.closure_file(self.store),
                                self.store.root, quarrytest.QUARRY))), 0o755)

    def run_block(self, block):
        block = block.replace("registry.example.org", self.host)
        for name, path in (("bash-5.2", self.bash), ("hello-2.12",
                                                     self.hello)):
            block = block.replace("/nix/store/...-" + name, path)
        self.assertNotIn("...-", block)
        env = dict(self.env, PATH=self.path("bin") + ":" +
                   os.environ["PATH"])
        r = self.finish(self.start("-euc", block, program=["bash"], env=env))
        self.assertEqual(r.status, 0, block + "\n" + r.errors)
        return r

    def quarry_blocks(self, section, n):
        found = [b for b in blocks(section) if "quarry " in b]
        self.assertEqual(len(found), n, found)
        return found

    def digest(self, name):
        return "sha256:" + quarrytest.sha256(
            self.pulled(self.host + "/" + name, "--src-tls-verify=false")[1])

    def test_registries(self):
        push, index = self.quarry_blocks("### Registries", 2)
        login, push = push.split("\n", 1)
        self.assertIn("login", login)  # asks for a password
        self.run_block(push)
        self.digest("team/shell:1.0")
        for arch in ("amd64", "arm64"):
            self.run_block("%s-%s --arch %s" % (push.strip(), arch, arch))
        self.run_block(index)
        raw = self.command("skopeo", "inspect", "--raw", "--tls-verify=false",
                           "docker://%s/team/shell:1.0" % self.host)
        self.assertEqual({m["platform"]["architecture"] for m in
                          json.loads(raw)["manifests"]},
                         {"amd64", "arm64"})

    def test_batches(self):
        block, = self.quarry_blocks("## Batches", 1)
        r = self.run_block(block)
        self.assertIn(b"2 images: 2 done, 0 failed", r.stdout)
        with open(self.path("summary.json"), encoding="utf-8") as f:
            summary = json.load(f)
        self.assertEqual(summary["totals"]["done"], 2)
        self.assertEqual(self.digest("team/shell:1.0"),
                         summary["images"][0]["manifest_digest"])
        self.assertTrue(os.path.exists(self.path("out/team/shell/oci-layout")))
        self.assertTrue(os.path.exists(self.path("hello.tar")))
        # The table is the one that is shown.
        shown, = [b for b in blocks("## Batches") if b.startswith("IMAGE")]
        head = re.sub(r"\s+", " ", shown.split("\n")[0])
        self.assertIn(head, re.sub(r"[^\S\n]+", " ", r.stdout.decode()))

    def test_caches(self):
        cache, shared = self.quarry_blocks("### Made once", 2)
        self.run_block("quarry build REQUEST.json --to oci:image "
                       "--encoding zstd")
        r = self.run_block(cache)
        self.assertIn(b"layers are good, 0 are not", r.stdout)
        r = self.run_block(shared)
        self.assertIn("0 layers found", r.errors)
        self.env["HOME"] = self.path("another-machine")
        os.mkdir(self.env["HOME"])
        r = self.run_block(shared)
        self.assertRegex(r.errors, r"shared +[1-9]\d* layers found, 0 put")


if __name__ == "__main__":
    quarrytest.main()
