"""Runs one solution on a task's inputs and says what it returned; started as a script by `sandbox`, never imported.

It holds the program and the inputs and nothing of what is expected: whatever the program finds here or does to it, it can
only change what it says itself. Standard input: the request, in Python's own format (it is ours). Standard output: text
until the walls stand (an error), then a report for every input, in order. The program starts anew for every suite of
inputs, with an empty input and its output thrown away. Only light modules are imported: it starts for every solution.
"""

import marshal
import os
import struct
import sys
import time
import types
from collections.abc import Callable

HEADER = struct.Struct("<4sdQH")  # mark, processor seconds, bytes of the value, bytes of its type's name; both follow
MARK = b"\0QAQ"


def main() -> None:
    request = marshal.load(sys.stdin.buffer)
    channel, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    here = os.path.dirname(__file__)
    sys.path += [*request["packages"], here]  # last: a module of the standard library is never taken for a sibling
    import values
    import walls

    sys.path.remove(here)
    number = walls.close_in(*request["walls"])
    report = reporter(channel, values.encode)
    report(0.0, "started", number)
    os.dup2(nothing, 2)
    os.close(nothing)
    run(request, report, values.name_of)


def reporter(channel: int, encode: Callable[[object], bytes]) -> Callable[[float, str, object], None]:
    """A function that sends a report; it holds on to what it needs, whatever the program puts in its place later.

    Its seconds are those since `begun`, with making bytes of the value, which may take longer than finding it (Mbpp/255: 0.7 GB)
    and is part of what the parent waits for."""
    write, pack, header, clock = os.write, HEADER.pack, MARK, time.process_time

    def report(begun: float, kind: str, value: object) -> None:
        data, name = encode(value), kind.encode("utf-8", "replace")[:200]
        left = memoryview(pack(header, clock() - begun, len(data), len(name)) + name + data)
        while left:
            left = left[write(channel, left) :]

    return report


def run(request: dict, report: Callable[[float, str, object], None], name_of: Callable[[object], str],
        clock: Callable[[], float] = time.process_time, load: Callable[[bytes], list] = marshal.loads) -> None:  # fmt: skip
    """Report the output of each input; an exception has no type's name and its own as value."""
    elements = request["elements"]
    for suite in request["suites"]:
        begun = clock()
        try:
            function = defined(request["program"], request["entry_point"])
        except BaseException as error:
            report(begun, "", name_of(error))
            return
        for given in suite:
            begun = clock()
            try:
                output = function(*load(given))
                output = [*output] if elements else output
                report(begun, name_of(output), output)
            except BaseException as error:
                report(begun, "", name_of(error))


def defined(program: str, entry_point: str) -> Callable[..., object]:
    """The program's function, out of a new module: a registered one, as dataclasses and pickle look theirs up."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    exec(compile(program, "solution.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__[entry_point]


if __name__ == "__main__":
    main()
