"""The rows that verdicts, solutions and likelihoods give, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import evaluate, tables
from qaq.evaluate import Measured, statistics
from qaq.evaluate.results import won_and_lost

SCORED = {"model": "m", "target": "answer", "given": "query"}


def model(passed: dict[str, str], nll: dict[str, tuple[float | None, int]] | None = None, compiles: bool | None = True,
          plus: bool | None = None) -> Measured:  # fmt: skip
    """`passed`: a task's samples, each + (passes), - (fails), t (time-out); replies of 10 tokens, the failed ones capped."""
    keys = [(task, n, mark) for task, marks in passed.items() for n, mark in enumerate(marks)]
    verdicts = [{"task_id": t, "sample": n, "base_passed": m == "+", "plus_passed": plus, "compiles": compiles,
                 "status": {"+": "pass", "-": "fail", "t": "timeout"}[m]} for t, n, m in keys]  # fmt: skip
    solutions = [{"task_id": t, "sample": n, "solution": "", "tokens": 10, "capped": m == "-"} for t, n, m in keys]
    likelihood = [{"id": i, "nll_sum": s, "tokens": n, "truncated": s is None, **SCORED}
                  for i, (s, n) in (nll or dict.fromkeys(passed, (10.0, 10))).items()]  # fmt: skip
    return Measured(tables.conform(verdicts, tables.VERDICTS), tables.conform(solutions, tables.SOLUTIONS),
                    tables.conform(likelihood, tables.LIKELIHOOD))  # fmt: skip


def by_metric(rows: list[dict]) -> dict:
    return {(row["benchmark"], row["metric"]): row for row in rows}


def test_results_by_hand():
    # 60 nats over 30 tokens: 2 a token; c did not fit
    rows = evaluate.results("humaneval", [model({"a": "+", "b": "t", "c": "-", "d": "-"},
                                                {"a": (10.0, 10), "b": (50.0, 20), "c": (None, 9), "d": (None, 0)})])  # fmt: skip
    assert [row["metric"] for row in rows] == [
        "pass@1",
        "canonical_nll",
        "syntax_error",
        "timeout",
        "capped",
        "reply_tokens",
    ]
    passing, nll, syntax, timeout, capped, length = rows
    assert (passing["value"], passing["count"], passing["of"], passing["tasks"]) == (0.25, 1, 4, 4)
    assert (passing["low"], passing["high"]) == pytest.approx(statistics.wilson(1, 4))
    assert (nll["value"], nll["tasks"]) == (2.0, 2)
    # residuals 10 - 20 = -10 and 50 - 40 = 10, by 15 tokens a task: variance of the mean (2/3)^2; t with one degree 12.706
    assert nll["high"] - 2 == pytest.approx(2 - nll["low"]) == pytest.approx(12.7062 * 2 / 3, abs=1e-3)
    assert (syntax["value"], timeout["count"], capped["count"]) == (0, 1, 2)
    assert (length["value"], length["low"], length["high"]) == (10, 10, 10)


def test_a_plus_benchmark_gives_both_from_the_same_verdicts_and_passing_plus_needs_base():
    one = model({"a": "+", "b": "-", "c": "+"}, plus=True)
    column = one.verdicts.schema.get_field_index("plus_passed")
    one = one._replace(verdicts=one.verdicts.set_column(column, "plus_passed", [[True, True, False]]))
    rows = by_metric(evaluate.results("mbpp_plus", [one]))
    assert rows["mbpp_plus", "pass@1"]["count"] == 1
    assert rows["mbpp", "pass@1"]["count"] == 2
    assert by_metric(evaluate.results("mbpp", [one]))["mbpp", "pass@1"]["count"] == 2


def test_a_plus_verdict_that_is_missing_where_base_passed_is_refused():
    with pytest.raises(ValueError, match="no value for b"):
        evaluate.results("humaneval_plus", [model({"a": "-", "b": "+"})])
    assert evaluate.results("humaneval_plus", [model({"a": "-", "b": "-"})])[0]["value"] == 0


def test_several_samples_give_pass_at_k_of_those_that_are_there():
    rows = by_metric(evaluate.results("humaneval", [model({"a": "+----", "b": "-----", "c": "+++++"})]))
    assert rows["humaneval", "pass@1"]["value"] == pytest.approx(6 / 15)
    assert rows["humaneval", "pass@1"]["count"] == 6
    assert rows["humaneval", "pass@5"]["value"] == pytest.approx(2 / 3)
    assert ("humaneval", "pass@10") not in rows


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_pooled_seeds_have_the_mean_of_the_seeds_and_the_order_of_rows_does_not_matter(seeds):
    models = [model({t: "+" if p else "-" for t, p in zip("abc", one, strict=True)}) for one in seeds]
    rows = evaluate.results("humaneval", models)
    assert rows[0]["value"] == pytest.approx(sum(map(sum, seeds)) / (3 * len(seeds)))
    assert (rows[0]["count"], rows[0]["of"], rows[0]["tasks"]) == (sum(map(sum, seeds)), 3 * len(seeds), 3)
    turned = [one._replace(verdicts=one.verdicts.take([2, 0, 1])) for one in models]
    assert evaluate.results("humaneval", [models[0], *turned[1:]]) == rows


