"""XCoder's combination, worked by hand and from its definition."""

import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import select

DEFAULTS = next(options for options in select.defaults() if options["name"] == "xcoder")
STATUSES = ("tested", "not python", "nothing to run", "no tests")


def options(**changes):
    return {**DEFAULTS, **changes}


def table(**columns):
    """METRICS with signals: ids a, b, c, ...; what is not given does not matter."""
    pairs = len(next(iter(columns.values())))
    types = {"embedding": pa.list_(pa.float32()), "passed": pa.int32(), "tests": pa.int32(), "complexity": pa.float64()}
    usual = {"complexity": [1.0] * pairs, "tests": [4] * pairs, "passed": [2] * pairs, "quality_status": ["tested"] * pairs,
             "embedding": np.eye(pairs).tolist(), "query_words": list(range(pairs)), "log_ppl_a_given_q": [1.0] * pairs}  # fmt: skip
    return pa.table({"id": [chr(97 + k) for k in range(pairs)],
                     **{name: pa.array(values, types.get(name)) for name, values in {**usual, **columns}.items()}})  # fmt: skip


def drawn(seed, pairs):
    """Some pairs untested, some without complexity, many ties and many close embeddings."""
    rng = np.random.default_rng(seed)
    status = rng.choice(STATUSES, pairs, p=[0.7, 0.1, 0.1, 0.1]).tolist()
    tests = [int(rng.integers(1, 7)) if one == "tested" else None for one in status]
    passed = [int(rng.integers(0, one + 1)) if one else None for one in tests]
    angle = rng.uniform(0, 2 * np.pi, pairs)
    return pa.table({"id": [f"{k:03}" for k in range(pairs)],
                     "complexity": pa.array([None if rng.random() < 0.1 else float(v) for v in rng.integers(0, 6, pairs)], pa.float64()),
                     "tests": pa.array(tests, pa.int32()), "passed": pa.array(passed, pa.int32()), "quality_status": status,
                     "query_words": rng.integers(1, 9, pairs), "log_ppl_a_given_q": rng.uniform(0, 3, pairs),
                     "embedding": pa.array(np.stack([np.cos(angle), np.sin(angle)], 1).tolist(), pa.list_(pa.float32()))})  # fmt: skip


def ids(metrics, count, **changes):
    return select.select(metrics, options(**changes), count, 0)["id"].to_pylist()


def expected(metrics, count, complexity, norm, unscored, diversity, alpha, passed):
    """The definition again, pair by pair; None where the budget cannot be filled."""
    rows = [dict(row) for row in metrics.to_pylist()]
    column = {"scorer": "complexity", "query_length": "query_words", "perplexity": "log_ppl_a_given_q"}.get(complexity)
    for row in rows:
        row["c"] = row[column] if column else 0.0
        tested = row["quality_status"] == "tested"
        row["q"] = None if not tested else row["passed"] / (row["tests"] if passed == "share" else 1)
    rows = [row for row in rows if row["c"] is not None and not (unscored == "drop" and row["q"] is None)]
    quality = [row["q"] for row in rows if row["q"] is not None]
    if not quality or len(rows) < count:
        return None
    on_scale = [scale(q, quality, norm) for q in quality]
    neutral, cs = sum(on_scale) / len(on_scale), [row["c"] for row in rows]
    for row in rows:
        q = neutral if row["q"] is None else scale(row["q"], quality, norm)
        row["s"] = alpha * scale(row["c"], cs, norm) + (1 - alpha) * q if column else q
    rows.sort(key=lambda row: (-round(row["s"], 12), row["id"]))
    kept = []
    for row in rows:
        if diversity is None or all(np.dot(row["embedding"], other["embedding"]) < diversity for other in kept):
            kept.append(row)
    return [row["id"] for row in kept[:count]] if len(kept) >= count else None


