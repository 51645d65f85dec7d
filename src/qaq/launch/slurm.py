"""Workers as one Slurm job array, a worker a task, through datatrove.

The array lives no longer than the run that waits for it: when nothing is left to do, and when the run is interrupted, it is
cancelled. A run that was killed outright leaves it working, and the next run finds what it made.
"""

import logging
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from qaq.launch.local import WorkerFailed, command
from qaq.launch.task import check_resources, dead, task
from qaq.launch.work import Work, own_programs, python_path
from qaq.progress import Progress

log = logging.getLogger(__name__)
SHARED = True
DISK_LAG = 60.0  # seconds after which NFS, as it is set up by default, shows another machine's files


class Array(SlurmPipelineExecutor):
    """datatrove's job array, submitted alone, or only written down."""

    dry_run = False

    def launch_merge_stats(self) -> None:
        """No second job: it would wait for ever for a task that died, and there are no statistics to merge."""

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        """The script, as datatrove is about to submit it; a dry run goes no further."""
        script = super().get_launch_file_contents(sbatch_args, run_script)
        if self.dry_run:
            raise _Written(script)
        return script


class _Written(Exception):
    """The script that was not submitted."""


def check(settings: dict[str, Any]) -> None:
    """ValueError for resources no task could get, and without Slurm's commands."""
    check_resources(settings)
    minutes(settings["time"])
    if settings["hosts"]:
        raise ValueError("launch.hosts: Slurm chooses the nodes; say how many with launch.nodes, which with "
                         "launch.sbatch_args=['nodelist=...']")  # fmt: skip
    if settings["poll_seconds"] <= 0:
        raise ValueError(f"launch.poll_seconds={settings['poll_seconds']}: must be above 0")
    for option in settings["sbatch_args"]:
        if option.startswith("-"):
            raise ValueError(f"launch.sbatch_args holds {option!r}: leave the dashes out")
    for program in ("sbatch", "squeue", "scancel"):
        if not settings["dry_run"] and shutil.which(program) is None:
            raise ValueError(f"launch=slurm: no {program} on PATH; start from a machine that submits to Slurm, or look at the "
                             "job with launch.dry_run=true")  # fmt: skip


def describe(work: Work) -> str:
    """The command and the script, byte for byte; the script is left where a submission would leave it."""
    array = _array(work)
    array.dry_run = True
    try:
        array.launch_job()
    except _Written as script:
        file = work.folder / "launch_script.slurm"
        file.write_text(str(script))
        return f"{shlex.join(['sbatch', '--export=ALL,RUN_OFFSET=0', str(file)])}\n{script}"
    raise AssertionError("datatrove submits without asking for the script")


def run(work: Work, left: Callable[[], int]) -> None:
    """Submit, and wait until nothing is left to do or no task is."""
    array = _array(work)
    try:
        array.launch_job()  # not run(): inside another job's array that would take itself for a task
    except subprocess.CalledProcessError as error:
        raise WorkerFailed(f"sbatch ended with status {error.returncode}, its reason is above; it was given "
                           f"{work.folder}/launch_script.slurm") from error  # fmt: skip
    log.info("slurm job %s: %d tasks; their output is in %s", array.job_id, work.settings["workers"], work.folder)
    try:
        _wait(work, array.job_id, left)
    finally:
        cancel(array.job_id)


def _array(work: Work) -> Array:
    given = work.settings
    # srun's own: since Slurm 22.05 it does not inherit the job's --cpus-per-task.
    return Array([task(work)], tasks=given["workers"], time=given["time"], partition=given["partition"],
                 cpus_per_task=given["cpus_per_task"], mem_per_cpu_gb=given["mem_per_cpu_gb"],
                 gpus_per_task=given["gpus_per_task"], qos=given["qos"], job_name=work.module,
                 env_command=setup(given["env_command"]), sbatch_args=more(given["sbatch_args"]),
                 srun_args={"cpus-per-task": given["cpus_per_task"]}, max_array_size=given["workers"],
                 logging_dir=str(work.folder), job_id_position=3)  # fmt: skip


def cancel(job: str) -> None:
    """End the tasks that are still there."""
    said = command(["scancel", job])
    if said.returncode and "Invalid job id" not in said.stderr:
        log.warning("slurm job %s may still be there: scancel: %s", job, said.stderr.strip())


def more(options: list[str]) -> dict[str, str]:
    """launch.sbatch_args as {option: value}."""
    return {name: value for name, _, value in (option.partition("=") for option in options)}


def setup(env_command: str | None) -> str:
    """Shell commands before a task: this Python's programs on PATH unless the user says how, this source for Python."""
    return f"{env_command or own_programs()}; export PYTHONPATH={shlex.quote(python_path())}"


def minutes(time: str) -> int:
    """A time limit as sbatch reads it (minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S), in minutes, seconds rounded up."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", time):
        raise ValueError(f"launch.time={time!r}: write it as minutes, H:M:S or D-H:M:S")
    days, dash, clock = time.rpartition("-")
    given = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = (*given, 0, 0)[:3] if dash or len(given) == 3 else (0, *given, 0)[:3]
    return int(days or 0) * 1440 + hours * 60 + minutes + (seconds > 0)


def _wait(work: Work, job: str, left: Callable[[], int]) -> None:
    """Until nothing is left, or no task is alive and the disk had time to show what the last one wrote."""
    told: set[int] = set()
    waited = 0.0
    with Progress(f"slurm job {job}", before := left(), "records") as progress:
        while now := left():
            progress.add(before - now)
            before, alive = now, _alive(job)
            _tell_of_dead(work, job, alive, told)
            if not alive:
                if waited > DISK_LAG or len(dead(work)) == work.settings["workers"]:
                    break
                waited += work.settings["poll_seconds"]
            time.sleep(work.settings["poll_seconds"])
        progress.add(before - left())


def _alive(job: str) -> set[int]:
    """Ranks that wait or run."""
    return {int(rank) for rank in queued(job, "%K")}


def queued(job: str, what: str) -> list[str]:
    """squeue's word `what` for each task of a job that waits or runs. While Slurm does not answer, it is asked again."""
    while True:
        said = command(["squeue", "--noheader", "--array", f"--jobs={job}", f"--format={what}"])
        if said.returncode == 0 or "Invalid job id" in said.stderr:  # Slurm forgets a job minutes after its end
            return said.stdout.split()
        log.warning("squeue: %s; asking again in a minute", said.stderr.strip())
        time.sleep(60)


def _tell_of_dead(work: Work, job: str, alive: set[int], told: set[int]) -> None:
    for rank in set(dead(work)) - alive - told:
        told.add(rank)
        log.warning("slurm task %d ended before its end, those alive do its share: %s/slurm_logs/%s_%d.out", rank,
                    work.folder, job, rank)  # fmt: skip
