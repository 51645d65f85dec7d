"""Workers on this machine, and other programs.

Plain processes rather than datatrove's LocalPipelineExecutor: that one forks a pool from this process, and what a worker
needs has to be in its environment before it starts (the GPU it sees, its threads, how glibc keeps memory).
"""

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from qaq.launch.work import LOG_FILE, Work, as_shell, end_with_input, environment

log = logging.getLogger(__name__)
SHARED = False  # whether workers run on other machines too
_WATCHED = "QAQ_ENDS_WITH_INPUT"  # set for a worker whose input is a pipe from whoever started it


class WorkerFailed(RuntimeError):
    """A worker ended without a result; what it said is on the screen and in run.log."""


def check(settings: dict[str, Any]) -> None:
    """ValueError for ranks that this machine, or the hosts it is given, could not be."""
    hosts, nodes = settings["hosts"], settings["nodes"]
    if hosts and len(hosts) != nodes:
        raise ValueError(f"launch.hosts names {len(hosts)} hosts and launch.nodes={nodes}: give one host for each node")
    if nodes > 1 and not hosts:
        raise ValueError(f"launch.nodes={nodes}: name them with launch.hosts=[HOST,...], or use launch=slurm")
    shell = shlex.split(settings["remote_shell"])
    if hosts and not settings["dry_run"] and (not shell or shutil.which(shell[0]) is None):
        raise ValueError(
            f"launch.remote_shell={settings['remote_shell']!r} is not on PATH: the hosts are reached by it"
        )


def describe(work: Work) -> str:
    """The commands, each with what its environment has beyond this one's."""
    count, command = work.settings["workers"], worker_command(work.module, work.request)
    lines = [as_shell(command, _environment(rank, count, work.log_file)) for rank in range(count)]
    return "\n".join([f"{count} processes on this machine:", *lines])


def run(work: Work, left: Callable[[], int]) -> None:
    """All workers to their end."""
    _run(work.module, work.request, work.settings["workers"], work.log_file)


def run_one(work: Work) -> None:
    """One worker to its end."""
    _run(work.module, work.request, 1, work.log_file)


def describe_one(work: Work) -> str:
    """Its command."""
    return as_shell(worker_command(work.module, work.request), _environment(0, 1, work.log_file))


def workers(module: str, request: dict[str, Any], count: int, log_file: Path | None = None) -> None:
    """`count` equal workers, `python -m module REQUEST`, at once on this machine, sharing its cores, or its GPUs one after the other.

    Raises WorkerFailed, after all have ended, if none of them ended with 0. If only some did, the others have taken over what
    the dead ones left, and a warning names those.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        _run(module, Path(file.name), count, log_file)


def _run(module: str, request: Path, count: int, log_file: Path | None) -> None:
    command = worker_command(module, request)
    started = [subprocess.Popen(command, env={**_environment(rank, count, log_file), _WATCHED: "1"}, stdin=subprocess.PIPE)
               for rank in range(count)]  # fmt: skip
    try:
        statuses = [process.wait() for process in started]
    finally:  # when we are stopped, nobody else would stop them
        for process in started:
            process.terminate()
    if all(statuses):
        said = ", ".join(map(ending, statuses))
        raise WorkerFailed(f"{module} ended with {said}; its last words are above and in {log_file}")
    for rank, status in enumerate(statuses):
        if status:
            log.warning(
                "%s: worker %d of %d ended with %s; the others did its share", module, rank, count, ending(status)
            )


def worker_command(module: str, request: Path) -> list[str]:
    """A worker, run by this Python."""
    return [sys.executable, "-m", module, str(request)]


def ending(status: int) -> str:
    """A process's end in words."""
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def _environment(rank: int, count: int, log_file: Path | None) -> dict[str, str]:
    found = environment(log_file)
    if count > 1:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")  # unset: all of them; empty: none, on purpose
        found["CUDA_VISIBLE_DEVICES"] = str(rank) if gpus is None else gpus.split(",")[rank % len(gpus.split(","))]
        found.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))
    return found


def command(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run a program to its end without input and keep what it printed, as text."""
    return subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)  # fmt: skip


def alone(arguments: list[str], source: IO[bytes], directory: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Start a program that trusts nobody: a session of its own, no environment but this, `source` as its input, and
    all its output in one pipe."""
    return subprocess.Popen(arguments, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                            cwd=directory, start_new_session=True)  # fmt: skip


def request() -> dict[str, Any]:
    """The request this worker was started with; also sets up its logging, last words included. Called first in a worker.

    A worker started here ends when its starter is gone: nobody would wait for it, and it would hold its locks.
    Of several ranks (torchrun's RANK) the first one speaks; the others say what is wrong, on their own stderr.
    """
    if os.environ.pop(_WATCHED, None):
        end_with_input()
    speaks = os.environ.get("RANK", "0") == "0"
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if speaks and os.environ.get(LOG_FILE):
        handlers.append(logging.FileHandler(os.environ[LOG_FILE]))
    level = logging.INFO if speaks else logging.WARNING
    logging.basicConfig(level=level, format="[%(asctime)s] %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    sys.excepthook = _last_words
    return json.loads(Path(sys.argv[1]).read_text())


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a user can do something about in a line, all else with its traceback; into the log file too."""
    known = issubclass(kind, (ValueError, OSError, MemoryError, KeyboardInterrupt))
    log.error("%s", str(error) or kind.__name__, exc_info=None if known else (kind, error, trace))
    if "RANK" in os.environ:  # the threads that talk to other ranks may abort an orderly end, with words of their own
        logging.shutdown()
        os._exit(1)
