"""What the figures draw, computed again another way from the tables they were given."""

import logging
import math
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
import small_logs
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from analysis import drawing, logs, make
from analysis.figures import budget, disagreement, noise, overlap, rmi, rmi_ifd, strata, training
from analysis.measures import limits, number, spearman
from qaq import select

FIGURES = {make.name(module): module for module in make.modules("figures")}


@pytest.fixture(scope="module")
def sweep():
    return small_logs.small()


@pytest.fixture(scope="module")
def spoiled():
    return small_logs.small(noise=True, budgets=(0.25,))


@pytest.fixture(autouse=True)
def _styled():
    with drawing.style():
        yield


def note(figure):
    return " ".join(figure._supxlabel.get_text().split())


def by_hand(x, y):
    """Spearman: Pearson of ranks, a rank being 1 + the number below + half the number of equals."""
    ranks = [
        [1 + sum(o < v for o in values) + (sum(o == v for o in values) - 1) / 2 for v in values] for values in (x, y)
    ]
    (a, b), n = ranks, len(x)
    mean = (n + 1) / 2
    top = sum((p - mean) * (q - mean) for p, q in zip(a, b, strict=True))
    return top / math.sqrt(sum((p - mean) ** 2 for p in a) * sum((q - mean) ** 2 for q in b))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=25))
def test_spearman_is_pearson_of_middle_ranks(pairs):
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
        return
    assert found.value == pytest.approx(by_hand(x, y), abs=1e-12)
    assert found.low <= found.value + 1e-9
    assert found.value <= found.high + 1e-9


def test_an_axis_holds_everything_unless_a_few_values_lie_far_away():
    ordinary = np.linspace(0, 1, 1000)
    assert limits(ordinary).outside == 0
    far = np.append(ordinary, [50.0, -1000.0])
    assert limits(far).outside == 2
    assert -1.1 < limits(far).low < 0
    assert 1 < limits(far).high < 2.1


def test_rmi_bars_hold_every_pair_inside_the_axes_and_every_selected_one(sweep):
    figure = rmi.figure(sweep)
    axes = figure.axes[0]
    grey, chosen = (sum(bar.get_height() for bar in bars) for bars in axes.containers)
    stratified = next(r for r in sweep.runs.to_pylist() if r["selector"] == "stratified" and r["budget"] == "0.25")
    assert grey == sweep.metrics.num_rows
    assert chosen == stratified["selected"]
    values = sweep.metrics["rmi"].to_numpy()
    middle = [line.get_xdata()[0] for line in axes.lines]
    assert middle == pytest.approx([float(np.quantile(values, q)) for q in (0.25, 0.5, 0.75)])


def test_a_far_value_is_told_and_does_not_press_the_others_together(sweep):
    rows = sweep.metrics.to_pylist()
    rows[3]["rmi"], rows[3]["log_ppl_q"] = 900.0, 70.0
    far = replace(sweep, metrics=logs.conform(metrics=rows).metrics)
    for module in (rmi, rmi_ifd, strata):
        figure = module.figure(far)
        assert "1 pair outside the axes" in note(figure)
        assert all(axes.get_ylim()[1] < 100 for axes in figure.axes)


def test_stratification_takes_the_spread_out_of_the_deciles(sweep):
    x, values = (sweep.metrics[name].to_numpy() for name in ("log_ppl_q", "rmi"))
    order = np.argsort(x)
    tenths = [values[part] for part in np.array_split(order, 10)]
    first, last = (np.percentile(tenth, 90) - np.percentile(tenth, 10) for tenth in (tenths[0], tenths[-1]))
    figure = strata.figure(sweep)
    assert f"is {first:.2f} in the first and {last:.2f} nats per token in the last" in note(figure)
    below = figure.axes[1]
    ranks = below.collections[0].get_offsets()[:, 1]
    for part in np.array_split(order, 10):
        assert sorted(ranks[part]) == pytest.approx([(k + 0.5) / len(part) for k in range(len(part))])


def test_rmi_against_ifd_states_spearman_of_the_drawn_points(sweep):
    figure = rmi_ifd.figure(sweep)
    axes = figure.axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    found = number(by_hand(*points.T))
    assert len(points) == sweep.metrics.num_rows
    assert axes.get_title(loc="left").startswith(f"Spearman {found} [")
    assert "paper 0.252" in axes.get_title(loc="left")
    assert "310K pairs" in note(figure)


