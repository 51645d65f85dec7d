"""Grading a selector against planted noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import noise, select, tables

pairs = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


@given(pairs)
def test_auc_is_the_share_of_pairs_in_which_the_positive_is_higher(rows):
    values, positive = np.array([float(v) for v, _ in rows]), np.array([p for _, p in rows])
    wins = [(v > w) + 0.5 * (v == w) for v in values[positive] for w in values[~positive]]
    expected = np.mean(wins) if wins else None
    assert noise.auc(values, positive) == (expected if expected is None else pytest.approx(expected))


def test_noise_is_graded_kind_by_kind_against_the_clean_pairs():
    table = tables.conform({"id": list("abcd"), "rmi": [1.0, 2.0, 0.5, 3.0]}, tables.METRICS)
    rows = noise.by_metric(table, ["clean", "clean", "swapped", "echo"])
    assert rows == [{"kind": "echo", "pairs": 1, "rmi": 1.0}, {"kind": "swapped", "pairs": 1, "rmi": 0.0}]


def test_the_share_of_spoiled_pairs_is_told_for_every_selector():
    ids = [f"{i:02d}" for i in range(40)]
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(1, 2, 40) for name in ("log_ppl_q", "log_ppl_a", "log_ppl_a_given_q", "rmi")}
    metrics = tables.conform({"id": ids, **columns, "ifd": rng.uniform(0, 2, 40)}, tables.METRICS)
    kinds = {id: "echo" if i < 10 else "clean" for i, id in enumerate(ids)}
    options = {"name": "rmi", "low": 0.0}
    subset = select.select(metrics, options, 8, 0)
    labels = tables.pa.table(
        {"id": ids[::-1], "noise": [kinds[id] for id in ids[::-1]]}
    )  # joined by id, not by position
    said = noise.grade(metrics, labels, subset, options, 8, 0)
    spoiled = sum(kinds[id] == "echo" for id in subset["id"].to_pylist())
    assert said["noise"] == {"in_data": 0.25, "in_subset": spoiled / 8}
    rows = {row["selector"]: row for row in said["noise_by_selector"]}
    assert set(rows) == set(select.NAMES)
    assert rows["full"] == {"selector": "full", "selected": 40, "in_subset": 0.25}
    assert rows["rmi"]["in_subset"] == spoiled / 8
    assert "two scorers" in rows["disagreement"]["note"]
    assert rows["scar"]["note"] == "needs scar: selector=scar"
    assert rows["xcoder"]["note"] == "needs complexity, quality, embedding: selector=xcoder"
    with_scar = metrics.append_column("scar", tables.pa.array(rng.uniform(0, 1, 40)))
    rows = noise.grade(with_scar, labels, subset, options, 8, 0)["noise_by_selector"]
    assert next(row for row in rows if row["selector"] == "scar")["selected"] == 8
