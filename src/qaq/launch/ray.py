"""Workers as tasks of a Ray cluster, through datatrove.

Ray is no part of requirements.txt: only who has a cluster needs it, and the cluster says which version.
"""

import importlib.util
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor

from qaq.launch.task import check_resources, dead, task
from qaq.launch.work import Work, as_shell, python_path

log = logging.getLogger(__name__)
SHARED = True
TESTED = "ray==2.60.0"


def check(settings: dict[str, Any]) -> None:
    """ValueError for resources no task could get, and without Ray."""
    check_resources(settings)
    if settings["nodes"] > 1 or settings["hosts"]:
        raise ValueError(f"launch.nodes={settings['nodes']}: with launch=ray, training runs where main.py runs, on launch.ranks "
                         "of its GPUs; several nodes need launch=slurm or launch=local with launch.hosts")  # fmt: skip
    if not settings["dry_run"] and importlib.util.find_spec("ray") is None:
        raise ValueError(f"launch=ray: Ray is not installed; pip install '{TESTED}' (or the version of your cluster)")


def describe(work: Work) -> str:
    """Where, and for each task what it reserves and runs."""
    given = work.settings
    reserved = (f"{given['cpus_per_task']} CPUs, {given['gpus_per_task']} GPUs, "
                f"{given['cpus_per_task'] * given['mem_per_cpu_gb']} GiB of memory")  # fmt: skip
    place = given["address"] or "RAY_ADDRESS, or one started here"
    lines, one = [f"{given['workers']} tasks on the Ray cluster at {place}:"], task(work)
    lines += [f"task {rank}, {reserved}: {as_shell(one.command(), one.environment(rank))}"
              for rank in range(given["workers"])]  # fmt: skip
    return "\n".join(lines)


def run(work: Work, left: Callable[[], int]) -> None:
    """All tasks to their end. datatrove starts a task again, three times at most, when Ray lost it."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers
    stop = signal.getsignal(signal.SIGTERM)
    ray.init(address=work.settings["address"], runtime_env={"env_vars": {"PYTHONPATH": python_path()}})
    signal.signal(signal.SIGTERM, stop)  # Ray puts its own in place, and an interrupted run would not say so
    try:
        _warn_if_too_small(work.settings, ray.cluster_resources())
        _executor(work).run()
    finally:
        ray.shutdown()
    for rank in dead(work):
        log.warning("ray task %d ended before its end, the others did its share: %s/worker_%05d.log", rank,
                    work.folder, rank)  # fmt: skip


def _executor(work: Work) -> RayPipelineExecutor:
    given = work.settings
    return RayPipelineExecutor([task(work)], tasks=given["workers"], cpus_per_task=given["cpus_per_task"],
                               mem_per_cpu_gb=given["mem_per_cpu_gb"], gpus_per_task=given["gpus_per_task"],
                               logging_dir=str(work.folder))  # fmt: skip


def _warn_if_too_small(settings: dict[str, Any], there: dict[str, float]) -> None:
    memory = settings["cpus_per_task"] * settings["mem_per_cpu_gb"] * 2**30
    for name, wanted in (("CPU", settings["cpus_per_task"]), ("GPU", settings["gpus_per_task"]), ("memory", memory)):
        if wanted > there.get(name, 0):
            log.warning("a task asks for %s=%d and the Ray cluster has %d: it waits until a node with that joins; ask for "
                        "less with launch.*_per_task or launch.mem_per_cpu_gb", name, wanted, there.get(name, 0))  # fmt: skip