def test_a_table_nobody_compiled_has_no_row_of_syntax_errors():
    assert "syntax_error" not in {
        r["metric"] for r in evaluate.results("humaneval", [model({"a": "+"}, compiles=None)])
    }


def test_a_comparison_by_hand():
    ours = model(
        {"a": "+", "b": "+", "c": "+", "d": "-"}, {"a": (9.0, 10), "b": (18.0, 20), "c": (9.5, 10), "d": (9.0, 10)}
    )
    theirs = model(
        {"a": "+", "b": "-", "c": "-", "d": "t"}, {"a": (10.0, 10), "b": (20.0, 20), "c": (9.0, 10), "d": (10.0, 10)}
    )
    rows = by_metric(evaluate.comparison("humaneval", [ours], [theirs]))
    passing = rows["humaneval", "pass@1"]
    assert (passing["value"], passing["won"], passing["lost"], passing["tied"], passing["p"]) == (0.5, 2, 0, 2, 0.5)
    nll = rows["humaneval", "canonical_nll"]
    assert nll["value"] == pytest.approx((45.5 - 49) / 50)
    assert (nll["won"], nll["lost"], nll["tied"]) == (3, 1, 0)  # lower is better
    assert nll["low"] < nll["value"] < nll["high"]
    timeout = rows["humaneval", "timeout"]
    assert (timeout["value"], timeout["won"], timeout["lost"]) == (-0.25, 1, 0)
    assert rows["humaneval", "reply_tokens"]["won"] is None
    assert won_and_lost("humaneval", [ours], [theirs]) == (["b", "c"], [])


def test_a_comparison_of_seeds_and_samples_takes_the_tasks_means():
    ours = [model({"a": "++", "b": "+-"}), model({"a": "+-", "b": "--"})]  # means 3/4 and 1/4
    theirs = [model({"a": "-", "b": "+"})]
    passing = evaluate.comparison("humaneval", ours, theirs)[0]
    assert passing["value"] == pytest.approx(0)
    assert (passing["won"], passing["lost"], passing["p"]) == (1, 1, 1.0)  # 3/4 and -3/4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_a_comparison_turned_round_is_the_same_with_the_other_sign(pairs):
    names = [f"t{i}" for i in range(len(pairs))]
    a, b = ([model({t: "+" if pair[i] else "-" for t, pair in zip(names, pairs, strict=True)})] for i in (0, 1))
    for ours, theirs in zip(
        evaluate.comparison("humaneval", a, b), evaluate.comparison("humaneval", b, a), strict=True
    ):
        assert ours["value"] == pytest.approx(-theirs["value"])
        assert (ours["won"], ours["lost"], ours["p"]) == (theirs["lost"], theirs["won"], theirs["p"])


def test_other_tasks_or_uneven_samples_are_refused_and_named():
    with pytest.raises(ValueError, match="only one has b, c"):
        evaluate.comparison("humaneval", [model({"a": "+", "b": "+"})], [model({"a": "+", "c": "+"})])
    with pytest.raises(ValueError, match="same number of samples"):
        evaluate.results("humaneval", [model({"a": "++", "b": "+"})])


def test_other_tokens_leave_the_likelihood_out_and_nothing_else():
    ours, theirs = model({"a": "+", "b": "-"}), model({"a": "+", "b": "-"}, {"a": (10.0, 11), "b": (9.0, 9)})
    rows = by_metric(evaluate.comparison("humaneval", [ours], [theirs]))
    assert rows["humaneval", "canonical_nll"]["value"] is None
    assert rows["humaneval", "pass@1"]["tied"] == 2


def test_the_rows_fit_their_schemas():
    one = model({"a": "+", "b": "-"})
    rows = [{**row, "run": "r", "selector": "s"} for row in evaluate.results("humaneval", [one])]
    assert tables.conform(rows, tables.RESULTS).num_rows == len(rows)
    rows = [
        {**row, "run": "r", "selector": "s", "against": "base"}
        for row in evaluate.comparison("humaneval", [one], [one])
    ]
    assert tables.conform(rows, tables.COMPARISONS).num_rows == len(rows)
