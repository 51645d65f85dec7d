"""What the tests of this room share: default settings, and a load with its files read back."""

import json
from pathlib import Path

from qaq import data, tables

BASE = {"name": "jsonl", "path": None, "id": None, "revision": None, "subset": None, "split": None, "query": None,
        "answer": None, "input": None, "turns": "first", "limit": None, "near_duplicates": None, "decontaminate": None, "held_out": 0.0, "seed": 0, "noise": 0.0,
        "noise_kinds": ["swapped", "echo", "invented", "cut"]}  # fmt: skip


def settings(**changed):
    return {**BASE, **changed}


def load(out: Path, tests=None, **changed):
    """(counts, kept rows, quarantine) of a load into the fresh directory `out`."""
    out.mkdir()
    counts = data.load(settings(**changed), out, tests)
    assert json.loads((out / "counts.json").read_text()) == counts
    kept = tables.conform(tables.read(out / "examples.parquet"), tables.EXAMPLES).to_pylist()
    quarantine = list(tables.read_jsonl(out / "quarantine.jsonl"))
    assert counts["rows"] == counts["kept"] + counts["quarantined"]
    assert (counts["kept"], counts["quarantined"]) == (len(kept), len(quarantine))
    assert sum(counts["by_reason"].values()) == counts["quarantined"]
    assert sorted([r["row"] for r in kept] + [r["row"] for r in quarantine]) == list(range(counts["rows"]))
    return counts, kept, quarantine
