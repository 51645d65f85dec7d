"""Ranks that need each other: all meet, one that dies is named and takes the others along, a dry run starts nothing."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from qaq import config, launch, refuse
from qaq.launch import local, ranks, slurm, slurm_job
from qaq.launch.work import Work, environment

config.register()
HERE = Path(__file__).resolve().parent
LOCAL = {"name": "local", "device": "cpu", "workers": 1, "dry_run": False, "nodes": 1, "ranks": 2, "hosts": [],
         "remote_shell": "ssh", "port": 29400}  # fmt: skip
SLURM = {**LOCAL, "name": "slurm", "partition": "gpu", "time": "1:00:00", "qos": None, "env_command": None,
         "sbatch_args": ["account=me", "exclusive"], "poll_seconds": 0.1, "cpus_per_task": 3, "mem_per_cpu_gb": 2,
         "gpus_per_task": 1}  # fmt: skip

# Stands in for ssh: forgets the host and runs the command here.
REMOTE_SHELL = '#!/bin/sh\nshift\nexec sh -c "$*"\n'
# Slurm's commands on one machine and one node: the job runs beside us, and the queue shows it while it does.
FAKE = {
    "sbatch": """here=$(dirname "$0"); export SLURM_JOB_ID=7 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0
SLURM_JOB_NODELIST=here SLURM_PROCID=0 SLURM_LOCALID=0 bash "$1" > "$here/out" 2>&1 &
echo $! > "$here/pid"; echo Submitted batch job 7""",
    "srun": """while [ "$1" != --kill-on-bad-exit=1 ]; do shift; done; shift; exec "$@" """,
    "squeue": """kill -0 "$(cat "$(dirname "$0")/pid")" 2>/dev/null && echo RUNNING; true""",
    "scancel": """echo "$@" >> "$(dirname "$0")/cancelled" """,
}


def programs(folder: Path, bodies: dict[str, str]) -> Path:
    folder.mkdir()
    for name, body in bodies.items():
        (folder / name).write_text(body if body.startswith("#!") else f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A run's directory; tests/launch/ring.py is the worker."""
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(place: Path, settings: dict, end: dict | None = None) -> None:
    launch.train("ring", {"out": str(place / "out"), "end": end or {}}, settings, place)


def made(place: Path) -> dict[int, dict]:
    return {int(file.stem): json.loads(file.read_text()) for file in (place / "out").glob("*.json")}


def alive(place: Path, rank: int) -> bool:
    pid = (place / "out" / f"{rank}.pid").read_text()
    return Path("/proc", pid).exists() and "ring" in Path("/proc", pid, "cmdline").read_text()


def test_two_ranks_here_meet_share_the_cores_and_speak_once(place):
    start(place, LOCAL)
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert {rank: (found["sum"], found["OMP_NUM_THREADS"]) for rank, found in made(place).items()} == {
        0: (3, share), 1: (3, share)}  # fmt: skip
    lines = [line.partition("] ")[2] for line in (place / "run.log").read_text().splitlines()]
    assert lines == ["2 ranks have met", "rank 0 warns"]
    (other,) = place.glob("launch/*/node_0/*/attempt_0/1/stderr.log")
    assert "rank 1 warns" in other.read_text()


def test_a_killed_rank_is_named_with_its_last_words_and_takes_the_other_along(place):
    with pytest.raises(
        launch.WorkerFailed, match="rank 1 of 2 on .* ended with SIGKILL .memory that ran out"
    ) as failed:
        start(place, LOCAL, {"1": 9})
    log = next(place.glob("launch/*/node_0/*/attempt_0/1/stderr.log"))
    assert "rank 1 warns', are in " + str(log) in str(failed.value)
    assert not alive(place, 0)


def test_ranks_end_when_who_started_them_is_gone(place):
    request = {"out": str(place / "out"), "end": {"0": "wait", "1": "wait"}}
    work = launch.hand_over("ring", request, LOCAL, place)
    command = ranks.torchrun(work, 0, work.folder / "node_0", ranks.Rendezvous([], 0, ""))
    node = ranks.start(command, environment(work.log_file))
    while len(list((place / "out").glob("*.pid"))) < 2 and node.poll() is None:
        time.sleep(0.1)
    node.stdin.close()  # what the kernel does for a starter that was killed
    assert node.wait(60) == 128 + 15
    assert not alive(place, 0)
    assert not alive(place, 1)


