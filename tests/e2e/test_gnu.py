"""Dialect gnu, held against GNU tar itself."""

import hashlib
import os
import subprocess

import quarrytest
from quarrytest import Base, make_store, need


@need("tar")
class TestGnu(Base):
    def gnu_tar(self, store, paths):
        """GNU tar's bytes for a layer of paths, names absolute."""
        skip = len(os.fsencode(store.root)) + 1
        names = [b"nix", b"nix/store"]
        for path in paths:
            names += [found[skip:] for found in
                      self.walk(os.fsencode(store.real(path)))]
        # These two are the rule's, not the store's.
        for name in ("/nix", "/nix/store"):
            os.chmod(store.root + name, 0o755)
        p = subprocess.run(
            ["tar", "--format=gnu", "--no-recursion", "--hard-dereference",
             "--mtime=@1", "--owner=0", "--group=0", "--numeric-owner",
             "--absolute-names", "--null", "--no-unquote",
             "--transform=flags=rSH;s,^,/,", "-C", store.root,
             "-c", "-f", "-", "-T", "-"],
            input=b"".join(n + b"\0" for n in names),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(self.env, LC_ALL="C", TAR_OPTIONS=""))
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def walk(self, path):
        yield path
        if os.path.isdir(path) and not os.path.islink(path):
            for name in sorted(os.listdir(path)):
                yield from self.walk(path + b"/" + name)

    def compare(self, store, paths):
        request = self.reference_request(store, [paths])
        r = self.build(request, "--store-root", store.root, "--dialect",
                       "gnu", "--to", "docker-archive:-")
        image = quarrytest.DockerArchive(r.stdout)
        self.same_bytes(image.layers[0], self.gnu_tar(store, paths), "layer")
        return image

    def test_small(self):
        store = make_store.small_store(self.path("s"), n=4)
        self.compare(store, [i["path"] for i in store.infos])

    def test_traps(self):
        store = make_store.trap_store(self.path("s"))
        self.compare(store, [i["path"] for i in store.infos])

    def test_gnu_tar_lists_and_extracts_it(self):
        store = make_store.trap_store(self.path("s"))
        image = self.compare(store, [i["path"] for i in store.infos])
        tar = quarrytest.write(self.path("layer.tar"), image.layers[0])
        listed = self.command("tar", "-tPf", tar, "--quoting-style=literal")
        self.assertIn(b"/nix/store/", listed)
        os.mkdir(self.path("x"))
        self.command("tar", "-xpf", tar, "-C", self.path("x"))
        self.command("diff", "-r", "--no-dereference",
                     self.path("x/nix/store"), store.root + "/nix/store",
                     "-x", "*-customisation-layer")

    def test_large_file(self):
        """More than 8 GiB: the size in base 256."""
        store = make_store.Store(self.path("s"))
        path = store.add("large", {"f": make_store.Sparse((1 << 33) + 5)},
                         hashed=False)
        request = self.reference_request(store, [[path]])
        layers = self.metadata(request, "--store-root", store.root,
                               "--dialect", "gnu", "--to", "none")["layers"]
        for name in ("/nix", "/nix/store"):
            os.chmod(store.root + name, 0o755)
        tar = subprocess.Popen(
            ["tar", "--format=gnu", "--no-recursion", "--mtime=@1",
             "--owner=0", "--group=0", "--numeric-owner", "-P", "-C",
             store.root, "--transform=flags=rSH;s,^,/,", "-cf", "-", "nix",
             "nix/store", path[1:], path[1:] + "/f"], stdout=subprocess.PIPE)
        want = hashlib.sha256()
        with tar.stdout:
            while data := tar.stdout.read(1 << 20):
                want.update(data)
        self.assertEqual(tar.wait(), 0)
        self.assertEqual(layers[0]["diff_id"].split(":")[1], want.hexdigest())

    def test_same_image_by_any_worker(self):
        store = make_store.small_store(self.path("s"), n=6)
        closure = self.closure_file(store)
        out = [self.build("--name", "x", "--closure", closure,
                          "--store-root", store.root, "--dialect", "gnu",
                          "--to", "docker-archive:-", "--slots", slots).stdout
               for slots in ("1", "5")]
        self.same_bytes(out[0], out[1])


if __name__ == "__main__":
    quarrytest.main()
