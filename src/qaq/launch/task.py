"""One worker as a datatrove task: a process of its own, because its environment has to stand before Python starts.

The GPU it sees is the one Slurm or Ray gave the task (CUDA_VISIBLE_DEVICES). What it logs is in `worker_<rank>.log` beside
the request; all it prints, tracebacks too, goes where Slurm or Ray put a task's output.
"""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qaq.launch.work import Work, environment

_LOOK = 1.0  # seconds between looks at the parent


@dataclass(frozen=True)
class Task:
    """A pipeline step; plain fields, because datatrove pickles it and writes it into executor.json."""

    module: str
    request: str
    threads: int

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Run the worker to its end. CalledProcessError if that was a bad one: the rank is then not marked as completed."""
        parent = os.getppid()
        process = subprocess.Popen(self.command(), env=self.environment(rank))
        while process.poll() is None:
            if os.getppid() != parent:  # Ray ends an actor without its children: nobody would stop the worker
                process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self.command())

    def command(self) -> list[str]:
        """The worker, run by the Python that runs the task."""
        return [sys.executable, "-m", self.module, self.request]

    def environment(self, rank: int) -> dict[str, str]:
        """The task's environment with what a worker needs."""
        log_file = Path(self.request).parent / f"worker_{rank:05d}.log"
        return {"OMP_NUM_THREADS": str(self.threads), **environment(log_file), "TQDM_DISABLE": "1"}


def task(work: Work) -> Task:
    """The one step of the pipeline every rank runs."""
    return Task(work.module, str(work.request), work.settings["cpus_per_task"])


def check_resources(settings: dict[str, Any]) -> None:
    """ValueError for resources no task could be given."""
    for option, least in (("cpus_per_task", 1), ("mem_per_cpu_gb", 1), ("gpus_per_task", 0)):
        if settings[option] < least:
            raise ValueError(f"launch.{option}={settings[option]}: must be at least {least}")


def dead(work: Work) -> list[int]:
    """Ranks without datatrove's mark of completion."""
    marked = work.folder / "completions"
    return [rank for rank in range(work.settings["workers"]) if not (marked / f"{rank:05d}").is_file()]
