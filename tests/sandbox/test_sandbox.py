"""How a solution is run, timed and ended, and what a machine's isolation is called. What it holds: test_hostile."""

import os
import time

import pytest

from qaq import sandbox
from qaq.sandbox import Call, child, parent, values

MEMORY = 1024


def run(
    program: str, *suites: list, seconds: float = 30.0, patience: float = 1.0, elements: bool = False, until: int = 99
):
    """The outcome, and the outputs as (type's name, value). The limit is more than a busy machine needs."""
    found = []

    def judge(i, output, used):
        found.append((output.kind, values.decode(output.data)))
        return i < until

    count = sum(map(len, suites))
    call = Call(program, "f", list(suites), [seconds] * count, [1 << 20] * count, 6 * seconds, elements)
    return sandbox.run(call, MEMORY, judge, patience), found


def test_outputs_come_in_order_and_each_suite_starts_the_program_anew(level):
    program = "seen = []\ndef f(x, y):\n    seen.append(x)\n    return seen, y\n"
    outcome, found = run(program, [[1, "a"], [2, "b"]], [[3, "c"]])
    assert (outcome.status, outcome.outputs) == ("done", 3)
    assert found == [("tuple", ([1], "a")), ("tuple", ([1, 2], "b")), ("tuple", ([3], "c"))]


def test_inputs_arrive_as_they_are(level):
    given = [(1, [2.5, None]), {"k": {3, 4}}, 1 + 2j, "\ud800", float("inf"), 10**50, b"x", frozenset([5])]
    _, [(kind, value)] = run("def f(*given):\n    return list(given)\n", [given])
    assert (kind, value) == ("list", given)
    assert [type(v) for v in value] == [type(v) for v in given]


def test_an_exception_is_an_output_without_a_type_and_the_next_input_follows(level):
    outcome, found = run("def f(x):\n    return 1 / x\n", [[0], [1]])
    assert outcome.status == "done"
    assert found == [("", "ZeroDivisionError"), ("float", 1.0)]


def test_a_judge_that_refuses_ends_the_run_at_once(level):
    begun = time.monotonic()
    outcome, found = run("import time\ndef f(x):\n    time.sleep(x)\n", [[0], [0], [1000]], until=1)
    assert (outcome.status, outcome.outputs, len(found)) == ("refused", 1, 2)
    assert time.monotonic() - begun < 60


def test_elements_are_reported_where_only_they_matter(level):
    _, found = run("def f(x):\n    return (n for n in x)\n", [[[1, 2]]], elements=True)
    assert found == [("list", [1, 2])]


def test_the_limit_is_of_processor_time_for_each_input(level):
    program = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    assert run(program, [[0.3]] * 3, seconds=0.5)[0].status == "done"
    outcome, _ = run(program, [[0.1], [5.0]], seconds=0.5)
    assert (outcome.status, outcome.outputs) == ("timeout", 1)
    assert 0.5 < outcome.seconds < 5


def test_all_inputs_together_have_a_limit_too(level):
    program = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    outcome, _ = run(program, [[0.1]] * 20, seconds=0.15)
    assert outcome.status == "timeout"
    assert 1 < outcome.outputs < 12


def test_patience_multiplies_the_limits(level):
    program = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass\n"
    assert run(program, [[0.4]], seconds=0.2)[0].status == "timeout"
    assert run(program, [[0.4]], seconds=0.2, patience=20.0)[0].status == "done"


def test_only_the_dead_are_called_errors(level):
    assert run("import os\ndef f(x):\n    os._exit(0)\n", [[1]])[0].status == "error"
    assert run("import ctypes\ndef f(x):\n    ctypes.string_at(0)\n", [[1]])[0].status == "error"
    assert run("raise SystemExit", [[1]])[1] == [("", "SystemExit")]


def test_an_output_larger_than_allowed_is_refused(level):
    assert run("def f(x):\n    return 'y' * x\n", [[1 << 19]])[0].status == "done"
    assert run("def f(x):\n    return 'y' * x\n", [[1 << 21]])[0].status == "refused"


