"""What the tables of a study say: recomputed, pair by pair and text by text."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import small_logs
from hypothesis import given
from hypothesis import strategies as st

from analysis import drawing, logs, usable
from analysis.figures import differences as drawn
from analysis.figures import training
from analysis.measures import auc, holm
from analysis.tables import correlations, detection, differences, spoiling, updates
from analysis.typeset import MISSING
from qaq.evaluate.results import nll_difference

FEW = st.lists(st.integers(0, 6), min_size=2, max_size=12)


@given(FEW, FEW)
def test_auc_counts_the_pairs_of_pairs_and_ties_half(positive, negative):
    found = auc(np.array(positive, float), np.array(negative, float))
    wins = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(positive, negative)]
    assert found.value == pytest.approx(np.mean(wins))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0


def test_an_interval_holds_the_truth_19_times_of_20():
    draw, truth, held = np.random.default_rng(0), 0.7602, 0  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt(2))
    for _ in range(400):
        found = auc(draw.normal(1, 1, 40), draw.normal(0, 1, 120))
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_perfect_order_is_as_sure_as_the_smaller_side_is_large():
    found = auc(np.arange(75) + 1000.0, np.arange(700.0))
    assert found.value == found.high == 1
    assert 0.94 < found.low < 0.96


def test_one_pair_of_a_kind_has_no_auc():
    assert auc(np.ones(1), np.ones(5)) is None


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(FEW, FEW)
def test_precision_is_of_as_many_values_as_there_are_positives(positive, negative):
    found = detection.precision(np.array(positive), np.array(negative))
    marked = [(value, True) for value in positive] + [(value, False) for value in negative]
    best = sum(hit for _, hit in sorted(marked, key=lambda one: (-one[0], not one[1]))[: len(positive)])
    worst = sum(hit for _, hit in sorted(marked, key=lambda one: (-one[0], one[1]))[: len(positive)])
    assert worst - 1e-9 <= found <= best + 1e-9


@pytest.fixture(scope="module")
def spoiled():
    return small_logs.small(noise=True, budgets=(0.25,))


def test_detection_has_a_row_a_score_and_a_column_a_kind(spoiled):
    table = detection.table(spoiled)
    assert table.columns == ["score", "answers swapped", "answer echoes query", "invented terms", "answer cut off"]
    [(heading, rows)] = table.sections
    assert heading.endswith(
        "8 answers swapped, 8 answer echoes query, 8 invented terms, 8 answer cut off, 48 unspoiled"
    )
    metrics = spoiled.metrics
    noise, rmi = metrics["noise"].to_pylist(), metrics["rmi"].to_pylist()
    pairs = [
        (a > b)
        for a, n in zip(rmi, noise, strict=True)
        if n == "echo"
        for b, m in zip(rmi, noise, strict=True)
        if m == "clean"
    ]
    [row] = [row for row in rows if row[0] == "RMI"]
    assert row[2].startswith(f"{np.mean(pairs):.3f} [")
    assert {"Diff", "Sum", "IFD", "log PPL(Q)", "RMI, rank in its decile"} <= {row[0] for row in rows}
    assert "words of the query" not in {row[0] for row in rows}  # these logs do not tell it


def test_detection_leaves_out_runs_that_planted_nothing_and_scores_whose_labels_nobody_has(spoiled):
    unlabelled = [{**row, "noise": None} for row in spoiled.metrics.to_pylist()]
    assert detection.table(small_logs.small()) is None
    assert detection.table(logs.conform(runs=spoiled.runs, metrics=unlabelled)) is None


def test_two_ways_of_reading_are_two_sections(spoiled):
    scorers = [{"name": "s", "protocol": protocol, "dtype": "bfloat16"} for protocol in ("exact", "reference")]
    runs = [
        {**row, "config": json.dumps({**json.loads(row["config"]), "scorer": scorers[k % 2]})}
        for k, row in enumerate(spoiled.runs.to_pylist())
    ]
    headings = [heading for heading, _ in detection.table(logs.conform(runs=runs, metrics=spoiled.metrics)).sections]
    assert sorted(", reference, bfloat16" in heading for heading in headings) == [False, True]


def test_where_the_spread_grows_with_ppl_it_is_seen_and_so_is_what_a_global_rank_leaves_of_easy_queries():
    held = small_logs.small(pairs=4000, budgets=(0.25,), selectors=small_logs.SELECTORS[:2])
    rows = {row[0]: row[2] for _, section in correlations.table(held).sections for row in section}
    assert float(rows["Spearman of log PPL(Q) and RMI's distance from its decile's median"].split(" ")[0]) > 0.1
    rmi, ppl = (held.metrics[name].to_numpy() for name in ("rmi", "log_ppl_q"))
    band = (rmi > np.quantile(rmi, 0.5)) & (rmi <= np.quantile(rmi, 0.75))
    easy = ppl <= np.quantile(ppl, 0.3)
    told = rows["share of the 3 lowest deciles of PPL(Q) in 50% to 75% of RMI's global rank (30% if stratified)"]
    assert float(told.partition("%")[0]) == pytest.approx(100 * (band & easy).sum() / band.sum(), abs=0.2)


TEXTS, TOKENS = [f"t{k}" for k in range(30)], np.arange(5, 35)
FULL, RANDOM, RMI = {"name": "full"}, {"name": "random"}, {"name": "rmi", "low": 0.5}
DIFF_HIGH = {"name": "disagreement", "kind": "diff_high"}
GAINS = {"base": 0.0, "full": -0.10, "random": -0.05, "rmi": -0.11, "disagreement": -0.09}


def trained(options, seed, table, **other):
    """(row of RUNS, rows of LIKELIHOODS) of one model: better than the base by GAINS nats per token, and a little chance."""
    config = {
        "selector": options,
        "data": {"noise": 0.0},
        "train": {"name": "smoke", "seeds": [seed]},
        **other.pop("config", {}),
    }
    sizes = {"selected": 80 if options == FULL else 20}
    run = small_logs.run(options, 1.0 if options == FULL else 0.25, table, config=json.dumps(config), seed=seed,
                         **{**sizes, **other})  # fmt: skip
    run["cell"] = f"{options['name']} {config.get('scorer', {}).get('protocol', '')}"
    draw, easy = np.random.default_rng(seed), np.random.default_rng(9).normal(1, 0.3, 30)
    return run, [{"run": run["run"], "selector": name, "train_seed": where, "benchmark": "held_out", "id": id, "tokens": int(n),
                  "nll_sum": float(n * (nll + GAINS[name] + noise))}
                 for name, where, spread in (("base", None, 0.0), (options["name"], seed, 0.004))
                 for id, n, nll, noise in zip(TEXTS, TOKENS, easy, draw.normal(0, 1, 30) * spread, strict=True)]  # fmt: skip


def of(*models):
    runs, rows = zip(*models, strict=True)
    return logs.conform(runs=list(runs), likelihoods=[row for own in rows for row in own])


@pytest.fixture(scope="module")
def models():
    table = small_logs.metrics(80)
    return of(*(trained(options, seed, table) for options in (FULL, RANDOM, RMI) for seed in range(3)))


def test_a_selection_is_compared_with_chance_and_with_everything_on_the_same_texts(models):
    [(heading, rows)] = differences.table(models).sections
    assert heading.startswith("NLL of held-out answers (30 texts); 80 pairs of invented")
    told = {row[0]: row for row in rows}
    assert list(told) == ["Base", "Full", "Random", "RMI (global)"]
    assert [row[3] for row in rows] == ["1", "3", "3", "3"]
    nll = {}
    for row in models.likelihoods.to_pylist():
        nll.setdefault((row["selector"], row["train_seed"] if row["selector"] != "base" else row["run"]), []).append(
            row["nll_sum"]
        )
    per_token = {key: sum(sums) / TOKENS.sum() for key, sums in nll.items()}
    of_name = {
        name: np.mean([value for key, value in per_token.items() if key[0] == name])
        for name in ("base", "full", "random", "rmi")
    }
    assert float(told["RMI (global)"][4].split(" ")[0]) == pytest.approx(of_name["rmi"], abs=6e-5)
    less, lower, upper = (float(x.strip("[],").replace("−", "-")) for x in told["RMI (global)"][5].split(" "))
    assert less == pytest.approx(of_name["rmi"] - of_name["random"], abs=6e-5)
    assert lower < less < upper < 0
    assert told["RMI (global)"][6] == "<0.001"
    assert float(told["RMI (global)"][9].split(" ")[0].replace("−", "-")) == pytest.approx(
        of_name["rmi"] - of_name["full"], abs=6e-5
    )
    assert told["Base"][5:] == [MISSING] * 6
    assert told["Random"][5:7] == [MISSING] * 2
    assert told["Full"][5:] == [MISSING] * 6  # nothing of its size was drawn


def test_p_is_corrected_for_all_that_a_column_asks(models):
    raw = []
    for ours, theirs in (("random", "full"), ("rmi", "full")):
        a, b = (np.array([[row["nll_sum"] for row in models.likelihoods.to_pylist() if row["selector"] == name and row["train_seed"] == seed]
                          for seed in range(3)]) for name in (ours, theirs))  # fmt: skip
        raw.append(nll_difference(a, b, TOKENS)[1])
    told = {row[0]: row for row in differences.table(models).sections[0][1]}
    shown = [told["Random"][10], told["RMI (global)"][10]]
    assert shown == ["<0.001" if p < 0.001 else f"{p:.3f}" for p in holm(raw)]


def test_one_selection_by_two_readings_is_two_rows_that_say_which():
    table = small_logs.metrics(80)
    read = [
        trained(RMI, 0, table, config={"scorer": {"name": "s", "protocol": protocol}})
        for protocol in ("exact", "reference")
    ]
    rows = differences.table(of(*read, trained(RANDOM, 0, table))).sections[0][1]
    assert [row[0] for row in rows] == [
        "Base",
        "Random",
        'RMI (global), protocol "exact"',
        'RMI (global), protocol "reference"',
    ]
    assert all(row[5] != MISSING for row in rows[2:])


def test_a_weak_model_tells_selections_apart_only_where_the_selector_asks_it():
    table, weak = small_logs.metrics(80), ("weak-model", "other-model")
    models = [
        trained(options, seed, table, weak=name) for options in (RMI, DIFF_HIGH) for seed, name in enumerate(weak)
    ]
    rows = differences.table(of(*models, trained(RANDOM, 0, table))).sections[0][1]
    assert [(row[0], row[3]) for row in rows[2:]] == [
        ("RMI (global)", "2"), *((f"Diff-High, weak scorer {name}", "1") for name in sorted(weak))
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other", [{"data_digest": "e" * 64}, {"target": "another"}, {"partial": "first 2 of 164"}, {"mark": "killed"}]
)
def test_what_was_trained_on_or_measured_otherwise_is_not_compared(other):
    table = small_logs.metrics(80)
    assert differences.table(of(trained(RANDOM, 0, table), trained(RMI, 0, table, **other))) is None


def test_the_figure_has_a_row_a_selection_whose_whiskers_are_the_tables_and_the_line_of_all_pairs(models):
    with drawing.style():
        figure = drawn.figure(models)
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["RMI (global)"]
    less = {row[0]: row[5] for row in differences.table(models).sections[0][1]}["RMI (global)"]
    value, low, high = (float(x.strip("[],").replace("−", "-")) for x in less.split(" "))
    [bars] = axes.containers
    [[(left, _), (right, _)]] = bars.lines[2][0].get_segments()
    assert (left, bars.lines[0].get_xdata()[0], right) == pytest.approx((low, value, high), abs=6e-5)
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    random_less = {row[0]: row[9] for row in differences.table(models).sections[0][1]}["Random"]
    assert dashed == pytest.approx([-float(random_less.split(" ")[0].replace("−", "-"))], abs=6e-5)
    assert drawn.figure(logs.conform()) is None


def test_selections_of_other_data_have_panels_of_their_own_and_what_is_not_drawn_is_told():
    table = small_logs.metrics(80)
    every = {
        f"data{k}": [trained(options, 0, table, data_digest=f"data{k}") for options in (RANDOM, RMI)] for k in range(4)
    }
    figure = drawn.figure(of(*itertools.chain(*every.values())))
    assert [axes.get_title() for axes in figure.axes] == [
        f"80 pairs of invented ({name})\nheld-out answers" for name in ("data0", "data1", "data2")
    ]
    for axes, models in zip(figure.axes, every.values(), strict=False):
        [alone] = drawn.figure(of(*models)).axes
        assert [bars.lines[0].get_xdata()[0] for bars in axes.containers] == [
            bars.lines[0].get_xdata()[0] for bars in alone.containers
        ]
    assert "not here: 1 other setting." in " ".join(figure.get_supxlabel().split())


def test_right_answers_that_one_data_set_lacks_leave_its_panel_empty_and_its_selections_named(models):
    solved = [{**row, "benchmark": "humaneval"} for row in models.likelihoods.to_pylist()]
    apart = {run["run"]: f"{run['run']}0" for run in models.runs.to_pylist()}
    runs = [{**run, "run": apart[run["run"]], "data_digest": "other"} for run in models.runs.to_pylist()]
    rows = [{**row, "run": apart[row["run"]]} for row in solved]
    figure = drawn.figure(
        logs.conform(
            runs=[*models.runs.to_pylist(), *runs], likelihoods=[*models.likelihoods.to_pylist(), *solved, *rows]
        )
    )
    told = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert told == [[], [], ["not measured"], []]
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[::2]]
    assert names == [["RMI (global)"]] * 2


@pytest.mark.parametrize(("selected", "compared"), [(20, True), (21, False), (40, False)])
def test_a_selection_is_compared_with_a_random_one_of_its_size_however_small_both_are(selected, compared):
    table = small_logs.metrics(80)
    random, rmi = trained(RANDOM, 0, table, pairs=1000), trained(RMI, 0, table, pairs=1000, selected=selected)
    rows = differences.table(of(random, rmi)).sections[0][1]
    assert ({row[0]: row for row in rows}["RMI (global)"][5] != MISSING) == compared


STRATIFIED = {"name": "stratified", "low": 0.5, "strata": 10}
GAINS["stratified"] = -0.08


def test_the_papers_selection_is_a_reference_too_and_what_does_not_read_the_scores_is_one_row_whoever_scored():
    table = small_logs.metrics(80)
    scorers = [{"scorer": {"name": "s", "protocol": protocol}} for protocol in ("exact", "reference")]
    models = [
        trained(options, seed, table, config=scorer)
        for options in (FULL, RANDOM, STRATIFIED, RMI)
        for seed in range(2)
        for scorer in scorers
    ]
    rows = {row[0]: row for row in differences.table(of(*models)).sections[0][1]}
    assert {name: row[3] for name, row in rows.items() if name in ("Full", "Random")} == {"Full": "2", "Random": "2"}
    exact, reference = ('RMI (stratified), protocol "exact"', 'RMI (stratified), protocol "reference"')
    assert rows[exact][7] == MISSING
    assert rows[reference][7] != MISSING
    assert float(rows['RMI (global), protocol "exact"'][7].split(" ")[0].replace("−", "-")) == pytest.approx(
        -0.03, abs=2e-3
    )


def test_one_checkpoint_that_three_runs_name_is_one_model():
    table, models = small_logs.metrics(80), []
    for seed in range(3):
        run, rows = trained(RMI, seed, table)
        models.append(({**run, "keys": json.dumps({"train": "k"})}, rows))
    rows = {row[0]: row for row in differences.table(of(*models, trained(RANDOM, 0, table))).sections[0][1]}
    assert rows["RMI (global)"][3] == "1"


COST = {"base": 0.0, "full": 0.03, "random": 0.05, "rmi": 0.01}
SPOILED = {"data": {"noise": 0.3, "id": "invented"}}


def spoiled_twins(table, **of_data):
    """Models trained on the pairs as they are, and as many on them spoiled, which cost each selection its COST."""
    selections = [(options, seed) for options in (FULL, RANDOM, RMI) for seed in range(3)]
    plain = {"data": {"noise": 0.0, "id": "invented", **of_data}}
    for options, seed in selections:
        yield trained(options, seed, table, config=plain)
    for options, seed in selections:
        run, rows = trained(options, seed, table, data_digest="5" * 64, config=SPOILED)
        yield run, [{**row, "nll_sum": row["nll_sum"] + row["tokens"] * COST[row["selector"]]} for row in rows]


def test_spoiling_costs_what_a_selection_of_spoiled_pairs_does_worse_than_the_same_of_the_pairs_as_they_are():
    [(heading, rows)] = spoiling.table(of(*spoiled_twins(small_logs.metrics(80)))).sections
    assert heading.startswith(
        "NLL of held-out answers; 80 pairs of invented (55555555, a part spoiled on purpose), less 80 pairs"
    )
    told = {
        row[0]: [float(cell.split(" ")[0].replace("−", "-")) for cell in row[3:] if cell != MISSING] for row in rows
    }
    assert {name: values[2] for name, values in told.items()} == pytest.approx(
        {"Full": 0.03, "Random": 0.05, "RMI (global)": 0.01}
    )
    assert all(after - before == pytest.approx(cost, abs=1e-4) for before, after, cost, *_ in told.values())
    assert {name: values[3:] for name, values in told.items()} == {"Full": [], "Random": [], "RMI (global)": [-0.04]}
    low, high = (float(bound.replace("−", "-")) for bound in rows[2][6].partition("[")[2].strip("]").split(", "))
    assert low < -0.04 < high < 0


@pytest.mark.parametrize("of_data", [{"id": "other"}, {"noise": 0.1}])
def test_spoiled_pairs_are_compared_with_nothing_but_the_same_pairs_as_they_are(of_data):
    assert spoiling.table(of(*spoiled_twins(small_logs.metrics(80), **of_data))) is None


MORE = {"random": -0.02, "rmi": -0.03}  # what a batch of 2 in place of 8 gives


def patient_twins(table, **recipe):
    """All pairs and two selections of batch 8, and the selections again, of a batch of 2 and better by MORE; with their updates."""
    models, steps = [], []
    for batch, selections in ((8, (FULL, RANDOM, RMI)), (2, (RANDOM, RMI))):
        for options, seed in itertools.product(selections, range(3)):
            settings = {"batch_size": batch, "learning_rate": 1e-5, **(recipe if batch == 2 else {})}
            run, rows = trained(options, seed, table, config={"train": {"name": "smoke", "seeds": [seed], **settings}})
            gain = MORE.get(options["name"], 0.0) if batch == 2 else 0.0
            models.append(
                (
                    run,
                    [
                        {**row, "nll_sum": row["nll_sum"] + row["tokens"] * gain * (row["selector"] != "base")}
                        for row in rows
                    ],
                )
            )
            steps += [
                {"run": run["run"], "step": step}
                for step in range(1, run["selected"] // batch + 1 + 2 * (options == FULL))
            ]
    return replace(of(*models), training=logs.conform(training=steps).training)


def test_more_updates_give_a_selection_what_it_does_better_than_itself_and_bring_it_nearer_to_all_pairs():
    [(heading, rows)] = updates.table(patient_twins(small_logs.metrics(80))).sections
    assert heading.endswith("recipe smoke, train.batch_size 2, less 8")
    told = {row[0]: row for row in rows}
    assert list(told) == ["Random", "RMI (global)"]
    assert told["RMI (global)"][1:4] == ["25.0%", "3, 3", "2, 10"]
    assert told["RMI (global)"][7] == "12"  # all pairs, of batch 8
    values = {name: [first(row[k]) for k in (4, 5, 6, 8, 9)] for name, row in told.items()}
    for name, (fewer, more, gained, behind, still) in values.items():
        assert gained == pytest.approx(MORE[{"Random": "random"}.get(name, "rmi")])
        assert more - fewer == pytest.approx(gained, abs=1e-4)
        assert still - behind == pytest.approx(gained, abs=1e-4)
        assert behind == pytest.approx(GAINS[{"Random": "random"}.get(name, "rmi")] - GAINS["full"], abs=2e-3)


def test_recipes_that_differ_in_more_than_their_updates_are_not_compared():
    assert updates.table(patient_twins(small_logs.metrics(80), learning_rate=2e-5)) is None


def test_where_no_training_tells_its_updates_nothing_is_compared():
    held = patient_twins(small_logs.metrics(80))
    assert updates.table(replace(held, training=held.training.slice(0, 0))) is None


def test_two_recipes_are_told_apart_wherever_their_selections_stand():
    held = patient_twins(small_logs.metrics(80))
    headings = [heading for heading, _ in differences.table(held).sections]
    assert [heading.rpartition("; ")[2] for heading in headings] == ["train.batch_size 8", "train.batch_size 2"]
    titles = [axes.get_title() for axes in drawn.figure(held).axes]
    assert [title.splitlines()[0].rpartition("; ")[2] for title in titles] == [
        "train.batch_size 8",
        "train.batch_size 2",
    ]


def test_the_training_curves_are_of_one_recipe():
    held = patient_twins(small_logs.metrics(80))
    assert {run["seed"] for run in training.trained(held)} == {0, 1, 2}
    assert {usable.asked(run, "train")["batch_size"] for run in training.trained(held)} == {8}


def first(cell):
    """The number before the interval."""
    return float(cell.split(" ")[0].replace("−", "-"))
