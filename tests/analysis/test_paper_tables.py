"""What the tables say, and what they say of what is missing."""

import json
import logging
import math
import re
from dataclasses import replace

import pytest
import small_logs

from analysis import logs, make, paper, typeset
from analysis.tables import correlations, cost, disagreement, main
from analysis.typeset import MISSING
from qaq.evaluate.statistics import wilson

TABLES = {make.name(module): module for module in make.modules("tables")}


@pytest.fixture(scope="module")
def sweep():
    return small_logs.small()


def changed(held, **tables):
    """`held` with these rows in place of its own."""
    return replace(held, **{name: getattr(logs.conform(**{name: rows}), name) for name, rows in tables.items()})


def cells(table, selection, section=0):
    """[{column: cell} of the paper's row, of ours below it] of a selection that the paper has; else of ours alone."""
    rows = table.sections[section][1]
    first = next(k for k, row in enumerate(rows) if row[0] == selection)
    found = rows[first : first + (2 if rows[first][1] == "paper" else 1)]
    return [dict(zip(table.columns, row, strict=True)) for row in found]


def test_the_main_table_puts_our_number_beside_the_papers(sweep):
    table = main.table(sweep)
    run = next(r for r in sweep.runs.to_pylist() if r["selector"] == "stratified" and r["budget"] == "0.25")
    value = next(
        r
        for r in sweep.results.to_pylist()
        if r["run"] == run["run"] and r["selector"] != "base" and r["benchmark"] == "humaneval"
    )
    theirs, row = cells(table, "RMI 50–75% (stratified)")
    assert (theirs["whose"], theirs["share"], theirs["HumanEval"], theirs["MBPP+"]) == (
        "paper",
        "25%",
        "77.44",
        "58.47",
    )
    assert row["HumanEval"] == f"{100 * value['value']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"
    assert (row["share"], row["pairs"]) == ("25.0%", "20")
    assert cells(table, "Base, not tuned")[0]["HumanEval"] == "21.0 [16.0, 26.0]"


def test_model_data_and_size_stand_over_our_rows_and_below_for_the_paper(sweep):
    table = main.table(sweep)
    for part in ("80 pairs of invented (dddddddd)", "strong-model", "weak-model", "target-model", "smoke"):
        assert part in table.sections[0][0]
    assert "310K pairs" in table.notes[0]
    assert "deepseek-coder-6.7b-base" in table.notes[0]


def test_what_was_not_run_is_a_dash_and_is_listed(sweep):
    table = main.table(sweep)
    theirs, row = cells(table, "SCAR")
    assert (row["whose"], row["share"], row["HumanEval"], theirs["HumanEval"]) == ("ours", MISSING, MISSING, "75.00")
    note = next(note for note in table.notes if note.startswith(MISSING))
    assert "SCAR not run" in note
    assert "RDS+ not run" in note
    assert "MBPP, MBPP+ not evaluated" in note
    assert "Random not run" not in note


def test_every_row_of_the_paper_is_there_once_and_ours_of_other_shares_are_only_counted(sweep):
    table = main.table(sweep)
    rows = table.sections[0][1]
    assert [row[0] for row in rows if row[1] == "paper"] == [row["name"] for row in paper.NUMBERS["selections"]]
    assert rows[rows.index(next(row for row in rows if row[:2] == ["IFD", "paper"])) + 1][0] == "max_ifd=null"
    assert {row[2] for row in rows if row[1] == "ours"} == {"100.0%", "50.0%", "25.0%", MISSING}
    assert "6 selections of other shares only in the figure of budgets" in table.notes[1]


def test_runs_with_a_mark_are_left_out_and_named(sweep):
    runs = sweep.runs.to_pylist()
    bad = next(run for run in runs if run["selector"] == "random" and run["budget"] == "0.25")
    bad |= {"mark": "killed", "status": "killed"}
    table = main.table(changed(sweep, runs=runs))
    assert cells(table, "Random")[1]["HumanEval"] == MISSING
    assert any("Random not run" in note for note in table.notes)
    assert table.notes[-1] == "Runs left out: sweep/random 0.25: killed."