def scale(value, values, norm):
    if norm == "rank":
        return (sum(v < value for v in values) + sum(v == value for v in values) / 2) / len(values)
    if max(values) == min(values):
        return 0.0
    if norm == "minmax":
        return (value - min(values)) / (max(values) - min(values))
    mean = sum(values) / len(values)
    return (value - mean) / (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5


asked = given(seed=st.integers(0, 999), pairs=st.integers(4, 40), share=st.floats(0.05, 0.6),
              complexity=st.sampled_from(["scorer", "query_length", "perplexity", None]),
              norm=st.sampled_from(["minmax", "zscore", "rank"]), unscored=st.sampled_from(["mean", "drop"]),
              diversity=st.sampled_from([None, 0.945, 0.999]), alpha=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
              passed=st.sampled_from(["count", "share"]))  # fmt: skip


@asked
def test_the_choice_is_that_of_the_definition(seed, pairs, share, **settings):
    metrics, count = drawn(seed, pairs), max(1, int(share * pairs))
    wanted = expected(metrics, count, **settings)
    if wanted is None:
        with pytest.raises(ValueError, match="and the budget asks for|none of .* answers was tested"):
            ids(metrics, count, **settings)
        return
    chosen = select.select(metrics, options(**settings), count, 0)
    assert chosen["id"].to_pylist() == wanted
    shuffled = metrics.take(pa.array(np.random.default_rng(seed).permutation(pairs)))
    assert chosen.equals(select.select(shuffled, options(**settings), count, 0))
    assert chosen["priority"].to_pylist() == sorted(chosen["priority"].to_pylist(), reverse=True)


def test_the_four_rows_of_the_ablation_by_hand():
    metrics = table(
        complexity=[5.0, 4.0, 3.0, 0.0], passed=[0, 3, 4, 4], embedding=[[1, 0], [0, 1], [0.1, 0.995], [-1, 0]]
    )
    assert ids(metrics, 2, quality=False, diversity=None) == ["a", "b"]
    assert ids(metrics, 2, diversity=None) == ["c", "b"]  # c: .5 * .6 + .5 * 1, b: .5 * .8 + .5 * .75, a: .5, d: .5
    assert ids(metrics, 3) == ["c", "a", "d"]  # b is too close to c; a and d tie
    chosen = select.select(metrics, options(), 1, 0).to_pylist()[0]
    assert chosen["priority"] == pytest.approx(0.8)


def test_alpha_weighs_complexity_and_a_term_that_is_off_leaves_the_other_alone():
    metrics = table(complexity=[3.0, 2.0, 1.0], passed=[0, 1, 4])
    assert ids(metrics, 1, alpha=1.0) == ids(metrics, 1, quality=False) == ["a"]
    assert ids(metrics, 1, alpha=0.0) == ids(metrics, 1, complexity=None) == ["c"]
    off = select.select(metrics, options(complexity=None), 1, 0)["priority"].to_pylist()
    assert off == [1.0]  # not halved


def test_an_untested_answer_is_neutral_or_out():
    metrics = table(
        passed=[4, None, 0, 1], tests=[4, None, 4, 4], quality_status=["tested", "no tests", "tested", "tested"]
    )
    chosen = select.select(metrics, options(complexity=None, diversity=None), 4, 0)
    assert chosen["id"].to_pylist() == ["a", "b", "d", "c"]
    assert chosen["priority"].to_pylist() == pytest.approx([1, (1 + 0 + 0.25) / 3, 0.25, 0])
    assert ids(metrics, 3, complexity=None, unscored="drop") == ["a", "d", "c"]
    with pytest.raises(
        ValueError, match="only 3 of 4 pairs can be chosen.*asks for 4 .1 without a tested answer.*unscored=mean"
    ):
        ids(metrics, 4, unscored="drop")


def test_a_share_of_the_tests_favours_no_model_that_writes_many():
    metrics = table(passed=[4, 5], tests=[4, 12])
    assert ids(metrics, 1, complexity=None) == ["b"]
    assert ids(metrics, 1, complexity=None, passed="share") == ["a"]


def test_pairs_without_complexity_are_counted_and_never_chosen(caplog):
    metrics = table(complexity=[None, 2.0, 3.0])
    with caplog.at_level(logging.WARNING):
        assert ids(metrics, 2) == ["c", "b"]
    assert "1 of 3 pairs cannot be chosen: 1 without complexity" in caplog.text
    with pytest.raises(ValueError, match="only 2 of 3 pairs can be chosen"):
        ids(metrics, 3)
    assert ids(metrics, 3, complexity="query_length") == ["c", "b", "a"]


def test_nothing_tested_is_told():
    metrics = table(passed=[None, None], tests=[None, None], quality_status=["no tests", "not python"])
    with pytest.raises(ValueError, match="none of 2 answers was tested.*selector.quality=false"):
        ids(metrics, 1)


def test_a_walk_that_ends_early_says_how_many_are_far_enough():
    metrics = table(embedding=[[1, 0], [1, 0], [0, 1]])
    assert ids(metrics, 2) == ["a", "c"]
    with pytest.raises(
        ValueError, match="only 2 of 3 pairs are far enough.*asks for 3.*raise selector.diversity.*null"
    ):
        ids(metrics, 3)
    assert ids(metrics, 3, diversity=None) == ["a", "b", "c"]


@pytest.mark.parametrize(("missing", "signal"), [("complexity", "complexity"), ("passed", "quality"),
                                                 ("quality_status", "quality"), ("embedding", "embedding")])  # fmt: skip
def test_a_missing_column_names_its_signal(missing, signal):
    with pytest.raises(ValueError, match=f"{missing} is not among the metrics: the signal '{signal}' was not made"):
        ids(table(passed=[1, 2]).drop([missing]), 1)


def test_only_the_signals_of_what_is_switched_on_are_asked_for():
    assert select.signals(options()) == ("complexity", "quality", "embedding")
    assert select.signals(options(complexity="query_length", quality=False)) == ("query_length", "embedding")
    assert select.signals(options(complexity="perplexity", diversity=None)) == ("quality",)
    only = table(passed=[1, 2]).select(["id", "log_ppl_a_given_q"])
    assert ids(only, 1, complexity="perplexity", quality=False, diversity=None) == ["a"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"complexity": None, "quality": False}, "leave nothing to rank by.*selector=random"),
    ({"alpha": 1.5}, r"selector.alpha=1.5: .*\[0, 1\]"),
    ({"diversity": 1.0}, "selector.diversity=1.0: a cosine similarity between 0 and 1"),
    ({"exact_up_to": -1}, "selector.exact_up_to=-1"),
])  # fmt: skip
def test_options_that_say_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        select.check(options(**changes), 0.25)
