"""The command that compares two runs, on logs worked by hand and on directories as runs leave them."""

import json
import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT
from making import the_sweep

from analysis import logs
from analysis.compare import compare, main
from analysis.logs import Logs

TASKS = {"benchmark": "humaneval", "data_sha256": "0", "limit": None, "asked": {"max_new_tokens": 8}}
RIGHT, WRONG = {f"HumanEval/{i}": "+" for i in range(12)}, {f"HumanEval/{i}": "-" for i in range(12)}


def made(models: dict[str, dict], failed: tuple = (), tasks: dict | None = None, ids: str = "", config: dict | None = None,
         **grading: Any) -> tuple[Logs, str]:  # fmt: skip
    """Logs with one run: `models` by name, a task's mark each; `ids`: a letter for each selected pair."""
    evaluation = {"tasks": {**TASKS, **(tasks or {})}, "grading": {"seconds": 10, "isolation": "sealed", **grading},
                  "failed": list(failed)}  # fmt: skip
    run = {"run": "abc", "name": "0", "group": "g", "status": "complete", "selector": "ifd", "budget": "0.25",
           "config": json.dumps(config or {}), "seconds": json.dumps({"score": 2.0, "total": 3.5}),
           "evaluation": json.dumps(evaluation), "data_digest": "d"}  # fmt: skip
    answers = [{"run": "abc", "selector": name.split("_seed")[0], "task_id": task, "sample": 0, "base_passed": mark == "+",
                "train_seed": None if name == "base" else int(name.partition("_seed")[2] or 0), "tokens": 9, "capped": False,
                "status": "pass", "compiles": True, "nll_sum": 10.0, "nll_tokens": 10}
               for name, marks in models.items() for task, mark in marks.items()]  # fmt: skip
    subset = [{"run": "abc", "rank": rank, "id": one} for rank, one in enumerate(ids)]
    return logs.conform(runs=[run], answers=answers, subsets=subset), "abc"


def cells(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(name)).split()


def test_two_runs_are_compared_in_80_columns_with_the_tasks_named_in_their_order():
    text = compare(made({"ifd": {**WRONG, "HumanEval/2": "+", "HumanEval/10": "+", "HumanEval/3": "+"}}),
                   made({"random": {**WRONG, "HumanEval/4": "+"}}))  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80
    assert cells(text, "pass@1")[1:4] == ["25.0", "8.3", "+16.7"]
    assert cells(text, "pass@1")[-2:] == ["3/1/8", "0.625"]
    assert "A passes more often on 3: HumanEval/2 HumanEval/3 HumanEval/10" in text
    assert "B passes more often on 1: HumanEval/4" in text
    assert "PARTIAL" not in text
    assert "no setting differs" in text


def test_settings_that_differ_the_overlap_and_the_cost_are_told():
    a = made({"ifd": RIGHT}, ids="abcd", config={"selector": {"name": "rmi", "low": 0.5}, "seed": 0})
    b = made({"ifd": RIGHT}, ids="cdef", config={"selector": {"name": "random"}, "seed": 0})
    text = compare(a, b)
    assert cells(text, "selector.name") == ["selector.name", '"rmi"', '"random"']
    assert cells(text, "selector.low") == ["selector.low", "0.5", "null"]
    assert "seed  " not in text.split("subsets")[0]
    told = " ".join(text.split())
    assert "4 pairs in A, 4 in B, 2 in both: 50.0% of A, 50.0% of B, 33.3% of those in either" in told
    assert cells(text, "score") == ["score", "2.0", "2.0"]
    assert cells(text, "total") == ["total", "3.5", "3.5"]


def test_one_run_compares_its_tuned_models_of_all_seeds_with_its_base():
    text = compare(made({"base": WRONG, "ifd_seed0": RIGHT, "ifd_seed1": WRONG}))
    assert "training seeds [0, 1]" in text
    assert "the interval also covers what other training seeds" in " ".join(text.split())
    assert "base model" in text
    assert cells(text, "pass@1")[1:4] == ["50.0", "0.0", "+50.0"]
    assert cells(text, "pass@1")[-2:] == ["12/0/0", "<0.001"]


def test_what_may_differ_in_the_evaluation_is_told():
    a = made({"ifd": RIGHT}, failed=("HumanEval/32",))
    b = made({"ifd": WRONG}, tasks={"asked": {"max_new_tokens": 16}}, isolation="limited")
    text = " ".join(compare(a, b).split())
    assert "note: asked.max_new_tokens is 8 in A and 16 in B" in text
    assert 'note: isolation is "sealed" in A and "limited" in B' in text
    assert "note: canonical solutions that do not pass as A was graded: 1" in text