@pytest.mark.parametrize(("count", "mark", "lines"), [(3, "missing", 3), (4, "missing", 1), (4, "killed", 4)])
def test_only_runs_that_never_began_are_counted_and_not_each_named(sweep, count, mark, lines):
    runs = sweep.runs.to_pylist()
    bad = [
        {"mark": f"{mark}, so to say", "status": mark, "run": f"{i:012x}", "name": f"seed={i}"} for i in range(count)
    ]
    said = main.table(changed(sweep, runs=[*runs, *(runs[0] | run for run in bad)])).notes[-1]
    assert said.count(f"{mark}, so to say") == lines
    assert f"sweep, {count} runs" in said if lines == 1 else "sweep/seed=0: " in said


def test_a_part_of_a_benchmark_is_a_column_of_its_own_with_no_number_of_the_paper(sweep):
    part = " (first 8 of 164)"
    runs = [run | {"partial": part, "mark": "partial: 8 of 164 tasks"} for run in sweep.runs.to_pylist()]
    results = [row | {"benchmark": row["benchmark"] + part} for row in sweep.results.to_pylist()]
    table = main.table(changed(sweep, runs=runs, results=results))
    assert "HumanEval (first 8 of 164)" in table.columns
    theirs, row = cells(table, "Random")
    assert (theirs["HumanEval"], row["HumanEval"]) == ("73.78", MISSING)
    assert (theirs["HumanEval (first 8 of 164)"], row["HumanEval (first 8 of 164)"]) == (MISSING, "31.0 [26.0, 36.0]")
    assert any("cannot be compared" in note for note in table.notes)


def test_seeds_are_one_row_with_their_mean_and_outermost_bounds(sweep):
    runs, results = sweep.runs.to_pylist(), sweep.results.to_pylist()
    first = next(run for run in runs if run["selector"] == "random" and run["budget"] == "0.25")
    second = first | {"run": "f" * 12, "seed": 1, "name": "again"}
    own = [row for row in results if row["run"] == first["run"] and row["selector"] != "base"]
    again = [
        row | {"run": "f" * 12, "value": row["value"] + 0.1, "low": row["low"] + 0.1, "high": row["high"] + 0.1}
        for row in own
    ]
    row = cells(main.table(changed(sweep, runs=[*runs, second], results=[*results, *again])), "Random")[1]
    value = next(one for one in own if one["benchmark"] == "humaneval")
    mean, low, high = 100 * (value["value"] + 0.05), 100 * value["low"], 100 * (value["high"] + 0.1)
    assert row["whose"] == "ours, 2 seeds"
    assert row["HumanEval"] == f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def test_of_several_training_seeds_the_pooled_row_counts(sweep):
    run = next(r for r in sweep.runs.to_pylist() if r["selector"] == "full")
    kept = [row for row in sweep.results.to_pylist() if row["run"] != run["run"] or row["selector"] == "base"]
    pooled = small_logs.result(run, "humaneval", 0.4, pooled=3, train_seed=None, low=0.35, high=0.45)
    row = cells(main.table(changed(sweep, results=[*kept, pooled])), "Full")[1]
    assert row["whose"] == "ours, 3 seeds"
    assert row["HumanEval"] == "40.0 [35.0, 45.0]"


def test_two_data_sets_are_two_sections(sweep):
    other = small_logs.small(pairs=120, seed=5, budgets=(0.25,))
    first, second = main.table(make.joined([sweep, replace(other, runs=other.runs.slice(0, 4))])).sections
    assert ("120 pairs" in first[0], "80 pairs" in second[0]) == (True, True)
    assert ["SCAR", "paper"] in [row[:2] for row in first[1]]
    assert ["SCAR", "paper"] not in [row[:2] for row in second[1]]


def test_two_runs_that_share_a_row_of_the_paper_but_no_cell_are_told_apart_by_name(sweep):
    runs, results = sweep.runs.to_pylist(), sweep.results.to_pylist()
    first = next(run for run in runs if run["selector"] == "random" and run["budget"] == "0.25")
    second = first | {"run": "f" * 12, "cell": "e" * 12, "name": "another"}
    again = [row | {"run": "f" * 12} for row in results if row["run"] == first["run"] and row["selector"] != "base"]
    rows = main.table(changed(sweep, runs=[*runs, second], results=[*results, *again])).sections[0][1]
    start = rows.index(next(row for row in rows if row[:2] == ["Random", "paper"]))
    assert {row[0] for row in rows[start + 1 : start + 3]} == {"sweep/random 0.25", "sweep/another"}


def with_keys(row, *checkpoints, **other):
    """`row` of RUNS, of a run that trained these models, with `other` in place of its own."""
    keys = {f"train_seed{k}": key for k, key in enumerate(checkpoints)}
    return row | {"keys": json.dumps(keys)} | other


