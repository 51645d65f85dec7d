"""The quality score: what honest answers pass, found again without the sandbox; what hostile ones do not."""

import os
import time

import pyarrow as pa
import pytest
from hostile import PROGRAMS
from planted import check_untouched, left_behind, planted, preamble

from qaq import sandbox
from qaq.sandbox import LEVELS, parent
from qaq.signals import programs, quality, unit_tests

SETTINGS = {"seconds": 20.0, "memory_mb": 512, "require_isolation": None, "workers": 2}
ADD = "def add(a, b):\n    return a + b\n"


def judged(answers: list[str], tests: list[list[str]], **changes) -> tuple[pa.Table, pa.Table]:
    ids = [f"p{i}" for i in range(len(answers))]
    written = pa.table([ids[::-1], [""] * len(ids), tests[::-1]], schema=unit_tests.SCHEMA)  # joined by id
    return quality.quality(written, pa.table({"id": ids, "query": ids, "answer": answers}), {**SETTINGS, **changes})


def statuses(answer: str, *tests: str, **changes) -> list[str]:
    _, verdicts = judged([answer], [list(tests)], **changes)
    assert verdicts["test"].to_pylist() == list(tests)
    assert verdicts["place"].to_pylist() == list(range(len(tests)))
    return verdicts["status"].to_pylist()


def test_every_pair_has_a_status_and_counts_add_up():
    answers = [ADD, ADD, "Yes", "SELECT 1", ADD, "def add(a, b):\n    return a - b\n"]
    tests = [["assert add(1, 2) == 3", "assert add(1, 1) == 3"], [], ["assert add(1, 2) == 3"], [],
             ["assert add(1, 2) == 3", "assert add(1, '') == 3"], ["assert add(1, 2) == 3", "assert add(2, 0) == 2"]]  # fmt: skip
    table, verdicts = judged(answers, tests)
    assert (table.schema, verdicts.schema) == (quality.SCHEMA, quality.VERDICTS)
    rows = [tuple(row.values())[1:] for row in table.to_pylist()]
    assert rows == [(2, 1, "tested"), (0, 0, "no tests"), (None, None, "nothing to run"), (None, None, "not python"),
                    (2, 1, "tested"), (2, 1, "tested")]  # fmt: skip
    assert table["id"].to_pylist() == [f"p{i}" for i in range(6)]
    assert [(row["id"], row["status"]) for row in verdicts.to_pylist()] == [
        ("p0", "pass"), ("p0", "fail"), ("p4", "pass"), ("p4", "error"), ("p5", "fail"), ("p5", "pass")]  # fmt: skip


HONEST = '''
import collections, dataclasses, decimal, fractions
import numpy as np
calls = []
def same(x):
    calls.append(x)
    return x
def raises(x):
    raise x
def calls_so_far():
    return len(calls)
@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
class Stack(list):
    def __bool__(self): return True
    def push(self, x): self.append(x)
kinds = [collections.Counter("aab"), collections.OrderedDict(a=1), decimal.Decimal("1.5"), fractions.Fraction(3, 2), np.float64(1.5),
         np.array([1, 2]), {1: "a"}.keys(), (n for n in range(3)), bytearray(b"x"), Stack([1])]
def kind(i):
    return kinds[i]
'''  # fmt: skip
CHECKS = """
same(3) == 3
same(3) == 3.0
3 != same(3)
same((1, 2)) == [1, 2]
same([1, (2, {3}), {"k": None}]) == [1, (2, {3}), {"k": None}]
same(None) is None
same(0) is None
same(0) is not None
same(True) is True
same(1) is True
same(1) == True
same('a') < 'b'
same('a') < 1
2 >= same(3)
same(3) in [1, 3]
same(3) not in (3,)
3 in same([3])
'a' in same('abc')
same(3)
same([])
not same('')
not same(1)
raises(ValueError)
same(1) == same(1.0)
0 < same(3) < 3
same(1) == 1 and same(2) == 3
abs(same(0.3) - (0.1 + 0.2)) < 1e-9
abs(same(2.0) - 1) < 1
abs(same(2.0) - 1) <= 1
abs(1 - same('x')) < 1
same(float('nan')) == same(1)
len(same([1, 2])) == 2
sorted(same([3, 1])) == [1, 3]
Point(1) == Point(1, 0)
Point(1).x == 1
str(Point(1)) == 'Point(x=1, y=0)'
kind(0) == {'a': 2, 'b': 1}
kind(1) == {'a': 1}
kind(2) == 1.5
kind(3) == 1.5
kind(4) == 1.5
list(kind(5)) == [1, 2]
(kind(5) == [1, 2]).all()
kind(6) == {1}
kind(7) == [0, 1, 2]
kind(8) == b'x'
kind(9) == [1]
not kind(9)[1:]
undefined(same(1)) == 1
""".strip().splitlines()


