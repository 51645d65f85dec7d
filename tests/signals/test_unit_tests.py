"""Unit tests that a model writes: which answers are asked about, what of a reply is a test, and that batches change nothing."""

import ast
import marshal
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq.signals import parse, programs, unit_tests

ADD = "def add(a, b):\n    return a + b\n"
SETTINGS = {"prompt": "{count} tests of {query}: {answer}", "count": 3, "max_new_tokens": 24, "temperature": 0.0, "top_p": 1.0,
            "seed": 0, "dtype": "float32", "batch_size": 2}  # fmt: skip
ANSWERS = {
    ADD: "",
    f"Here you are:\n```python\n{ADD}```\nUse it like this:\n```py\nprint(add(1, 2))\n```\n": "",
    f"```Python3\n{ADD}": "",  # the answer was cut
    f"~~~\n{ADD}~~~": "",
    "1. Like so:\n\n    ```python title=\"a.py\"\n    def f():\n        return 1\n    ```\n": "",
    f"```python\n{ADD}```\nor\n```python\ndef add(a, b): ...???\n```": "",
    "    def f():\n        return 1\n": "",
    "double = lambda x: 2 * x": "",
    "try:\n    import numpy\nexcept ImportError:\n    def f(): pass": "",
    "class Stack:\n    pass": "",
    "Yes": "nothing to run",
    "None": "nothing to run",
    "42": "nothing to run",
    "": "nothing to run",
    "[x for x in range(3)]": "nothing to run",
    "print(sum([1, 2]))": "nothing to run",
    "array.sort();": "nothing to run",  # JavaScript, and Python too
    "```python\nprint(1)\n```": "nothing to run",
    "The answer is 42.": "not python",
    "SELECT name FROM t;": "not python",
    "def f(x)\n  x + 1\nend": "not python",
    "```js\nclass A {}\n```": "not python",
    "```javascript\nx = 1\n```": "not python",
    "```python\nprint 'old'\n```": "not python",
    "return 1": "not python",
    "def f(): pass\n\0": "not python",
    "def f(): return '\ud800'": "not python",
}  # fmt: skip


def test_the_status_of_an_answer_follows_from_its_text():
    assert {
        answer: one.status for answer, one in zip(ANSWERS, programs.programs(list(ANSWERS)), strict=True)
    } == ANSWERS


@given(st.text(alphabet="`~ python\ndef()x:1\0\ud800", max_size=60))
def test_no_text_is_too_strange_and_what_can_be_tested_compiles(text):
    status, source, names = parse.program(text)
    assert (status == "") == bool(names)
    if not status:
        compile(source, "", "exec")
    for test in parse.tests(text, ["x"], 12):
        compile(test, "", "exec")


def test_a_text_that_ends_the_parser_is_no_python_and_takes_nobody_with_it():
    deep = ["(" * (1 << 20), "-" * (1 << 20) + "1", "x = " + "+".join("1" * 200_000), "a" + ".b" * 300_000]
    found = programs.programs([text for one in deep for text in (one, ADD)])
    assert [one.status for one in found[1::2]] == [""] * len(deep)
    assert all(one.status for one in found[0::2])
    replies = [text for one in deep for text in (f"assert add(1, 2) == {one}", "assert add(1, 2) == 3")]
    assert programs.tests(replies, [["add"]] * len(replies), 12) == [[], ["assert add(1, 2) == 3"]] * len(deep)


def test_a_program_keeps_its_blocks_and_names_what_it_defines():
    answer = "```python\nimport math\nclass A: pass\n```\n```python\ndef f(): return A()\ng = lambda: 1\n```"
    _, source, names = parse.program(answer)
    assert names == ["A", "f", "g"]
    assert source == "import math\nclass A: pass\ndef f(): return A()\ng = lambda: 1"


