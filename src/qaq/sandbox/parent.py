"""One solution in a process of its own, behind the walls that this machine allows (see `walls`), and judged from here.

The process (`child`) knows no expected value: it says what the solution returned, input by input, and whoever started
it compares. What is missing is a failure, so it gains nothing by ending early, by lying or by keeping silent.

Time is the processor's: how much the child has used is read from here, when nothing has come for a while. Of time in
which it neither runs nor waits for a processor there is a budget too, for a solution that sleeps. Both are the same on a
busy machine.
"""

import contextlib
import fcntl
import functools
import logging
import marshal
import math
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qaq import launch
from qaq.sandbox import values
from qaq.sandbox.answers import answers
from qaq.sandbox.child import HEADER, MARK
from qaq.sandbox.walls import LEVELS

log = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("child.py")
# -S: no start-up files of other packages, which take longer than all the rest; a fixed order of sets in every run.
_PYTHON = [sys.executable, "-S", "-s", "-P"]
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip
_START = 60.0  # seconds a child may take to start on a busy machine before we say so
_IDLE = 1.0  # seconds of idleness on top of the limit
_PIPE = 1 << 20  # bytes of a pipe, and of one reading
_WORDS = 1 << 12  # bytes of an error message that are kept
_PROCESSOR = 2  # the process-wide clock of Linux's numbers for clocks of processes


class SandboxFailed(RuntimeError):
    """The child did not start: nothing is known about the solution."""


class Output(NamedTuple):
    """What a solution returned for an input: the name of its type, and its bytes (see `values`)."""

    kind: str
    data: bytes


@dataclass(frozen=True)
class Call:
    """A program, the inputs for its function in suites, and for each input its limits: processor seconds, bytes."""

    program: str
    entry_point: str
    suites: list[list[list[Any]]]
    seconds: list[float]
    largest: list[int]
    total: float
    elements: bool = False  # report an output's elements as a list


@dataclass(frozen=True)
class Outcome:
    """What came of a call: "done", "refused" by the judge, "timeout", "error" (the process ended early).

    `outputs` were accepted; `seconds` of processor time were used.
    """

    status: str
    outputs: int
    seconds: float


_GARBLED = Output("", b""), 0.0
Judge = Callable[[int, Output, float], bool]


@functools.cache
def allowed(name: str) -> bool:
    """Whether this machine allows a level of isolation, found by trying."""
    probe = Call("def f():\n    return 1\n", "f", [[[]]], [_START], [1 << 10], _START)
    try:
        return _run(name, probe, 1 << 30, lambda _, output, __: output.kind == "int", 1.0).status == "done"
    except SandboxFailed as error:
        log.warning("isolation: solutions cannot run %s on this machine: %s", name, str(error).splitlines()[-1])
        return False


@functools.cache
def level() -> str:
    """The strongest isolation this machine allows."""
    for name in LEVELS:
        if allowed(name):
            log.info("isolation: solutions run %s", name)
            return name
    raise SandboxFailed("this machine runs no solution at any level of isolation: see the warnings above")


def require(lowest: str | None) -> None:
    """ValueError if this machine's isolation is weaker than `lowest` (null: any will do)."""
    lowest = LEVELS[-1] if lowest is None else lowest
    if lowest not in LEVELS:
        raise ValueError(f"require_isolation={lowest}: known, the strongest first: {', '.join(LEVELS)}")
    if LEVELS.index(level()) > LEVELS.index(lowest):
        raise ValueError(f"require_isolation={lowest}, but this machine only allows {level()!r} (the warnings "
                         "above say why); allow user namespaces, run elsewhere, or accept the level")  # fmt: skip


def run(call: Call, memory_mb: int, judge: Judge, patience: float = 1.0) -> Outcome:
    """Run a call until the judge, asked with each output's position, the output and its seconds, refuses one.

    `patience` multiplies all limits of time. Raises SandboxFailed if nothing can be said about the program.
    """
    return _run(level(), call, memory_mb << 20, judge, patience)


def _run(isolation: str, call: Call, memory: int, judge: Judge, patience: float) -> Outcome:
    total = call.total * patience
    with tempfile.TemporaryDirectory(prefix="qaq-solution-", ignore_cleanup_errors=True) as scratch:
        request = {
            "program": call.program,
            "entry_point": call.entry_point,
            "suites": [[marshal.dumps(given) for given in suite] for suite in call.suites],
            "elements": call.elements,
            "packages": _packages(),
            "walls": (isolation, _views(), _hidden(), memory, math.ceil(total) + 2),
        }
        process = _start(request, Path(scratch))
        watch = _Watch(process, isolation)
        try:
            return watch.follow(call, judge, patience)
        finally:
            watch.end()


def _start(request: dict[str, Any], scratch: Path) -> subprocess.Popen:
    with tempfile.TemporaryFile() as source:
        marshal.dump(request, source)
        source.seek(0)
        return launch.alone([*_PYTHON, str(CHILD)], source, scratch, _ENVIRONMENT)


@functools.cache
def _packages() -> list[str]:
    """Where installed packages lie; without the start-up files of -S a child would not find them."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


@functools.cache
def _views() -> list[str]:
    """The folders and files that Python, its packages and the libraries under them need; none inside another."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*_packages(), sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("DESTSHARED")}
    paths |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"}
    there = sorted(path for path in paths if path and os.path.exists(path))
    return [path for path in there if not any(path.startswith(f"{other}/") for other in there)]


