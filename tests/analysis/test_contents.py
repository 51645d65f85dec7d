"""Composition and leakage in tables, in the figure and in the report, computed again another way."""

import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import small_logs
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from analysis import composed, contents, drawing, findings, logs, paper
from analysis.figures import composition as drawn
from analysis.tables import composition, leakage
from analysis.typeset import MISSING


@pytest.fixture(scope="module")
def sweep():
    return small_logs.small(pairs=400, budgets=(0.1, 0.25))


@pytest.fixture
def without(sweep):
    return replace(sweep, **{name: getattr(sweep, name).slice(0, 0) for name in logs.LATER})


def counted(held, options, budget):
    """{(facet, value): (pool, selected)} of a run."""
    run = next(
        r
        for r in held.runs.to_pylist()
        if json.loads(r["config"])["selector"] == options and r["budget"] == str(budget)
    )
    return {
        (r["facet"], r["value"]): (r["pool"], r["selected"])
        for r in held.composition.to_pylist()
        if r["run"] == run["run"]
    }


@given(st.integers(2, 400), st.data())
def test_by_chance_is_what_a_random_draw_gives_19_times_of_20(pairs, data):
    pool, size = data.draw(st.integers(1, pairs)), data.draw(st.integers(1, pairs))
    counts = np.arange(max(0, size + pool - pairs), min(pool, size) + 1)
    ways = np.array([math.lgamma(pool + 1) - math.lgamma(k + 1) - math.lgamma(pool - k + 1) + math.lgamma(pairs - pool + 1)
                     - math.lgamma(size - k + 1) - math.lgamma(pairs - pool - size + k + 1) for k in counts])  # fmt: skip
    chance = np.exp(ways - ways.max())
    chance /= chance.sum()
    usual = [composed.by_chance(int(k), size, pool, pairs) for k in counts]
    assert chance[usual].sum() >= 0.93  # the exact distribution; its normal approximation is near, and on the safe side
    inside = np.flatnonzero(usual)
    assert usual[round(size * pool / pairs) - int(counts[0])]  # what is expected is no surprise
    assert np.array_equal(inside, np.arange(inside[0], inside[-1] + 1))


def test_a_ratio_is_share_over_share():
    assert composed.ratio(5, 10, 25, 100) == 2
    assert composed.ratio(0, 10, 25, 100) == 0
    assert math.isnan(composed.ratio(0, 0, 25, 100))


def test_the_table_has_a_section_a_facet_and_a_column_a_selector_of_one_budget(sweep):
    table = composition.table(sweep)
    assert table.columns == [
        "value",
        "pairs",
        "pool",
        "Random",
        "IFD, max_ifd=null",
        "RMI (global)",
        "RMI (stratified)",
        "Diff-High",
        "Sum-High",
    ]
    assert [heading for heading, _ in table.sections] == ["Source", "Query words", "Answer words", "Language", "Topic"]
    told = counted(sweep, {"name": "rmi", "low": 0.5}, 0.25)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.sections[3][1]}
    pool, selected = told["language", "Python"]
    assert rows["Python"]["pairs"] == str(pool)
    assert rows["Python"]["pool"] == f"{pool / 4:.1f}"
    assert rows["Python"]["RMI (global)"].rstrip("*") == f"{selected:.1f}"
    assert "400 pairs of invented (dddddddd)" in table.notes[0]
    for _, section in table.sections:
        assert sum(float(row[2]) for row in section) == pytest.approx(100, abs=0.5)
        assert sum(float(row[4].rstrip("*")) for row in section) == pytest.approx(100, abs=0.5)


def test_a_star_is_where_a_random_draw_seldom_comes(sweep):
    table = composition.table(sweep)
    lengths = [row[4] for row in table.sections[2][1]]  # IFD, which the invented lengths follow
    assert all(cell.endswith("*") for cell in lengths if cell.startswith("0.0") and len(cell) > 3)
    assert sum(cell.endswith("*") for cell in lengths) >= 3
    assert sum(row[3].endswith("*") for _, rows in table.sections for row in rows) <= 2  # random


def test_what_was_not_measured_is_counted_or_the_table_is_not_made(sweep, without, caplog):
    first = sweep.composition["run"][0].as_py()
    rows = [row for row in sweep.composition.to_pylist() if row["run"] != first]
    assert (
        "Not measured in 1 run."
        in composition.table(replace(sweep, composition=logs.conform(composition=rows).composition)).notes
    )
    with caplog.at_level(logging.INFO):
        assert composition.table(without) is None
        assert drawn.figure(without) is None
        assert leakage.table(without) is None
    assert caplog.text.count("it was measured") == 3


