"""Many workers: the same result whatever their number and place; one that dies costs its share only; a dry run starts nothing."""

import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from qaq import config, launch, refuse, score, sections, tables
from qaq.launch import local, ray
from qaq.score.tokenise import tokenise

config.register()
IDS = [f"p{i:02d}" for i in range(12)]
LOCAL = {"name": "local", "device": "cpu", "workers": 2, "dry_run": False, "nodes": 1, "ranks": 1, "hosts": [],
         "remote_shell": "ssh", "port": 29400}  # fmt: skip
CLUSTER = {**LOCAL, "cpus_per_task": 1, "mem_per_cpu_gb": 2, "gpus_per_task": 0}
SLURM = {**CLUSTER, "name": "slurm", "partition": "gpu", "time": "1:00:00", "qos": None, "env_command": None,
         "sbatch_args": ["account=me", "exclusive"], "poll_seconds": 0.01}  # fmt: skip
RAY = {**CLUSTER, "name": "ray", "address": None}

# A worker that writes a file named after its rank; those in `dying` end badly before that.
WORKER = """
import json, os, re, sys
asked = json.load(open(sys.argv[1]))
rank = (re.search(r"worker_0*(\\d+)", os.environ["QAQ_LOG"]) or re.search("(.*)", os.environ["CUDA_VISIBLE_DEVICES"]))[1]
if int(rank) in asked["dying"]:
    os.kill(os.getpid(), 9)
kept = {k: os.environ.get(k) for k in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "QAQ_LOG")}
json.dump(kept, open(os.path.join(asked["out"], rank), "w"))
"""