def test_hosts_are_reached_by_the_remote_shell_with_the_libraries_settings(place, monkeypatch):
    shell = programs(place / "bin", {"shell": REMOTE_SHELL}) / "shell"
    monkeypatch.setenv("HF_HOME", "/a b/c")
    hosts = {"nodes": 2, "ranks": 1, "hosts": ["me@127.0.0.1", "localhost"], "remote_shell": str(shell)}
    start(place, {**LOCAL, **hosts, "port": free_port()})
    assert {rank: (found["sum"], found["LOCAL_RANK"], found["HF_HOME"]) for rank, found in made(place).items()} == {
        0: (3, "0", "/a b/c"), 1: (3, "0", "/a b/c")}  # fmt: skip


def test_a_host_that_cannot_be_reached_ends_the_others(place, monkeypatch):
    refusing = '#!/bin/sh\n[ "$1" = there ] && exit 255\nshift\nexec sh -c "$*"\n'
    shell = programs(place / "bin", {"shell": refusing}) / "shell"
    monkeypatch.setattr(ranks, "GRACE", 0.1)
    hosts = {"nodes": 2, "ranks": 1, "hosts": ["127.0.0.1", "there"], "remote_shell": str(shell)}
    with pytest.raises(launch.WorkerFailed, match="ended on there with status 255 and no rank says why"):
        start(place, {**LOCAL, **hosts, "port": free_port()})


def test_a_slurm_job_runs_the_ranks_names_the_one_that_failed_and_is_cancelled(place, monkeypatch):
    folder = programs(place / "bin", FAKE)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(launch.WorkerFailed, match="slurm job 7: ring: rank 1 of 2 .* ended with status 1; its last words, "
                       ".*rank 1 was told to.*7_0_log.err"):  # fmt: skip
        start(place, SLURM, {"1": "raise"})
    assert (folder / "cancelled").read_text() == "7\n"


def test_a_job_that_is_queued_again_runs_the_same_again(place):
    node = slurm_job.Node(Work("ring", place, SLURM))
    assert node.checkpoint().function == node


def test_one_rank_here_is_a_plain_worker(place):
    (place / "plain.py").write_text(
        "import os, sys; open(sys.argv[1] + '.done', 'w').write(os.environ.get('RANK', 'none'))"
    )
    os.environ["PYTHONPATH"] += os.pathsep + str(place)
    launch.train("plain", {}, {**LOCAL, "ranks": 1}, place)
    (done,) = place.glob("launch/*/request.json.done")
    assert done.read_text() == "none"


def printed(place: Path, settings: dict, capsys: pytest.CaptureFixture) -> list[str]:
    with pytest.raises(launch.DryRun):
        start(place, {**settings, "dry_run": True})
    assert not made(place)
    lines = capsys.readouterr().out.splitlines()
    (request,) = place.glob("launch/*/request.json")
    assert lines[-len(request.read_text().splitlines()) - 1] == f"{request}:"
    return lines


def test_a_dry_run_of_hosts_prints_a_command_for_each(place, capsys):
    hosts = {"nodes": 2, "ranks": 8, "hosts": ["me@a", "b"], "remote_shell": "ssh -p 22"}
    lines = [line for line in printed(place, {**LOCAL, **hosts}, capsys) if line.startswith("on ")]
    for node, (name, line) in enumerate(zip(("me@a", "b"), lines, strict=True)):
        assert line.startswith(f"on {name}: ssh -p 22 {name} 'cd ")
        assert "--nnodes 2 --rdzv-backend c10d --rdzv-endpoint a:29400 --rdzv-id local-" in line
        assert f"--rdzv-conf is_host={1 - node} --local-addr {'ab'[node]} --nproc-per-node 8 " in line