def two_runs(sweep, value, first_keys, second_keys, benchmark="humaneval", **other):
    """`sweep` in which the random quarter ran again, with these models, and passed `value` of `benchmark`."""
    first = next(run for run in sweep.runs.to_pylist() if run["selector"] == "random" and run["budget"] == "0.25")
    second = with_keys(first, *second_keys, run="f" * 12, name="again", **other)
    runs = [with_keys(first, *first_keys) if run["run"] == first["run"] else run for run in sweep.runs.to_pylist()]
    own = small_logs.result(second, benchmark, value, pooled=len(second_keys))
    return changed(sweep, runs=[*runs, second], results=[*sweep.results.to_pylist(), own])


def test_a_benchmark_each_run_of_the_same_models_is_one_row(sweep):
    held = two_runs(sweep, 0.4, ["a"], ["a"], benchmark="mbpp", cell="e" * 12)
    rows = main.table(held).sections[0][1]
    start = rows.index(next(row for row in rows if row[:2] == ["Random", "paper"]))
    assert [row[1] for row in rows[start : start + 3]] == ["paper", "ours", "paper"]
    row = dict(zip(main.table(held).columns, rows[start + 1], strict=True))
    assert row["MBPP"] == "40.0 [35.0, 45.0]"
    assert row["HumanEval"] == cells(main.table(sweep), "Random")[1]["HumanEval"]


@pytest.mark.parametrize(
    ("first", "second", "seeds"), [(["a"], ["a"], None), (["a"], ["a", "b", "c"], 3), (["a"], ["b"], 2)]
)
def test_a_model_that_two_runs_hold_counts_once(sweep, first, second, seeds):
    own = cells(main.table(sweep), "Random")[1]["HumanEval"]
    row = cells(main.table(two_runs(sweep, 0.4, first, second)), "Random")[1]
    assert row["whose"] == ("ours" if seeds is None else f"ours, {seeds} seeds")
    if seeds == 3:
        assert row["HumanEval"] == "40.0 [35.0, 45.0]"
    if seeds is None:
        assert row["HumanEval"] in (own, "40.0 [35.0, 45.0]")


def test_runs_measured_in_another_way_are_a_section_of_their_own_that_says_so(sweep):
    runs = [run | {"config": json.dumps(json.loads(run["config"]) | {"evaluate": {"max_new_tokens": tokens}})}
            for run, tokens in zip(sweep.runs.to_pylist(), [256] * 5 + [77] * 100, strict=False)]  # fmt: skip
    low = {run["run"] for run in runs[:5]}
    results = [row | ({"value": 0.1, "low": 0.05} if row["selector"] == "base" and row["run"] in low else {})
               for row in sweep.results.to_pylist()]  # fmt: skip
    table = main.table(changed(sweep, runs=runs, results=results))
    assert {re.search(r"evaluate.max_new_tokens (\d+)$", heading)[1] for heading, _ in table.sections} == {"77", "256"}
    bases = [cells(table, "Base, not tuned", section)[0] for section in (0, 1)]
    assert {base["whose"] for base in bases} == {"ours"}
    assert {base["HumanEval"] for base in bases} == {"10.0 [5.0, 26.0]", "21.0 [16.0, 26.0]"}


def test_the_disagreement_table_has_the_papers_four_rows(sweep):
    table = disagreement.table(sweep)
    names = [row[0] for row in table.sections[0][1] if row[0]]
    assert names == ["Base, not tuned", "Diff-High", "Sum-High", "Sum-Low", "Diff-Low"]
    assert cells(table, "Diff-Low")[0]["MBPP+"] == "62.43"
    assert cells(table, "Sum-High")[1]["HumanEval"] != MISSING
    assert "Sum-Low not run; Diff-Low not run" in table.notes[1]


def test_a_setting_without_any_of_the_four_is_no_section_of_the_disagreement_table(sweep):
    plain = small_logs.small(pairs=60, selectors=small_logs.SELECTORS[:2])
    both = make.joined([sweep, plain])
    assert [len(module.table(both).sections) for module in (main, disagreement)] == [2, 1]


def test_a_row_that_names_its_data_goes_before_one_that_does_not(sweep):
    run = next(r for r in sweep.runs.to_pylist() if r["selector"] == "disagreement diff_high" and r["budget"] == "0.25")
    rows = paper.NUMBERS["selections"]
    assert paper.row_of(run, rows)["name"] == "Diff-High"
    assert paper.row_of(run | {"data": "magpie_coder"}, rows)["humaneval"] == 71.95
    assert paper.row_of(run | {"selected": run["pairs"]}, rows) is None


