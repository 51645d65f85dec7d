"""Verdicts and their calibration."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from qaq import evaluate, tables
from qaq.evaluate import sandbox

SETTINGS = {"benchmark": "humaneval", "limit": 6, "max_new_tokens": 8, "dtype": "float32", "system_prompt": None, "seconds": 5,
            "memory_mb": 1024, "workers": 2}  # fmt: skip
TASKS = evaluate.tasks(SETTINGS)


def solutions(texts: list[str]) -> pa.Table:
    rows = [{"task_id": t.task_id, "sample": 0, "solution": s} for t, s in zip(TASKS, texts, strict=True)]
    return tables.conform(rows, tables.SOLUTIONS)


def test_humaneval_has_164_tasks_in_order_and_the_limit_takes_the_first():
    every = evaluate.tasks({**SETTINGS, "limit": None})
    assert [task.task_id for task in every] == [f"HumanEval/{i}" for i in range(164)]
    assert every[:6] == TASKS
    assert all(f"def {task.entry_point}(" in task.prompt for task in every)


def test_the_identity_follows_what_changes_a_solution_and_nothing_else():
    known = evaluate.identity(SETTINGS)
    assert json.dumps(known)
    assert len(known["data_sha256"]) == 64
    assert evaluate.identity({**SETTINGS, "workers": 9, "seconds": 1}) == known
    for name, value in {"limit": 7, "max_new_tokens": 9, "dtype": "bfloat16"}.items():
        assert evaluate.identity({**SETTINGS, name: value}) != known


def test_an_unknown_benchmark_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'humaneval'"):
        evaluate.tasks({**SETTINGS, "benchmark": "human_eval"})


def test_canonical_solutions_pass():
    calibration = evaluate.grade_canonical(TASKS, SETTINGS)
    assert calibration == {"passed": 6, "tasks": 6, "failed": [], "isolation": sandbox.level()}


def test_broken_solutions_fail_and_verdicts_keep_the_order():
    right = [task.prompt + task.canonical_solution for task in TASKS]
    broken = [task.prompt + "    return None\n" for task in TASKS]
    mixed = [pair[i % 2] for i, pair in enumerate(zip(right, broken, strict=True))]
    verdicts = evaluate.grade(TASKS, solutions(mixed), SETTINGS)
    assert verdicts.schema == tables.VERDICTS.columns
    assert verdicts["task_id"].to_pylist() == [task.task_id for task in TASKS]
    assert verdicts["base_passed"].to_pylist() == [True, False] * 3
    assert set(verdicts["plus_passed"].to_pylist()) == {None}


def test_a_calibration_that_fails_is_reported_and_names_the_task():
    wrong = [TASKS[0], evaluate.Task(**{**vars(TASKS[1]), "canonical_solution": "    return 0\n"})]
    assert evaluate.grade_canonical(wrong, SETTINGS)["failed"] == [TASKS[1].task_id]


def test_a_missing_or_foreign_solution_is_refused():
    with pytest.raises(ValueError, match="without a solution"):
        evaluate.grade(TASKS, solutions([""] * 6).slice(1), SETTINGS)


def test_a_time_out_that_waited_is_repeated_once_and_alone_and_others_are_not(monkeypatch):
    calls = []

    def fake(program, seconds, memory_mb, patience):
        calls.append(patience)
        kind = next(word for word in ("loop", "busy", "fine") if word in program)
        late = kind == "loop" or (kind == "busy" and patience == 1)
        return sandbox.Outcome("timeout" if late else "pass", 0.0, late and kind == "busy", "")

    monkeypatch.setattr(sandbox, "run", fake)
    verdicts = evaluate.grade(TASKS, solutions(["busy", "loop", "fine", "fine", "fine", "busy"]), SETTINGS)
    assert verdicts["status"].to_pylist() == ["pass", "timeout", "pass", "pass", "pass", "pass"]
    assert calls[:6] == [1] * 6
    assert len(calls) == 8
    assert min(calls[6:]) > 1


def test_grading_loads_no_torch():
    code = "import sys, qaq.evaluate; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_calibration_by_name_takes_the_settings_tasks():
    assert evaluate.calibrate({**SETTINGS, "limit": 2})["passed"] == 2
