"""A small build under valgrind: no error and no leak, in either program."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_store  # noqa: E402
import quarrytest as q  # noqa: E402

OPTIONS = [
    "--quiet", "--error-exitcode=99", "--trace-children=yes",
    "--leak-check=full", "--errors-for-leak-kinds=definite,possible",
    "--num-callers=30",
]


@q.need("valgrind")
class Valgrind(q.Base):
    def setUp(self):
        super().setUp()
        self.store = make_store.Store(self.path("s"))
        lib = self.store.add("lib", {"lib": {"a": b"a" * 70000}})
        self.app = self.store.add(
            "app", {"bin": {"x": make_store.Exec(b"#!" + lib.encode())}},
            refs=[lib], self_ref=True)

    def under_valgrind(self, *args, status=0):
        log = self.path("valgrind.%p")
        r = self.quarry(
            *args, status=None, timeout=q.TIMEOUT,
            program=["valgrind", "--log-file=" + log] + OPTIONS + [q.QUARRY])
        said = "".join(
            q.read(self.path(n)).decode(errors="replace")
            for n in os.listdir(self.top) if n.startswith("valgrind."))
        self.assertEqual((r.status, said), (status, ""), r.errors)

    def inputs(self):
        return ["--closure", self.closure_file(self.store, shape="array"),
                "--store-root", self.store.root, "--name", "v", self.app]

    def test_build(self):
        self.under_valgrind(
            "build", *self.inputs(), "--to", "oci:" + self.path("out/oci"),
            "--to", "docker-archive:" + self.path("out/d.tar"),
            "--encoding", "zstd:3", "--slots", "2", "--verify-store",
            "--metadata-file", self.path("out/m.json"), "--progress", "none")
        self.assertEqual(
            q.DockerArchive(self.path("out/d.tar")).id,
            q.OciLayout(self.path("out/oci")).id)

    def test_plan(self):
        self.under_valgrind("plan", *self.inputs(), "--strategy", "size")

    def test_wrong_input(self):
        self.under_valgrind("plan", *self.inputs(), "--max-layers", "1",
                            status=2)
        self.under_valgrind("build", "--no-such-option", status=2)


if __name__ == "__main__":
    if q.sanitized():  # cannot run under valgrind, and look for the same
        print("the sanitizers do valgrind's work in this build")
        sys.exit(0)
    q.main()
