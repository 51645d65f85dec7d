"""Whether a solution is Python: told by a compiler that a solution may crash."""

import pytest

from qaq import launch, tables
from qaq.evaluate.syntax import compiles, with_syntax

SETTINGS = {"seconds": 5, "memory_mb": 1024}


def test_python_is_told_from_what_is_not_and_nothing_runs(tmp_path):
    mark = tmp_path / "mark"
    programs = {f"open({str(mark)!r}, 'w')": True, "": True, "def f(:": False, "return 1": False, "a\0b": False,
                "x = '\ud800'": False, "print('ä')": True, "1\n  2": False, "assert (1, 2)": True}  # fmt: skip
    assert compiles(list(programs), 5, 1024) == list(programs.values())
    assert not mark.exists()


def test_what_uses_up_the_compiler_counts_as_no_python_and_takes_nobody_with_it():
    deep = ["(" * 5000 + ")" * 5000, "-" * 2_000_000 + "1", "x = " + "+".join("1" * 200_000), "a" + ".b" * 300_000]
    found = compiles([part for one in deep for part in (one, "x = 1")], 5, 1024)
    assert found[1::2] == [True] * 4
    assert not found[0]
    assert not any(found[0::2])


def test_a_compiler_that_does_not_start_is_no_syntax_error(monkeypatch):
    monkeypatch.setattr(
        launch, "command", lambda arguments, environment: launch.local.subprocess.CompletedProcess([], 1, "", "no")
    )
    with pytest.raises(RuntimeError, match="did not start: no"):
        compiles(["x"], 5, 1024)


def test_the_column_is_joined_by_task_and_sample():
    keys = [("b", 0), ("a", 1), ("a", 0)]
    verdicts = tables.conform([{"task_id": t, "sample": s} for t, s in keys], tables.VERDICTS)
    rows = [{"task_id": "a", "sample": 0, "solution": "x ="}, {"task_id": "a", "sample": 1, "solution": "x = 1"},
            {"task_id": "b", "sample": 0, "solution": "def"}]  # fmt: skip
    found = with_syntax(verdicts, tables.conform(rows, tables.SOLUTIONS), SETTINGS)
    assert found.schema == tables.VERDICTS.columns
    assert found["compiles"].to_pylist() == [False, True, False]
