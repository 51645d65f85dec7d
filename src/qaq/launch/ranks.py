"""Training: `nodes` x `ranks` processes that need each other at every step.

One rank here is a plain worker. Several are started by torchrun (qaq.launch.node), one of it on each node, which find each
other on the first node. Nothing is started again when a rank fails: the worker's checkpoints are what a new run goes on from.

A run's folder under launch/ holds the request, and for each node a folder with stdout.log and stderr.log of every rank. Rank
0's log lines also go to run.log and, as all it says, to the screen.
"""

import importlib
import json
import os
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qaq.launch.local import WorkerFailed, describe_one, ending, run_one
from qaq.launch.work import (
    FAILED,
    DryRun,
    Work,
    as_shell,
    elsewhere,
    environment,
    hand_over,
    own_programs,
    warn_of_private_paths,
)

_LOOK = 0.2  # seconds between looks at the nodes
GRACE = 10.0  # seconds in which the other nodes may still say why they ended too
_STOPPING = 90.0  # seconds a node has to end: torchrun gives its ranks 30, then kills them and waits 30 again
_LATER = 10.0  # seconds after the first bad end, from which on one is torchrun's own killing of the rest


@dataclass(frozen=True)
class Rendezvous:
    """Where the nodes meet: their names, as the others reach them, a port of the first, and a name nobody else uses."""

    hosts: list[str]
    port: int
    name: str

    def options(self, node: int) -> list[str]:
        """torchrun's, for one of the nodes; alone it needs to meet nobody."""
        if len(self.hosts) < 2:
            return ["--standalone"]
        return ["--nnodes", str(len(self.hosts)), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{self.hosts[0]}:{self.port}",
                "--rdzv-id", self.name, "--rdzv-conf", f"is_host={int(node == 0)}", "--local-addr", self.hosts[node]]  # fmt: skip


def train(module: str, request: dict[str, Any], settings: dict[str, Any], run_dir: Path) -> None:
    """`python -m module REQUEST` as nodes x ranks cooperating ranks, where `settings["name"]` says, to their end.

    WorkerFailed, naming the rank, how it ended and where its last words are, if one ends badly: the others are then ended.
    DryRun if `settings["dry_run"]`, after printing the commands and files that would be used.
    """
    work = hand_over(module, request, settings, run_dir)
    if settings["name"] == "slurm":
        place = importlib.import_module("qaq.launch.slurm_job")  # loads submitit
        shared, describe, run = True, place.describe, place.run
    else:
        shared, describe, run = bool(settings["hosts"]), _describe, _run
    if settings["dry_run"]:
        print(
            f"dry run: this would be started:\n{describe(work)}\n{work.request}:\n{work.request.read_text().rstrip()}"
        )
        raise DryRun
    if shared:
        warn_of_private_paths(work, request)
    run(work)


def torchrun(work: Work, node: int, logs: Path, meeting: Rendezvous) -> list[str]:
    """The command on one node. What rank 0 of a node writes is shown too; of the others it is only kept."""
    return [sys.executable, "-m", "qaq.launch.node", *meeting.options(node), "--nproc-per-node", str(work.settings["ranks"]),
            "--log-dir", str(logs), "--redirects", "3", "--tee", "0:3", "-m", work.module, str(work.request)]  # fmt: skip


