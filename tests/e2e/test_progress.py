"""What people see: a bar on a terminal, lines elsewhere, a summary."""

import contextlib
import fcntl
import glob
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import quarrytest
from quarrytest import Base, make_store, wait_for

ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\r\n]")


class Terminal:
    """quarry's standard error (or all of it) on a pseudo terminal."""

    def __init__(self, test, args, columns=80, rows=24, env=None):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.p = test.start(*args, stdout=subprocess.PIPE, stderr=slave,
                            env=dict(env or test.env, TERM="xterm"))
        self.data = b""

    def resize(self, columns, rows=24):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds=quarrytest.TIMEOUT, until=None):
        """What is written until the program ends, something was, or time is
        up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in self.data):
            ended = self.p.poll() is not None
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.data += os.read(self.master, 65536)
            elif ended:
                break
        return self.data

    def close(self):
        os.close(self.slave)
        os.close(self.master)


class Screen:
    """Enough of a terminal to know what stands on it at the end."""

    def __init__(self, columns=80):
        self.lines, self.row, self.col, self.columns = [""], 0, 0, columns
        self.wrapped = 0
        self.cursor = True

    def feed(self, data):
        text = data.decode(errors="replace")
        at = 0
        for m in re.finditer(
                "\x1b\\[([0-9;?]*)([@-~])|\x1b[@-_]|\r|\n", text):
            self.put(text[at:m.start()])
            at = m.end()
            if m.group() == "\r":
                self.col = 0
            elif m.group() == "\n":
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append("")
            elif m.group(2):
                self.control(m.group(1), m.group(2))
        self.put(text[at:])
        return self

    def put(self, text):
        for c in text:
            if self.col == self.columns:
                self.wrapped += 1
                self.col = 0
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append("")
            line = self.lines[self.row].ljust(self.col)
            self.lines[self.row] = line[:self.col] + c + line[self.col + 1:]
            self.col += 1

    def control(self, args, kind):
        n = int(args) if args.isdigit() else 1
        if kind == "A":
            self.row = max(0, self.row - n)
        elif kind == "B":
            self.row += n
        elif kind == "G":
            self.col = n - 1
        elif kind == "K":
            self.lines[self.row] = self.lines[self.row][:self.col]
        elif kind == "J":
            self.lines[self.row] = self.lines[self.row][:self.col]
            del self.lines[self.row + 1:]
        elif kind in "hl" and args == "?25":
            self.cursor = kind == "h"

    def text(self):
        return "\n".join(l.rstrip() for l in self.lines).rstrip()


class Progress(Base):
    @classmethod
    def setUpClass(cls):
        cls.slow = make_store.slow_store(cls.folder(), n=2, size=2 << 30)
        cls.small = make_store.small_store(cls.folder(), n=6)

    def args(self, store, *more):
        return ["build", "--name", "x", "--tag", "1", "--closure",
                self.closure_file(store), "--store-root", store.root,
                "--to", "none", *more]


class TestPlain(Progress):
    def test_plain_is_the_default_on_a_pipe(self):
        r = self.quarry(*self.args(self.small))
        self.assertNotIn("\x1b", r.errors)
        self.assertNotIn("\r", r.errors)
        self.summary(r.errors, r)

    def test_plain(self):
        r = self.quarry(*self.args(self.small, "--progress", "plain",
                                   "--metadata-file", "-"))
        self.assertNotIn("\x1b", r.errors)
        self.summary(r.errors, r)
        self.assertIn(json.loads(r.stdout)["image_id"].split(":")[1],
                      r.errors)

    def summary(self, text, r):
        """Image ID, layers, bytes, time, rate, where it went."""
        self.assertRegex(text, r"sha256:[0-9a-f]{64}")
        self.assertRegex(text, r"x:1")
        self.assertRegex(text, r"layers? +7|7 layers")
        self.assertRegex(text, r"[0-9.]+ ?[KMG]?i?B/s")
        self.assertRegex(text, r"\bnone\b")

    def test_none(self):
        r = self.quarry(*self.args(self.small, "--progress", "none"))
        self.assertEqual((r.stdout, r.stderr), (b"", b""))

    def test_json(self):
        r = self.quarry(*self.args(self.slow, "--progress", "json", "--slots",
                                   "1", "--metadata-file",
                                   self.path("m.json")))
        events = quarrytest.events(r.errors)
        meta = json.loads(quarrytest.read(self.path("m.json")))
        kinds = [e["event"] for e in events]
        self.assertIn("progress", kinds)
        self.assertEqual(kinds[-1], "summary")
        self.assertEqual(events[-1]["image_id"], meta["image_id"])
        self.assertEqual(kinds.count("done"), 4)
        sizes = [e["bytes"] for e in events if e["event"] == "progress"]
        self.assertEqual(sizes, sorted(sizes))
        self.assertGreater(sizes[-1], 0)

    def test_errors_in_json_mode_are_still_one_line(self):
        r = self.quarry(*self.args(self.small, "--progress", "json",
                                   "--max-layers", "1"), status=2)
        last = quarrytest.events(r.errors)[-1]
        self.assertEqual((last["event"], last["level"]), ("log", "error"))
        self.assertIn("layer", last["text"])
        self.assertFalse(last["text"].startswith("quarry"))

    def test_wrong_use_in_json_mode(self):
        for args in (["--progress", "json", "--what"],
                     ["--progress", "json", "--to", "nowhere:x"],
                     ["--progress", "json"]):
            r = self.quarry("build", *args, status=2)
            last, = quarrytest.events(r.errors)
            self.assertEqual(last["level"], "error")

    def test_what_others_say_in_json_mode(self):
        """A worker's own words, which are no JSON and no text at all."""
        program = self.path("worker")
        with open(program, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n"
                    "printf 'says \\377 \"this\"\\n\\n' >&2\n"
                    "head -c 5000 /dev/zero | tr '\\0' x >&2\n"
                    "exec '%s' \"$@\"\n" % quarrytest.WORKER)
        os.chmod(program, 0o755)
        r = self.quarry(*self.args(self.small, "--progress", "json",
                                   "--worker-program", program,
                                   "--verbose"))
        found = quarrytest.events(r.errors)
        self.assertIn("summary", [e["event"] for e in found])
        said = [e for e in found if e["event"] == "log"]
        self.assertIn('says ? "this"',
                      [e["text"] for e in said if "level" not in e])
        self.assertEqual(sum(e["text"].count("xxxxx") > 0 for e in said
                             if "level" not in e), 2)
        self.assertTrue([e for e in said if e.get("level") == "debug"])


