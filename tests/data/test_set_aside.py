"""data.held_out: pairs that nobody selects from, and on which every model is measured."""

import json
import re

import pytest
from loading import load, settings

from qaq import data, tables

ROWS = [{"instruction": f"Write the number {i} in words.", "output": f"number {i}"} for i in range(40)]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "pairs.json").write_text(json.dumps([*ROWS, ROWS[0], {"instruction": "no answer"}]))
    return tmp_path / "pairs.json"


def parts(folder, file, **changed):
    """(counts, rows kept, rows held out)."""
    folder.mkdir()
    counts = data.load(settings(path=str(file), **changed), folder)
    kept, held = (
        tables.conform(tables.read(folder / f"{name}.parquet"), tables.EXAMPLES).to_pylist()
        for name in ("examples", "held_out")
    )
    return counts, kept, held


def test_every_record_is_in_one_place(tmp_path, file):
    counts, kept, held = parts(tmp_path / "out", file, held_out=0.2)
    refused = [row["row"] for row in tables.read_jsonl(tmp_path / "out" / "quarantine.jsonl")]
    assert (counts["rows"], counts["kept"], counts["quarantined"], counts["held_out"]) == (42, 32, 2, 8)
    assert sorted([row["row"] for row in [*kept, *held]] + refused) == list(range(42))
    assert [row["row"] for row in held] == sorted(row["row"] for row in held)
    assert sum(counts["shape"].values()) == 32


def test_the_draw_hangs_on_the_seed_and_the_pair_and_on_nothing_else(tmp_path, file):
    drawn = {row["id"] for row in parts(tmp_path / "a", file, held_out=0.2)[2]}
    backwards = tmp_path / "backwards.json"
    backwards.write_text(json.dumps(ROWS[::-1]))
    assert {row["id"] for row in parts(tmp_path / "b", backwards, held_out=0.2)[2]} == drawn
    assert {row["id"] for row in parts(tmp_path / "c", file, held_out=0.2, seed=1)[2]} != drawn
    assert {row["id"] for row in parts(tmp_path / "d", file, held_out=0.3)[2]} > drawn


def test_noise_spoils_none_of_them(tmp_path, file):
    _, kept, held = parts(tmp_path / "out", file, held_out=0.5, noise=1.0)
    assert {row["noise"] for row in held} == {None}
    assert "clean" not in {row["noise"] for row in kept}
    assert {(row["query"], row["answer"]) for row in held} <= {(row["instruction"], row["output"]) for row in ROWS}


def test_without_it_nothing_is_set_aside(tmp_path, file):
    counts, kept, _ = load(tmp_path / "out", path=str(file))
    assert "held_out" not in counts
    assert len(kept) == 40
    assert not (tmp_path / "out" / "held_out.parquet").exists()


@pytest.mark.parametrize(("share", "count"), [(0.01, 0), (0.99, 40)])
def test_a_part_without_a_pair_is_refused(tmp_path, file, share, count):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=re.escape(f"data.held_out={share} sets {count} of 40 pairs aside")):
        data.load(settings(path=str(file), held_out=share), tmp_path / "out")
