"""One program of a model in a process of its own, with everything it could harm or use up limited.

Two levels. "namespaces": own user, process, mount and network namespaces besides the limits (no network; when the
first process dies the kernel kills all others). "limits only", where the system forbids that: a process which starts a
session of its own may live on until its processor time is used up. Neither is a wall against an attack: the file system
is readable and writable with our rights, and a program that searches its own process finds the token.
"""

import functools
import logging
import math
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qaq import launch

log = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("child.py")
_UNSHARE = ["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_UNSHARE_KILLED = 1  # unshare cannot hand a SIGKILL of its child on by dying of it: it exits with 1
_KEPT = 1 << 16  # bytes of a program's output that are kept; the rest is read and thrown away
_FILE = 1 << 24  # bytes: the largest file a program may write
_PROCESSES = 64  # binds in a namespace of its own, unless the outer user is root
_START = 60.0  # seconds a child may take to start on a busy machine before we say so
_GRACE = 1.0  # seconds of wall time beyond the processor time, so that the processor limit speaks first
_USED_UP = 0.5  # share of the limit: the kernel limits by ticks and reports exact time, and the two differ under load


class SandboxFailed(RuntimeError):
    """The child did not start: nothing is known about the program."""


@dataclass(frozen=True)
class Outcome:
    """`status` as in VERDICTS; `waited`: a time-out by the wall clock, not by processor time."""

    status: str
    seconds: float
    waited: bool
    output: str


@functools.cache
def level() -> str:
    """The isolation this machine allows: "namespaces" or "limits only". Probed once per process."""
    unshare = shutil.which("unshare")
    probe = [unshare or "", *_UNSHARE, sys.executable, "-I", "-c", "pass"]
    if unshare and launch.command(probe, {}).returncode == 0:
        return "namespaces"
    log.warning("no namespaces on this machine: solutions run under limits only, with network and our files in reach")
    return "limits only"


def run(program: str, seconds: float, memory_mb: int, patience: float = 1.0) -> Outcome:
    """Run `program` for at most `seconds` of processor time and `patience` times that of wall time."""
    token = secrets.token_hex(16).encode()
    wall = seconds * patience + _GRACE
    with (
        tempfile.TemporaryDirectory(prefix="qaq-solution-", ignore_cleanup_errors=True) as scratch,
        _child(token, program, math.ceil(seconds), memory_mb << 20, Path(scratch)) as (process, channel),
    ):
        watch = _Watch(process, channel, token)
        watch.until_done(wall)
        usage, code = _end(process)
        watch.drain()
    if not watch.started:
        raise SandboxFailed(f"the process for a solution ended with {code} before the solution ran "
                            f"(isolation: {level()}): {watch.text()[-500:] or 'it said nothing'}")  # fmt: skip
    used_up = usage >= math.ceil(seconds) * _USED_UP and code in (-signal.SIGKILL, _UNSHARE_KILLED)
    return Outcome(_status(watch, code, used_up), watch.seconds, watch.late, watch.text())


def _status(watch: "_Watch", code: int, used_up: bool) -> str:
    if watch.passed:
        return "pass"
    if watch.late or used_up:
        return "timeout"
    return "error" if code < 0 else "fail"


@contextmanager
def _child(token: bytes, program: str, cpu: int, memory: int, scratch: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """The started process and the end of its report pipe that we read."""
    spaces = level() == "namespaces"
    wrap = [str(shutil.which("unshare")), *_UNSHARE] if spaces else []
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as source:
        source.write(token + b"\n" + program.encode("utf-8", "surrogatepass"))
        source.seek(0)
        command = [*wrap, sys.executable, "-I", str(CHILD), *map(str, (writing, cpu, memory, _FILE)),
                   str(_PROCESSES if spaces else 0)]  # fmt: skip
        process = launch.alone(command, source, scratch, writing)
    os.close(writing)
    try:
        yield process, reading
    finally:
        if process.returncode is None:
            _end(process)
        process.stdout.close()
        os.close(reading)


def _end(process: subprocess.Popen) -> tuple[float, int]:
    """Kill the whole group; (processor seconds used, exit status as subprocess gives it)."""
    os.killpg(process.pid, signal.SIGKILL)  # its leader is not reaped yet, so the group is still ours
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, process.returncode


class _Watch:
    """Reads what a child says until it passes, ends or runs out of wall time, counted from its start."""

    def __init__(self, process: subprocess.Popen, channel: int, token: bytes) -> None:
        self.begun, self.seconds, self.started = time.monotonic(), 0.0, False
        self.passed = self.late = False
        self.said, self.reports, self.passing = bytearray(), bytearray(), b"started\n" + token
        self.open = selectors.DefaultSelector()
        self.open.register(channel, selectors.EVENT_READ, self.reports)
        self.open.register(process.stdout, selectors.EVENT_READ, self.said)
        self.life = os.pidfd_open(process.pid)
        self.open.register(self.life, selectors.EVENT_READ)

    def until_done(self, wall: float) -> None:
        """Return when the child has passed or ended, or when its time is over."""
        alive = True
        while alive and not self.passed and not self.late:
            left = self.begun + (wall if self.started else _START) - time.monotonic()
            events = self.open.select(max(left, 0))
            alive = all(key.fd != self.life for key, _ in events)
            for key, _ in events:
                self._read(key)
            if not self.started and self.reports.startswith(b"started\n"):
                self.started, self.begun = True, time.monotonic()
            self.passed = self.reports == self.passing
            self.late = not events and left <= 0
        self.seconds = time.monotonic() - self.begun

    def drain(self) -> None:
        """Read what is left; a pipe that stays open means that a process outlived its group, and is logged."""
        self.open.unregister(self.life)
        os.close(self.life)
        end = time.monotonic() + _GRACE
        while self.open.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in self.open.select(left):
                self._read(key)
        if self.open.get_map():
            log.warning("a process started by a solution outlived it; its processor time is limited")
        self.open.close()

    def text(self) -> str:
        """The kept beginning of the output."""
        return self.said.decode("utf-8", "replace").strip()

    def _read(self, key: selectors.SelectorKey) -> None:
        if key.data is None:
            return
        data = os.read(key.fd, _KEPT)
        if not data:
            self.open.unregister(key.fileobj)
        key.data.extend(data[: _KEPT - len(key.data)])