def by_exec(answer: str, test: str) -> str:
    """The status of trusted code: all in one place."""
    space: dict = {}
    exec(answer, space)
    try:
        exec(test, space)
    except AssertionError:
        return "fail"
    except Exception:
        return "error"
    return "pass"


def test_honest_answers_get_what_plain_python_gives_them():
    tests = [f"assert {check}" for check in CHECKS]
    tests += [
        "s = Stack()\ns.push(2)\nassert s[-1] == 2",
        "assert calls_so_far() == 0",
        "x = same(1)\nassert calls_so_far() == 1",
    ]
    found, expected = statuses(HONEST, *tests), [by_exec(HONEST, test) for test in tests]
    differ = {test: pair for test, *pair in zip(tests, found, expected, strict=True) if pair[0] != pair[1]}
    assert not differ
    assert {*found} == {"pass", "fail", "error"}


def test_the_tests_a_reply_holds_are_judged_as_python_judges_them():
    reply = "def test_a():\n    total = add(2, 2)\n    expected = 4\n    assert total == expected\nassert add([1], [2]) == [1, 2]\nassert add(1, 1) == 3"
    [tests] = programs.tests([reply], [["add"]], 12)
    assert len(tests) == 3
    assert statuses(ADD, *tests) == [by_exec(ADD, test) for test in tests]


def test_only_plain_data_is_compared_with_a_literal():
    answer = "class Same:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other\n" \
             "    def __contains__(self, x): return True\n"  # fmt: skip
    tests = ["assert Same(1) == 1", "assert 1 in Same(1)", "assert Same(1).x == 1", "assert Same(1) == Same(1).x",
             "import numpy\nassert numpy.array([Same(1).x, 2]) == [1, 2]"]  # fmt: skip
    assert statuses(answer, *tests) == ["fail", "error", "pass", "pass", "fail"]


@pytest.mark.parametrize(("end", "status"), [("import os\n    os._exit(0)", "error"), ("import ctypes\n    ctypes.string_at(0)", "error"),
                                             ("while True: pass", "timeout"), ("raise SystemExit", "error"),
                                             ("return bytearray(1 << 40)", "error"), ("return f(x)", "error"),
                                             ("return 'y' * (1 << 22)", "fail")])  # fmt: skip
def test_what_ends_the_process_takes_no_other_test_along(end, status):
    answer = f"def f(x):\n    if x != 7: return x\n    {end}\n"
    tests = [
        "assert f(1) == 1",
        "assert f(7) == 7",
        "assert f(2) == 2",
        "assert f(3) == 4",
        "assert f(7) == 8",
        "assert f(5) == 5",
    ]
    assert statuses(answer, *tests, seconds=0.4) == ["pass", status, "pass", "fail", status, "pass"]


def test_an_answer_that_does_not_load_passes_nothing_and_starts_one_process_for_all_tests(monkeypatch):
    started, run = [], sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda *given: started.append(given) or run(*given))
    assert statuses(ADD + "add(x, y)", *[f"assert add({i}, 0) == {i}" for i in range(12)]) == ["error"] * 12
    assert len(started) == 1
    assert statuses(ADD + "import os\nos._exit(0)", "assert add(1, 1) == 2", "assert add(1, 2) == 3") == ["error"] * 2


def test_an_endless_answer_costs_no_more_than_all_tests_may():
    tests = [f"assert f({i}) == 1" for i in range(12)]
    begun = time.monotonic()
    assert statuses("def f(x):\n    while True: pass\n", *tests, seconds=0.1) == ["timeout"] * 12
    assert statuses("def f(x): pass\nwhile True: pass\n", *tests, seconds=0.1) == ["timeout"] * 12
    assert time.monotonic() - begun < 60


def test_a_time_out_is_repeated_with_more_patience(monkeypatch):
    asked, run = [], sandbox.run

    def slow(call, memory, judge, patience):
        asked.append(patience)
        return sandbox.Outcome("timeout", 0, 1.0) if patience == 1 else run(call, memory, judge, patience)

    monkeypatch.setattr(sandbox, "run", slow)
    assert statuses(ADD, "assert add(1, 2) == 3") == ["pass"]
    assert asked == [1.0, 2.0]


def test_the_process_that_runs_the_answer_is_not_told_what_is_expected(monkeypatch):
    told, run = [], sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda call, *rest: told.append(call) or run(call, *rest))
    tests = ["assert f(2) == 7351", "x = f(2)\nassert x != '7351'", "assert f(2) in [7351]", "assert abs(f(2) - 7351.5) < 7351",
             "def test_f():\n    expected = [7351]\n    assert f(2) == expected"]  # fmt: skip
    [tests] = programs.tests(["\n".join(tests)], [["f"]], 12)
    assert len(tests) == 5
    assert all("7351" in test for test in tests)
    statuses("def f(x): return 0", *tests)
    assert "f(2)" in told[0].program
    assert "7351" not in repr(told)


