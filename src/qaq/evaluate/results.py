"""The rows of RESULTS that one evaluated model gives: pass@1, and the canonical solutions' likelihood.

A small model passes little; how likely it finds the right solutions moves earlier than what it passes.
"""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from qaq import tables
from qaq.evaluate.statistics import Z95, pass_at_1, wilson


def results(benchmark: str, said: Path, graded: Path) -> list[dict[str, Any]]:
    """Rows {benchmark, metric, value, low, high, tasks}: counts and likelihood from `said`, verdicts from `graded`."""
    rate = pass_at_1(tables.read(graded / "verdicts.parquet"))
    capped = json.loads((said / "counts.json").read_text())["capped"]
    value, low, high, scored = canonical_nll(tables.read(said / "likelihood.parquet"))
    rows = [
        ("pass@1", rate.value, rate.low, rate.high, rate.tasks),
        ("canonical_nll", value, low, high, scored),
        ("capped", capped / rate.tasks, *wilson(capped, rate.tasks), rate.tasks),
    ]
    names = ("metric", "value", "low", "high", "tasks")
    return [{"benchmark": benchmark, **dict(zip(names, row, strict=True))} for row in rows]


def canonical_nll(likelihood: pa.Table) -> tuple[float | None, float | None, float | None, int]:
    """(nats per token over all tokens, low, high, tasks scored); tasks that did not fit the window are not scored.

    The interval is that of a ratio of two sums over tasks (linearised, normal); null with fewer than two tasks.
    """
    rows = [(row["nll_sum"], row["tokens"]) for row in likelihood.to_pylist() if row["nll_sum"] is not None]
    count, tokens = len(rows), sum(t for _, t in rows)
    if not tokens:
        return None, None, None, 0
    value = sum(nll for nll, _ in rows) / tokens
    if count < 2:
        return value, None, None, count
    spread = sum((nll - value * t) ** 2 for nll, t in rows) * count / (count - 1)
    half = Z95 * math.sqrt(spread) / tokens
    return value, value - half, value + half, count
