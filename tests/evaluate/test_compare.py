"""The command that compares two runs, on directories as a run leaves them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_results import model

from qaq import tables
from qaq.evaluate.compare import compare, main

TASKS = {"benchmark": "humaneval", "data_sha256": "0", "limit": None, "max_new_tokens": 8}


@pytest.fixture
def run(tmp_path):
    """Makes a run's directory: models by name, and what its evaluation says otherwise."""

    def make(directory: str, models: dict, failed: tuple = (), tasks: dict | None = None, **grading: object) -> Path:
        place = tmp_path / directory
        place.mkdir()
        for name, measured in models.items():
            for table, rows in measured._asdict().items():
                tables.write(rows, place / f"{table}_{name}.parquet")
        evaluated = [{"selector": name.split("_seed")[0], "name": name,
                      "train_seed": None if name == "base" else int(name.partition("_seed")[2] or 0)} for name in models]  # fmt: skip
        said = {"status": "complete", "budget": 0.25, "evaluated": evaluated, "calibration": {"failed": list(failed)},
                "evaluation": {"tasks": {**TASKS, **(tasks or {})},
                               "grading": {"seconds": 10, "isolation": "namespaces", **grading}}}  # fmt: skip
        (place / "result.json").write_text(json.dumps(said))
        return place

    return make


RIGHT, WRONG = {f"HumanEval/{i}": "+" for i in range(6)}, {f"HumanEval/{i}": "-" for i in range(6)}


def test_two_runs_are_compared_in_80_columns_with_the_tasks_named(run):
    a = run("a", {"ifd": model({**WRONG, "HumanEval/1": "+", "HumanEval/3": "+"})})
    b = run("b", {"random": model({**WRONG, "HumanEval/4": "+"})})
    text = compare(a, b)
    assert max(map(len, text.replace(str(a), "").replace(str(b), "").splitlines())) <= 80
    cells = next(line for line in text.splitlines() if line.strip().startswith("pass@1")).split()
    assert cells[1:4] == ["33.3", "16.7", "+16.7"]
    assert cells[-2:] == ["2/1/3", "1.000"]
    assert "A passes more often on 2: HumanEval/1 HumanEval/3" in text
    assert "B passes more often on 1: HumanEval/4" in text
    assert "PARTIAL" not in text


def test_one_run_compares_its_tuned_models_of_all_seeds_with_its_base(run):
    a = run("a", {"base": model(WRONG), "ifd_seed0": model(RIGHT), "ifd_seed1": model(WRONG)})
    text = compare(a)
    assert "training seeds [0, 1]" in text
    assert "the interval also covers what other training seeds" in " ".join(text.split())
    assert "base model" in text
    cells = next(line for line in text.splitlines() if line.strip().startswith("pass@1")).split()
    assert cells[1:4] == ["50.0", "0.0", "+50.0"]
    assert cells[-2:] == ["6/0/0", "0.031"]  # 2 / 2^6


def test_what_may_differ_is_told(run):
    a = run("a", {"ifd": model(RIGHT)}, failed=("HumanEval/32",))
    b = run("b", {"ifd": model(WRONG)}, tasks={"max_new_tokens": 16}, isolation="limits only")
    text = compare(a, b)
    assert "note: max_new_tokens is 8 in A and 16 in B" in text
    assert 'note: isolation is "namespaces" in A and "limits only" in B' in text
    assert "note: canonical solutions that do not pass as A was graded: 1" in text


def test_a_quick_look_is_called_partial(run):
    a = run("a", {"base": model(WRONG), "ifd": model(RIGHT)}, tasks={"limit": 6})
    text = compare(a).replace(str(a), "")
    assert "PARTIAL" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(("tasks", "grading", "said"), [
    ({"limit": 20}, {}, "limit is null in A and 20 in B"),
    ({"benchmark": "mbpp"}, {}, 'benchmark is "humaneval" in A and "mbpp" in B'),
    ({"data_sha256": "1"}, {}, "data_sha256"),
    ({}, {"seconds": 3}, "seconds is 10 in A and 3 in B"),
])  # fmt: skip
def test_what_was_measured_otherwise_is_refused_and_named(run, tasks, grading, said):
    a, b = run("a", {"ifd": model(RIGHT)}), run("b", {"ifd": model(RIGHT)}, tasks=tasks, **grading)
    with pytest.raises(ValueError, match="cannot be compared") as refusal:
        compare(a, b)
    assert said in str(refusal.value)


def test_what_is_missing_is_named(run, tmp_path):
    a = run("a", {"ifd": model(RIGHT)})
    with pytest.raises(ValueError, match="nowhere has no result.json"):
        compare(a, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="did not evaluate the base model"):
        compare(a)
    (a / "solutions_ifd.parquet").unlink()
    with pytest.raises(ValueError, match="lacks solutions_ifd.parquet"):
        compare(a, a)
    (a / "result.json").write_text(json.dumps({"status": "failed", "stages": ["load", "score"]}))
    with pytest.raises(ValueError, match=r"no evaluated model \(status: failed, stages: load, score\)"):
        compare(a, a)


def test_the_command_prints_the_table_or_refuses_in_a_line(run, capsys):
    a, b = run("a", {"ifd": model(RIGHT)}), run("b", {"random": model(WRONG)})
    asked = [sys.executable, "-m", "qaq.evaluate.compare", str(a), str(b)]
    done = subprocess.run(
        asked, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip() == compare(a, b)
    assert main([str(a)]) == 2
    assert capsys.readouterr().err.startswith("refused: ")
    assert main([]) == 2
    assert main(["--help"]) == 0