def test_the_program_sees_our_settings_and_no_environment_of_ours(level, monkeypatch):
    monkeypatch.setenv("PLANTED_SECRET", "x")
    _, [(_, names)] = run("import os\ndef f():\n    return sorted(os.environ)\n", [[]])
    assert set(names) <= {*parent._ENVIRONMENT, "LC_CTYPE"}


def test_sets_have_one_order_in_every_run(level):
    program = "def f():\n    return list({str(n) for n in range(99)})\n"
    assert run(program, [[]])[1] == run(program, [[]])[1]


def test_sealed_has_a_small_read_only_world_and_a_scratch_folder():
    if not sandbox.allowed("sealed"):
        pytest.skip("this machine does not allow 'sealed'")
    program = """
import os
def f(path):
    open("scratch", "w").write("x")
    try:
        open("/usr/lib/planted", "w")
    except OSError as error:
        refused = error.strerror
    return os.getpid(), os.path.exists(path), os.path.exists("/proc/self"), refused, open("scratch").read()
"""
    _, [(_, found)] = run(program, [[os.path.abspath(__file__)]])
    assert found == (1, False, False, "Read-only file system", "x")


def test_a_child_that_does_not_start_is_raised_and_not_a_verdict(level, monkeypatch):
    monkeypatch.setattr(parent, "CHILD", parent.CHILD.with_name("nowhere.py"))
    with pytest.raises(sandbox.SandboxFailed, match="did not start"):
        run("def f(): pass", [[]])


def test_the_level_is_the_strongest_that_is_allowed(monkeypatch):
    monkeypatch.setattr(parent, "allowed", lambda name: name != "sealed")
    assert parent.level.__wrapped__() == "fenced"
    monkeypatch.setattr(parent, "allowed", lambda name: False)
    with pytest.raises(sandbox.SandboxFailed, match="no solution"):
        parent.level.__wrapped__()


def test_a_machine_below_the_required_level_is_refused(monkeypatch):
    monkeypatch.setattr(parent, "level", lambda: "filtered")
    for enough in (None, "limited", "filtered"):
        sandbox.require(enough)
    with pytest.raises(ValueError, match="only allows 'filtered'"):
        sandbox.require("sealed")
    with pytest.raises(ValueError, match="known, the strongest first: sealed"):
        sandbox.require("strong")


def test_a_level_that_the_machine_forbids_is_not_allowed(monkeypatch):
    def forbidden(name, *_):
        raise sandbox.SandboxFailed("PermissionError: unshare")

    monkeypatch.setattr(parent, "_run", forbidden)
    assert not parent.allowed.__wrapped__("sealed")


def test_an_output_in_small_pieces_buys_no_time(level):
    program = """
import os, struct, time
def f():
    for n in range(3, 64):
        try: os.write(n, struct.pack("<4sdQH", b"\\0QAQ", 0, 1 << 19, 4))
        except OSError: pass
    while True:
        time.sleep(0.01)
        for n in range(3, 64):
            try: os.write(n, b"\\0")
            except OSError: pass
"""
    begun = time.monotonic()
    assert run(program, [[]], seconds=0.5)[0].status == "timeout"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("size", [1, 1 << 17])  # one after the other fits into the pipe, or waits until we read on
def test_a_slow_judge_costs_a_solution_no_time(size):
    program = f"""
import time
def f():
    end = time.process_time() + 0.1
    while time.process_time() < end: pass
    return "y" * {size}
"""

    def slow(i, output, used):
        time.sleep(2 if i == 0 else 0.3)
        return True

    call = Call(program, "f", [[[]] * 20], [1.0] * 20, [1 << 20] * 20, 30.0)
    outcome = sandbox.run(call, MEMORY, slow)
    assert (outcome.status, outcome.outputs) == ("done", 20)


def test_a_report_s_seconds_hold_the_making_of_its_bytes(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(child.time, "process_time", lambda: now[0])

    def encode(value: object) -> bytes:
        now[0] += 5.0
        return b"value"

    reader, writer = os.pipe()
    child.reporter(writer, encode)(8.0, "str", "value")
    mark, seconds, size, name = child.HEADER.unpack_from(os.read(reader, 1 << 10))
    os.close(reader)
    os.close(writer)
    assert (mark, seconds, size, name) == (child.MARK, 7.0, 5, 3)
