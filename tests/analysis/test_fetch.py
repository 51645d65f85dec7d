"""The same runs are the same logs wherever they are read; what is not a finished run is shown as what it is."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import making
import pytest
import wandb
from conftest import ROOT
from making import KEYS, SWEEP, begin, finish, run, settings, the_sweep, work

from analysis import logs, wandb_log
from analysis.fetch import fetch, main
from qaq import tables
from qaq.job import Job

VALUE = {"run": "sweep/0", "selector": "rmi", "benchmark": "humaneval (first 2 of 164)", "metric": "pass@1", "value": 0.5,
         "low": 0.1, "high": 0.9, "tasks": 2, "pooled": 1, "train_seed": 0}  # fmt: skip

TLI = {"benchmark": "humaneval", "part": "data", "tli": 0.25, "tasks": 2, "pairs": 8, "leaking": 1, "note": None}


def tracked(place: Path) -> Any:
    """Jobs made meanwhile have offline W&B."""
    return mock.patch.object(making, "TRACKING", ["tracking=offline", f"tracking.project={place.name}"])


@pytest.fixture
def offline(tmp_path):
    """The test's jobs have offline W&B."""
    with tracked(tmp_path):
        yield


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Four complete jobs: random and rmi, two budgets."""
    place = tmp_path_factory.mktemp("made")
    with tracked(place):
        return the_sweep(place / "sweep")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    """A job that trained with two seeds on noisy data and was evaluated, texts and all."""
    place = tmp_path_factory.mktemp("evaluated") / "sweep" / "0"
    options = ["data.noise=0.3", "evaluate.limit=2", "train.seeds=[0,1]", "stages=[load,score,select,train,evaluate]",
               "tracking.texts=true", "selector=rmi", "budget=0.5"]  # fmt: skip
    with tracked(place.parents[1]):
        return _evaluated(work(begin(place, *options)))


def _evaluated(job: Job) -> Path:
    job.write("labels", tables.shape({"id": [f"id{i}" for i in range(8)], "noise": ["clean"] * 6 + ["echo"] * 2}, tables.EXAMPLES
                                     ).select(["id", "noise"]))  # fmt: skip
    with job.tracker.stage("train") as records:
        records.log_all(
            {"seed": seed, "step": step, "loss": 2.0 - step, "tokens": 5} for seed in (0, 1) for step in (1, 2)
        )
        records.log({"seed": 1, "trained": 4})
    for name, marks in (("base", "-+"), ("rmi_seed0", "++"), ("rmi_seed1", "+-")):
        _answer(job, name, marks)
    tables.write(tables.conform([{"id": "id0", "row": 0, "query": "q", "answer": "a", "source": "s", "record": "{}"}],
                                tables.EXAMPLES), job.dir / "examples.parquet")  # fmt: skip
    tables.write_jsonl([{"row": 3, "reason": "not JSON", "record": "{broken"}] * 2, job.dir / "quarantine.jsonl")
    job.write(
        "composition",
        tables.conform([{"facet": "topic", "value": "web", "pool": 8, "selected": 4}], tables.COMPOSITION),
    )
    leak = {
        "benchmark": "humaneval",
        "task_id": "HumanEval/0",
        "similarity": 0.5,
        "id": "id0",
        "query": "q",
        "test": "t",
    }
    told = tables.conform([{**leak, "part": part} for part in ("data", "selection")], tables.LEAKAGE)
    job.write("leakage", told.drop(["query", "test"]))
    tables.write(told, job.dir / "leaks.parquet")
    noise = {"noise": {"in_data": 0.25, "in_subset": 0.0}, "noise_auc": [{"kind": "echo", "pairs": 2, "rmi": 1.0, "ifd": None}],
             "noise_by_selector": [{"selector": "full", "selected": 8, "in_subset": 0.25}, {"selector": "xcoder", "note": "no"}]}  # fmt: skip
    models = [("base", None, "base"), ("rmi", 0, "rmi_seed0"), ("rmi", 1, "rmi_seed1")]
    finish(job, values=[VALUE, {**VALUE, "train_seed": 1}, {**VALUE, "train_seed": None, "pooled": 2}],
           comparisons=[{**{k: v for k, v in VALUE.items() if k in tables.COMPARISONS.columns.names}, "against": "base"}],
           evaluated=[dict(zip(("selector", "train_seed", "name"), model, strict=True)) for model in models],
           partial=" (first 2 of 164)", evaluation={"tasks": {"benchmark": "humaneval", "limit": 2}, "grading": {"seconds": 4}},
           calibration={"failed": []}, leakage=[TLI], **noise)  # fmt: skip
    return job.dir


def _answer(job: Job, name: str, marks: str) -> None:
    tasks = [f"HumanEval/{i}" for i in range(len(marks))]
    every = {"task_id": tasks, "sample": [0] * len(tasks)}
    job.write(f"verdicts_{name}", tables.conform({**every, "base_passed": [m == "+" for m in marks]}, tables.VERDICTS))
    job.write(f"solutions_{name}", tables.conform({**every, "tokens": [7] * len(tasks)}, tables.SOLUTIONS))
    likelihood = {
        "id": tasks,
        "model": ["m"] * 2,
        "target": ["t"] * 2,
        "given": ["g"] * 2,
        "nll_sum": [3.0, None],
        "tokens": [2, 9],
    }
    job.write(f"likelihood_{name}", tables.conform(likelihood, tables.LIKELIHOOD))


def wandb_files(source: Path, stage: str | None = None) -> list[Path]:
    """The .wandb files below `source`, of one stage; W&B's service, which writes them, ends first."""
    wandb.teardown()
    return [file for file in source.rglob("*.wandb") if stage in (None, wandb_log.read(file).job_type)]