@pytest.mark.parametrize("kind", ["diff_high", "diff_low", "sum_high", "sum_low"])
def test_the_regions_of_disagreement_hold_what_the_selector_keeps(sweep, kind):
    table = sweep.metrics.sort_by("id")
    options = {"name": "disagreement", "kind": kind, "threshold": None, "stratified": True, "strata": 10}
    kept = set(select.select(table.drop(["scores", "noise"]), options, table.num_rows // 4, 0)["id"].to_pylist())
    figure = disagreement.figure(sweep)
    weak, strong = np.asarray(figure.axes[0].collections[0].get_offsets()).T
    value = strong - weak if kind.startswith("diff") else strong + weak
    cut = disagreement.boundaries(strong, weak)[kind]
    ids = np.array(sweep.metrics["id"].to_pylist())
    clearly = ids[value > cut + 1e-9] if kind.endswith("high") else ids[value < cut - 1e-9]
    at_least = ids[value > cut - 1e-9] if kind.endswith("high") else ids[value < cut + 1e-9]
    assert set(clearly) <= kept <= set(at_least)
    assert f"{np.mean(strong - weak > 0.1):.1%} of the pairs" in note(figure)


def test_overlap_is_of_the_selections_themselves(sweep):
    figure = overlap.figure(sweep)
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [
        "Random  1",
        "IFD, max_ifd=null  2",
        "RMI (global)  3",
        "RMI (stratified)  4",
        "Diff-High  5",
        "Sum-High  6",
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == list("123456")
    runs = {r["selector"]: r["run"] for r in sweep.runs.to_pylist() if r["budget"] == "0.25"}
    held = sweep.subsets.to_pylist()
    a, b = ({row["id"] for row in held if row["run"] == runs[one]} for one in ("rmi", "stratified"))
    values = axes.images[0].get_array()
    assert values[2, 3] == pytest.approx(len(a & b) / len(a | b))
    assert values[3, 2] == pytest.approx(len(a & b) / 20)
    written = {(round(t.get_position()[0]), round(t.get_position()[1])): t.get_text() for t in axes.texts}
    assert written[3, 2] == f"{100 * len(a & b) / len(a | b):.0f}"
    assert "by chance 25%" in note(figure)


def test_budget_draws_values_and_intervals_of_the_results(sweep):
    figure = budget.figure(sweep)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["HumanEval, 164 tasks", "HumanEval+, 164 tasks"]
    runs = {r["run"]: r for r in sweep.runs.to_pylist()}
    rows = [r for r in sweep.results.to_pylist() if r["benchmark"] == "humaneval" and r["selector"] == "stratified"]
    rows.sort(key=lambda r: float(runs[r["run"]]["budget"]))
    drawn = next(c for c in figure.axes[0].containers if c.get_label() == "RMI (stratified)")
    line, _, (bars,) = drawn.lines
    assert line.get_ydata() == pytest.approx([100 * r["value"] for r in rows])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert ends == pytest.approx(np.array([[100 * r["low"], 100 * r["high"]] for r in rows]))
    assert line.get_xdata() == pytest.approx([10, 25, 50], rel=0.25)
    full = next(c for c in figure.axes[0].containers if c.get_label() == "Full")
    assert full.lines[0].get_xdata() == pytest.approx([100])
    other = small_logs.small(pairs=60, seed=5, budgets=(0.25,))
    assert "1 other setting of data, models, recipe or evaluation not shown" in note(
        budget.figure(make.joined([sweep, other]))
    )
    assert "not shown" not in note(figure)


def test_noise_bars_are_shares_of_the_selection_by_kind(spoiled):
    figure = noise.figure(spoiled)
    axes = figure.axes[0]
    kinds = dict(zip(spoiled.metrics["id"].to_pylist(), spoiled.metrics["noise"].to_pylist(), strict=True))
    run = next(r["run"] for r in spoiled.runs.to_pylist() if r["selector"] == "ifd")
    own = [kinds[row["id"]] for row in spoiled.subsets.to_pylist() if row["run"] == run]
    y = [label.get_text() for label in axes.get_yticklabels()].index("IFD, max_ifd=null")
    widths = [bar.get_width() for bar in axes.patches if bar.get_y() < y < bar.get_y() + bar.get_height()]
    assert widths == pytest.approx([100 * own.count(kind) / len(own) for kind in noise.WORDS])
    assert f"{sum(kind != 'clean' for kind in own)}/{len(own)}" in {text.get_text() for text in axes.texts}
    assert "Dashed: 40.0% of all pairs are spoiled" in note(figure)


def test_training_draws_the_losses_of_one_budget_and_of_the_full_data(sweep):
    figure = training.figure(sweep)
    labels = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(labels) == {"Full", "Random", "IFD, max_ifd=null", "RMI (global)", "RMI (stratified)", "Diff-High", "Sum-High"}  # fmt: skip
    run = next(r["run"] for r in sweep.runs.to_pylist() if r["selector"] == "full")
    losses = [r["loss"] for r in sweep.training.to_pylist() if r["run"] == run]
    assert labels["Full"].get_ydata() == pytest.approx(losses)
    assert (
        "Budget 0.25. Loss: mean of 1 model and of the last eighth of the updates. 12 trained runs of other budgets or settings not shown."
        in note(figure)
    )


def test_a_training_curve_is_the_mean_of_a_selections_models_and_of_the_last_updates(sweep):
    run = next(r for r in sweep.runs.to_pylist() if r["selector"] == "full")
    again, twin = run | {"run": "d" * 12, "seed": 1}, run | {"run": "e" * 12, "keys": '{"train": "one"}'}
    steps = next(row for row in sweep.training.to_pylist() if row["run"] == run["run"])
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 40))
    rows = [steps | {"run": id, "step": s + 1, "loss": loss, "train_seed": 0}
            for id, losses in ((run["run"], first), ("d" * 12, second), ("e" * 12, first)) for s, loss in enumerate(losses)]  # fmt: skip
    held = replace(sweep, **{name: getattr(logs.conform(**{name: given}), name) for name, given in {
        "runs": [run | {"keys": '{"train": "one"}'}, again | {"keys": '{"train": "other"}'}, twin], "training": rows}.items()})  # fmt: skip
    (line,) = training.figure(held).axes[0].lines
    assert list(line.get_xdata()) == list(range(5, 41))  # an eighth of 40 updates
    assert line.get_ydata() == pytest.approx([((first + second) / 2)[k - 5 : k].mean() for k in range(5, 41)])


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_without_its_data_there_is_no_figure_and_the_reason_is_told(name, caplog):
    with caplog.at_level(logging.INFO):
        assert FIGURES[name].figure(logs.conform()) is None
    assert [record.message.partition(":")[0] for record in caplog.records] == [name]


def test_runs_that_must_not_be_used_are_not_drawn(sweep):
    left = replace(sweep, runs=logs.conform(runs=[row | {"mark": "killed"} for row in sweep.runs.to_pylist()]).runs)
    assert [module.figure(left) for module in FIGURES.values()] == [None] * len(FIGURES)


def test_of_several_scores_the_largest_is_drawn_and_the_others_are_counted(sweep):
    other = small_logs.small(pairs=120, seed=5, budgets=(0.25,))
    both = make.joined([sweep, other])
    assert "n = 120 pairs of invented" in note(rmi.figure(both))
    assert "1 other set of scores in the logs not shown" in note(rmi.figure(both))
    spoiled = small_logs.small(pairs=200, noise=True, budgets=(0.25,))
    assert "n = 120 pairs" in note(rmi.figure(make.joined([both, spoiled])))
    assert "n = 200 pairs" in note(noise.figure(make.joined([both, spoiled])))


def test_of_repetitions_the_lowest_seed_is_drawn_and_the_others_are_counted(sweep):
    runs, subsets = sweep.runs.to_pylist(), sweep.subsets.to_pylist()
    first = next(run for run in runs if run["selector"] == "random" and run["budget"] == "0.25")
    own = [row for row in subsets if row["run"] == first["run"]]
    again = [row | {"run": "f" * 12, "id": id} for row, id in zip(own, sweep.metrics["id"].to_pylist(), strict=False)]
    second = first | {"run": "f" * 12, "seed": 1}
    held = replace(
        sweep, runs=logs.conform(runs=[*runs, second]).runs, subsets=logs.conform(subsets=[*subsets, *again]).subsets
    )
    assert "lowest seed; 1 other run not shown" in note(overlap.figure(held))
    one, two = (overlap.figure(logs_).axes[0].images[0].get_array().filled(0) for logs_ in (sweep, held))
    assert np.array_equal(one, two)
    assert "other run" not in note(overlap.figure(sweep))


@pytest.mark.parametrize("name", sorted(FIGURES))
@pytest.mark.parametrize("pairs", [80, 4000])
def test_every_figure_fits_a_column_says_its_size_and_clips_no_text(name, pairs):
    held = small_logs.small(pairs=pairs, noise=name == "noise", benchmarks=small_logs.BENCHMARKS)
    figure = FIGURES[name].figure(held)
    assert figure.get_figwidth() in (drawing.COLUMN, drawing.PAGE)
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    said = [note(figure), *(text.get_text() for text in texts)]  # a figure of several data sets says it above each
    assert any(f"{pairs:,} pairs of invented (dddddddd" in words for words in said)
    assert min(text.get_fontsize() for text in texts) >= 7
    drawn = figure.get_tightbbox()  # in inches, of all that is drawn
    assert -0.01 <= drawn.x0 <= drawn.x1 <= figure.get_figwidth() + 0.01
    assert -0.01 <= drawn.y0 <= drawn.y1 <= figure.get_figheight() + 0.01


def test_selectors_can_be_told_apart_without_colour():
    looks = [look for name, look in drawing.LOOKS.items() if name != "Base"]
    assert len({look.marker for look in looks}) == len(looks)
    assert len({look.color for look in looks}) == len(looks)


def test_a_figure_looks_at_no_table_that_it_does_not_name(sweep, spoiled):
    for name, module in FIGURES.items():
        held = spoiled if name == "noise" else sweep
        lone, whole = module.figure(logs.only(held, module.NEEDS)), module.figure(held)
        assert note(lone) == note(whole)


def test_noise_needs_labels_not_clean_pairs(sweep):
    assert noise.figure(sweep) is None
    assert bool(pc.all(pc.equal(sweep.metrics["noise"], "clean")).as_py())
