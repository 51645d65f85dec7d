"""The only place that starts processes.

The pipeline's own process stays small: it never loads torch. Each stage that needs a model is a worker,
`python -m qaq.<room> REQUEST`, that reads one JSON request and writes into one directory.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

SOURCE = Path(__file__).resolve().parent.parent
# glibc gives every large tensor back to the system and faults it in again: keeping the memory made the reading of
# 32 x 256 tokens by SmolLM2 1.4 times as fast, of 4 x 256 tokens 5 times.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
# GNU OpenMP's threads spin at every barrier; on cores that others use too they would spin for milliseconds. This many
# rounds cost nothing on a quiet machine (measured) and let go soon on a busy one.
_SHARE_CORES = {"GOMP_SPINCOUNT": "10000"}
LOG_FILE = "QAQ_LOG"  # environment variable: where a worker's log lines go besides the screen


class WorkerFailed(RuntimeError):
    """A worker ended without a result; what it said is on the screen and in run.log."""


def workers(module: str, request: dict[str, Any], count: int, log_file: Path | None = None) -> None:
    """`count` equal workers, `python -m module REQUEST`, at once on this machine, sharing its cores, or its GPUs one after the other.

    Raises WorkerFailed if any of them did not end with 0, after all have ended.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        command = [sys.executable, "-m", module, file.name]
        started = [subprocess.Popen(command, env=_environment(rank, count, log_file)) for rank in range(count)]
        try:
            statuses = [process.wait() for process in started]
        finally:  # when we are stopped, nobody else would stop them
            for process in started:
                process.terminate()
    if any(statuses):
        raise WorkerFailed(f"{module} ended with status {statuses}; its last words are above and in {log_file}")


def _environment(rank: int, count: int, log_file: Path | None) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    found = {**_KEEP_MEMORY, **_SHARE_CORES, **os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "true"}
    if not sys.stderr.isatty():
        found["TQDM_DISABLE"] = "1"  # the libraries' own bars; ours become plain lines (qaq.progress)
    if log_file:
        found[LOG_FILE] = str(log_file)
    if count > 1:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        found["CUDA_VISIBLE_DEVICES"] = gpus[rank % len(gpus)] if gpus != [""] else str(rank)
        found.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))
    return found


def command(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run a program to its end without input and keep what it printed, as text."""
    return subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)  # fmt: skip


def alone(arguments: list[str], source: IO[bytes], directory: Path, channel: int) -> subprocess.Popen:
    """Start a program that trusts nobody: a session of its own, an empty environment, `source` as its input, its
    output in one pipe, and the one open file `channel` to report on."""
    return subprocess.Popen(arguments, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={},
                            cwd=directory, pass_fds=[channel], start_new_session=True)  # fmt: skip


def request() -> dict[str, Any]:
    """The request this worker was started with; also sets up its logging. Called first in a worker."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if os.environ.get(LOG_FILE):
        handlers.append(logging.FileHandler(os.environ[LOG_FILE]))
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    return json.loads(Path(sys.argv[1]).read_text())