def wandb_only(source: Path, place: Path) -> Path:
    """A copy of a job's or a sweep's directory that has nothing but the W&B folders."""
    wandb.teardown()
    for folder in source.rglob("wandb"):
        shutil.copytree(folder, place / folder.relative_to(source), symlinks=True)
    return place


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def shown(*sources: Path) -> list[tuple]:
    """(name, status, mark) of every run."""
    return sorted((r["name"], r["status"], r["mark"]) for r in fetch(map(str, sources)).runs.to_pylist())


class Online:
    """wandb.Api's documented part, on offline folders: runs(path, filters) -> run.state, run.files() -> file.download."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def runs(self, path: str, filters: dict) -> list[SimpleNamespace]:
        assert path == "me/qaq"
        made = [self._run(folder) for folder in sorted(self.place.rglob("*-run-*"))]
        return [run for run in made if filters in ({}, {"group": run.group})]

    def _run(self, folder: Path) -> SimpleNamespace:
        told = wandb_log.read(next(folder.glob("*.wandb")))
        state = "crashed" if told.torn else "failed" if told.exit_code else "finished"
        found = [self._file(file, folder / "files") for file in (folder / "files").rglob("*") if file.is_file()]
        return SimpleNamespace(id=folder.name, name=told.name, group=told.group, state=state, files=lambda: found)

    @staticmethod
    def _file(file: Path, root: Path) -> SimpleNamespace:
        name = str(file.relative_to(root))

        def download(root: str, replace: bool) -> object:
            place = Path(root) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
            return place.open()

        return SimpleNamespace(name=name, download=download)


def test_directories_offline_folders_and_the_service_give_the_same_bytes(sweep, evaluated, tmp_path, monkeypatch):
    both = tmp_path / "jobs"
    shutil.copytree(sweep, both / "sweep", symlinks=True)
    shutil.copytree(evaluated.parent, both / "other" / "sweep", symlinks=True)
    only = wandb_only(both, tmp_path / "wandb_only")
    monkeypatch.setattr("wandb.Api", lambda: Online(only))
    made = []
    for number, source in enumerate([str(both), str(only), "wandb:me/qaq", "wandb:me/qaq/sweep"]):
        assert main([source, "--out", str(tmp_path / str(number)), "--texts"]) == 0
        made.append(files(tmp_path / str(number)))
    assert made[0] == made[1] == made[2] == made[3]
    assert set(made[0]) == {f"{name}.parquet" for name in logs.SCHEMAS}


def test_every_table_is_filled_from_a_run(evaluated):
    held = fetch([str(evaluated)], texts=True)
    (row,) = held.runs.to_pylist()
    assert (row["status"], row["partial"], row["mark"]) == (
        "complete",
        "first 2 of 164",
        "partial: first 2 of 164 tasks",
    )
    assert (row["selector"], row["budget"], row["rows"], row["pairs"], row["selected"]) == ("rmi", "0.5", 10, 8, 4)
    assert json.loads(row["evaluation"])["failed"] == []
    assert {name: getattr(held, name).num_rows for name in logs.SCHEMAS} == {
        "runs": 1, "results": 3, "comparisons": 1, "metrics": 8, "subsets": 4, "training": 4, "noise": 7, "answers": 6, "likelihoods": 6,
        "composition": 1, "tli": 1, "leakage": 2, "pairs": 1, "quarantine": 1}  # fmt: skip
    assert set(held.results["run"].to_pylist()) == set(held.answers["run"].to_pylist()) == {row["run"]}
    assert [(r["train_seed"], r["step"], r["loss"]) for r in held.training.to_pylist()] == [
        (0, 1, 1.0), (0, 2, 0.0), (1, 1, 1.0), (1, 2, 0.0)]  # fmt: skip
    noise = {(r["kind"], r["metric"]): r["value"] for r in held.noise.to_pylist()}
    assert noise["all", "in_data"] == noise["selector full", "in_subset"] == 0.25
    assert noise["echo", "auc rmi"] == 1
    assert noise["echo", "auc ifd"] is None
    assert held.metrics["noise"].to_pylist() == ["clean"] * 6 + ["echo"] * 2
    answers = [r for r in held.answers.to_pylist() if r["train_seed"] == 1]
    assert [(r["base_passed"], r["tokens"], r["nll_sum"], r["nll_tokens"]) for r in answers] == [
        (True, 7, 3.0, 2),
        (False, 7, None, 9),
    ]


def test_composition_and_leakage_are_read_as_the_run_left_them(evaluated):
    held = fetch([str(evaluated)], texts=True)
    run = held.runs["run"][0].as_py()
    assert held.composition.to_pylist() == [{"run": run, "facet": "topic", "value": "web", "pool": 8, "selected": 4}]
    assert held.tli.to_pylist() == [{"run": run, **TLI}]
    assert [(row["part"], row["query"], row["test"]) for row in held.leakage.to_pylist()] == [
        ("data", "q", "t"),
        ("selection", "q", "t"),
    ]


def test_logs_and_runs_from_before_composition_and_leakage_are_read(sweep, tmp_path):
    held = fetch([str(sweep)])
    assert held.composition.num_rows == held.tli.num_rows == held.leakage.num_rows == 0
    logs.write(held, tmp_path)
    for name in logs.LATER:
        (tmp_path / f"{name}.parquet").unlink()
    assert logs.read(tmp_path) == held
    (tmp_path / "subsets.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        logs.read(tmp_path)


def test_texts_are_only_where_they_were_asked_for(sweep, evaluated, tmp_path):
    plain = fetch([str(evaluated)])
    assert plain.leakage.num_rows == 2
    assert plain.leakage["query"].null_count == plain.leakage["test"].null_count == 2
    assert fetch([str(evaluated)]).pairs is None
    assert not list((sweep / "0" / "wandb").rglob("quarantine.jsonl"))
    assert not list((sweep / "0" / "wandb").rglob("leaks.parquet"))
    only = wandb_only(evaluated, tmp_path)
    assert fetch([str(only)], texts=True).pairs["query"].to_pylist() == ["q"]


def test_runs_that_scored_alike_share_their_scores(sweep):
    held = fetch([str(sweep)])
    assert held.metrics.num_rows == 8
    assert set(held.runs["scores"].to_pylist()) == set(held.metrics["scores"].to_pylist())
    assert held.subsets.num_rows == 2 + 4 + 2 + 4


def test_logs_name_no_folder_of_the_machine(sweep, tmp_path):
    main([str(sweep), "--out", str(tmp_path)])
    assert str(sweep.parent) not in json.dumps(logs.read(tmp_path).runs.to_pylist())
    run(tmp_path / "job", "data=jsonl", "data.path=/home/someone/pairs.jsonl")
    (row,) = fetch([str(tmp_path / "job")]).runs.to_pylist()
    assert json.loads(row["config"])["data"]["path"] == "pairs.jsonl"


def test_the_cells_that_a_sweep_lacks_are_listed(tmp_path):
    place = the_sweep(tmp_path / "sweep", "1", "2")
    assert shown(place) == [("0", "complete", None), ("3", "complete", None),
                            ("selector=random budget=0.5", "missing", "missing from its sweep"),
                            ("selector=rmi budget=0.25", "missing", "missing from its sweep")]  # fmt: skip
    lost = [r for r in fetch([str(place)]).runs.to_pylist() if r["status"] == "missing"]
    assert {(r["selector"], r["budget"]) for r in lost} == {("random", "0.5"), ("rmi", "0.25")}


def test_failed_and_interrupted_runs_are_published_and_marked(offline, tmp_path):
    with pytest.raises(ValueError, match="no such file"):  # noqa: SIM117
        with begin(tmp_path / "0", group="sweep").tracker.stage("load"):
            raise ValueError("no such file")
    job = begin(tmp_path / "1", "seed=1")
    finish(job, "failed", error="no such file")
    finish(work(begin(tmp_path / "2", "seed=2")), "interrupted", error="KeyboardInterrupt")
    expected = [("0", "killed", "killed, or still running: no end was written"), ("1", "failed", "failed"),
                ("2", "interrupted", "interrupted")]  # fmt: skip
    assert shown(tmp_path) == shown(wandb_only(tmp_path, tmp_path / "only")) == expected
    errors = {r["name"]: r["error"] for r in fetch([str(tmp_path / "only")]).runs.to_pylist()}
    assert errors["1"] == "no such file"


def test_a_run_killed_in_the_middle_is_the_same_killed_run_from_both_sides(tmp_path):
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "src")!r}, {str(ROOT / "tests/analysis")!r}]
from pathlib import Path
from making import begin, work
import making
making.TRACKING = []
job = work(begin(Path(sys.argv[1])))
with job.tracker.stage("train") as records:
    records.log_all({{"seed": 0, "step": step, "loss": 1.0}} for step in range(2000))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "0")], capture_output=True, text=True, check=False,
                          env={**os.environ, "WANDB_MODE": "offline"})  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    ends = {
        told.job_type: told.torn for told in map(wandb_log.read, (tmp_path / "0").rglob("*.wandb")) if told.job_type
    }
    assert {stage for stage, torn in ends.items() if torn is None} == {"load", "score", "select"}
    only = wandb_only(tmp_path, tmp_path / "only")
    assert shown(tmp_path / "0") == shown(only) == [("0", "killed", "killed, or still running: no end was written")]
    for source, out in ((tmp_path / "0", "a"), (only, "b")):
        main([str(source), "--out", str(tmp_path / out)])
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert fetch([str(only)]).metrics.num_rows == 0  # nobody knows whether they are whole


def test_an_attempt_without_result_is_superseded_by_the_one_that_has_it(tmp_path):
    begin(tmp_path / "first" / "0")
    finish(begin(tmp_path / "second" / "0"), "failed", error="disk")
    run(tmp_path / "third" / "0")
    rows = fetch([str(tmp_path)]).runs.to_pylist()
    (good,) = [r["run"] for r in rows if r["status"] == "complete"]
    assert sorted((r["status"], r["mark"]) for r in rows if r["run"] != good) == [
        ("failed", f"superseded by {good}"), ("killed", f"superseded by {good}")]  # fmt: skip


def test_a_later_run_of_the_same_settings_with_another_result_supersedes_the_earlier(tmp_path):
    run(tmp_path / "a" / "0")
    run(tmp_path / "b" / "0", keys={**KEYS, "score": "s2"}, shift=0.1)
    held = fetch([str(tmp_path)])
    rows = sorted(held.runs.to_pylist(), key=lambda r: r["started"])
    assert [r["mark"] for r in rows] == [f"superseded by {rows[1]['run']}", None]
    assert held.metrics.num_rows == 16


def test_the_same_run_again_is_one_run_and_a_repeated_seed_shares_its_cell(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name)
    (row,) = fetch([str(tmp_path)]).runs.to_pylist()
    assert row["name"] == "b"  # the newest
    run(tmp_path / "c", "seed=1")
    first, second = fetch([str(tmp_path)]).runs.to_pylist()
    assert first["run"] != second["run"]
    assert first["cell"] == second["cell"]
    assert {first["mark"], second["mark"]} == {None}


def test_runs_of_another_version_of_a_stage_are_no_repetitions(tmp_path):
    for number in (1, 2):
        finish(work(begin(tmp_path / str(number), f"seed={number}")), code={"likelihood": number})
    first, second = fetch([str(tmp_path)]).runs.to_pylist()
    assert first["cell"] != second["cell"]


def test_an_option_taken_away_by_a_sweep_is_no_name_of_a_missing_cell(tmp_path):
    sweep = ["selector=random,rmi", "~train.adapter"]
    run(tmp_path / "0", "selector=random", sweep=sweep)
    assert ("selector=rmi", "missing", "missing from its sweep") in shown(tmp_path)


def test_two_runs_with_the_same_name_are_two_runs(offline, tmp_path):
    run(tmp_path / "x" / "0", "selector=random")
    run(tmp_path / "y" / "0", "selector=rmi")
    held = fetch([str(tmp_path / "x"), str(tmp_path / "y")])
    assert sorted((r["name"], r["selector"], r["mark"]) for r in held.runs.to_pylist()) == [
        ("0", "random", None),
        ("0", "rmi", None),
    ]
    assert len(set(held.runs["cell"].to_pylist())) == 2
    ids = {file.stem for file in wandb_files(tmp_path)}
    assert len(ids) == 8  # W&B does not mix them either: four stages each


def test_a_run_with_other_data_under_the_same_settings_is_told(tmp_path):
    for number, data in enumerate(["d1", "d1", "d2"]):
        run(tmp_path / str(number), f"seed={number}", keys={**KEYS, "data": data})
    assert [mark for _, _, mark in shown(tmp_path)] == [
        None,
        None,
        "other data: d2, and d1 in 2 of 3 runs of its group",
    ]
    assert len(set(fetch([str(tmp_path)]).runs["cell"].to_pylist())) == 2


def test_other_data_under_other_settings_is_another_run_and_no_fault(tmp_path):
    run(tmp_path / "0", "data.limit=10", keys={**KEYS, "data": "d1"})
    run(tmp_path / "1", "data.limit=20", keys={**KEYS, "data": "d2"})
    assert [mark for _, _, mark in shown(tmp_path)] == [None, None]


def test_knobs_make_no_other_run(tmp_path):
    run(tmp_path / "0", "launch.workers=1")
    run(
        tmp_path / "1", "launch.workers=2", "store_dir=elsewhere", "scorer.tokens_per_shard=9", "tracking.project=other"
    )
    assert len(fetch([str(tmp_path)]).runs) == 1
    stages = "stages=[load,score,select,train,evaluate]"
    cells = [run(tmp_path / name, *options).result for name, options in (
        ("2", ["evaluate.limit=2"]), ("3", ["evaluate.limit=3"]), ("4", [stages, "evaluate.limit=2"]), ("5", [stages, "evaluate.limit=3"]))]  # fmt: skip
    assert len(cells) == 4
    rows = {r["name"]: r["cell"] for r in fetch([str(tmp_path)]).runs.to_pylist()}
    assert set(rows) == {"3", "4", "5"}  # an evaluation that was not asked for does not count
    assert len(set(rows.values())) == 3


@pytest.mark.parametrize("cut", [0, 3, 7, 60, 0.5, -5])
def test_a_truncated_log_is_told(offline, tmp_path, cut):
    run(tmp_path / "0")
    only = wandb_only(tmp_path, tmp_path / "only")
    (file,) = wandb_files(only, "result")
    data = file.read_bytes()
    file.write_bytes(data[: int(cut * len(data)) if isinstance(cut, float) else cut])
    assert wandb_log.read(file).torn
    ((name, status, mark),) = shown(only)
    assert (name, status) == ("0", "complete")
    assert mark.startswith("truncated log: ")


def test_a_damaged_log_is_told(offline, tmp_path):
    run(tmp_path / "0")
    (file,) = wandb_files(tmp_path, "result")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "damaged at byte" in wandb_log.read(file).torn


def test_a_table_that_is_not_what_the_run_wrote_is_not_read(tmp_path):
    run(tmp_path / "0")
    file = tmp_path / "0" / "subset.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert shown(tmp_path) == [("0", "complete", "damaged: subset.parquet")]
    assert fetch([str(tmp_path)]).subsets.num_rows == 0
    run(tmp_path / "again", keys={**KEYS, "score": "s2"})
    held = fetch([str(tmp_path)])
    assert sorted(mark[:10] for mark in held.runs["mark"].to_pylist() if mark) == ["superseded"]
    assert held.subsets.num_rows == 2
    (tmp_path / "again" / "result.json").write_text("{")
    with pytest.raises(ValueError, match=r"again/result.json is damaged"):
        fetch([str(tmp_path)])


def test_logs_of_more_than_a_block_are_read_whole(offline, tmp_path):
    job = work(begin(tmp_path / "0"))
    with job.tracker.stage("train") as records:
        records.log_all({"step": step, "text": "x" * (step % 700) * 100} for step in range(60))
    (file,) = wandb_files(tmp_path, "train")
    data = file.read_bytes()
    assert len(data) > 2 * 32768
    assert wandb_log.read(file).torn is None
    steps = [row for row in wandb_log.records(data) if row.HasField("history")]
    assert len(steps) == 60
    file.write_bytes(data[:40000])
    assert "it stops inside a record" in wandb_log.read(file).torn


def test_results_from_before_they_named_their_files_are_read(tmp_path):
    place = the_sweep(tmp_path / "old")
    (place / "multirun.yaml").write_text("")
    for number in range(4):
        file = place / str(number) / "result.json"
        said = {
            k: v
            for k, v in json.loads(file.read_text()).items()
            if k not in ("files", "name", "group", "started", "sweep")
        }
        file.write_text(json.dumps(said))
    held = fetch([str(place)])
    assert [(r["group"], r["mark"]) for r in held.runs.to_pylist()] == [("old", None)] * 4
    assert (held.metrics.num_rows, held.subsets.num_rows) == (8, 12)


def test_wandb_runs_of_another_make_are_left_out_and_named(offline, tmp_path, caplog):
    run(tmp_path / "0")
    only = wandb_only(tmp_path, tmp_path / "only")
    for folder in only.rglob("files/run"):
        shutil.rmtree(folder)
    with pytest.raises(ValueError, match="holds no run"):
        fetch([str(only)])
    assert "0 result, without run/result.json: left out" in caplog.text


def test_a_source_without_runs_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "logs")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_label_tells_the_options_that_are_not_defaults(tmp_path):
    for number, options in enumerate((["selector=rmi"], ["selector=rmi", "selector.low=0.25"],
                                      ["selector=disagreement", "selector.kind=sum_low"])):  # fmt: skip
        run(tmp_path / str(number), *options)
    labels = [r["selector"] for r in sorted(fetch([str(tmp_path)]).runs.to_pylist(), key=lambda r: r["name"])]
    assert labels == ["rmi", "rmi low=0.25", "disagreement sum_low"]


def test_the_sweeps_overrides_are_those_hydra_makes_jobs_of():
    from analysis.runs import _cells

    assert [" ".join(cell) for cell in _cells(SWEEP)] == [
        f"selector={s} budget={b}" for s in ("random", "rmi") for b in ("0.25", "0.5")
    ]
    assert settings()["stages"] == ["load", "score", "select"]


def test_w_and_b_is_not_told_of_the_machine(offline, tmp_path):
    making.run(tmp_path / "0")
    told = [row for file in (tmp_path / "0").rglob("*.wandb") for row in wandb_log.records(file.read_bytes())]
    hosts = [row.run.host for row in told if row.HasField("run")]
    assert hosts
    assert not any(hosts)
    assert not any(row.HasField("environment") for row in told)  # its command line, directories and interpreter


def test_a_download_that_fails_is_refused_in_a_line(offline, tmp_path, monkeypatch, capsys):
    run(tmp_path / "0")
    api = Online(wandb_only(tmp_path, tmp_path / "only"))

    def gone(**_: object) -> object:
        raise ConnectionError("no route")

    monkeypatch.setattr(
        Online, "_file", staticmethod(lambda file, root: SimpleNamespace(name="run/result.json", download=gone))
    )
    monkeypatch.setattr("wandb.Api", lambda: api)
    assert main(["wandb:me/qaq", "--out", str(tmp_path / "logs")]) == 2
    assert "do not come: no route" in capsys.readouterr().err
