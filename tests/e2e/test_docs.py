"""Documentation that would lie: options, request keys and pages."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BIN = os.environ.get("QUARRY_BIN", os.path.join(TOP, "build", "bin"))
QUARRY = os.path.join(BIN, "quarry")
WORKER = os.path.join(BIN, "quarry-worker")
PAGES = ("quarry.1", "quarry-serve.1", "quarry-worker.1")


def run(*args):
    return subprocess.run(args, stdin=subprocess.DEVNULL, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def text(*names):
    with open(os.path.join(TOP, *names), encoding="utf-8") as f:
        return f.read()


def page(name):
    return text("deploy", "man", name)


def options_in_help(*args):
    out = run(*args).stdout.decode()
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", out))


def options_in_page(name):
    """The options that have an entry of their own."""
    entries = re.findall(r"^\.It Fl .*$", page(name), re.M)
    return set(re.findall(r"Fl \\-([a-z][a-z-]*)", "\n".join(entries)))


def keys_in_readme():
    section = text("README.md").split("### What to build")[1]
    rows = re.findall(r"^\| (`.*?) \|", section.split("###")[0], re.M)
    return set(re.findall(r"`(\w+)`", "\n".join(rows)))


def keys_in_page():
    section = re.search(r"^\.Sh REQUEST FILE$(.*?)^\.Pp$", page("quarry.1"),
                        re.M | re.S).group(1)
    rows = re.findall(r"^\.It Sy (.*)$", section, re.M)
    return set(re.findall(r"\w+", "\n".join(rows)))


class Docs(unittest.TestCase):
    def test_options_of_quarry(self):
        known = (options_in_help(QUARRY, "help", "build")
                 | options_in_help(QUARRY, "help", "batch")
                 | options_in_help(QUARRY, "help", "plan")
                 | options_in_help(QUARRY, "help", "index"))
        self.assertIn("to", known)
        for command in ("cache", "status"):
            for option in options_in_help(QUARRY, "help", command):
                self.assertRegex(page("quarry.1"),
                                 r"(Fl|,) \\-%s\b" % option)
        self.assertEqual(options_in_page("quarry.1"), known)

    def test_options_of_serve(self):
        known = options_in_help(QUARRY, "help", "serve")
        self.assertIn("clients", known)
        self.assertEqual(options_in_page("quarry-serve.1"), known)

    def test_options_of_the_worker(self):
        known = options_in_help(WORKER, "--help")
        self.assertIn("connect", known)
        self.assertEqual(options_in_page("quarry-worker.1"), known)

    def test_options_are_taken(self):
        for command in ("build", "batch", "plan", "serve", "index"):
            for name in options_in_help(QUARRY, "help", command):
                r = run(QUARRY, command, "--" + name)
                self.assertNotIn(b"not known", r.stderr, name)
                self.assertNotIn(b"not an option", r.stderr, name)
        r = run(QUARRY, "plan", "--no-such-option")
        self.assertEqual(r.returncode, 2)
        self.assertIn(b"not known", r.stderr)

    def test_request_keys(self):
        keys = keys_in_readme()
        self.assertIn("maxLayers", keys)
        self.assertEqual(keys_in_page(), keys)
        folder = tempfile.mkdtemp(prefix="qt-", dir="/tmp")
        self.addCleanup(shutil.rmtree, folder)
        name = os.path.join(folder, "request.json")
        for key in sorted(keys) + ["nosuchkey"]:
            with open(name, "w", encoding="utf-8") as f:
                json.dump({key: 0.5}, f)  # of no key's type
            r = run(QUARRY, "plan", name)
            self.assertEqual(r.returncode, 2, key)
            check = self.assertIn if key == "nosuchkey" else self.assertNotIn
            check(b"not known", r.stderr, key)

    def test_version(self):
        version = re.search(r"^project\(quarry VERSION (\S+)",
                            text("CMakeLists.txt"), re.M).group(1)
        for program in (QUARRY, WORKER):
            said = run(program, "--version").stdout.decode()
            self.assertEqual(
                said, "%s %s\n" % (os.path.basename(program), version))
        self.assertIn("## %s " % version, text("CHANGELOG.md"))

    @unittest.skipUnless(shutil.which("groff"), "needs groff")
    def test_pages_have_no_warnings(self):
        for name in PAGES:
            r = run("groff", "-ww", "-Tutf8", "-mdoc",
                    os.path.join(TOP, "deploy", "man", name))
            self.assertEqual((r.returncode, r.stderr), (0, b""), name)

    def test_links_and_files_that_the_readme_names(self):
        readme = text("README.md")
        anchors = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-")
                   for h in re.findall(r"^#+ (.*)$", readme, re.M)}
        for target in re.findall(r"\]\(([^)]*)\)", readme):
            if target.startswith("#"):
                self.assertIn(target[1:], anchors)
            else:
                self.assertTrue(os.path.exists(os.path.join(TOP, target)),
                                target)
        for name in re.findall(
                r"(?<![\w/-])((?:deploy|tests)/[\w./-]+\w)(?![\w*]*NAME)",
                re.sub(r"\S*(?:NAME|FOLDER)\S*", "", readme)):
            self.assertTrue(os.path.exists(os.path.join(TOP, name)), name)

    def test_lines_of_text_fit(self):
        """Tables' rows and what is to be copied may be longer."""
        for name in ("README.md", "CHANGELOG.md", "tests/FAULTS.md"):
            long = [line for line in text(name).split("\n")
                    if len(line) > 132 and not line.startswith(("|", "    "))]
            self.assertEqual(long, [], name)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if program.result.skipped else 0)
