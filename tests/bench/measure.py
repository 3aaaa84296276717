"""Runs a command and tells what it cost: wall, CPU of all processes, memory."""

import collections
import os
import re
import statistics
import subprocess
import threading
import time

Cost = collections.namedtuple("Cost", "wall cpu")


def run(args, stdout=subprocess.DEVNULL, **kw):
    """One run; CPU is user and system time of the process and all below."""
    begin = time.perf_counter()
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=stdout,
                         stderr=subprocess.PIPE, **kw)
    errors = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    if p.returncode != 0:
        raise SystemExit("bench: status %d: %s\n%s" % (
            p.returncode, " ".join(args), errors.decode(errors="replace")))
    return Cost(wall, usage.ru_utime + usage.ru_stime), usage.ru_maxrss


def shell(script, **kw):
    return run(["bash", "-euo", "pipefail", "-c", script], **kw)


def alternate(times, warm, **peers):
    """Medians of each peer's runs; they take turns, each after warm()."""
    costs = {name: [] for name in peers}
    for _ in range(times):
        for name, peer in peers.items():
            warm()
            os.sync()  # or it pays for what the one before it wrote
            costs[name].append(peer()[0])
    return {name: Cost(statistics.median(c.wall for c in found),
                       statistics.median(c.cpu for c in found))
            for name, found in costs.items()}


def _descendants(pid):
    found = []
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            for child in map(int, f.read().split()):
                found += [child] + _descendants(child)
    except OSError:
        pass
    return found


def _peak(pid):
    with open("/proc/%d/status" % pid) as f:
        text = f.read()
    return (re.search(r"Name:\s*(\S+)", text).group(1),
            int(re.search(r"VmHWM:\s*(\d+)", text).group(1)))


def peaks(args):
    """{program: its highest resident memory in KiB}, of all processes."""
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = []
    reader = threading.Thread(target=lambda: errors.append(p.stderr.read()))
    reader.start()
    found = {}
    while p.poll() is None:
        for pid in [p.pid] + _descendants(p.pid):
            try:
                name, kib = _peak(pid)
            except (OSError, AttributeError):
                continue
            found[name] = max(found.get(name, 0), kib)
        time.sleep(0.002)
    reader.join()
    if p.returncode != 0:
        raise SystemExit("bench: %s\n%s" % (" ".join(args), errors[0].decode()))
    return found


def sha_rate(seconds=1):
    """Bytes a second of SHA-256 on one core, as openssl measures it."""
    out = subprocess.run(
        ["openssl", "speed", "-mr", "-seconds", str(seconds), "-evp",
         "sha256", "-bytes", "65536"], check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL).stdout.decode()
    return float(out.strip().splitlines()[-1].split(":")[-1])


READS = ("read", "pread64", "readv", "preadv", "preadv2", "copy_file_range",
         "sendfile", "splice")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2",
          "copy_file_range", "sendfile", "splice")


def traced(args, store, output, log):
    """What was done to store files and to the output, counted by strace."""
    calls = sorted(set(("openat", "open", "openat2") + READS + WRITES))
    run(["strace", "-f", "-y", "-qq", "-s", "0", "-o", log,
         "-e", "trace=" + ",".join(calls)] + args)
    opens, read, written = collections.Counter(), 0, 0
    pattern = re.compile(r"^\d+\s+(\w+)\((.*)\)?\s*= (-?\d+)(?:<(.*?)>)?")
    # A call that another thread interrupts is two lines: join them.
    pending = {}
    with open(log, errors="replace") as f:
        for line in f:
            pid = line.split(" ", 1)[0]
            if line.rstrip().endswith("<unfinished ...>"):
                pending[pid] = line.rstrip()[:-len("<unfinished ...>")]
                continue
            resumed = re.search(r"<\.\.\. \w+ resumed>", line)
            if resumed and pid in pending:
                line = pending.pop(pid) + line[resumed.end():]
            m = pattern.match(line)
            if not m or int(m.group(3)) < 0:
                continue
            name, arguments, value, path = m.groups()
            first = re.match(r"\d+<(.*?)>", arguments)
            first = first.group(1) if first else ""
            if name.startswith("open"):
                if path and path.startswith(store) and \
                        "O_DIRECTORY" not in arguments and \
                        "O_PATH" not in arguments:
                    opens[path] += 1
            elif name in READS and first.startswith(store):
                read += int(value)
            elif name in WRITES and first.startswith(output):
                written += int(value)
    return opens, read, written