def start(command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen:
    """A node; it ends when its input does. A session of its own: Ctrl-C is for us, who then end it in order."""
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


def end(nodes: list[subprocess.Popen]) -> None:
    """End the nodes that still run, and wait for that."""
    for node in nodes:
        with suppress(BrokenPipeError):
            node.stdin.close()
    deadline = time.monotonic() + _STOPPING
    for node in nodes:
        try:
            node.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            node.kill()


def why(work: Work, folder: Path, nodes: dict[str, int]) -> str:
    """What ended how, from what each node left under `folder`; `nodes`: bad statuses of the nodes themselves by name."""
    failures = _in_order([one for file in sorted(folder.rglob(FAILED)) for one in json.loads(file.read_text())])
    total = work.settings["nodes"] * work.settings["ranks"]
    if not failures:
        ended = ", ".join(f"{name} with {ending(status)}" for name, status in nodes.items())
        return f"{work.module} ended on {ended} and no rank says why; what was said is above and in {work.folder}"
    first, *others = failures
    said = f"{work.module}: rank {first['rank']} of {total} on {first['host']} ended with {ending(first['exit'])}"
    if first["exit"] == -9:
        said += (f" (memory that ran out is the usual reason: dmesg on {first['host']}, or the cluster's record of the job, "
                 "tells)")  # fmt: skip
    said += f"; its last words, {_last_words(first)}, are in {first['log']}"
    if others:
        then = ", ".join(f"rank {one['rank']} with {ending(one['exit'])} ({one['log']})" for one in others)
        said += f"; then ended {then}"
    return said


def _in_order(failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The likely cause first. Those that were told to end, or were killed in the end, say nothing about it; of the others,
    who lost a peer says so after that peer is silent."""
    if not failures:
        return []
    first = min(one["seen"] for one in failures)
    kept = [one for one in failures if one["exit"] != -15 and one["seen"] <= first + _LATER] or failures
    return sorted(kept, key=lambda one: one["spoke"])


def _last_words(failure: dict[str, Any]) -> str:
    lines = Path(failure["log"]).read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return repr(last[:1000]) if last else "none"


def _run(work: Work) -> None:
    if _is_one(work):
        run_one(work)
        return
    given = _nodes(work)
    nodes = {}
    try:
        for name, command, around in given:
            nodes[name] = start(command, around)
        _wait(list(nodes.values()))
    finally:
        bad = {name: node.poll() for name, node in nodes.items() if node.poll()}
        end(list(nodes.values()))
    if bad:
        raise WorkerFailed(why(work, work.folder, bad))


def _describe(work: Work) -> str:
    if _is_one(work):
        return describe_one(work)
    lines = [f"on {name}: {as_shell(command, around) if around else shlex.join(command)}"
             for name, command, around in _nodes(work)]  # fmt: skip
    return "\n".join(lines)


def _is_one(work: Work) -> bool:
    return work.settings["ranks"] == 1 and not work.settings["hosts"]


def _nodes(work: Work) -> list[tuple[str, list[str], dict[str, str] | None]]:
    """(name, command, environment) of each node; of a host the environment is in the command."""
    given = work.settings
    names = [host.rpartition("@")[2] for host in given["hosts"]]
    meeting = Rendezvous(names, given["port"], work.folder.name)
    commands = [torchrun(work, node, work.folder / f"node_{node}", meeting) for node in range(given["nodes"])]
    if not names:
        share = str(max(1, len(os.sched_getaffinity(0)) // given["ranks"]))
        around = {"OMP_NUM_THREADS": share, **environment(work.log_file), "TQDM_DISABLE": "1"}
        return [("this machine", commands[0], around)]
    shell = shlex.split(given["remote_shell"])
    return [(host, [*shell, host, _there(command, work)], None)
            for host, command in zip(given["hosts"], commands, strict=True)]  # fmt: skip


def _there(command: list[str], work: Work) -> str:
    """`command` as a line for a shell on another machine: in this directory, with this Python's programs."""
    around = [f"{name}={value}" for name, value in {**elsewhere(work.log_file), "TQDM_DISABLE": "1"}.items()]
    return f"cd {shlex.quote(os.getcwd())} && {own_programs()} && exec {shlex.join(['env', *around, *command])}"


def _wait(nodes: list[subprocess.Popen]) -> None:
    """Until all have ended, or one has ended badly and the others had time to say so too."""
    while None in (statuses := [node.poll() for node in nodes]) and not any(statuses):
        time.sleep(_LOOK)
    deadline = time.monotonic() + GRACE
    while None in [node.poll() for node in nodes] and time.monotonic() < deadline:
        time.sleep(_LOOK)