def test_a_test_that_is_none_is_an_error_and_the_others_count():
    assert statuses(ADD, "x = 1", "assert add(1, 2) == 3", "assert (", "assert add(1, 2) == 4") == [
        "error",
        "pass",
        "error",
        "fail",
    ]


@pytest.fixture(scope="module")
def constants(tmp_path_factory):
    with planted(tmp_path_factory.mktemp("planted")) as found:
        yield found


def test_hostile_answers_harm_nothing_and_earn_no_point_that_is_given_outside(constants, monkeypatch):
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    monkeypatch.setitem(parent._ENVIRONMENT, "QAQ_TEST", mark)
    held = [name for name, (_, _, holds) in PROGRAMS.items() if LEVELS.index(sandbox.level()) <= LEVELS.index(holds)]
    assert len(held) >= 40
    sources = [preamble(constants) + PROGRAMS[name][0] for name in held]
    sources = ["not Unicode" if "\udcff" in source else source for source in sources]  # no table holds it
    table, _ = judged(sources, [["assert f(7) == [7, 49]"]] * len(sources), seconds=0.2, workers=8)
    assert {name: passed for name, passed in zip(held, table["passed"].to_pylist(), strict=True) if passed} == {}
    assert not left_behind(mark)
    check_untouched(constants)


def test_their_honest_twins_pass():
    twins = {name: honest for name, (_, honest, _) in PROGRAMS.items()}
    table, _ = judged(list(twins.values()), [["assert f(7) == [7, 49]"]] * len(twins), workers=4)
    assert {name: row for name, row in zip(twins, table.to_pylist(), strict=True) if row["passed"] != 1} == {}


def test_a_condition_that_is_decided_beside_the_answer_can_be_bought():
    answer = "class Liar:\n    __eq__ = lambda s, o: True\n    __len__ = lambda s: 2\ndef f(x): return Liar()\n"
    tests = [
        "assert f(2) == [2, 4]",
        "assert f(2) == f(3)",
        "assert f(2)",
        "assert len(f(2)) == 2",
        "assert f(2)[0] == 2",
    ]
    assert statuses(answer, *tests) == ["fail", "pass", "pass", "pass", "error"]


def test_a_pair_nobody_asked_about_is_told():
    written = pa.table([["a"], ["x"], [[]]], schema=unit_tests.SCHEMA)
    with pytest.raises(ValueError, match=r"1 pairs were not asked for unit tests, the first: \['b'\]"):
        quality.quality(written, pa.table({"id": ["a", "b"], "answer": [ADD, ADD]}), SETTINGS)


def test_a_machine_that_is_not_safe_enough_runs_nothing(monkeypatch):
    monkeypatch.setattr(parent, "level", lambda: "limited")
    with pytest.raises(ValueError, match="require_isolation=sealed"):
        judged([ADD], [[]], require_isolation="sealed")


def test_the_identity_follows_what_may_change_a_verdict():
    known = quality.identity(SETTINGS)
    assert quality.identity({**SETTINGS, "workers": 9}) == known
    for name in ("seconds", "memory_mb"):
        assert quality.identity({**SETTINGS, name: 9}) != known


def test_a_tiny_model_s_tests_are_written_and_run(tiny_model):
    from qaq.tables import pair_id

    answers = [ADD, "Yes"]
    pairs = pa.table({"id": [pair_id("q", a) for a in answers], "query": ["q"] * 2, "answer": answers})
    settings = {**SETTINGS, "prompt": "{query} {answer} {count}", "count": 12, "max_new_tokens": 16, "temperature": 0.0, "top_p": 1.0,
                "seed": 0, "dtype": "float32", "batch_size": 2}  # fmt: skip
    written = unit_tests.load({"model": str(tiny_model), "settings": settings, "device": "cpu"})(pairs)
    table, verdicts = quality.quality(written, pairs, settings)
    assert table["quality_status"].to_pylist() == ["no tests", "nothing to run"]  # it speaks at random
    assert verdicts.num_rows == 0


def test_a_set_made_to_be_slow_to_decode_costs_us_no_time():
    slow = "class I(int):\n    __hash__ = lambda self: id(self)\ndef f():\n    return {I((2 ** 61 - 1) * (8 + k)) for k in range(60000)}\n"
    start = time.process_time()  # ours: of 780 KB decoded here it would be 26 s
    assert statuses(slow, "assert f() == {1}") == ["fail"]
    assert time.process_time() - start < 3