REPLIES = {
    "assert add(1, 2) == 3\nassert add( 1,2 )==3  # twice\nassert add(0, 0) == 0": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
    "assert add(1, 2) == 3\n```\nThat is all.": ["assert add(1, 2) == 3"],
    "Sure!\n```python\nassert add(1, 2) == 3\n```\n": ["assert add(1, 2) == 3"],
    "assert add(1, 2) == 3\nassert add(1,": ["assert add(1, 2) == 3"],
    "assert add(1, 2) == 3\nThis is no Python.\nassert add(2, 2) == 4": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"],
    "assert add(1,\n  2) == (\n  3\n)\n# next\nassert add(\n": ["assert add(1, 2) == 3"],
    "assert 1 + 1 == 2\nassert other(1) == 2": [],
    "assert add(1, 2) == 3, 'wrong'": ["assert add(1, 2) == 3"],
    "x = 1\ny = 2\nprint('hi')\nassert add(x, 3) == 4": ["x = 1\nassert add(x, 3) == 4"],
    "got = add(1, 2)\nexpected = 3\nassert got == expected": ["got = add(1, 2)\nassert got == 3"],
    "from solution import add\nimport math\nassert add(math.inf, 1) == math.inf": ["import math\nassert add(math.inf, 1) == math.inf"],
    "def add(a, b):\n    return 5\nassert add(1, 2) == 3": ["assert add(1, 2) == 3"],
    "def test_a():\n    x = add(1, 1)\n    assert x == 2\n    x = add(x, 1)\n    assert x == 3\ntest_a()": [
        "x = add(1, 1)\nassert x == 2", "x = add(1, 1)\nx = add(x, 1)\nassert x == 3"],
    "def test_a():\n    assert add(1, 1) == 2\n    assert add(1": ["assert add(1, 1) == 2"],
    "@parametrize\ndef test_a(x):\n    assert add(x, 1) == 2": [],
    "def helper():\n    assert add(1, 1) == 2": [],
    "assert (yield add(1, 1))\nassert await add(1, 1)\nfrom x import *": ["assert (yield add(1, 1))"],
}  # fmt: skip


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_s_tests_are_its_asserts_with_what_they_need(reply):
    assert parse.tests(reply, ["add"], 12) == REPLIES[reply]


def test_a_testcase_s_methods_assert_the_same():
    lines = {"assertEqual(add(1, 1), 2)": "assert add(1, 1) == 2", "assertIn(2, add(1, 1), 'why')": "assert 2 in add(1, 1)",
             "assertTrue(add(1, 1))": "assert add(1, 1)", "assertFalse(add(0, 0))": "assert not add(0, 0)",
             "assertIsNone(add(1, 1))": "assert add(1, 1) is None", "assertEqual(add(self.x, 1), 2)": None,
             "assertAlmostEqual(add(1, 1), 2.0)": "assert abs(add(1, 1) - 2.0) < 5e-08"}  # fmt: skip
    body = "".join(f"        self.{line}\n" for line in lines)
    reply = f"import unittest\nclass T(unittest.TestCase):\n    def test_all(self):\n{body}"
    assert parse.tests(reply, ["add"], 12) == [test for test in lines.values() if test]


def test_no_more_tests_than_asked_for():
    reply = "\n".join(f"assert add({i}, 0) == {i}" for i in range(99))
    assert parse.tests(reply, ["add"], 12) == reply.splitlines()[:12]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
                    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers(), inner), max_leaves=6),
       st.sampled_from(["==", "!=", "<", "in"]), st.booleans())  # fmt: skip
def test_a_literal_is_kept_apart_from_what_is_run(literal, operator, left):
    sides = [repr(literal), "add(1, 7531)"][:: 1 if left else -1]
    function, what, data, stands = parse.plan(f"assert {sides[0]} {operator} {sides[1]}", "t")
    assert function == "def t():\n    return add(1, 7531)"
    assert what == type(ast.parse(f"1 {operator} 1").body[0].value.ops[0]).__name__
    assert stands == left
    if abs(literal) != float("inf") if isinstance(literal, float) else True:
        assert marshal.loads(bytes.fromhex(data)) == literal