def test_a_quick_look_is_called_partial():
    assert "PARTIAL" in compare(made({"base": WRONG, "ifd": RIGHT}, tasks={"limit": 12}))


@pytest.mark.parametrize(("tasks", "grading", "said"), [
    ({"limit": 20}, {}, "limit is null in A and 20 in B"),
    ({"benchmark": "mbpp"}, {}, 'benchmark is "humaneval" in A and "mbpp" in B'),
    ({"data_sha256": "1"}, {}, "data_sha256"),
    ({}, {"seconds": 3}, "seconds is 10 in A and 3 in B"),
])  # fmt: skip
def test_what_was_measured_otherwise_is_not_compared_task_by_task(tasks, grading, said):
    text = " ".join(compare(made({"ifd": RIGHT}), made({"ifd": RIGHT}, tasks=tasks, **grading)).split())
    assert "no comparison task by task: the two were not measured alike" in text
    assert said in text
    assert "won/lost/tied" not in text


def test_a_run_without_evaluation_or_base_is_named():
    text = " ".join(compare(made({"ifd": RIGHT}), made({})).split())
    assert "no comparison task by task: g/0 evaluated no such model" in text
    assert "no overlap of the subsets: A and B selected none" in text
    with pytest.raises(ValueError, match="g/0 evaluated no such model"):
        compare(made({"ifd": RIGHT}))


def test_the_command_takes_directories_or_names_in_logs(tmp_path, capsys):
    place = the_sweep(tmp_path / "sweep")
    asked = [sys.executable, str(ROOT / "analysis/compare.py"), str(place / "0"), str(place / "3")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 pairs in A, 4 in B, 2 in both" in done.stdout
    from analysis.fetch import main as fetch

    fetch([str(place), "--out", str(tmp_path / "logs")])
    capsys.readouterr()
    assert main(["--logs", str(tmp_path / "logs"), "0", "sweep/3"]) == 0
    assert capsys.readouterr().out == done.stdout


def test_a_source_of_several_runs_or_of_none_is_refused_with_their_names(tmp_path, capsys):
    place = the_sweep(tmp_path / "sweep", "0")
    assert main([str(place)]) == 2
    told = capsys.readouterr().err
    assert "means 3 complete runs, not one" in told
    assert "(sweep/1)" in told
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "holds no run" in capsys.readouterr().err


def read_only(*benchmarks: str, gain: float = 0.0) -> tuple[Logs, str]:
    """A run whose models were asked nothing: what they make of two texts of each benchmark."""
    held, run = made({})
    rows = [{"run": run, "selector": name, "train_seed": seed, "benchmark": benchmark, "id": f"{benchmark}{k}", "tokens": 10,
             "nll_sum": 10.0 + k - (gain if name == "ifd" else 0.0)}
            for name, seed in (("base", None), ("ifd", 0)) for benchmark in benchmarks for k in range(2)]  # fmt: skip
    return logs.conform(runs=held.runs, likelihoods=rows), run


def test_runs_that_were_asked_nothing_are_compared_by_what_they_make_of_right_answers():
    text = compare(read_only("humaneval", "held_out", gain=2.0), read_only("humaneval", "held_out"))
    assert cells(text, "canonical_nll")[1:4] == ["0.850", "1.050", "-0.200"]
    assert cells(text, "answer_nll")[1:4] == ["0.850", "1.050", "-0.200"]
    assert "nothing was asked (evaluate.samples=0): no task was passed or failed" in text
    assert "pass@1" not in text
    assert "held-out pairs in A" not in text
    held, run = read_only("humaneval", "held_out")
    rows = [{**row, "id": row["id"].replace("held_out1", "held_out2")} for row in held.likelihoods.to_pylist()]
    other = (logs.conform(runs=held.runs, likelihoods=rows), run)
    said = " ".join(compare(read_only("humaneval", "held_out"), other).split())
    assert "answer_nll: 2 held-out pairs in A, 2 in B; the difference is over the 1 in both" in said
    alone = compare(read_only("humaneval", "held_out", gain=1.0))
    assert cells(alone, "answer_nll")[1:4] == ["0.950", "1.050", "-0.100"]
