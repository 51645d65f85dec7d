"""Sanitizing: EvalPlus's answer, quickly, and no program stops the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import launch
from qaq.evaluate import solutions

clean = pytest.importorskip("qaq.evaluate.clean")
theirs = clean.sanitize.code_extract

LINES = [
    "def f(x):",
    "    return x",
    "    y = (",
    ")",
    "",
    "  ",
    "Here it is:",
    "x = 1",
    "'''",
    "import os",
    "else:",
    "\tz",
]


@given(st.lists(st.sampled_from(LINES), max_size=9))
def test_the_extracted_lines_are_evalplus_own(lines):
    text = "\n".join(lines)
    assert clean.code_extract(text) == theirs(text)


def test_a_long_program_is_read_at_once():
    """EvalPlus's own search parses 45,000 pieces of it."""
    body = "\n".join(f"    x = x + {i}" for i in range(300))
    assert clean.code_extract(f"def f(x):\n{body}\nand so on") == f"def f(x):\n{body}"


SLOW = "\n".join(f"{'(' * (i % 3)}x = {i} ) [" for i in range(200))
DEEP = "x = " + "-" * 200_000 + "1"


def test_a_program_is_sanitized_as_by_evalplus_and_what_cannot_be_read_is_left():
    program = (
        "import os\nprint('x')\ndef f(x):\n    return g(x)\ndef g(x):\n    return 1\ndef h(x):\n    return 2\nf(1)"
    )
    found = solutions._cleaned([program, "", DEEP, program], ["f"] * 4)
    assert found[0] == found[3] == "import os\ndef f(x):\n    return g(x)\ndef g(x):\n    return 1"
    assert found[1:3] == ["", None]


def test_a_program_over_the_limit_of_processor_time_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(clean, "_LIMIT", 0.01)
    monkeypatch.setattr(clean, "code_extract", theirs)
    monkeypatch.setattr(clean.sanitize, "code_extract", theirs)
    old = clean.signal.signal(clean.signal.SIGPROF, clean._stop)
    try:
        assert clean.cleaned(SLOW, "f") is None
        assert clean.cleaned("def f():\n    return 1", "f") == "def f():\n    return 1"
    finally:
        clean.signal.signal(clean.signal.SIGPROF, old)


def test_a_program_that_brings_the_process_down_costs_only_itself(monkeypatch, tmp_path):
    """The process that ends stands in for an interpreter that crashed; the next one goes on behind it."""
    started = []

    def crashing(command: list[str]) -> object:
        started.append(command)
        if len(started) == 1:
            with open(command[-1], "a") as answers:
                answers.write('"first"\n"sec')
            return type("Done", (), {"returncode": -11})
        return run(command)

    run = launch.command
    monkeypatch.setattr(launch, "command", crashing)
    found = solutions._cleaned(["def f():\n    return 0", "crash", "def f():\n    return 2"], ["f"] * 3)
    assert found == ["first", None, "def f():\n    return 2"]
    assert len(started) == 2


def test_a_process_that_cannot_start_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(solutions, "_CLEAN", tmp_path / "none.py")
    with pytest.raises(launch.WorkerFailed, match="sanitize cannot be run"):
        solutions._cleaned(["x"], ["f"])