# Slurm's commands on one machine: the array runs here, task after task, before sbatch answers; then the queue is empty.
FAKE = {
    "sbatch": """last=$(sed -n 's/^#SBATCH --array=0-//p' "${!#}"); here=$(dirname "$0"); cp "${!#}" "$here/submitted"
for rank in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$rank SLURM_NODELIST=here bash "${!#}" > "$here/out.$rank" 2>&1; done
echo Submitted batch job 7""",
    "srun": """while [ "$1" != launch_pickled_pipeline ]; do shift; done; exec "$@" """,
    "scontrol": "echo here",
    "squeue": "",
    "scancel": """echo "$@" >> "$(dirname "$0")/cancelled" """,
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A run's directory, with the fake worker where Python finds it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "fake_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def slurm_commands(tmp_path, monkeypatch) -> Path:
    """A folder on PATH with FAKE."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in FAKE.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def made(place: Path) -> dict[int, dict]:
    """What each worker that ended well wrote."""
    return {int(file.name): json.loads(file.read_text()) for file in (place / "out").iterdir()}


def until_one(place: Path) -> Callable[[], int]:
    """All work counts as done as soon as one worker has ended well: it has taken over the rest."""
    return lambda: 0 if made(place) else 5


def start(place: Path, settings: dict, dying: tuple[int, ...] = ()) -> None:
    request = {"out": str(place / "out"), "dying": dying}
    launch.distribute("fake_worker", request, settings, place, until_one(place))


def folder_of(place: Path) -> Path:
    (found,) = (place / "launch").iterdir()
    return found


def test_each_local_worker_has_its_gpu_and_its_share_of_the_cores(place, monkeypatch):
    start(place, LOCAL)
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    log = str(place / "run.log")
    assert made(place) == {
        n: {"CUDA_VISIBLE_DEVICES": str(n), "OMP_NUM_THREADS": share, "QAQ_LOG": log} for n in (0, 1)
    }


def test_the_gpus_a_user_allows_are_dealt_to_the_local_workers(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [local._environment(n, 3, None)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["4", "6", "4"]


@pytest.mark.parametrize("dying", [0, 1])
def test_a_dead_local_worker_is_named_and_costs_its_share_only(place, caplog, dying):
    start(place, LOCAL, dying=(dying,))
    assert list(made(place)) == [1 - dying]
    assert f"worker {dying} of 2 ended with SIGKILL" in caplog.text


def test_when_every_local_worker_dies_the_run_fails(place):
    with pytest.raises(launch.WorkerFailed, match="SIGKILL, SIGKILL"):
        start(place, LOCAL, dying=(0, 1))


FAILING = """
from qaq.launch import request
kind, words = request()["raise"]
raise {"OSError": OSError, "RuntimeError": RuntimeError}[kind](words)
"""


@pytest.mark.parametrize(("kind", "traceback"), [("OSError", False), ("RuntimeError", True)])
def test_a_worker_s_last_words_are_in_the_log_where_the_run_says_they_are(place, kind, traceback):
    (place / "failing_worker.py").write_text(FAILING)
    with pytest.raises(launch.WorkerFailed, match=f"status 1; its last words are above and in {place}/run.log"):
        launch.workers("failing_worker", {"raise": [kind, "the disk is on fire"]}, 1, place / "run.log")
    said = (place / "run.log").read_text()
    assert "] the disk is on fire\n" in said
    assert ("Traceback" in said) == traceback


def test_a_worker_ends_when_who_started_it_is_gone(place):
    (place / "waiting.py").write_text("""
import os, pathlib, signal
from qaq.launch import request
pid = pathlib.Path(request()["pid"])
pid.with_suffix(".tmp").write_text(str(os.getpid()))
pid.with_suffix(".tmp").rename(pid)
signal.pause()
""")
    start = f"from qaq.launch import workers; workers('waiting', {{'pid': '{place / 'pid'}'}}, 1)"
    around = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{place}"}
    starter = subprocess.Popen([sys.executable, "-c", start], env=around)
    while not (place / "pid").exists():
        assert starter.poll() is None
    worker = os.pidfd_open(int((place / "pid").read_text()))
    starter.kill()
    starter.wait()
    assert select.select([worker], [], [], 30)[0]
    os.close(worker)


def test_nothing_is_started_when_nothing_is_left(place):
    launch.distribute("no_such_module", {}, LOCAL, place, lambda: 0)
    assert not (place / "launch").exists()


def test_a_slurm_array_runs_a_worker_a_task_and_is_cancelled_when_nothing_is_left(place, slurm_commands):
    start(place, SLURM)
    folder = folder_of(place)
    assert {rank: found["QAQ_LOG"] for rank, found in made(place).items()} == {
        rank: str(folder / f"worker_0000{rank}.log") for rank in (0, 1)
    }
    assert {found["OMP_NUM_THREADS"] for found in made(place).values()} == {"1"}
    assert (slurm_commands / "cancelled").read_text() == "7\n"


def test_a_dead_slurm_task_is_named_and_costs_its_share_only(place, slurm_commands, caplog):
    request = {"out": str(place / "out"), "dying": [0]}
    with caplog.at_level(logging.WARNING):
        launch.distribute("fake_worker", request, SLURM, place, lambda: 0 if "ended before" in caplog.text else 5)
    assert list(made(place)) == [1]
    assert "slurm task 0 ended before its end" in caplog.text
    assert f"{folder_of(place)}/slurm_logs/7_0.out" in caplog.text
    assert "slurm task 1" not in caplog.text


def test_when_every_slurm_task_dies_the_run_fails_and_says_how_to_go_on(place, slurm_commands):
    with pytest.raises(launch.WorkerFailed, match="5 records are missing: .*run the same command again to go on"):
        start(place, SLURM, dying=(0, 1))


def test_a_refused_submission_fails_with_the_script_it_was_given(place, slurm_commands):
    (slurm_commands / "sbatch").write_text("#!/bin/bash\nexit 3\n")
    with pytest.raises(launch.WorkerFailed, match="sbatch ended with status 3.*launch_script.slurm"):
        start(place, SLURM)


def test_interrupting_the_run_cancels_the_array(place, slurm_commands):
    def interrupted() -> int:
        if (slurm_commands / "submitted").exists():
            raise KeyboardInterrupt
        return 5

    with pytest.raises(KeyboardInterrupt):
        launch.distribute("fake_worker", {"out": str(place / "out"), "dying": []}, SLURM, place, interrupted)
    assert (slurm_commands / "cancelled").read_text() == "7\n"


def test_every_submission_has_a_folder_of_its_own_so_no_task_counts_as_done_already(place, slurm_commands):
    start(place, SLURM)
    for file in (place / "out").iterdir():
        file.unlink()
    start(place, SLURM)
    assert sorted(made(place)) == [0, 1]
    assert len(list((place / "launch").iterdir())) == 2


def dry(place: Path, settings: dict) -> None:
    with pytest.raises(launch.DryRun):
        start(place, {**settings, "dry_run": True})
    assert not made(place)


def test_a_dry_run_prints_the_local_commands_and_they_work_as_printed(place, capsys):
    dry(place, LOCAL)
    head, title, *commands = capsys.readouterr().out.splitlines()
    assert head == "dry run: 5 records are missing; this would be started:"
    assert title == "2 processes on this machine:"
    assert [f"CUDA_VISIBLE_DEVICES={rank} " in line for rank, line in enumerate(commands)] == [True, True]
    for line in commands:
        subprocess.run(["bash", "-c", line], check=True, env={"PATH": os.environ["PATH"]})
    assert sorted(made(place)) == [0, 1]


def test_a_dry_run_prints_the_sbatch_script_byte_for_byte(place, slurm_commands, capsys):
    dry(place, SLURM)
    assert not (slurm_commands / "submitted").exists()
    printed, shown = capsys.readouterr().out, str(folder_of(place))
    assert f"sbatch --export=ALL,RUN_OFFSET=0 {shown}/launch_script.slurm\n" in printed
    start(place, SLURM)
    used = next(str(f) for f in (place / "launch").iterdir() if str(f) != shown)
    submitted = (slurm_commands / "submitted").read_text().replace(used, shown)
    assert printed.endswith(f"\n{submitted}\n")
    for line in ("--array=0-1", "--partition=gpu", "--time=1:00:00", "--account=me", "--exclusive", "--cpus-per-task=1",
                 "--mem-per-cpu=2G"):  # fmt: skip
        assert f"#SBATCH {line}\n" in submitted
    assert "--gpus" not in submitted


def test_a_dry_run_of_ray_prints_what_each_task_reserves_and_runs(place, capsys):
    dry(place, {**RAY, "gpus_per_task": 1, "cpus_per_task": 3})
    _, title, *tasks = capsys.readouterr().out.splitlines()
    assert title.startswith("2 tasks on the Ray cluster")
    for rank, line in enumerate(tasks):
        assert line.startswith(f"task {rank}, 3 CPUs, 1 GPUs, 6 GiB of memory: env ")
        assert f"QAQ_LOG={folder_of(place)}/worker_0000{rank}.log" in line
        assert line.endswith(f"-m fake_worker {folder_of(place)}/request.json")


@pytest.mark.parametrize(("overrides", "message"), [
    (["launch=ray"], r"Ray is not installed; pip install 'ray==\d"),
    (["launch=slurm", "launch.partition=x"], "no sbatch on PATH.*launch.dry_run=true"),
    (["launch=slurm"], "launch.partition"),
    (["launch=slurm", "launch.partition=x", "launch.gpus_per_task=-1"], "launch.gpus_per_task=-1: must be at least 0"),
    (["launch=slurm", "launch.partition=x", "launch.sbatch_args=['--account=x']"], "leave the dashes out"),
    (["launch.partition=x"], "unknown 'launch.partition'"),
    (["launch.name=sge"], "Invalid value 'sge'"),
])  # fmt: skip
def test_what_cannot_be_started_is_refused_before_any_work(overrides, message, monkeypatch, tmp_path):
    monkeypatch.setattr(ray.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        refuse.check(overrides, sweep=False)


@pytest.mark.parametrize("schema", [sections.LaunchConfig, sections.SlurmConfig, sections.RayConfig])
def test_nothing_about_places_and_workers_enters_a_key(schema):
    assert config.identity({**SLURM, **RAY}, schema) == {}


def scoring(tiny_model: Path, place: Path) -> dict:
    """A request to score twelve pairs, tokenised."""
    rows = [
        {"id": id, "query": f"Add {i}. " * (i + 1), "answer": f"def f(x):\n    return x + {i}"}
        for i, id in enumerate(IDS)
    ]
    tables.write(tables.pa.Table.from_pylist(rows), place / "examples.parquet")
    settings = {"system_prompt": None, "reverse_instruction": "Task of:\n{answer}", "dtype": "float32", "max_length": None,
                "protocol": "exact", "tokens_per_batch": 256, "tokens_per_shard": 300, "passes": ["forward", "reverse"]}  # fmt: skip
    (place / "texts").mkdir()
    tokenise({"model": str(tiny_model), "examples": str(place / "examples.parquet"), "out": str(place / "texts"),
              "settings": settings})  # fmt: skip
    return {"model": str(tiny_model), "texts": str(place / "texts"), "name": "m", "settings": settings, "device": "cpu",
            "passes": settings["passes"]}  # fmt: skip


def test_one_worker_two_workers_and_a_slurm_array_give_the_same_bytes(tiny_model, place, slurm_commands, monkeypatch):
    """With as many threads each: a matrix product split over other threads may round otherwise."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    request = scoring(tiny_model, place)
    found = []
    for number, settings in enumerate(({**LOCAL, "workers": 1}, LOCAL, SLURM)):
        shards = place / f"shards{number}"
        left = score.left(shards, request["passes"], IDS)
        assert left() == 24
        launch.distribute("qaq.score", {**request, "shards": str(shards)}, settings, place, left)
        table = score.likelihood(shards, request["passes"], IDS, "m")
        tables.write(table, place / f"{number}.parquet")
        found.append((place / f"{number}.parquet").read_bytes())
    assert found[0] == found[1] == found[2]


def test_missing_records_are_told_with_the_way_on(tiny_model, place):
    request = scoring(tiny_model, place)
    with pytest.raises(OSError, match="holds 0 of 1 records of pass forward: .*run the same command again to go on"):
        score.likelihood(place / "shards", request["passes"], ["p00"], "m")


def test_a_dry_run_through_the_door_leaves_no_results_and_says_so(tiny_model, tmp_path):
    rows = [{"instruction": f"Add {i} to a number.", "output": f"def f(x): return x + {i}"} for i in range(4)]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    command = [sys.executable, str(ROOT / "src/main.py"), "data=jsonl", "data.path=pairs.json", "scorer=local", "tracking=off",
               f"scorer.model.path={tiny_model}", "launch=slurm", "launch.partition=gpu", "launch.dry_run=true", "target=local",
               f"target.path={tiny_model}", "launch.nodes=2", "launch.ranks=2", "train/deepspeed=zero3",
               "hydra.run.dir=run"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dry run: 12 records are missing; this would be started:\nsbatch " in done.stdout  # 4 pairs, 3 passes
    assert "dry run: this would be started:\nsbatch " in done.stdout  # training
    assert done.stdout.count("--nproc-per-node 2 ") == 2
    assert '"stage": 3' in done.stdout
    assert f"{tmp_path}/runs/store/checkpoint/KEY/rows.parquet" in done.stdout
    assert "training on 2 x 2 GPUs, ZeRO-3 (predicted, not measured)" in done.stdout
    assert "predicted memory per GPU: 0.0 GB" in done.stdout
    said = json.loads((tmp_path / "run" / "result.json").read_text())
    assert said["status"] == "dry run"
    assert said["counts"]["kept"] == 4
    assert said["config"]["launch"]["name"] == "slurm"
    assert [file.name for file in (tmp_path / "run").glob("*.parquet")] == ["examples.parquet"]  # what was read
    assert not [p for p in (tmp_path / "runs/store/likelihood").iterdir() if p.is_dir()]
