"""Verdicts and their calibration."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from qaq import evaluate, sandbox, tables
from qaq.sandbox import parent

SETTINGS = {"benchmark": "humaneval", "limit": 6, "max_new_tokens": 8, "dtype": "float32", "system_prompt": None, "seconds": 5,
            "memory_mb": 1024, "workers": 2, "require_isolation": None}  # fmt: skip
TASKS = evaluate.tasks(SETTINGS)


def solutions(texts: list[str]) -> pa.Table:
    rows = [{"task_id": t.task_id, "sample": 0, "solution": s} for t, s in zip(TASKS, texts, strict=True)]
    return tables.conform(rows, tables.SOLUTIONS)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    evaluate.ground_truth(TASKS, SETTINGS, folder)
    return folder


def test_canonical_solutions_pass(truth):
    assert evaluate.calibrate(TASKS, SETTINGS, truth) == {
        "tasks": 6, "base_passed": 6, "plus_passed": None, "failed": [], "isolation": sandbox.level()}  # fmt: skip


def test_broken_solutions_fail_and_verdicts_keep_the_order(truth):
    right = [task.prompt + task.canonical_solution for task in TASKS]
    broken = [task.prompt + "    return None\n" for task in TASKS]
    mixed = [pair[i % 2] for i, pair in enumerate(zip(right, broken, strict=True))]
    verdicts = evaluate.grade(TASKS, solutions(mixed).take([5, 4, 3, 2, 1, 0]), SETTINGS, truth)
    assert verdicts.schema == tables.VERDICTS.columns
    assert verdicts["task_id"].to_pylist() == [task.task_id for task in TASKS][::-1]
    assert verdicts["base_passed"].to_pylist() == [False, True] * 3
    assert verdicts["status"].to_pylist() == ["fail", "pass"] * 3
    assert set(verdicts["plus_passed"].to_pylist()) == {None}


def test_several_samples_of_a_task_are_graded_each(truth):
    right = TASKS[0].prompt + TASKS[0].canonical_solution
    rows = [{"task_id": TASKS[0].task_id, "sample": i, "solution": s} for i, s in enumerate([right, "def f(", right])]
    verdicts = evaluate.grade(TASKS[:1], tables.conform(rows, tables.SOLUTIONS), SETTINGS, truth)
    assert verdicts["sample"].to_pylist() == [0, 1, 2]
    assert verdicts["base_passed"].to_pylist() == [True, False, True]


def test_a_calibration_that_fails_is_reported_and_names_the_task(truth, caplog):
    wrong = [TASKS[0], evaluate.Task(**{**vars(TASKS[1]), "canonical_solution": "    return 0\n"})]
    said = evaluate.calibrate(wrong, SETTINGS, truth)
    assert (said["base_passed"], said["failed"]) == (1, [f"{TASKS[1].task_id} (fail)"])
    evaluate.warn_of_calibration(said)
    assert f"1 of 2 canonical solutions do not pass ({TASKS[1].task_id} (fail))" in caplog.text


def test_a_calibration_in_which_all_passed_is_no_warning(caplog):
    evaluate.warn_of_calibration({"tasks": 6, "failed": []})
    assert not caplog.text


def test_a_missing_or_foreign_solution_is_refused(truth):
    with pytest.raises(ValueError, match="without a solution"):
        evaluate.grade(TASKS, solutions([""] * 6).slice(1), SETTINGS, truth)


PLUS = {**SETTINGS, "benchmark": "humaneval_plus", "seconds": 0.3}
SQUARE = evaluate.Task("T/0", "", "f", "def f(x):\n    return x * x\n", base_inputs=[[1], [2]], plus_inputs=[[-3]])


@pytest.mark.parametrize(("program", "base", "plus", "status"), [
    ("def f(x): return x * x", True, True, "pass"),
    ("def f(x): return abs(x) * x", True, False, "fail"),  # the base inputs are not negative
    ("def f(x): return x", False, False, "fail"),
    ("def f(x):\n while x < 0: pass\n return x * x", True, False, "timeout"),
    ("def f(x):\n while x == 2: pass\n return x * x", False, False, "timeout"),
    ("import os\ndef f(x): return x * x if x > 0 else os._exit(0)", True, False, "error"),
    ("import os\ndef f(x): os._exit(0)", False, False, "error"),
    ("def g(x): return x * x", False, False, "fail"),
    ("def f(x): return -x if x < 0 else x * x", True, False, "fail"),
    ("def f(x, seen=[]):\n seen.append(x)\n assert len(seen) < 3\n return x * x", True, True, "pass"),  # a suite each
])  # fmt: skip
def test_base_and_plus_have_a_verdict_each_and_plus_needs_base(program, base, plus, status, tmp_path):
    evaluate.ground_truth([SQUARE], PLUS, tmp_path)
    rows = [{"task_id": "T/0", "sample": 0, "solution": program}]
    [verdict] = evaluate.grade([SQUARE], tables.conform(rows, tables.SOLUTIONS), PLUS, tmp_path).to_pylist()
    assert (verdict["base_passed"], verdict["plus_passed"], verdict["status"]) == (base, plus, status)


def test_a_solution_may_take_a_multiple_of_the_reference(tmp_path):
    program = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    slow = evaluate.Task("T/0", "", "f", program, base_inputs=[[0.4]])
    evaluate.ground_truth([slow], SETTINGS, tmp_path)
    rows = [
        {"task_id": "T/0", "sample": i, "solution": program.replace("+ x", f"+ x * {n}")} for i, n in enumerate((2, 20))
    ]
    verdicts = evaluate.grade([slow], tables.conform(rows, tables.SOLUTIONS), {**SETTINGS, "seconds": 0.1}, tmp_path)
    assert verdicts["status"].to_pylist() == ["pass", "timeout"]


def test_a_time_out_is_repeated_once_alone_and_with_patience_and_others_are_not(truth, monkeypatch):
    calls = []

    def fake(call, memory_mb, judge, patience):
        calls.append(patience)
        late = call.program == "loop" or (call.program == "busy" and patience == 1)
        return sandbox.Outcome("timeout", 0, 0.0) if late else sandbox.Outcome("done", len(call.seconds), 0.0)

    monkeypatch.setattr(sandbox, "run", fake)
    verdicts = evaluate.grade(TASKS, solutions(["busy", "loop", "fine", "fine", "fine", "busy"]), SETTINGS, truth)
    assert verdicts["status"].to_pylist() == ["pass", "timeout", "pass", "pass", "pass", "pass"]
    assert calls[:6] == [1] * 6
    assert len(calls) == 9
    assert min(calls[6:]) > 1


def test_a_machine_that_is_not_safe_enough_grades_nothing(truth, monkeypatch):
    monkeypatch.setattr(parent, "level", lambda: "limited")
    with pytest.raises(ValueError, match="require_isolation=sealed"):
        evaluate.grade(TASKS, solutions([""] * 6), {**SETTINGS, "require_isolation": "sealed"}, truth)


def test_the_identity_of_grading_follows_what_may_change_a_verdict():
    known = evaluate.grading_identity(SETTINGS)
    assert json.dumps(known)
    assert evaluate.grading_identity({**SETTINGS, "workers": 9}) == known
    for name, value in {"seconds": 9, "memory_mb": 9, "benchmark": "humaneval_plus"}.items():
        assert evaluate.grading_identity({**SETTINGS, name: value}) != known


def test_grading_loads_no_torch():
    code = "import sys, qaq.evaluate; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
