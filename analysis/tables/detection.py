"""What each score sees of every kind of planted defect."""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.figures.noise import WORDS, in_order
from analysis.logs import Logs
from analysis.measures import auc, counted, interval, stratified
from analysis.typeset import MISSING, Table
from analysis.usable import Run, asked, left_out, of_data, of_scorer, spoiled, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics")
SCORES = {"RMI": "rmi", "IFD": "ifd", "log PPL(Q)": "log_ppl_q", "log PPL(Q|A)": "log_ppl_q_given_a", "log PPL(A)": "log_ppl_a",
          "log PPL(A|Q)": "log_ppl_a_given_q", "RMI, weak scorer": "weak_rmi", "words of the query": "query_words",
          "words of the answer": "answer_words"}  # fmt: skip


def table(logs: Logs) -> Table | None:
    """A section each set of scores with planted noise; a row a score, a column a kind."""
    runs: dict[tuple[str, str], Run] = {}
    labelled = set(logs.metrics.filter(pc.is_valid(logs.metrics["noise"]))["scores"].to_pylist())
    for run in usable(logs):
        if run["scores"] in labelled and spoiled(run):
            runs.setdefault((run["scores"], _how(run)), run)
    kinds = in_order(set(pc.unique(logs.metrics["noise"]).to_pylist()) - {None, "clean"})
    sections = []
    for (scores, how), run in sorted(runs.items(), key=lambda one: (-(one[1]["pairs"] or 0), one[0])):
        metrics = logs.scored(scores)
        sections.append(
            (
                f"{of_data(run)}; {how}; {_counts(metrics, kinds)}",
                [_row(name, values, metrics, kinds) for name, values in seen(metrics).items()],
            )
        )
    if not sections:
        log.info("detection: no usable run has scored pairs whose planted noise is known")
        return None
    out = left_out(logs)
    return Table("What each score sees of planted defects: AUC against unspoiled pairs [95% interval]; R-precision", ["score", *(WORDS.get(kind, kind) for kind in kinds)], sections, [
        "AUC above 0.5: spoiled pairs score higher; below: lower; near 0.5: the score does not order them, though it may put them in its middle or at both ends. Intervals: DeLong et al. 1988, on the logit.",
        "R-precision: of as many unspoiled and spoiled pairs at that end of the score, which these same pairs' AUC chose, as there are spoiled ones, the share that is spoiled [Wilson's interval]; "
        "by chance it is their share.",
        "Ranks are taken inside deciles of the model's own PPL(Q); Diff and Sum are those of the strong and the weak scorer.",
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _how(run: Run) -> str:
    """The scorers, and how they read."""
    how = asked(run, "scorer")
    more = [str(how[name]) for name in ("protocol", "dtype") if name in how]
    return ", ".join([f"scorer {of_scorer(run)}", *more])


def seen(metrics: pa.Table) -> dict[str, np.ndarray]:
    """Every score that the table has for all its pairs, and what selectors make of them."""
    held = {
        name: metrics[column].to_numpy().astype(float)
        for name, column in SCORES.items()
        if not metrics[column].null_count
    }
    ranked = {side: stratified(metrics[f"{side}rmi"].to_numpy(), metrics[f"{side}log_ppl_q"].to_numpy())
              for side in ("", "weak_") if not metrics[f"{side}rmi"].null_count}  # fmt: skip
    made = (
        {"RMI, rank in its decile": ranked[""], "its distance from 62.5%": abs(ranked[""] - 0.625)}
        if "" in ranked
        else {}
    )
    if len(ranked) == 2:
        diff = ranked[""] - ranked["weak_"]
        made |= {"Diff": diff, "Diff without its sign": abs(diff), "Sum": ranked[""] + ranked["weak_"]}
    return {"RMI": held.pop("RMI"), **made, **held} if "RMI" in held else held


def _row(name: str, values: np.ndarray, metrics: pa.Table, kinds: Sequence[str]) -> list[str]:
    noise = np.array([kind or "" for kind in metrics["noise"].to_pylist()])
    return [name, *(_cell(values[noise == kind], values[noise == "clean"]) for kind in kinds)]


def _cell(spoiled_values: np.ndarray, clean: np.ndarray) -> str:
    found = auc(spoiled_values, clean)
    if found is None:
        return MISSING
    high = found.value >= 0.5
    caught, count = (
        precision(spoiled_values if high else -spoiled_values, clean if high else -clean),
        len(spoiled_values),
    )
    return f"{interval(found)}; {counted(caught, count, 0)} {'high' if high else 'low'}"


def precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """How many of the len(positive) highest values are positives; of values that tie at the end their share."""
    values = np.concatenate([positive, negative])
    edge = np.sort(values)[::-1][len(positive) - 1]
    room = len(positive) - (values > edge).sum()
    return float((positive > edge).sum() + room * (positive == edge).sum() / (values == edge).sum())


def _counts(metrics: pa.Table, kinds: Sequence[str]) -> str:
    noise = metrics["noise"].to_pylist()
    return (
        ", ".join(f"{noise.count(kind):,} {WORDS.get(kind, kind)}" for kind in kinds)
        + f", {noise.count('clean'):,} unspoiled"
    )
