"""Training as one Slurm job, through submitit: a task on each node, which is torchrun with `ranks` processes.

At its time limit, or when it is preempted, the job queues itself again (submitit) and the worker goes on from its checkpoint.
Like the array of scoring (qaq.launch.slurm) the job lives no longer than the run that waits for it, unless that is killed
outright.
"""

import logging
import os
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError

from qaq.launch.local import WorkerFailed
from qaq.launch.ranks import GRACE, Rendezvous, end, start, torchrun, why
from qaq.launch.slurm import DISK_LAG, cancel, minutes, more, queued, setup
from qaq.launch.work import Work, environment

log = logging.getLogger(__name__)
_REQUEUES = 20  # after so many time limits a job is not queued again: it may make no progress between two


class Executor(submitit.SlurmExecutor):
    """submitit's, which can also be asked for the script where there is no Slurm."""

    @classmethod
    def affinity(cls) -> int:
        """There is Slurm: `qaq.launch.slurm.check` has looked for it unless this is a dry run."""
        return 2

    def script(self) -> str:
        """What a submission would give to sbatch."""
        return self._make_submission_file_text(self._submitit_command_str, "")


@dataclass(frozen=True)
class Node:
    """What each task runs; plain fields, because submitit pickles it."""

    work: Work

    def __call__(self) -> None:
        """This node's ranks to their end. CalledProcessError, after the other nodes had time to say why too, if that is a bad
        one: Slurm then ends them."""
        job = submitit.JobEnvironment()
        job.paths.result_pickle.unlink(missing_ok=True)  # of a time before the job was queued again
        attempt = f"{job.job_id}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        meeting = Rendezvous(list(job.hostnames), self.work.settings["port"], attempt)
        command = torchrun(self.work, job.node, self.work.folder / f"attempt_{attempt}" / f"node_{job.node}", meeting)
        threads = {"OMP_NUM_THREADS": str(self.work.settings["cpus_per_task"])}
        node = start(command, {**threads, **environment(self.work.log_file), "TQDM_DISABLE": "1"})
        try:
            status = node.wait()
        finally:
            end([node])
        if status:
            time.sleep(GRACE if job.num_nodes > 1 else 0)
            raise subprocess.CalledProcessError(status, command)

    def checkpoint(self) -> DelayedSubmission:
        """What runs when the job has been queued again: the same; its worker finds the checkpoints."""
        return DelayedSubmission(self)


def describe(work: Work) -> str:
    """The command, the script, and what each task of it starts, the names that Slurm gives left open."""
    hosts = [f"NODE{node}" for node in range(work.settings["nodes"])]
    meeting = Rendezvous(hosts, work.settings["port"], "JOB")
    tasks = [f"task {node}: {shlex.join(torchrun(work, node, work.folder / 'attempt_JOB' / f'node_{node}', meeting))}"
             for node in range(len(hosts))]  # fmt: skip
    file = work.folder / "submission.sh"
    file.write_text(_executor(work).script())
    return "\n".join([shlex.join(["sbatch", str(file)]), file.read_text(), *tasks])


def run(work: Work) -> None:
    """Submit, and wait for the end of the job, however often it is queued again."""
    try:
        job = _executor(work).submit(Node(work))
    except FailedJobError as error:
        raise WorkerFailed(f"sbatch: {error}") from error
    log.info("slurm job %s: %d nodes, %d ranks each; its output is in %s", job.job_id, work.settings["nodes"],
             work.settings["ranks"], work.folder)  # fmt: skip
    try:
        _wait(work, job)
    finally:
        cancel(job.job_id)
    if bad := _bad(job):
        raise WorkerFailed(f"slurm job {job.job_id}: {_why(work, job, bad)}")


def _executor(work: Work) -> Executor:
    given = work.settings
    executor = Executor(work.folder, max_num_timeout=_REQUEUES, python="python" if given["env_command"] else None)
    cores = given["cpus_per_task"] * given["ranks"]
    options = {name: value or True for name, value in more(given["sbatch_args"]).items()}
    executor.update_parameters(job_name=work.module, partition=given["partition"], time=minutes(given["time"]),
                               nodes=given["nodes"], ntasks_per_node=1, cpus_per_task=cores,
                               gpus_per_node=given["gpus_per_task"] * given["ranks"] or None,
                               mem_per_cpu=f"{given['mem_per_cpu_gb']}G", qos=given["qos"],
                               setup=[setup(given["env_command"])], additional_parameters={"requeue": True, **options},
                               # srun's own: since Slurm 22.05 it does not inherit the job's --cpus-per-task
                               srun_args=[f"--cpus-per-task={cores}", "--kill-on-bad-exit=1"])  # fmt: skip
    return executor


def _wait(work: Work, job: submitit.Job) -> None:
    """Until Slurm no longer lists the job and the disk had time to show what its tasks left."""
    told = None
    while states := queued(job.job_id, "%T"):
        if states != told:
            told = states
            log.info("slurm job %s: %s", job.job_id, ", ".join(states))
        time.sleep(work.settings["poll_seconds"])
    deadline = time.monotonic() + DISK_LAG
    while _bad(job) and time.monotonic() < deadline:
        if all(_result(job, task).exists() for task in range(job.num_tasks)):
            return
        time.sleep(1)


def _bad(job: submitit.Job) -> list[int]:
    """Tasks that did not end well, or left no word of how they ended."""
    return [n for n in range(job.num_tasks) if not _result(job, n).exists() or job.task(n).exception() is not None]


def _result(job: submitit.Job, task: int) -> Path:
    return job.task(task).paths.result_pickle


def _why(work: Work, job: submitit.Job, bad: list[int]) -> str:
    logs = ", ".join(str(job.task(task).paths.stderr) for task in bad)
    latest = max(work.folder.glob("attempt_*"), key=lambda folder: folder.stat().st_mtime, default=work.folder)
    return f"{why(work, latest, {f'node {task}': 1 for task in bad})}; what Slurm and submitit say of it is in {logs}"