@functools.cache
def _hidden() -> list[str]:
    """What of the views must not be seen: the benchmark's own solutions, by every path that leads to them."""
    pairs = [(view, os.path.relpath(file.resolve(), os.path.realpath(view))) for view in _views() for file in answers()]
    return [os.path.join(view, inside) for view, inside in pairs if not inside.startswith("..")]


class _Watch:
    """Reads a child's reports as they come."""

    def __init__(self, process: subprocess.Popen, isolation: str) -> None:
        self.process, self.isolation, self.channel = process, isolation, process.stdout.fileno()
        self.said, self.ended, self.life = bytearray(), False, None
        fcntl.fcntl(self.channel, fcntl.F_SETPIPE_SZ, _PIPE)
        self.open = selectors.DefaultSelector()
        self.open.register(self.channel, selectors.EVENT_READ)

    def follow(self, call: Call, judge: Judge, patience: float) -> Outcome:
        """The outcome; what the process does afterwards does not matter to it."""
        number = self._start()
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            self.life = os.pidfd_open(number)
        clock = _Clock(number)
        status, outputs = self._outputs(call, judge, patience, clock)
        return Outcome(status, outputs, clock.used())

    def end(self) -> None:
        """Return when the process behind the walls is gone, and all it started."""
        if self.life is not None:
            with contextlib.suppress(ProcessLookupError):  # likewise
                signal.pidfd_send_signal(self.life, signal.SIGKILL)
            os.close(self.life)
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)  # the one in front of the walls follows it
        os.killpg(self.process.pid, signal.SIGKILL)  # its leader is not reaped yet, so the group is still ours
        self.process.wait()
        self.process.stdout.close()
        self.open.close()

    def _start(self) -> int:
        """Wait until the walls stand; the number of the process behind them."""
        give_up = time.monotonic() + _START
        while not self.ended and (left := give_up - time.monotonic()) > 0:
            if self.said[:1] == MARK[:1] and (report := self._next(1 << 10)):
                return values.decode(report[0].data)
            self._read(left)
        words = self.said[-_WORDS:].decode("utf-8", "replace").strip() or "it said nothing"
        raise SandboxFailed(f"the process for a solution did not start ({self.isolation}): {words}")

    def _outputs(self, call: Call, judge: Judge, patience: float, clock: "_Clock") -> tuple[str, int]:
        for i, limit in enumerate(call.seconds):
            while not (report := self._next(call.largest[i])):
                left = min(limit * patience - clock.since_mark(), call.total * patience - clock.used(),
                           (max(call.seconds) + _IDLE) * patience - clock.idle())  # fmt: skip
                if self.ended:
                    return "error", i
                if self._read(left):  # what lies in the pipe by now counts, however long we were away
                    clock.mark()
                elif left <= 0:
                    return "timeout", i
            with clock.stopped():
                if report == _GARBLED or not judge(i, *report):
                    return "refused", i
        return "done", len(call.seconds)

    def _next(self, largest: int) -> tuple[Output, float] | None:
        """The next report, if all of it is here."""
        if len(self.said) < HEADER.size:
            return None
        mark, seconds, size, name = HEADER.unpack_from(self.said)
        if mark != MARK or size > largest:  # not made by `child`, or larger than any right output
            return _GARBLED
        start, end = HEADER.size + name, HEADER.size + name + size
        if len(self.said) < end:
            return None
        output = Output(self.said[HEADER.size : start].decode("utf-8", "replace"), bytes(self.said[start:end]))
        del self.said[:end]
        return output, seconds

    def _read(self, seconds: float) -> bool:
        """Whether something has come, after at most so much time."""
        if not self.open.select(max(seconds, 0.0)):
            return False
        data = os.read(self.channel, _PIPE)
        self.said += data
        self.ended = not data
        return True


class _Clock:
    """Processor seconds that a process has used, and seconds in which it wanted none."""

    def __init__(self, number: int) -> None:
        self.clock, self.statistics = ~number << 3 | _PROCESSOR, f"/proc/{number}/schedstat"
        self.last = 0.0
        self.begun, self.before = time.monotonic(), self.used()
        self.waited_before = self._waited()
        self.marked = self.before

    def used(self) -> float:
        """Of all its threads; of a process that has ended what was last known."""
        with contextlib.suppress(OSError):
            self.last = time.clock_gettime(self.clock)
        return self.last

    def mark(self) -> None:
        """Something has come from it now."""
        self.marked = self.used()

    def since_mark(self) -> float:
        return self.used() - self.marked

    def idle(self) -> float:
        """Neither running nor waiting for a processor; where the system does not tell, waiting counts as idle."""
        waited = self._waited() - self.waited_before
        return time.monotonic() - self.begun - (self.used() - self.before) - waited

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Time that we take for ourselves: it may be waiting for us to read on, so it is not idle."""
        begun = time.monotonic()
        yield
        self.begun += time.monotonic() - begun

    def _waited(self) -> float:
        with contextlib.suppress(OSError):
            return int(Path(self.statistics).read_text().split()[1]) / 1e9
        return 0.0
