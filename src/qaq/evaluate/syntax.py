"""Which solutions are Python at all: the first thing a model that learns code gets right, and the first it loses.

Python's own compiler decides (`compiles.py`), the one that would run them. A verdict cannot tell: a program that ends
with an error of its own making looks the same.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from qaq.sandbox import limited

COMPILES = Path(__file__).with_name("compiles.py")


def with_syntax(verdicts: pa.Table, solutions: pa.Table, settings: dict[str, Any]) -> pa.Table:
    """VERDICTS with the column `compiles` filled in from SOLUTIONS, joined by task and sample."""
    found = compiles(solutions["solution"].to_pylist(), settings["seconds"], settings["memory_mb"])
    known = dict(zip(_keys(solutions), found, strict=True))
    column = pa.array([known[key] for key in _keys(verdicts)], pa.bool_())
    return verdicts.set_column(verdicts.schema.get_field_index("compiles"), "compiles", column)


def compiles(programs: list[str], seconds: float, memory_mb: int) -> list[bool]:
    """In order, for each whether it compiles within `seconds` of processor time and `memory_mb`; nothing is run.

    RuntimeError if the compiler's process does not start.
    """
    found = limited.each(COMPILES, "compiles", [[program] for program in programs], seconds, memory_mb)
    return [bool(one) for one in found]


def _keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["task_id"].to_pylist(), table["sample"].to_pylist(), strict=True))