def test_the_pool_with_most_pairs_is_drawn_and_others_stay_apart(sweep):
    other = small_logs.small(pairs=120, seed=3, budgets=(0.25,))
    both = logs.conform(
        **{
            name: [*getattr(sweep, name).to_pylist(), *getattr(other, name).to_pylist()]
            for name in ("runs", "composition")
        }
    )
    assert composed.drawn(both).pairs == 400
    assert sorted(pool.pairs for pool in composed.pools(both, both.runs.to_pylist())) == [120, 400]


def joined(*several):
    names = ("runs", "composition", "tli", "leakage")
    return logs.conform(
        **{name: [row for held in several for row in getattr(held, name).to_pylist()] for name in names}
    )


def changed(held, **other):
    """The same sweep in LOGS of its own, its rows of RUNS overridden."""
    own = {row["run"]: "b" + row["run"][1:] for row in held.runs.to_pylist()}
    rows = {
        name: [{**row, "run": own[row["run"]]} for row in getattr(held, name).to_pylist()]
        for name in ("composition", "tli", "leakage")
    }
    return logs.conform(runs=[{**row, "run": own[row["run"]], **other} for row in held.runs.to_pylist()], **rows)


@pytest.mark.parametrize("other", [{"scorer": "another"}, {"data_digest": "e" * 64}])
def test_selections_by_another_scorer_or_of_other_data_with_the_same_counts_are_a_pool_of_their_own(sweep, other):
    both = joined(sweep, changed(sweep, **other))
    assert len(composed.pools(both, both.runs.to_pylist())) == 2
    note = composition.table(both).notes[0]
    assert "scorer strong-model, weak scorer weak-model" in note or "scorer another" in note
    assert "1 other pool (data or scorer) not shown." in note
    assert "other pool" not in composition.table(sweep).notes[0]


def test_leakage_measured_in_another_way_is_a_section_of_its_own(sweep):
    asked = json.dumps({"selector": {"name": "random"}, "leakage": {"text": "answer", "threshold": 0.5}})
    headings = [heading for heading, _ in leakage.table(joined(sweep, changed(sweep, config=asked))).sections]
    assert len(headings) == 3  # the published, and ours twice
    assert any(heading.endswith("query compared, in brackets from 5%") for heading in headings)
    assert any(heading.endswith("answer compared, in brackets from 50%") for heading in headings)


def bars(figure):
    """All bars, and the filled ones."""
    rects = list(figure.axes[0].patches)
    return rects, [r for r in rects if to_hex(r.get_facecolor()) != "#ffffff"]


@pytest.mark.parametrize("count", [2, 6])
def test_bars_point_right_for_more_and_left_for_less_and_are_filled_beyond_chance(count):
    held = small_logs.small(pairs=400, budgets=(0.25,), selectors=small_logs.SELECTORS[:count])
    with drawing.style():
        figure = drawn.figure(held)
    pool = composed.drawn(held)
    rects, filled = bars(figure)
    lines = sum(len(drawn.rows(values, pool.pairs)) for values in pool.facets.values())
    assert len(rects) == lines * count
    assert figure.get_figwidth() == drawing.COLUMN
    for rect in rects:
        more = rect.get_width() > 0
        if rect in filled:
            assert to_hex(rect.get_facecolor()) == (drawing.BLUE if more else drawing.ORANGE).lower()
        assert abs(rect.get_width()) <= 0.43 + 1e-9
    rare = sum(not composed.by_chance(k, size, value.pool, 400) for values in pool.facets.values() for value in drawn.rows(values, 400)
               for k, size in zip(value.selected, pool.sizes, strict=True))  # fmt: skip
    assert len(filled) == rare


