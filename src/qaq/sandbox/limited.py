"""A pure function of data, asked many times in a process of its own: where a text can make Python's own parser use up all
memory or time, or crash, that costs the one row and nothing else. No code of a model's is run there.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from qaq import launch

CHILD = Path(__file__).with_name("limited_child.py")


def each(file: Path, function: str, rows: list[list[Any]], seconds: float, memory_mb: int) -> list[Any]:
    """What `function` of the module in `file`, which imports nothing of ours, makes of each row's arguments, in order; both are
    JSON. None where a row takes more than `seconds` of processor time or `memory_mb`, or ends the process.

    RuntimeError if the process does not start, or the function raises anything but MemoryError or RecursionError.
    """
    found: list[Any] = []
    while len(found) < len(rows):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="ascii") as asked:
            asked.writelines(json.dumps(row) + "\n" for row in rows[len(found) :])
            asked.flush()
            limits = [str(max(1, round(seconds))), str(memory_mb << 20)]
            done = launch.command([sys.executable, "-I", str(CHILD), asked.name, str(file), function, *limits], {})
        *said, _ = done.stdout.split("\n")  # what follows the last line break was not said to its end
        if said[:1] != ["ready"]:
            raise RuntimeError(f"the process that reads texts did not start: {done.stderr[-500:]}")
        if done.returncode > 0:
            raise RuntimeError(
                f"{function} of {file} failed at row {len(found) + len(said) - 1}: {done.stderr[-2000:]}"
            )
        found += [json.loads(line) for line in said[1:]]
        if len(found) < len(rows):
            found.append(None)  # it ended the process, by a limit or a crash of the parser
    return found
