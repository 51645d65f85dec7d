"""Selectors as arithmetic: properties over random METRICS, then numbers worked by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from qaq import select, tables
from qaq.select import base

OPTIONS = {options["name"]: options for options in select.defaults()}


def metrics(seed: int, pairs: int, ties: bool = False) -> pa.Table:
    rng = np.random.default_rng(seed)

    def draw() -> np.ndarray:
        values = rng.uniform(0.1, 5, pairs)
        return np.round(values) + 0.5 if ties else values

    columns = {name: draw() for name in ("log_ppl_q", "log_ppl_q_given_a", "log_ppl_a", "weak_log_ppl_q")}
    columns["log_ppl_a_given_q"] = columns["log_ppl_a"] * rng.uniform(0.3, 1.0, pairs)
    columns["rmi"] = columns["log_ppl_q"] - columns["log_ppl_q_given_a"]
    columns["ifd"] = columns["log_ppl_a_given_q"] / columns["log_ppl_a"]
    columns["weak_rmi"] = draw()
    table = tables.conform({"id": [f"{i:05d}" for i in range(pairs)], **columns}, tables.METRICS)
    for name, values in signals(rng, draw, pairs).items():
        table = table.append_column(name, pa.array(values))
    return table


def signals(rng: np.random.Generator, draw: Callable[[], np.ndarray], pairs: int) -> dict[str, Any]:
    """Columns as other models than the scorers make them; embeddings that are all far apart."""
    items = rng.standard_normal((pairs, 5))
    return {"complexity": draw(), "tests": np.full(pairs, 12), "passed": rng.integers(0, 13, pairs), "scar": draw(),
            "quality_status": ["tested"] * pairs, "query_words": rng.integers(1, 50, pairs),
            "embedding": list(np.eye(pairs, dtype=np.float32)), "similarity": list(items.astype(np.float32))}  # fmt: skip


def options(name: str, **changes) -> dict:
    return {**OPTIONS[name], **changes}


sized = [name for name in select.NAMES if name != "full"]
draws = given(seed=st.integers(0, 99), pairs=st.integers(12, 120), share=st.floats(0.1, 0.45), ties=st.booleans())


@pytest.mark.parametrize("name", sized)
@draws
def test_sizes_are_exact_ids_unique_and_ranks_count_from_zero(name, seed, pairs, share, ties):
    count = max(1, int(share * pairs))
    subset = select.select(metrics(seed, pairs, ties), options(name), count, seed=1)
    assert subset.num_rows == len(set(subset["id"].to_pylist())) == count
    assert subset["rank"].to_pylist() == list(range(count))
    assert subset["priority"].to_pylist() == sorted(subset["priority"].to_pylist(), reverse=True)


@pytest.mark.parametrize("name", select.NAMES)
@draws
def test_the_order_of_the_rows_does_not_matter(name, seed, pairs, share, ties):
    table, count = metrics(seed, pairs, ties), max(1, int(share * pairs))
    shuffled = table.take(pa.array(np.random.default_rng(seed + 1).permutation(pairs)))
    assert select.select(table, options(name), count, 3).equals(select.select(shuffled, options(name), count, 3))


@draws
def test_random_is_decided_by_the_seed_and_nested_in_the_budget(seed, pairs, share, ties):
    table, count = metrics(seed, pairs), max(1, int(share * pairs))
    small = select.select(table, options("random"), count, seed)
    large = select.select(table, options("random"), count + 1, seed)
    assert set(small["id"].to_pylist()) < set(large["id"].to_pylist())


def test_another_seed_draws_another_sample():
    table = metrics(0, 100)
    first, second = (set(select.select(table, options("random"), 30, s)["id"].to_pylist()) for s in (0, 1))
    assert first != second


def test_full_keeps_everything_whatever_the_budget():
    assert select.select(metrics(0, 20), options("full"), 5, 0).num_rows == 20


def test_rmi_keeps_the_band_of_the_global_rank():
    table = metrics(4, 100)
    subset = select.select(table, options("rmi"), 25, 0)
    rmi = np.sort(table["rmi"].to_numpy())
    kept = table.filter(pa.compute.is_in(table["id"], value_set=subset["id"].combine_chunks()))["rmi"].to_numpy()
    assert sorted(kept) == list(rmi[50:75])


@given(seed=st.integers(0, 99))
def test_the_four_rmi_quarters_part_the_data(seed):
    table = metrics(seed, 80)
    parts = [select.select(table, options("rmi", low=low), 20, 0)["id"].to_pylist() for low in (0.0, 0.25, 0.5, 0.75)]
    assert sorted(sum(parts, [])) == table["id"].to_pylist()


def test_stratified_takes_the_same_band_inside_every_decile():
    table = metrics(7, 200)
    subset = select.select(table, options("stratified"), 50, 0)
    assert np.bincount(subset["stratum"].to_numpy()).tolist() == [5] * 10
    order = np.argsort(table["log_ppl_q"].to_numpy())
    for stratum in range(10):  # worked again from the definition: sort 20 pairs by RMI, keep the third quarter
        rows = order[20 * stratum : 20 * (stratum + 1)]
        by_rmi = rows[np.argsort(table["rmi"].to_numpy()[rows])]
        expected = {table["id"][int(i)].as_py() for i in by_rmi[10:15]}
        held = subset.filter(pa.compute.equal(subset["stratum"], stratum))
        assert set(held["id"].to_pylist()) == expected


def test_one_stratum_is_the_global_band():
    table = metrics(3, 97)
    globally = select.select(table, options("rmi"), 20, 0)["id"].to_pylist()
    assert select.select(table, options("stratified", strata=1), 20, 0)["id"].to_pylist() == globally


def test_ifd_keeps_the_highest_ratios_up_to_one():
    table = tables.conform({"id": list("abcd"), "log_ppl_a": [2.0] * 4, "log_ppl_a_given_q": [1.0, 1.8, 2.2, 1.4],
                            "ifd": [0.5, 0.9, 1.1, 0.7]}, tables.METRICS)  # fmt: skip
    assert select.select(table, options("ifd"), 2, 0)["id"].to_pylist() == ["b", "d"]
    assert select.select(table, options("ifd", max_ifd=None), 2, 0)["id"].to_pylist() == ["c", "b"]
    with pytest.raises(ValueError, match="only 3 of 4 pairs have IFD <= 1.0"):
        select.select(table, options("ifd"), 4, 0)


def test_loss_ratio_and_perplexity_ratio_order_pairs_differently():
    table = tables.conform({"id": ["a", "b"], "log_ppl_a": [4.0, 1.0], "log_ppl_a_given_q": [2.8, 0.6],
                            "ifd": [0.7, 0.6]}, tables.METRICS)  # fmt: skip
    assert select.select(table, options("ifd"), 1, 0)["id"].to_pylist() == ["a"]  # 0.7 > 0.6
    best = select.select(table, options("ifd", ratio="perplexity"), 1, 0)  # exp(-1.2) < exp(-0.4)
    assert best["id"].to_pylist() == ["b"]


@draws
def test_high_and_low_disagreement_are_mirror_images(seed, pairs, share, ties):
    table, count = metrics(seed, pairs), max(1, int(share * pairs))
    table = table.select(tables.METRICS.columns.names)
    swapped = table.rename_columns([_other_side(name) for name in table.column_names])
    swapped = tables.conform({n: swapped[n] for n in table.column_names}, tables.METRICS)
    high = select.select(table, options("disagreement", kind="diff_high", stratified=False), count, 0)
    low = select.select(swapped, options("disagreement", kind="diff_low", stratified=False), count, 0)
    assert high["id"].to_pylist() == low["id"].to_pylist()


def _other_side(name: str) -> str:
    return name if name == "id" else name.removeprefix("weak_") if name.startswith("weak_") else f"weak_{name}"


def test_a_threshold_keeps_what_lies_beyond_it():
    table = tables.conform({"id": list("abcd"), "rmi": [1.0, 2.0, 3.0, 4.0], "weak_rmi": [4.0, 2.0, 3.0, 1.0]},
                           tables.METRICS)  # fmt: skip
    chosen = options("disagreement", stratified=False, threshold=0.1)  # ranks .125 .375 .625 .875, Diff of d is 0.75
    assert select.select(table, chosen, 1, 0).to_pylist() == [{"rank": 0, "id": "d", "priority": 0.75, "stratum": None}]
    low = select.select(table, {**chosen, "kind": "diff_low"}, 1, 0)
    assert low["id"].to_pylist() == ["a"]
    with pytest.raises(ValueError, match="no pair is beyond selector.threshold=0.9"):
        select.select(table, {**chosen, "threshold": 0.9}, 1, 0)


def test_a_missing_metric_names_the_metric_and_the_cause():
    table = tables.conform({"id": ["a", "b"], "rmi": [1.0, 2.0], "log_ppl_q": [1.0, 2.0]}, tables.METRICS)
    with pytest.raises(ValueError, match=r"weak_rmi is missing .* 2 of 2 pairs .* two scorers"):
        select.select(table, options("disagreement"), 1, 0)


def test_a_band_without_room_is_refused_with_the_budget_that_fits():
    with pytest.raises(ValueError, match=r"low=0.8 has no room for 50 of 100 pairs: lower the budget to at most 0.2"):
        select.select(metrics(0, 100), options("rmi", low=0.8), 50, 0)


def test_an_unknown_selector_is_answered_with_the_nearest_and_the_list():
    with pytest.raises(
        ValueError, match="unknown selector 'idf': did you mean 'ifd'\\? known: disagreement, full, ifd"
    ):
        select.module("idf")


def test_every_selector_has_a_yaml_and_a_file_of_the_same_name_and_options():
    files = {p.stem for p in Path(select.__file__).parent.glob("*.py")}
    assert files - set(select.NAMES) == {"__init__", "base", "diversity"}
    for name in select.NAMES:
        yaml = OmegaConf.load(select.CONF / f"{name}.yaml")
        assert yaml.name == name
        assert set(yaml) - {"name"} == set(OmegaConf.structured(select.module(name).Settings))


def test_every_signal_a_selector_asks_for_is_one_that_is_made():
    asked = {name: select.signals(one) for name, one in OPTIONS.items()}
    assert set().union(*asked.values()) <= set(tables.SIGNALS)
    assert {name for name, signals in asked.items() if signals} == {"xcoder", "scar", "rds"}


def test_scar_keeps_the_highest_and_names_the_signal_it_lacks():
    table = pa.table({"id": ["c", "a", "b"], "scar": [0.5, -1.0, 0.5]})
    assert select.select(table, options("scar"), 2, 0)["id"].to_pylist() == ["b", "c"]
    with pytest.raises(ValueError, match="scar is not among the metrics: the signal 'scar' was not made"):
        select.select(table.drop(["scar"]), options("scar"), 2, 0)
    assert select.absent(table, options("scar")) == ()
    assert select.absent(table.drop(["scar"]), options("scar")) == ("scar",)


@given(st.integers(0, 50), st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_apportioning_is_exact_and_never_gives_a_stratum_more_than_it_has(count, sizes):
    total = sum(sizes)
    if not total or count > total:
        return
    shares = base.apportion(count, np.array(sizes))
    assert shares.sum() == count
    assert (shares <= np.array(sizes)).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 12))
def test_strata_differ_in_size_by_at_most_one_and_follow_the_values(values, count):
    stratum = base.strata(np.array(values, float), count)
    sizes = [(stratum == s).sum() for s in range(count)]
    assert max(sizes) - min(sizes) <= 1
    assert (np.diff(stratum[np.argsort(values, kind="stable")]) >= 0).all()


def test_sums_of_the_ranks_keep_the_pairs_both_models_like_or_neither_does():
    table = tables.conform({"id": list("abcd"), "rmi": [1.0, 2.0, 3.0, 4.0], "weak_rmi": [2.0, 1.0, 4.0, 3.0]},
                           tables.METRICS)  # fmt: skip
    high = select.select(table, options("disagreement", kind="sum_high", stratified=False), 2, 0)
    low = select.select(table, options("disagreement", kind="sum_low", stratified=False), 2, 0)
    assert (high["id"].to_pylist(), low["id"].to_pylist()) == (["c", "d"], ["a", "b"])
    assert high["priority"].to_pylist() == [0.5, 0.5]  # ranks .625 + .875 - 1


def test_stratified_disagreement_ranks_inside_each_models_own_deciles():
    """Two strata by PPL(Q): {a, b} and {c, d} for the strong model, {a, c} and {b, d} for the weak one."""
    table = tables.conform({"id": list("abcd"), "log_ppl_q": [1.0, 1.1, 2.0, 2.1], "rmi": [0.1, 0.9, 0.8, 0.2],
                            "weak_log_ppl_q": [1.0, 2.0, 1.1, 2.1], "weak_rmi": [0.5, 0.4, 0.6, 0.7]},
                           tables.METRICS)  # fmt: skip
    # strong ranks: a .25 b .75 c .75 d .25; weak ranks: a .25 c .75, b .25 d .75; Diff: a 0, b .5, c 0, d -.5
    chosen = options("disagreement", strata=2)
    assert select.select(table, chosen, 4, 0)["id"].to_pylist() == ["b", "a", "c", "d"]
    assert select.select(table, {**chosen, "kind": "diff_low"}, 1, 0)["id"].to_pylist() == ["d"]
