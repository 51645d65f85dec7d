"""When an output counts as right: the rules of EvalPlus 0.3.1 (evalplus/eval/__init__.py, `unsafe_execute`).

Runs in a process that runs no model's code, on values that came as data. Three departures: HumanEval/32 passes when its
oracle is satisfied (0.3.1 forgets to note it down, so nobody passes); an output whose bytes are those of the expected one
is right also where it holds a NaN, or the canonical solution itself would fail; and a tolerance needs equal shapes, where
theirs lets numpy repeat the smaller one (which also may take more memory than there is).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from evalplus.eval import is_floats
from evalplus.eval._special_oracle import (
    MBPP_OUTPUT_NOT_NONE_TASKS,
    MBPP_OUTPUT_SET_EQ_TASKS,
    _digit_distance_nums,
    _poly,
    _surface_Area,
)

from qaq.evaluate.benchmark import Task
from qaq.sandbox import Output, values

# The tasks of MBPP whose rule is no other's, in EvalPlus's words: (exact, out, given, atol) -> right
_ORACLES: dict[str, Callable[[Any, Any, list[Any], float], Any]] = {
    "are_equivalent": lambda *_: True,  # Mbpp/164: EvalPlus accepts whatever comes back
    "sum_div": lambda exact, out, *_: exact or out == 0,  # Mbpp/295
    "surface_Area": lambda exact, out, given, atol: exact or abs(out - _surface_Area(*given)) <= atol,  # Mbpp/581
    "digit_distance_nums": lambda exact, out, given, _: exact or out == _digit_distance_nums(*given),  # Mbpp/558
}
_RTOL = 1e-07  # numpy.testing.assert_allclose's default, which EvalPlus names
_FLOAT_ATOL = 1e-6  # what EvalPlus puts in the place of 0 once a task has given floats
_ROOT_ATOL = 1e-4  # HumanEval/32's own test, where the benchmark's file has no tolerances


class Expected(NamedTuple):
    """`floats`: it, or one before it in its suite, is a float or only floats (EvalPlus keeps its tolerance from there on)."""

    given: list[Any]
    output: Output
    floats: bool
    floats_before: bool
    seconds: float


def is_float(data: bytes) -> bool:
    """EvalPlus's test of an expected output, of a list as far as its first element that is none."""
    if held := values.items(data):
        count, elements = held
        return count > 0 and all(isinstance(element, float) for element in elements)
    return is_floats(values.decode(data))


def as_elements(task: Task) -> bool:
    """Whether only the elements of an output matter."""
    return task.dataset == "mbpp" and task.entry_point in MBPP_OUTPUT_SET_EQ_TASKS


def truth_of(task: Task, output: Output) -> Output:
    """The expected output: of outputs that cannot be compared only whether they are there."""
    if task.dataset == "mbpp" and task.entry_point in MBPP_OUTPUT_NOT_NONE_TASKS:
        return Output("bool", values.encode(output.kind != "NoneType"))
    return output


def right(task: Task, expected: Expected, output: Output) -> bool:
    """Whether `output` is right. What cannot be compared (a type without order, another shape) is wrong, and so is an
    exception, where several oracles would take its name for an answer."""
    if not output.kind:
        return False
    if output.data == expected.output.data and output.kind == expected.output.kind:
        return True
    try:
        return bool(_right(task, expected, output))
    except Exception:  # EvalPlus's rule: any error of the comparison is a failure of the solution
        return False


def _right(task: Task, expected: Expected, output: Output) -> bool:
    atol = _atol(task, expected.floats)
    lists = values.items(output.data), values.items(expected.output.data)
    if atol == 0 and None not in lists and not _has_oracle(task):
        (length, out), (wanted, exp) = lists
        return length == wanted and all(a == b for a, b in zip(out, exp, strict=True))
    out, exp = values.decode(output.data), values.decode(expected.output.data)
    if task.dataset == "humaneval" and task.entry_point == "find_zero":
        return abs(_poly(*expected.given, out)) <= (task.atol or _ROOT_ATOL)
    exact = out == exp
    if task.dataset == "mbpp":
        exact = _special(task.entry_point, exact, out, exp, expected.given, _atol(task, expected.floats_before))
    if exact or atol == 0:
        return exact
    if output.kind != expected.output.kind or (isinstance(exp, list | tuple) and len(out) != len(exp)):
        return False
    if _has_text(out):  # no tolerance fits it, and numpy makes each element as large as the largest
        return False
    outs, exps = np.asarray(out), np.asarray(exp)
    return outs.shape == exps.shape and np.allclose(outs, exps, rtol=_RTOL, atol=atol)


def _has_oracle(task: Task) -> bool:
    """Whether more than one answer may be right."""
    if task.dataset == "humaneval":
        return task.entry_point == "find_zero"
    return task.entry_point in {*_ORACLES, *MBPP_OUTPUT_SET_EQ_TASKS, *MBPP_OUTPUT_NOT_NONE_TASKS}


def _has_text(value: Any) -> bool:
    return isinstance(value, str | bytes) or (isinstance(value, list | tuple) and any(map(_has_text, value)))


def _special(entry_point: str, exact: Any, out: Any, exp: Any, given: list[Any], atol: float) -> Any:
    """The tasks of MBPP that have more than one right answer, in EvalPlus's order."""
    if entry_point in _ORACLES:
        return _ORACLES[entry_point](exact, out, given, atol)
    if entry_point in MBPP_OUTPUT_SET_EQ_TASKS:
        return set(out) == set(exp)
    if entry_point in MBPP_OUTPUT_NOT_NONE_TASKS:
        return out == exp if isinstance(out, bool) else exp == (out is not None)
    return exact


def _atol(task: Task, floats: bool) -> float:
    return _FLOAT_ATOL if task.atol == 0 and floats else task.atol