def test_small_values_are_drawn_as_one_and_nothing_is_lost():
    values = [composed.Value(f"v{k}", pool, (pool // 2,)) for k, pool in enumerate([500, 300, 180, 10, 6, 4])]
    shown = drawn.rows(values, 1000)
    assert [(value.name, value.pool, value.selected) for value in shown] == [
        ("v0", 500, (250,)), ("v1", 300, (150,)), ("v2", 180, (90,)), ("3 others", 20, (10,))]  # fmt: skip
    assert drawn.rows(values[:4], 990) == values[:4]  # a single small one keeps its name


def test_published_tli_stands_above_ours_per_benchmark(sweep):
    table = leakage.table(sweep)
    assert table.columns == ["pairs of", "share", "pairs", "HumanEval", "HumanEval+"]
    published = {row[0]: row[3] for row in table.sections[0][1]}
    assert published["Magicoder-Evol"] == "43.2"
    assert published["Magicoder-Evol, cleaned"] == "4.9"
    assert len(published) == len(paper.NUMBERS["leakage"]["sets"]) + 3
    rows = table.sections[1][1]
    assert rows[0] == ["all pairs", "100.0%", "400", "3.40 (20)", "3.40 (20)"]
    assert ["RMI (global)", "25.0%", "100", "0.85 (5)", "0.85 (5)"] in rows
    assert len(rows) == 1 + 6 * 2  # the full data are all pairs again


def test_a_benchmark_that_could_not_be_measured_is_a_dash_with_its_reason(sweep):
    rows = [
        {**row, "tli": None, "leaking": None, "note": "no items"} if row["benchmark"] == "humaneval_plus" else row
        for row in sweep.tli.to_pylist()
    ]
    first = rows[0]["run"]
    table = leakage.table(replace(sweep, tli=logs.conform(tli=[row for row in rows if row["run"] != first]).tli))
    assert {row[4] for row in table.sections[1][1]} == {MISSING}
    assert "Remarks: no items." in table.notes
    assert any(note.startswith("Not measured in: sweep/") for note in table.notes)


def test_a_report_tells_the_same_numbers_and_leaves_the_whole_data_out(sweep):
    found = findings.findings(sweep)
    (pool,) = found["composition"]
    assert pool["pairs"] == 400
    assert sorted(one["pairs"] for one in pool["selections"]) == [40] * 6 + [100] * 6
    language = next(one for one in pool["facets"] if one["facet"] == "language")
    place = next(k for k, one in enumerate(pool["selections"]) if one["label"] == "rmi 25%")
    told = counted(sweep, {"name": "rmi", "low": 0.5}, 0.25)
    assert {value["value"]: (value["pool"], value["selected"][place]) for value in language["values"]} == {
        value: counts for (facet, value), counts in told.items() if facet == "language"}  # fmt: skip


def test_runs_of_one_selection_that_were_trained_otherwise_are_named_by_what_differs():
    recipes = [{"batch_size": 8, "learning_rate": 1e-5}, {"batch_size": 2, "learning_rate": 1e-5}]
    runs = [small_logs.run({"name": "rmi"}, 0.25, small_logs.metrics(80), recipe) for recipe in recipes]
    assert sorted(findings.names_of(runs).values()) == ["rmi 25%; train.batch_size 2", "rmi 25%; train.batch_size 8"]


def test_selections_that_are_made_up_alike_and_rows_of_all_pairs_stand_once(sweep):
    runs = sweep.runs.to_pylist()
    names = findings.names_of(runs)
    tli = contents.leakage(sweep, runs, names)["tli"]
    assert [row["of"] for row in tli if row["all"]] == ["all pairs of invented"] * 2  # two benchmarks
    twice = replace(sweep, runs=logs.conform(runs=[*runs, {**runs[0], "run": "f" * 12, "seed": 9}]).runs,
                    composition=logs.conform(composition=[*sweep.composition.to_pylist(), *({**row, "run": "f" * 12} for row in
                                             sweep.composition.to_pylist() if row["run"] == runs[0]["run"])]).composition)  # fmt: skip
    (pool,) = findings.findings(twice)["composition"]
    assert len(pool["selections"]) == 12
    assert sum(" = " in one["label"] for one in pool["selections"]) == 1


def test_worst_leaks_are_told_once_with_every_place_they_were_found(sweep):
    run = sweep.runs.to_pylist()[0]
    rows = [{"run": run["run"], "benchmark": "humaneval", "part": part, "task_id": task, "similarity": near, "id": "1", "query": query, "test": test}
            for part in ("data", "selection") for task, near, query, test in (("a", 0.2, "q", "t"), ("b", 0.9, None, "u"), ("c", 0.5, None, None))]  # fmt: skip
    held = replace(sweep, leakage=logs.conform(leakage=rows).leakage)
    pairs = logs.conform(pairs=[{"data_digest": run["data_digest"], "id": "1", "query": "looked up"}]).pairs
    names = {run["run"]: "this one"}
    worst = contents.leakage(replace(held, pairs=pairs), [run], names)["worst"]
    assert [(one["task_id"], one["query"], one["of"]) for one in worst] == [
        ("b", "looked up", ["all pairs of invented", "this one"]), ("a", "q", ["all pairs of invented", "this one"])]  # fmt: skip
    assert contents.leakage(held, [run], names)["worst"][0]["query"] is None
