"""What strace saw a program open, read, write and map, by path."""

import collections
import re

READS = ("read", "pread64", "readv", "preadv", "preadv2", "sendfile",
         "copy_file_range", "splice")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile",
          "copy_file_range", "splice")
LINE = re.compile(
    r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)")
FD = re.compile(r"^\d+<((?:[^<>\\]|\\.)*)>")


def strace(log):
    """What to put before a program; LeakSanitizer cannot work below it."""
    calls = ",".join(sorted(set(READS + WRITES))
                     + ["open", "openat", "openat2", "mmap"])
    return ["strace", "-f", "-y", "-qq", "-s", "0", "-e", "signal=none",
            "-e", "trace=" + calls, "-o", log]


def whole_lines(log):
    """Calls that others came in between of are put together again."""
    pending = {}
    with open(log, errors="replace", encoding="utf-8") as f:
        for line in f:
            pid, _, rest = line.partition(" ")
            rest = rest.strip()
            if rest.endswith("<unfinished ...>"):
                pending[pid] = rest[:-len("<unfinished ...>")]
                continue
            m = re.match(r"<\.\.\. (\w+) resumed>(.*)", rest)
            if m:
                rest = pending.pop(pid, m.group(1) + "(") + m.group(2)
            yield rest


class Traced:
    """{path: opens}, {path: bytes read}, {path: bytes written}, {path}."""

    def __init__(self, log):
        self.opens = collections.Counter()
        self.got, self.put = collections.Counter(), collections.Counter()
        self.mapped = set()
        for line in whole_lines(log):
            self.count(line)

    def count(self, line):
        if line.startswith(("open", "openat", "openat2")):
            m = re.search(r"= \d+<(.*)>$", line)
            if m:
                self.opens[m.group(1)] += 1
            return
        m = LINE.match(line)
        if not m:
            return
        call, args, result = m.groups()
        if call == "mmap":
            m = re.search(r", (\d+)<([^>]*)>, ", args)
            if m:
                self.mapped.add(m.group(2))
            return
        n = int(result, 0)
        m = FD.match(args)
        if n > 0 and m:
            (self.put if call in WRITES and call not in READS
             else self.got)[m.group(1)] += n
            if call in ("sendfile", "copy_file_range", "splice"):
                raise ValueError(call + " is not counted")