def test_a_dry_run_of_slurm_prints_the_script_and_needs_no_slurm(place, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    lines = printed(place, {**SLURM, "nodes": 2, "ranks": 8}, capsys)
    for option in ("nodes=2", "ntasks-per-node=1", "cpus-per-task=24", "gpus-per-node=8", "mem-per-cpu=2G", "time=60",
                   "partition=gpu", "account=me", "exclusive", "requeue", "signal=USR2@90"):  # fmt: skip
        assert f"#SBATCH --{option}" in lines
    (script,) = place.glob("launch/*/submission.sh")
    assert f"sbatch {script}" in lines
    assert script.read_text() in "\n".join(lines)
    assert sum("--nproc-per-node 8" in line for line in lines) == 2


def failure(place: Path, rank: int, exit: int, spoke: float, seen: float = 100) -> dict:
    log = place / f"{rank}.log"
    log.write_text(f"Traceback\nWords of {rank}\n\n")
    return {"rank": rank, "host": "h", "exit": exit, "seen": seen, "spoke": spoke, "log": str(log)}


def why(place: Path, *failures: dict) -> str:
    (place / "node_0").mkdir()
    (place / "node_0" / "failed.json").write_text(json.dumps(failures))
    return ranks.why(Work("m", place, {**LOCAL, "nodes": 2}), place, {})


def test_who_was_silent_first_is_the_cause_and_its_peers_follow(tmp_path):
    said = why(tmp_path, failure(tmp_path, 0, 1, spoke=99.5), failure(tmp_path, 3, -9, spoke=90))
    assert "m: rank 3 of 4 on h ended with SIGKILL" in said
    assert "'Words of 3'" in said
    assert said.endswith(f"; then ended rank 0 with status 1 ({tmp_path}/0.log)")


def test_ranks_that_were_told_to_end_are_no_cause(tmp_path):
    killed_in_the_end = failure(tmp_path, 2, -9, spoke=10, seen=131)
    said = why(tmp_path, failure(tmp_path, 0, -15, spoke=1), killed_in_the_end, failure(tmp_path, 1, 1, spoke=99))
    assert "rank 1 of 4 on h ended with status 1" in said
    assert "then" not in said


@pytest.mark.parametrize(("overrides", "message"), [
    (["launch.nodes=2"], r"launch.nodes=2: name them with launch.hosts=\[HOST,...\], or use launch=slurm"),
    (["launch.hosts=[a,b]"], "launch.hosts names 2 hosts and launch.nodes=1"),
    (["launch.hosts=[a]", "launch.remote_shell=no_such_shell"], "'no_such_shell' is not on PATH"),
    (["launch.ranks=0"], "launch.ranks=0: must be above 0"),
    (["launch.port=80"], r"launch.port=80: must lie in \[1024, 65535\]"),
    (["launch=ray", "launch.nodes=2", "launch.dry_run=true"], "with launch=ray, training runs where main.py runs"),
    (["launch=slurm", "launch.partition=x", "launch.dry_run=true", "launch.hosts=[a]"], "Slurm chooses the nodes"),
    (["launch=slurm", "launch.partition=x", "launch.dry_run=true", "launch.time=1h"], "launch.time='1h': write it as"),
])  # fmt: skip
def test_ranks_that_cannot_be_started_are_refused_before_any_work(overrides, message):
    with pytest.raises(ValueError, match=message):
        refuse.check(overrides, sweep=False)


@pytest.mark.parametrize(("time", "minutes"), [("90", 90), ("90:30", 91), ("24:00:00", 1440), ("1:30:00", 90), ("2-0", 2880),
                                               ("1-2:30", 1590), ("1-0:0:1", 1441)])  # fmt: skip
def test_a_time_limit_is_read_as_sbatch_reads_it(time, minutes):
    assert slurm.minutes(time) == minutes


def test_only_the_first_rank_logs_into_the_run(tmp_path):
    (tmp_path / "said.py").write_text(
        "import logging; from qaq.launch import request; request(); logging.info('words')"
    )
    (tmp_path / "request.json").write_text("{}")
    for rank in ("0", "1"):
        around = {
            **environment(tmp_path / f"{rank}.log"),
            "RANK": rank,
            "PYTHONPATH": f"{HERE.parents[1] / 'src'}:{tmp_path}",
        }
        command = local.worker_command("said", tmp_path / "request.json")
        assert launch.command(command, around).returncode == 0
    assert (tmp_path / "0.log").read_text().endswith("words\n")
    assert not (tmp_path / "1.log").exists()
