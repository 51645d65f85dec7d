"""The paper's numbers (paper.yaml), and which row of its tables a run of ours is."""

from pathlib import Path
from typing import Any

import yaml

from analysis.usable import Run, options, share

NUMBERS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8"))
SCORED = f"{NUMBERS['data']}, scorer {NUMBERS['scorer']}"
_NEAR = 0.01  # of the share: a budget in whole pairs rarely is exactly a quarter


def is_row(run: Run, row: dict[str, Any]) -> bool:
    """Whether `run` selected as the paper's `row`: the same selector's options, the same share of the data."""
    held, part = options(run), share(run)
    same = all(held.get(name) == value for name, value in row["is"].items())
    fixed = held.get("threshold") is not None  # then the data decides the share
    return same and part is not None and (fixed or abs(part - row["share"]) <= _NEAR)
