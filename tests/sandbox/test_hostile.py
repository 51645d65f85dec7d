"""Hostile and broken solutions: none passes, harms, leaves a process or costs more than its limit; its honest twin passes."""

import os
import time

import pytest
from hostile import INPUTS, PROGRAMS
from planted import check_untouched, left_behind, planted, preamble

from qaq import sandbox
from qaq.evaluate import oracle
from qaq.evaluate.benchmark import Task
from qaq.evaluate.oracle import Expected
from qaq.sandbox import LEVELS, Output, parent, values

LIMIT = 1.0  # seconds for an input
MEMORY = 512  # MB
TASK = Task("Test/0", "", "f", "", plus_inputs=[], base_inputs=INPUTS)


@pytest.fixture(scope="module")
def constants(tmp_path_factory):
    with planted(tmp_path_factory.mktemp("planted")) as found:
        yield found


def run(program: str, monkeypatch: pytest.MonkeyPatch) -> tuple[sandbox.Outcome, float, list[str]]:
    """The outcome, the seconds it took, and the processes that it left."""
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    monkeypatch.setitem(parent._ENVIRONMENT, "QAQ_TEST", mark)
    expected = [
        Expected(given, Output("list", values.encode([given[0], given[0] ** 2])), False, False, 0) for given in INPUTS
    ]
    asked = sandbox.Call(program, "f", [INPUTS], [LIMIT] * len(INPUTS), [1 << 16] * len(INPUTS), 2 * LIMIT)
    begun = time.monotonic()
    outcome = sandbox.run(asked, MEMORY, lambda i, output, _: oracle.right(TASK, expected[i], output))
    seconds = time.monotonic() - begun
    return outcome, seconds, left_behind(mark)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_solution_fails_and_harms_nothing(name, level, constants, monkeypatch):
    hostile, _, holds = PROGRAMS[name]
    if LEVELS.index(level) > LEVELS.index(holds):
        pytest.skip(f"{name!r} is only held at {holds!r} and above")
    outcome, seconds, left = run(preamble(constants) + hostile, monkeypatch)
    assert outcome.status in ("refused", "timeout", "error")
    assert outcome.outputs < len(INPUTS)
    assert not left
    check_untouched(constants)
    assert outcome.seconds < LIMIT + 1  # of processor time
    assert seconds < LIMIT + 30  # it ends; two seconds beyond its limit are enough on a machine that is not busy


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_honest_twin_passes(name, level, monkeypatch):
    outcome, _, left = run(PROGRAMS[name][1], monkeypatch)
    assert (outcome.status, outcome.outputs) == ("done", len(INPUTS))
    assert not left


def test_there_are_at_least_forty():
    assert len(PROGRAMS) >= 40
