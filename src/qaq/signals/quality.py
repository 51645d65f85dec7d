"""XCoder's quality of a pair: how many of the unit tests that a model wrote for it the answer passes (arXiv 2409.03810).

Runs in the pipeline's process, which loads no torch and runs no model's code. The answer runs in the sandbox, in one process for
all its tests, anew for each; after a test that ends the process another one goes on with the next.

The verdict on a comparison with a literal (`f(2) == 4`, `abs(f(2) - 0.5) < 1e-6`, `f(2) is None`) is reached here: the answer's
process is not told the literal, and says what came out as plain data, so a value that claims to equal everything fails. What the
test does to the value first (`len(f(2)) == 4`) is done over there. Any other condition (`f(2)`, `f(2) == g(3)`, `isclose(f(2), 4)`)
is decided over there, and an answer written to deceive can pass it: it harms nobody, but the point is not earned. Two things a
value of a class of the answer's own cannot do: pass a comparison with a literal by its own __eq__, or be the container of `in`.
"""

import operator
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qaq import sandbox
from qaq.sandbox import Outcome, Output, values
from qaq.signals.programs import Plan, Program, plans, programs

VERSION = 1
# quality_status: "tested", "no tests" (the model wrote none that can be used), "nothing to run" (no function, no class), "not
# python". tests and passed are null for the last two.
SCHEMA = pa.schema(
    [("id", pa.string()), ("tests", pa.int32()), ("passed", pa.int32()), ("quality_status", pa.string())]
)
# status: pass, fail, timeout, or error: an exception, also of the answer as a whole, or the process ended.
VERDICTS = pa.schema([("id", pa.string()), ("place", pa.int32()), ("test", pa.string()), ("status", pa.string())])
HELD = SCHEMA.append(pa.field("verdicts", pa.list_(pa.struct([("test", pa.string()), ("status", pa.string())]))))
AT_ONCE = 500  # pairs whose texts are read together, and kept together: what a kill can cost
_PATIENCE = 2.0  # times the limits, when an answer that ran out of time is run once more
_ANSWER = 4  # an answer's tests together may take so many times the limit of one
# Bytes of a value. Whole numbers can be chosen so that a set of them takes quadratic time to decode here: 1 MB took half a minute,
# this takes 0.1 s.
_LARGEST = 1 << 16
_ENTRY = "qaq_test"
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtE": operator.le, "Gt": operator.gt, "GtE": operator.ge,
    "Is": operator.is_, "IsNot": operator.is_not, "In": lambda a, b: a in b, "NotIn": lambda a, b: a not in b,
}  # fmt: skip


def quality(unit_tests: pa.Table, examples: pa.Table, settings: dict[str, Any],
            done: Callable[[int], None] = lambda pairs: None) -> tuple[pa.Table, pa.Table]:  # fmt: skip
    """(SCHEMA, VERDICTS) of the pairs of `examples`, in their order; `settings`: seconds, memory_mb, require_isolation, workers.
    `done` hears of pairs as they are judged.

    ValueError if a pair has no row in `unit_tests`, or if the machine's isolation is weaker than require_isolation.
    """
    sandbox.require(settings["require_isolation"])
    written = dict(zip(unit_tests["id"].to_pylist(), unit_tests["tests"].to_pylist(), strict=True))
    ids, answers = examples["id"].to_pylist(), examples["answer"].to_pylist()
    if missing := [id for id in ids if id not in written]:
        raise ValueError(f"{len(missing)} pairs were not asked for unit tests, the first: {missing[:5]}")
    rows, verdicts = [], []
    with ThreadPoolExecutor(settings["workers"]) as pool:
        for row, found in _judged(ids, answers, written, settings, pool):
            rows.append(row)
            verdicts += found
            done(1)
    return pa.Table.from_pylist(rows, SCHEMA), pa.Table.from_pylist(verdicts, VERDICTS)