@pytest.mark.parametrize(("kind", "threshold", "name"), [
    ("diff_high", 0.1, "Diff-High"), ("diff_high", 0.6, None), ("diff_low", 0.1, None)])  # fmt: skip
def test_of_thresholds_only_the_papers_own_is_its_row_whatever_share_it_leaves(kind, threshold, name):
    options = {"name": "disagreement", "kind": kind, "threshold": threshold, "stratified": True, "strata": 10}
    run = small_logs.run(options, 0.25, small_logs.metrics(80), selected=2)
    found = paper.row_of(run, paper.NUMBERS["disagreement"])
    assert (found and found["name"]) == name


def test_overlaps_are_recomputed_from_the_subsets(sweep):
    table = correlations.table(sweep)
    rows = {row[0]: row[1:] for row in table.sections[0][1]}
    runs = {r["selector"]: r["run"] for r in sweep.runs.to_pylist() if r["budget"] == "0.25"}
    a, b = (
        {row["id"] for row in sweep.subsets.to_pylist() if row["run"] == runs[f"disagreement {kind}"]}
        for kind in ("diff_high", "sum_high")
    )
    low, high = wilson(len(a & b), 20)
    expected = ["13.85%", f"{len(a & b) / len(a | b):.1%}; {len(a & b) / 20:.1%} [{low:.1%}, {high:.1%}]", "20, 20"]
    assert rows["overlap of Diff-High and Sum-High"] == expected
    assert rows["Spearman of RMI and IFD"][0] == "0.252"
    assert any("0.9539" in note and "Not measured" in note for note in table.notes)


@pytest.mark.parametrize(("scorer", "theirs"), [("tuned", "0.9539"), ("embedded", MISSING)])
def test_two_scorers_of_the_same_pairs_are_correlated_over_the_pairs_both_have(sweep, scorer, theirs):
    rows = sweep.metrics.to_pylist()
    tuned = [row | {"scores": "tuned", "rmi": 2 * row["rmi"] + 1} for row in rows[:50]]
    first = next(run for run in sweep.runs.to_pylist() if run["selector"] == "ifd" and run["budget"] == "0.25")
    config = json.dumps(json.loads(first["config"]) | {"scorer": {"name": scorer}})
    name = "strong-model fine-tuned" if scorer == "tuned" else "other-model"
    run = first | {"run": "e" * 12, "scores": "tuned", "scorer": name, "pairs": 50, "config": config}
    chosen = [row | {"run": "e" * 12} for row in sweep.subsets.to_pylist() if row["run"] == first["run"]][:10]
    held = changed(sweep, metrics=[*rows, *tuned], runs=[*sweep.runs.to_pylist(), run],
                   subsets=[*sweep.subsets.to_pylist(), *chosen])  # fmt: skip
    title, (spearman, quarters, overlap) = correlations.table(held).sections[-1]
    assert "two readings" in title
    assert spearman[1:] == [theirs, "1.000 [1.000, 1.000]", "50"]
    assert name in spearman[0]
    assert overlap[0].startswith("overlap of IFD, max_ifd=null at budget 0.25")
    assert overlap[1:] == [MISSING, f"50.0%; 100.0% [{wilson(10, 10)[0]:.1%}, 100.0%]", "20, 10"]
    ids = [band_of_the_quarter(table) for table in ([row for row in rows if row["scores"] == first["scores"]], tuned)]
    assert quarters[0].startswith("overlap of the quarters that stratified RMI keeps")
    assert quarters[2].startswith(f"{len(ids[0] & ids[1]) / len(ids[0] | ids[1]):.1%}; {len(ids[0] & ids[1]) / 12:.1%}")
    assert quarters[3] == "20, 12"