def test_arithmetic_on_constants_is_a_literal_where_the_compiler_does_it():
    for side, value in {"10 * 11": 110, "[1 + 1, 'a' * 3]": [2, "aaa"], "-3 + 2": -1, "2 ** 10 - 1": 1023}.items():
        function, what, data, _ = parse.plan(f"assert add(1, 2) == {side}", "t")
        assert (function, what) == ("def t():\n    return add(1, 2)", "Eq")
        assert marshal.loads(bytes.fromhex(data)) == value
    for side in ("9 ** 9 ** 9", "1 / 0", "1 + x", "-x * 2", "'a' * 10 ** 9", "'a' + b'b'"):
        assert parse.plan(f"assert add(1, 2) == {side}", "t")[1] == "truth"


@pytest.mark.filterwarnings('ignore:"is" with a literal')
def test_what_is_no_comparison_with_a_literal_is_decided_where_it_runs():
    for check in ("add(1, 2)", "not add(1, 2)", "add(1, 2) == add(2, 1)", "0 < add(1, 2) < 5", "add(1, 2) == 3 or add(0, 0)",
                  "add(1, 2) is 3"):  # fmt: skip
        function, what, _, _ = parse.plan(f"assert {check}", "t")
        assert (what, function) == ("truth", f"def t():\n    return {ast.unparse(ast.parse(f'not not ({check})'))}")
    assert programs.plans(["x = 1", "def f(:", "assert add(1, 2) == 3"], ["t"] * 3)[:2] == [None, None]


def pairs(answers: list[str]) -> pa.Table:
    rows = [{"id": f"p{i}", "query": "q" * (i + 1), "answer": answer} for i, answer in enumerate(answers)]
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_replies_depend_neither_on_the_batch_nor_on_the_order(tiny_model, temperature):
    answers = [
        ADD,
        "Yes",
        "class Stack:\n    pass",
        "SELECT 1",
        "def f(x):\n    return [x] * 9",
        ADD * 3,
        "def g(): pass",
    ]
    settings = {**SETTINGS, "temperature": temperature}
    asked = pairs(answers)
    found = [unit_tests.load({"model": str(tiny_model), "settings": {**settings, "batch_size": size}, "device": "cpu"})(some)
             for size, some in ((1, asked), (4, asked), (3, asked.take([6, 5, 4, 3, 2, 1, 0])))]  # fmt: skip
    assert found[0].schema == unit_tests.SCHEMA
    assert found[0]["id"].to_pylist() == asked["id"].to_pylist()
    assert found[0].equals(found[1])
    assert found[0].equals(found[2].take([6, 5, 4, 3, 2, 1, 0]))
    replies = found[0]["reply"].to_pylist()
    assert [reply is None for reply in replies] == [False, True, False, True, False, False, False]
    assert all(reply.startswith(unit_tests.BEGUN) for reply in replies if reply is not None)
    if temperature:
        other = unit_tests.load({"model": str(tiny_model), "settings": {**settings, "seed": 1}, "device": "cpu"})(asked)
        assert other["reply"].to_pylist() != replies


def test_a_prompt_longer_than_the_window_has_an_empty_reply(tiny_model):
    table = pairs([ADD, ADD + "# " + "long " * 3000])
    found = unit_tests.load({"model": str(tiny_model), "settings": SETTINGS, "device": "cpu"})(table)
    assert found["reply"].to_pylist()[1] == ""
    assert found["tests"].to_pylist()[1] == []


def test_nobody_is_asked_where_there_is_nothing_to_test(tiny_model):
    found = unit_tests.load({"model": str(tiny_model), "settings": SETTINGS, "device": "cpu"})(pairs(["Yes", "no!"]))
    assert found.to_pydict() == {"id": ["p0", "p1"], "reply": [None, None], "tests": [[], []]}


def test_marks_in_a_query_or_an_answer_are_left_alone():
    pair = {"query": "{answer} {count} \\1", "answer": "{query}"}
    assert (
        unit_tests.question("{count}: {query} {answer} {other}", pair, 12) == "12: {answer} {count} \\1 {query} {other}"
    )


def test_the_file_of_the_signal_loads_no_torch_by_itself():
    code = "import sys, qaq.signals.unit_tests, qaq.signals.quality; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