def held(table: pa.Table, verdicts: pa.Table) -> pa.Table:
    """HELD: the verdicts, in the order of the pairs, with the rows they belong to."""
    counts = pc.fill_null(table["tests"], 0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    values = pa.StructArray.from_arrays(
        [verdicts[name].combine_chunks() for name in ("test", "status")], ["test", "status"]
    )
    return table.append_column(HELD.field("verdicts"), pa.ListArray.from_arrays(offsets, values))


def told(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """(SCHEMA, VERDICTS) of HELD."""
    lists = table["verdicts"].combine_chunks()
    counts, values = lists.value_lengths().to_numpy(), lists.flatten()
    places = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    ids = table["id"].take(pc.list_parent_indices(lists))
    columns = [ids, pa.array(places, pa.int32()), values.field("test"), values.field("status")]
    return table.select(SCHEMA.names), pa.table(columns, schema=VERDICTS)


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines the verdicts besides answers and tests."""
    return {
        **{name: settings[name] for name in ("seconds", "memory_mb")},
        "isolation": sandbox.level(),
        "python": platform.python_version(),
    }


def verdict(plan: Plan, output: Output) -> str:
    """Of a value that came out: pass, fail, or error for an exception, of the test or of the comparison."""
    if not output.kind:
        return "error"
    try:
        return "pass" if _holds(plan, values.decode(output.data)) else "fail"
    except Exception:  # the value decides what is raised: no order between the two, an array without a truth value
        return "error"


def _holds(plan: Plan, value: Any) -> bool:
    if plan.what == "truth":
        return value is True
    if plan.what == "near":
        number, tolerance, just = plan.literal
        distance = abs(value - number)
        return bool(distance < tolerance or (just and distance == tolerance))
    sides = (plan.literal, value) if plan.left else (value, plan.literal)
    return bool(_COMPARE[plan.what](*sides))


def _judged(ids: list[str], answers: list[str], written: dict[str, list[str]], settings: dict[str, Any],
            pool: ThreadPoolExecutor) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:  # fmt: skip
    """Row and verdicts of each pair."""
    found = programs(answers)
    tests = [written[id] if not program.status else [] for id, program in zip(ids, found, strict=True)]
    planned = _planned(tests)
    statuses = pool.map(lambda program, some: _statuses(program, some, settings), found, planned)
    for id, program, some, judged in zip(ids, found, tests, statuses, strict=True):
        status = program.status or ("tested" if some else "no tests")
        counts = {} if program.status else {"tests": len(some), "passed": judged.count("pass")}
        verdicts = [{"id": id, "place": i, "test": test, "status": one}
                    for i, (test, one) in enumerate(zip(some, judged, strict=True))]  # fmt: skip
        yield {"id": id, **counts, "quality_status": status}, verdicts


def _planned(tests: list[list[str]]) -> list[list[Plan | None]]:
    names = [f"{_ENTRY}_{i}" for some in tests for i in range(len(some))]
    found = iter(plans([test for some in tests for test in some], names))
    return [[next(found) for _ in some] for some in tests]


def _statuses(program: Program, tests: list[Plan | None], settings: dict[str, Any]) -> list[str]:
    """Of each test; of what is none "error". An answer that ran out of time runs once more, with more patience."""
    sound = [test for test in tests if test]
    found = _run(program.source, sound, settings, 1.0)
    if "timeout" in found:
        found = _run(program.source, sound, settings, _PATIENCE)
    left = iter(found)
    return [next(left) if test else "error" for test in tests]


def _run(source: str, tests: list[Plan], settings: dict[str, Any], patience: float) -> list[str]:
    """Statuses, from as many processes as it takes; when the time of all is used up the tests that are left have run out of it."""
    found, left = [], _ANSWER * settings["seconds"]
    while len(found) < len(tests):
        rest = tests[len(found) :]
        heard, outcome = (
            _heard(source, rest, settings, left, patience) if left > 0 else ([], Outcome("timeout", 0, 0.0))
        )
        ended = {"refused": "fail", "timeout": "timeout"}.get(outcome.status, "error")
        if not heard or not heard[0].kind:  # the answer by itself: no test will change that
            return found + [ended] * len(rest)
        found += [verdict(test, output) for test, output in zip(rest, heard[1:], strict=False)]
        if outcome.status != "done":
            found.append(ended)
            left -= max(outcome.seconds / patience, settings["seconds"] * (ended == "timeout"))
    return found


def _heard(source: str, tests: list[Plan], settings: dict[str, Any], total: float,
           patience: float) -> tuple[list[Output], Outcome]:  # fmt: skip
    """What came of the answer by itself, then of each test as far as it got."""
    heard: list[Output] = []

    def hear(_: int, output: Output, __: float) -> bool:
        heard.append(output)
        return True

    count = len(tests) + 1
    call = sandbox.Call(_program(source, tests), _ENTRY, [[[place]] for place in range(count)],
                        [settings["seconds"]] * count, [_LARGEST] * count, total)  # fmt: skip
    return heard, sandbox.run(call, settings["memory_mb"], hear, patience)


def _program(source: str, tests: list[Plan]) -> str:
    """The answer and the tests' functions, and one that calls the place-th; the 0th does nothing."""
    calls = ", ".join(test.function[len("def ") : test.function.index("(")] for test in tests)
    functions = "\n".join(test.function for test in tests)
    return f"{source}\n{functions}\ndef {_ENTRY}(place):\n    return (lambda: None, {calls})[place]()\n"
