"""A Slurm of its own on this machine: a controller and three nodes, w1 to w3,
all on 127.0.0.1, with munge for keys.  Needs root."""

import os
import signal
import socket
import subprocess
import time

import quarrytest
from ports import free_ports
from quarrytest import wait_for

NODES = 3
CONFIG = """\
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={top}/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={top}/ctld
SlurmdSpoolDir={top}/%n
SlurmctldPidFile={top}/run/ctld.pid
SlurmdPidFile={top}/run/%n.pid
SlurmctldLogFile={top}/ctld.log
SlurmdLogFile={top}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SchedulerType=sched/builtin
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdTimeout=60
MessageTimeout=30
KillWait=2
PartitionName=main Nodes=w[1-3] Default=YES MaxTime=INFINITE State=UP
"""
NODE = ("NodeName=w{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
        "CPUs=2 RealMemory=100\n")


class Slurm:
    def __init__(self, top):
        self.top = top
        self.running = []
        for name in ("ctld", "run"):
            os.mkdir(self.path(name))
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith(("SLURM_", "QUARRY_"))}
        self.env["SLURM_CONF"] = self.path("slurm.conf")

    def path(self, *names):
        return os.path.join(self.top, *names)

    def start(self):
        """Everything up and the nodes idle, or an error that says why not."""
        self.munge()
        first = free_ports(1 + NODES)
        ports = range(first, first + 1 + NODES)
        host = socket.gethostname()
        quarrytest.write(self.path("slurm.conf"), CONFIG.format(
            host=host, top=self.top, ports=ports) + "".join(
                NODE.format(n=i + 1, host=host, port=ports[i + 1])
                for i in range(NODES)))
        # No cgroup is used.  Which version there is would be looked up, and
        # in a bare chroot there is none.
        quarrytest.write(self.path("cgroup.conf"), "CgroupAutomount=no\n"
                         "CgroupPlugin=cgroup/v1\n")
        self.daemon("slurmctld", "-D", "-f", self.path("slurm.conf"))
        for i in range(NODES):
            self.daemon("slurmd", "-D", "-N", "w%d" % (i + 1), "-f",
                        self.path("slurm.conf"))
        if not wait_for(self.idle, step=0.1):
            raise AssertionError("no nodes:\n%s\n%s" % (
                self.say("sinfo", "-N", "-l"), self.logs()))

    def munge(self):
        quarrytest.write(self.path("munge.key"), os.urandom(1024), 0o400)
        self.daemon("munged", "--foreground", "--force", "--socket",
                    self.path("munge.sock"), "--key-file",
                    self.path("munge.key"), "--pid-file",
                    self.path("run/munged.pid"), "--log-file",
                    self.path("munged.log"), "--seed-file",
                    self.path("seed"), "--num-threads", "2")
        if not wait_for(lambda: os.path.exists(self.path("munge.sock"))):
            raise AssertionError("no munged:\n" + self.logs())

    def daemon(self, *args):
        with open(self.path(args[0] + ".out"), "ab") as out:
            # A test that is killed leaves no Slurm behind.
            self.running.append(subprocess.Popen(
                ("setpriv", "--pdeathsig", "KILL") + args, env=self.env, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, cwd=self.top))

    def idle(self):
        for p in self.running:
            if p.poll() is not None:
                raise AssertionError("%s ended:\n%s" % (p.args, self.logs()))
        return self.say("sinfo", "-h", "-t", "idle", "-o", "%D") == str(NODES)

    def logs(self):
        text = ""
        for name in sorted(os.listdir(self.top)):
            if name.endswith((".log", ".out")):
                text += "%s:\n%s\n" % (name, quarrytest.read(
                    self.path(name)).decode(errors="replace")[-2000:])
        return text

    def say(self, *args):
        r = subprocess.run(args, env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=60)
        return r.stdout.decode(errors="replace").strip()

    def jobs(self):
        """Ids of jobs that wait, run or are being ended."""
        return self.say("squeue", "-h", "-o", "%i").split()

    def stop(self):
        """Jobs, then daemons; what does not end is killed."""
        try:
            self.say("scancel", "-u", "root")
            wait_for(lambda: not self.jobs(), 15, 0.1)
        except (OSError, subprocess.SubprocessError):
            pass
        for p in reversed(self.running):
            p.terminate()
        end = time.monotonic() + 10
        for p in reversed(self.running):
            try:
                p.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def processes(self):
        """What still runs with this Slurm's configuration: step daemons."""
        mark = ("SLURM_CONF=" + self.path("slurm.conf")).encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if mark in f.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass
        return found
