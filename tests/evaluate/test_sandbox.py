"""A program passes only by running to its end; whatever else it does, it is over when its verdict is there."""

import os
from pathlib import Path

import pytest

from qaq.evaluate import sandbox

MEMORY = 1024


@pytest.fixture(params=["namespaces", "limits only"])
def level(request, monkeypatch):
    """Both levels of isolation, where the machine has them."""
    if request.param == "namespaces" and sandbox.level() != "namespaces":
        pytest.skip("this machine forbids namespaces")
    monkeypatch.setattr(sandbox, "level", lambda: request.param)
    return request.param


def status(program: str, memory_mb: int = MEMORY) -> str:
    """With more time than a busy machine needs: a program that ends costs none of what is left."""
    return sandbox.run(program, 30, memory_mb).status


def living(mark: str) -> list[str]:
    """Processes with `mark` among their arguments."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in file.read_bytes().split(b"\0"):
                found.append(str(file))
        except OSError:
            continue  # it ended while we looked
    return found


def test_a_program_that_runs_to_its_end_passes(level):
    assert status("x = 1\nassert x == 1") == "pass"


@pytest.mark.parametrize("program", [
    "assert False", "import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "exit()", "def f(:",
    "input()", "import os; os.closerange(3, 99)", "import os; os.write(3, b'x' * 40)",
    "import os, sys; os.execv(sys.executable, [sys.executable, '-c', ''])", "x = '\\0'; \0",
])  # fmt: skip
def test_a_program_that_stops_before_its_end_fails(level, program):
    assert status(program) == "fail"


def test_an_interpreter_that_dies_of_a_signal_is_an_error(level):
    assert status("import ctypes; ctypes.string_at(0)") == "error"


def test_an_endless_loop_runs_into_the_processor_limit(level):
    outcome = sandbox.run("while True: pass", 1, MEMORY, patience=30)
    assert (outcome.status, outcome.waited) == ("timeout", False)


def test_a_program_that_only_waits_runs_out_of_wall_time_and_says_so(level):
    outcome = sandbox.run("import time; time.sleep(1000)", 0.1, MEMORY)
    assert (outcome.status, outcome.waited) == ("timeout", True)


def test_a_memory_bomb_fails(level):
    assert status("x = bytearray(8 << 30)") == "fail"
    assert status("x = []\nwhile True: x.append(bytearray(1 << 24))", 256) == "fail"


def test_the_limits_cannot_be_lifted(level):
    if level == "limits only" and os.geteuid() == 0:
        pytest.skip("root may lift any limit; only a namespace takes that right away")
    lift = "import resource as r\ntry: r.setrlimit(r.RLIMIT_AS, (1 << 40, 1 << 40))\nexcept (ValueError, OSError): pass"
    assert status(lift + "\nelse: raise RuntimeError") == "pass"


def test_a_file_cannot_outgrow_its_limit(level):
    assert status("open('big', 'wb').write(bytes(1 << 25))") == "fail"


def test_a_flood_of_output_is_read_and_cut(level):
    outcome = sandbox.run("print('y' * 3_000_000)", 30, MEMORY)
    assert (outcome.status, len(outcome.output)) == ("pass", 1 << 16)


def test_a_forked_child_does_not_outlive_the_verdict(level):
    mark = f"{os.getpid()}.{1 + (level == 'namespaces')}25"
    sleeper = f"os.execv('/bin/sleep', ['sleep', '{mark}'])"
    assert status(f"import os\nif os.fork() == 0: {sleeper}") == "pass"
    assert not living(mark)


def test_in_a_namespace_not_even_a_session_of_its_own_outlives_the_verdict():
    if sandbox.level() != "namespaces":
        pytest.skip("this machine forbids namespaces")
    mark = f"{os.getpid()}.375"
    assert (
        status(f"import os\nif os.fork() == 0:\n os.setsid()\n os.execv('/bin/sleep', ['sleep', '{mark}'])") == "pass"
    )
    assert not living(mark)


def test_in_a_namespace_there_is_no_network():
    if sandbox.level() != "namespaces":
        pytest.skip("this machine forbids namespaces")
    assert status("import socket\nassert [name for _, name in socket.if_nameindex()] == ['lo']") == "pass"


def test_our_environment_and_folder_are_not_the_programs(level, monkeypatch):
    monkeypatch.setenv("PLANTED_SECRET", "x")
    unseen = "import os\nassert 'PLANTED_SECRET' not in os.environ\nassert os.listdir() == []"
    assert status(unseen) == "pass"


def test_a_child_that_does_not_start_is_raised_and_not_a_verdict(level, monkeypatch):
    monkeypatch.setattr(sandbox, "CHILD", Path("/nowhere/child.py"))
    with pytest.raises(sandbox.SandboxFailed, match="before the solution ran"):
        status("pass")
