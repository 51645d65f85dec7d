"""Ground truth: what the canonical solutions return."""

import pyarrow.parquet as pq
import pytest

from qaq import evaluate
from qaq.evaluate import truth
from qaq.evaluate.benchmark import Task
from qaq.sandbox import values

SETTINGS = {"benchmark": "humaneval_plus", "limit": None, "seconds": 5, "memory_mb": 1024, "workers": 2,
            "require_isolation": None}  # fmt: skip


def task(name: str, program: str, base: list, plus: list, **about) -> Task:
    return Task(name, "", "f", program, base_inputs=base, plus_inputs=plus, **about)


def test_outputs_and_inputs_are_kept_by_task_and_suite(tmp_path):
    double = task("T/0", "def f(x):\n    return x * 2\n", [[1], ["a"]], [[(1,)]])
    half = task("T/1", "def f(x):\n    return x / 2\n", [[{3: 1}[3]]], [])
    truth.make([double, half], SETTINGS, tmp_path)
    base, plus = truth.of(double, tmp_path, ("base", "plus"))
    assert [(one.given, one.output.kind, values.decode(one.output.data)) for one in base] == [
        ([1], "int", 2), (["a"], "str", "aa")]  # fmt: skip
    assert [(one.given, values.decode(one.output.data)) for one in plus] == [([(1,)], (1, 1))]
    assert truth.of(half, tmp_path, ("plus",)) == [[]]
    assert pq.ParquetFile(tmp_path / truth.FILE).num_row_groups == 2


def test_an_input_that_the_solution_changes_is_kept_as_it_was(tmp_path):
    clear = task("T/0", "def f(x):\n    x.clear()\n    return x\n", [[[1, 2]]], [])
    truth.make([clear], SETTINGS, tmp_path)
    [[one]] = truth.of(clear, tmp_path, ("base",))
    assert (one.given, values.decode(one.output.data)) == ([[1, 2]], [])


def test_floats_are_remembered_for_the_rest_of_their_suite(tmp_path):
    same = task("T/0", "def f(x):\n    return x\n", [[1], [2.0], [3]], [[4]])
    truth.make([same], SETTINGS, tmp_path)
    base, plus = truth.of(same, tmp_path, ("base", "plus"))
    assert [(one.floats_before, one.floats) for one in base] == [(False, False), (False, True), (True, True)]
    assert not plus[0].floats


def test_seconds_are_those_of_the_canonical_solution(tmp_path):
    slow = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    truth.make([task("T/0", slow, [[0.2], [0.0]], [])], SETTINGS, tmp_path)
    [[slow, quick]] = truth.of(task("T/0", slow, [], []), tmp_path, ("base",))
    assert quick.seconds < 0.2 <= slow.seconds


def test_inputs_of_a_benchmark_with_tests_only_are_those_of_its_tests(tmp_path):
    tests = (
        "import random\ndef check(candidate):\n    assert candidate(random.random(), [1]) == 2\n    candidate(3, [])\n"
    )
    offline = Task("T/0", "def f(x, y):\n", "f", "    y.append(x)\n    return len(y)\n", test=tests)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        truth.make([offline], SETTINGS, tmp_path / folder)
    [a], [b] = (truth.of(offline, tmp_path / folder, ("base",)) for folder in ("a", "b"))
    assert [one.given for one in a] == [one.given for one in b]  # drawn, but with one seed
    assert [one.given[1] for one in a] == [[1], []]
    assert [values.decode(one.output.data) for one in a] == [2, 1]


def test_a_canonical_solution_that_fails_is_named(tmp_path):
    with pytest.raises(truth.TruthFailed, match=r"T/0 gave 1 of 2 outputs \(ZeroDivisionError\)"):
        truth.make([task("T/0", "def f(x):\n    return 1 / x\n", [[1], [0]], [])], SETTINGS, tmp_path)


def test_the_truth_of_other_tasks_is_refused(tmp_path):
    truth.make([task("T/0", "def f(): pass\n", [[]], [])], SETTINGS, tmp_path)
    with pytest.raises(ValueError, match="has no task T/1"):
        truth.of(task("T/1", "", [[]], []), tmp_path, ("base",))


def test_the_truth_of_humaneval_is_what_its_tests_ask(tmp_path):
    settings = {**SETTINGS, "benchmark": "humaneval", "limit": 3}
    first, *_ = tasks = evaluate.tasks(settings)
    evaluate.ground_truth(tasks, settings, tmp_path)
    [asked] = truth.of(first, tmp_path, ("base",))
    assert asked[0].given == [[1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3]
    assert [values.decode(one.output.data) for one in asked] == [True, False, True, False, True, True, False]