def band_of_the_quarter(rows):
    """The paper's band, plainly: from the middle of RMI's order inside each tenth of PPL(Q), as many of each as its size asks for."""
    order = sorted(rows, key=lambda row: (row["log_ppl_q"], row["id"]))
    tenths = [[row for at, row in enumerate(order) if at * 10 // len(order) == tenth] for tenth in range(10)]
    share, rest = divmod(len(rows) // 4, 10)
    kept = set()
    for tenth, own in enumerate(tenths):
        own.sort(key=lambda row: (row["rmi"], row["id"]))
        start = math.floor(len(own) / 2 + 0.5)
        kept |= {row["id"] for row in own[start : start + share + (tenth < rest)]}
    return kept


def read_again(sweep, selector, reading=None, **of_run):
    """The sweep, and a run of the same quarter by another reading."""
    first = next(run for run in sweep.runs.to_pylist() if run["selector"] == selector and run["budget"] == "0.25")
    config = json.dumps(json.loads(first["config"]) | {"scorer": reading or {}})
    run = first | {"run": "e" * 12, "scores": "again", "config": config} | of_run
    again = [row | {"scores": "again", "rmi": 2 * row["rmi"] + 1} for row in sweep.metrics.to_pylist()]
    chosen = [row | {"run": "e" * 12} for row in sweep.subsets.to_pylist() if row["run"] == first["run"]]
    return changed(sweep, metrics=[*sweep.metrics.to_pylist(), *again], runs=[*sweep.runs.to_pylist(), run],
                   subsets=[*sweep.subsets.to_pylist(), *chosen])  # fmt: skip


def between(held):
    return dict(correlations.table(held).sections).get("Between two readings of the same pairs")


def test_the_papers_number_stands_only_beside_a_scorer_and_itself_fine_tuned(sweep):
    (spearman, *_) = between(read_again(sweep, "ifd", {"name": "tuned"}, scorer="another fine-tuned"))
    assert spearman[1] == MISSING


def test_an_option_of_reading_is_told_and_two_readings_that_differ_in_two_things_are_not_compared(sweep):
    reference = {"name": "strong", "protocol": "reference"}
    (spearman, *_) = between(read_again(sweep, "ifd", reference))
    assert 'scorer.protocol "reference"' in spearman[0]
    assert between(read_again(sweep, "ifd", reference, weak=None)) is not None  # RMI does not ask the weak one
    assert between(read_again(sweep, "ifd", reference, weak="other-model")) is None


def test_of_another_weak_scorer_only_what_looks_at_it_is_compared(sweep):
    ((what, *_),) = between(read_again(sweep, "disagreement diff_high", weak="other-model"))
    assert what.startswith("overlap of Diff-High at budget 0.25")
    assert between(read_again(sweep, "ifd", weak="other-model")) is None


def test_cost_adds_the_parts_of_a_stage(sweep):
    table = cost.table(sweep)
    row = dict(zip(table.columns, next(row for row in table.sections[0][1] if row[0] == "Full"), strict=True))
    assert (row["score"], row["train"], row["evaluate"], row["this run"]) == ("40.5", "61.0", MISSING, "123.4")
    assert row["tokens trained"] == str(sum(100 + s for s in range(1, 7)))
    assert {row[-1] for _, rows in table.sections for row in rows} == {run["run"] for run in sweep.runs.to_pylist()}
    assert cost.spent({"train_seed0": 1.0, "train_seed1": 2.0, "truth": 4.0}, "train") == 3.0
    assert cost.spent({"evaluate": 1.0, "evaluate_base_solutions": 2.0}, "evaluate") == 3.0


@pytest.mark.parametrize("name", sorted(TABLES))
def test_without_its_data_there_is_no_table_and_the_reason_is_told(name, caplog):
    with caplog.at_level(logging.INFO):
        assert TABLES[name].table(logs.conform()) is None
    assert [record.message.partition(":")[0] for record in caplog.records] == [name]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_markdown_and_latex_have_every_cell_of_every_row(name, sweep):
    table = TABLES[name].table(sweep) or TABLES[name].table(
        make.joined([sweep, small_logs.spoiled(), small_logs.patient()])
    )
    rows = [row for _, rows in table.sections for row in rows]
    text = typeset.markdown(table)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 1}
    assert len(lines) == len(rows) + len(table.sections) + 2
    body = [line for line in typeset.latex(table).splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(table.columns) - 1}
    assert len(body) == len(rows) + 1


def test_latex_escapes_what_latex_would_obey():
    table = typeset.Table("50% & {more}", ["a_b", "c#"], [("x^2 ~ \\y", [["$5", "−0.1 – 2"]])], ["note_1"])
    text = typeset.latex(table)
    assert r"50\% \& \{more\}" in text
    assert r"a\_b & c\#" in text
    assert r"x\textasciicircum{}2 \textasciitilde{} \textbackslash{}y" in text
    assert r"\$5 & $-$0.1 -- 2 \\" in text
    assert text.count(r"\begin") == text.count(r"\end") == 3
