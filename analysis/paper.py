"""The paper's numbers (paper.yaml), and which row of its tables a run of ours is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from analysis.usable import Run, options, share

NUMBERS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8"))
SCORED = f"{NUMBERS['data']}, scorer {NUMBERS['scorer']}"


def row_of(run: Run, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The one of `rows` that `run` selected as: the same options, the same share; one that names its data before one that does not."""
    same = [row for row in rows if _is(run, row)]
    return min(same, key=lambda row: "data" not in row, default=None)


def _is(run: Run, row: dict[str, Any]) -> bool:
    held = options(run)
    same = (
        all(held.get(name) == value for name, value in row["is"].items())
        and row.get("data", run["data"]) == run["data"]
    )
    if held.get("threshold") not in (None, NUMBERS["diff_high_threshold"]):
        return False
    fixed = held.get("threshold") is not None and held.get("kind") == "diff_high"  # then the data decides the share
    return same and (fixed or near(share(run), row["share"]))


def near(ours: float | None, theirs: float) -> bool:
    """Within 4% of each other: a budget in whole pairs rarely is exactly a quarter, and 1% is not 2%."""
    return ours is not None and abs(ours - theirs) <= 0.04 * max(ours, theirs)
