"""The only place that starts processes.

The pipeline's own process stays small: it never loads torch. Each stage that needs a model is a worker,
`python -m qaq.<room> REQUEST`, that reads one JSON request and writes into one directory.

Scoring is shared between workers that need nothing of each other: each walks over all shards, takes what is neither done nor
taken and returns to the taken ones at the end (qaq.score.shards). So any number of them, on any number of machines with one
disk, gives the same result, and a worker that dies costs the shard it was computing.

local.py    on this machine; other programs
slurm.py    a job array            (datatrove's SlurmPipelineExecutor)
ray.py      tasks of a Ray cluster (datatrove's RayPipelineExecutor)
task.py     one worker as a datatrove task

Training is the work of ranks that need each other at every step: one that dies takes the others along.

ranks.py      on this machine, or on a list of hosts
slurm_job.py  as one Slurm job (submitit)
node.py       torchrun on each node, with a record of what failed
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from qaq.launch.local import WorkerFailed, alone, command, request, workers
from qaq.launch.ranks import train
from qaq.launch.work import DryRun, Work, hand_over, warn_of_private_paths

__all__ = ["DryRun", "Work", "WorkerFailed", "alone", "check", "command", "distribute", "request", "train", "workers"]


def check(settings: dict[str, Any]) -> None:
    """ValueError for options no worker could be started with here; a dry run needs neither Slurm nor Ray."""
    _place(settings).check(settings)


def distribute(module: str, request: dict[str, Any], settings: dict[str, Any], run_dir: Path,
               left: Callable[[], int]) -> None:  # fmt: skip
    """`settings["workers"]` equal workers, `python -m module REQUEST`, where `settings["name"]` says.

    `left()` counts the records that are still to be made; at 0 nothing is started. The request, and what the workers say, lie
    in a folder of their own under `run_dir`, one for every submission, because datatrove's marks of completion do not know
    what was completed. Raises WorkerFailed if the workers are gone and something is left, DryRun if
    `settings["dry_run"]`, after printing what would be started.
    """
    if not left():
        return
    work, place = hand_over(module, request, settings, run_dir), _place(settings)
    if settings["dry_run"]:
        print(f"dry run: {left():,} records are missing; this would be started:\n{place.describe(work)}")
        raise DryRun
    if place.SHARED:
        warn_of_private_paths(work, request)
    place.run(work, left)
    if missing := left():
        raise WorkerFailed(f"the workers of {module} are gone and {missing:,} records are missing: see {work.folder}. What "
                           "they finished is kept: run the same command again to go on")  # fmt: skip


def _place(settings: dict[str, Any]) -> ModuleType:
    """A module with SHARED, check(settings), describe(work) and run(work, left)."""
    return importlib.import_module(f"qaq.launch.{settings['name']}")
