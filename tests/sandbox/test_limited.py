"""A function asked apart: what ends its process costs one row, what is wrong with the function is said."""

import pytest

from qaq import launch
from qaq.sandbox import limited


@pytest.fixture
def module(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("""
import ctypes, os, sys
def answer(kind, value):
    if kind == "crash": ctypes.string_at(0)
    if kind == "exit": os.kill(os.getpid(), 9)
    if kind == "loop":
        while True: pass
    if kind == "memory": bytearray(1 << 40)
    if kind == "deep": return answer(kind, value)
    if kind == "half":
        os.write(1, b'{"half')
        os.kill(os.getpid(), 9)
    if kind == "bug": return value.nothing
    return [kind, value]
""")
    return file


def test_every_row_has_its_answer_and_those_that_end_the_process_have_none(module):
    rows = [
        ["a", 1],
        ["crash", 0],
        ["\ud800\n", {"x": None}],
        ["exit", 0],
        ["memory", 0],
        ["deep", 0],
        ["half", 0],
        ["loop", 0],
        ["z", []],
    ]
    found = limited.each(module, "answer", rows, 1.0, 1024)
    assert found == [row if row[0] in ("a", "\ud800\n", "z") else None for row in rows]
    assert limited.each(module, "answer", [], 1.0, 1024) == []


def test_a_mistake_of_the_function_is_no_property_of_the_row(module):
    with pytest.raises(RuntimeError, match=r"answer of .*module\.py failed at row 1: [\s\S]*AttributeError"):
        limited.each(module, "answer", [["a", 1], ["bug", 1], ["a", 2]], 1.0, 1024)


def test_a_process_that_does_not_start_is_told(module, monkeypatch):
    monkeypatch.setattr(launch, "command", lambda *_: launch.local.subprocess.CompletedProcess([], 1, "", "no"))
    with pytest.raises(RuntimeError, match="did not start: no"):
        limited.each(module, "answer", [["a", 1]], 1.0, 1024)
