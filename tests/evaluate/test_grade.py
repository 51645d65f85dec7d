"""Verdicts, their calibration and pass@1."""

import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import evaluate, tables
from qaq.evaluate import sandbox
from qaq.evaluate.statistics import Z95, wilson

SETTINGS = {"benchmark": "humaneval", "limit": 6, "max_new_tokens": 8, "dtype": "float32", "system_prompt": None, "seconds": 5,
            "memory_mb": 1024, "workers": 2}  # fmt: skip
TASKS = evaluate.tasks(SETTINGS)


def solutions(texts: list[str]) -> pa.Table:
    rows = [{"task_id": t.task_id, "sample": 0, "solution": s} for t, s in zip(TASKS, texts, strict=True)]
    return tables.conform(rows, tables.SOLUTIONS)


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


def test_wilson_against_values_worked_by_hand():
    # 1 of 2: middle 1/2, half = sqrt(z^2 / 8 + z^4 / 16) / (2 + z^2) with z^2 = 3.8415: 0.40547
    assert wilson(1, 2) == pytest.approx((0.09453, 0.90547), abs=1e-4)
    # 0 of n: [0, z^2 / (n + z^2)]
    assert wilson(0, 10) == pytest.approx((0, 3.841459 / 13.841459), abs=1e-6)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_mirrors_and_its_ends_solve_the_score_equation(case):
    passed, tasks = case
    low, high = wilson(passed, tasks)
    share = passed / tasks
    assert 0 <= low <= share <= high <= 1
    assert wilson(tasks - passed, tasks) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    for end in (low, high):
        assert (share - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / tasks, abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_pass_at_1_is_the_share_of_passed_tasks(passed):
    rows = [{"task_id": str(i), "sample": 0, "base_passed": p} for i, p in enumerate(passed)]
    rate = evaluate.pass_at_1(tables.conform(rows, tables.VERDICTS))
    assert (rate.value, rate.passed, rate.tasks) == (sum(passed) / len(passed), sum(passed), len(passed))


def test_pass_at_1_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no task"):
        evaluate.pass_at_1(tables.VERDICTS.columns.empty_table())


def test_results_by_hand(tmp_path):
    (tmp_path / "counts.json").write_text('{"capped": 1}')
    rows = [{"task_id": name, "sample": 0, "base_passed": name == "a"} for name in "ab"]
    tables.write(tables.conform(rows, tables.VERDICTS), tmp_path / "verdicts.parquet")
    shared = {"model": "m", "target": "answer", "given": "query"}
    sums = [("a", 10.0, 10), ("b", 50.0, 20), ("c", None, 9)]  # 60 nats over 30 tokens: 2 a token; c did not fit
    rows = [{"id": i, "nll_sum": nll, "tokens": tokens, "truncated": nll is None, **shared} for i, nll, tokens in sums]
    tables.write(tables.conform(rows, tables.LIKELIHOOD), tmp_path / "likelihood.parquet")
    passing, nll, capped = evaluate.results("humaneval", tmp_path, tmp_path)
    assert (passing["metric"], passing["value"], passing["tasks"]) == ("pass@1", 0.5, 2)
    assert (nll["metric"], nll["value"], nll["tasks"]) == ("canonical_nll", 2.0, 2)
    # residuals 10 - 20 = -10 and 50 - 40 = 10: spread 200 * 2 = 400, half = 1.96 * 20 / 30
    assert nll["high"] - 2 == pytest.approx(2 - nll["low"]) == pytest.approx(1.3066, abs=1e-4)
    assert (capped["metric"], capped["value"]) == ("capped", 0.5)
    assert (capped["low"], capped["high"]) == pytest.approx((0.0945, 0.9055), abs=1e-4)  # Wilson, 1 of 2


def test_calibration_by_name_takes_the_settings_tasks():
    assert evaluate.calibrate({**SETTINGS, "limit": 2})["passed"] == 2