class TestLost(Progress):
    """A worker is killed: what that means is told, whatever the form."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.slow = make_store.slow_store(cls.folder(), n=2, size=2 << 30)

    def killed(self, mode):
        """While it makes a layer, and that was told."""
        log = self.path("log")
        with open(log, "wb") as f:
            p = self.start(*self.args(self.slow, "--progress", mode,
                                      "--slots", "1"), stderr=f)
        pid, = self.wait_workers()
        self.assertTrue(wait_for(lambda: self.reads(pid)))
        self.assertTrue(mode != "json" or wait_for(
            lambda: b'"by_host":[{' in quarrytest.read(log)))
        os.kill(pid, signal.SIGKILL)
        self.finish(p)
        text = quarrytest.read(log).decode()
        self.assertEqual(p.returncode, 0, text)
        return pid, text

    @staticmethod
    def reads(pid):
        for fd in glob.glob("/proc/%d/fd/*" % pid):
            with contextlib.suppress(OSError):
                if "-slow-" in os.readlink(fd):
                    return True
        return False

    def test_json(self):
        pid, text = self.killed("json")
        events = quarrytest.events(text)
        self.assertTrue([e for e in events if e["event"] == "log" and
                         "another one takes its place" in e["text"]])
        gone = [e for e in events if e["event"] == "worker_gone"]
        self.assertEqual([(e["lost"], e["name"].split("/")[1])
                          for e in gone], [(True, str(pid))])
        again = [e for e in events if e["event"] == "again"]
        self.assertTrue(again)
        for e in again:
            self.assertEqual((e["attempt"], e["reason"]), (2, "lost"))
            self.assertNotIn(str(pid), e["worker"])
            self.assertIn("layer", e["layer"])
        shown = [e for e in events if e["event"] == "progress" and
                 e["by_host"]]
        self.assertEqual(shown[0]["hosts"], 1)
        self.assertEqual(shown[0]["by_host"][0]["host"],
                         gone[0]["name"].split("/")[0])
        totals = events[-1]["totals"]
        self.assertEqual(totals["again_lost"], len(again))
        self.assertEqual((totals["joined"], totals["lost"],
                          totals["left"]), (2, 1, 0))

    def test_plain(self):
        pid, text = self.killed("plain")
        self.assertRegex(text, r"worker \S+/%d: .*; another one takes its "
                               r"place" % pid)
        again = re.findall(r"again \(lost\): layer \d \([a-z0-9-]+\), attempt "
                           r"2, by (\S+)", text)
        self.assertTrue(again)
        self.assertRegex(text, r"work +1 host, 1 worker \(2 joined, 1 lost\), "
                               r"%d again \(%d lost\)"
                         % (len(again), len(again)))


class TestBar(Progress):
    def run_on(self, *args, columns=80, env=None,
               seconds=quarrytest.TIMEOUT):
        t = Terminal(self, args, columns, env=env)
        t.read(seconds)
        self.addCleanup(t.close)
        self.assertEqual(t.p.wait(60), 0, t.data)
        return t

    @staticmethod
    def widest(data, columns):
        """Lines of the bar that do not fit."""
        return [line for line in re.split(rb"\r|\n", data)
                if (b"[#" in line or b"[-" in line)
                and len(ESCAPE.sub(b"", line)) > columns]

    def test_bar(self):
        t = self.run_on(*self.args(self.slow))
        self.assertIn(b"\x1b[", t.data)
        self.assertIn(b"%", t.data)
        screen = Screen().feed(t.data)
        self.assertTrue(screen.cursor, "the cursor stays hidden")
        self.assertEqual(self.widest(t.data, 80), [])
        text = Screen(1000).feed(t.data).text()
        self.assertRegex(text, r"sha256:[0-9a-f]{64}")
        self.assertNotIn("%", text, "the bar stays on the screen:\n" + text)
        self.assertEqual(termios.tcgetattr(t.slave), t.before)
        # No flicker: never the whole screen, and not too often.
        self.assertNotIn(b"\x1b[2J", t.data)
        self.assertLess(len(t.data), 200000)

    def test_what_workers_do_is_shown(self):
        t = self.run_on(*self.args(self.slow))
        self.assertIn(b"slow-0", t.data)
        self.assertRegex(t.data, rb"[0-9] [KMG]iB/s")
        self.assertRegex(t.data, rb"left")
        # What is not known yet is not said to be no time at all.
        self.assertNotRegex(t.data, rb" 0% [^\r\n]*0\.00 s left")

    def test_narrow(self):
        for columns in (10, 20, 40, 61, 200):
            t = self.run_on(*self.args(self.small, "--progress", "bar"),
                            columns=columns)
            self.assertRegex(Screen(1000).feed(t.data).text(),
                             r"sha256:[0-9a-f]{64}")

    def test_resize(self):
        slow = make_store.slow_store(self.path("s"), n=2, size=2 << 30)
        t = Terminal(self, self.args(slow, "--slots", "1"), 100)
        self.addCleanup(t.close)
        t.read(until=b"%")
        first, t.data = t.data, b""
        t.resize(45)
        # The first may have been under way.
        t.read(until=b"%")
        t.read(0.3)
        first, t.data = first + t.data, b""
        t.read()
        self.assertEqual(t.p.wait(60), 0)
        self.assertIn(b"%", t.data, "no bar after the resize")
        self.assertEqual(self.widest(t.data, 45), [])
        self.assertTrue(Screen(45).feed(first + t.data).cursor)

    def test_signal_restores_the_terminal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            t = Terminal(self, self.args(self.slow))
            t.read(until=b"%")
            t.p.send_signal(number)
            t.read()
            self.assertEqual(t.p.wait(60), 128 + number)
            screen = Screen().feed(t.data)
            self.assertTrue(screen.cursor)
            self.assertEqual(screen.lines[screen.row], "")
            self.assertEqual(termios.tcgetattr(t.slave), t.before)
            t.close()

    def test_error_stands_alone(self):
        """An error in the middle leaves one line, no half of a bar."""
        store = make_store.Store(self.path("s"))
        store.add("big", {"f": make_store.Sparse(1 << 30)}, hashed=False)
        path = store.add("bad", {"f": b"x"})
        os.unlink(store.real(path) + "/f")
        os.mkfifo(store.real(path) + "/f")
        t = Terminal(self, self.args(store))
        t.read()
        self.addCleanup(t.close)
        self.assertNotEqual(t.p.wait(60), 0)
        screen = Screen(1000).feed(t.data)
        self.assertTrue(screen.cursor)
        self.assertEqual(len(screen.text().splitlines()), 1, screen.text())
        self.assertIn(path, screen.text())

    def test_dumb_terminal_gets_lines(self):
        """TERM=dumb: no escapes."""
        master, slave = pty.openpty()
        p = self.start(*self.args(self.small), stderr=slave,
                       env=dict(self.env, TERM="dumb"))
        self.assertEqual(p.wait(60), 0)
        data = os.read(master, 65536)
        os.close(slave)
        os.close(master)
        self.assertNotIn(b"\x1b", data)

    def test_warnings_go_above_the_bar(self):
        """Lines that are logged meanwhile are whole lines at the end."""
        store = make_store.Store(self.path("s"))
        one = store.add("one", {"bin": {"x": b"1"},
                                "f": make_store.Sparse(2 << 30)},
                        hashed=False)
        two = store.add("two", {"bin": {"x": b"2"}})
        t = self.run_on("build", one, two, *self.args(store)[1:])
        lines = Screen(1000).feed(t.data).text().splitlines()
        self.assertTrue(any("warning" in l and one in l and two in l
                            for l in lines), lines)


class TestHelp(Base):
    def test_help_and_version(self):
        for args in (["--help"], ["help"], ["build", "--help"],
                     ["plan", "--help"], ["--version"]):
            r = self.quarry(*args)
            self.assertTrue(r.stdout)
            self.assertEqual(r.stderr, b"")
            for line in r.stdout.decode().splitlines():
                self.assertLessEqual(len(line), 80)

    def test_help_on_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            self.assertEqual(self.quarry("--help", stdout=full,
                                         status=None).status, 1)

    def test_wrong_use(self):
        for args, word in (([], "command"), (["bild"], "build"),
                           (["build"], ""), (["build", "--nmae", "x"], "name"),
                           (["build", "--slots", "0"], "slots"),
                           (["build", "--slots", "x"], "slots"),
                           (["build", "--to", "tarball:x", "y"], "tarball"),
                           (["build", "--name"], "name"),
                           (["plan", "--to", "none", "x"], "to"),
                           (["build", "--encoding", "zip", "--to", "none"],
                            "zip"),
                           (["build", "--progress", "x"], "progress")):
            r = self.quarry(*args, status=2)
            self.assertEqual(r.stdout, b"")
            self.assertEqual(len(r.errors.splitlines()), 1, r.errors)
            self.assertIn(word, r.errors)


if __name__ == "__main__":
    quarrytest.main()
