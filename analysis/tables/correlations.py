"""Correlations of the metrics, between scorers, and overlaps of the selections."""

import itertools
import logging
from collections import defaultdict

import numpy as np
import pyarrow.compute as pc

from analysis import paper
from analysis.logs import Logs
from analysis.measures import Spearman, jaccard, shared, spearman
from analysis.typeset import MISSING, Table
from analysis.usable import Run, has_noise, label, of_data, of_scorer, selections, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")
# (what, columns, the paper's number)
PAIRS = (("Spearman of RMI and IFD", ("rmi", "ifd"), "rmi_ifd_spearman"), ("Spearman of RMI and log PPL(Q)", ("rmi", "log_ppl_q"), None),
         ("Spearman of RMI, strong and weak scorer", ("rmi", "weak_rmi"), None))  # fmt: skip


def table(logs: Logs) -> Table | None:
    """A section each set of scores; then one for each two scorers that read the same pairs."""
    by_scores: dict[str, list[Run]] = defaultdict(list)
    for run in usable(logs):
        by_scores[run["scores"]].append(run)
    held = {
        digest: runs
        for digest, runs in sorted(by_scores.items(), key=lambda one: (-(one[1][0]["pairs"] or 0), one[0] or ""))
        if digest
    }
    sections = [(_heading(logs, runs[0]), _rows(logs, digest, runs)) for digest, runs in held.items()]
    sections += _between(logs, held)
    if not any(rows for _, rows in sections):
        return log.info("correlations: no usable run has scores")
    return Table("Correlations and overlaps", ["quantity", "the paper", "ours", "n"], [s for s in sections if s[1]], [
        f"The paper: {paper.SCORED}, weak scorer {paper.NUMBERS['weak']}; {MISSING}: it gives no number.",
        "Spearman's 95% intervals: Fisher's z, variance of Bonett and Wright. n: pairs.",
        "Overlap: Jaccard; pairs in both as a share of the smaller selection. The paper does not say which of the two its number is."])  # fmt: skip


def _metrics(logs: Logs, digest: str) -> dict[str, np.ndarray]:
    found = logs.metrics.filter(pc.equal(logs.metrics["scores"], digest))
    return {name: found[name].to_numpy() for name in found.column_names if found[name].null_count == 0}


def _heading(logs: Logs, run: Run) -> str:
    spoiled = has_noise(logs.metrics.filter(pc.equal(logs.metrics["scores"], run["scores"])))
    return f"{of_data(run)}{', a part spoiled on purpose' if spoiled else ''}; scorer {of_scorer(run)}"


def _rows(logs: Logs, digest: str, runs: list[Run]) -> list[list[str]]:
    held = _metrics(logs, digest)
    rows = []
    for what, (x, y), key in PAIRS:
        found = spearman(held[x], held[y]) if x in held and y in held else None
        if found:
            rows.append([what, f"{paper.NUMBERS[key]}" if key else MISSING, _interval(found), f"{found.n:,}"])
    return rows + _overlaps(logs, runs)


def _interval(found: Spearman) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _overlaps(logs: Logs, runs: list[Run]) -> list[list[str]]:
    """Each two selectors at each budget that both have."""
    by_budget = defaultdict(list)
    for run, ids in selections(logs, runs):
        if run["selector"] != "full":
            by_budget[run["budget"]].append((label(run), ids))
    rows = []
    for budget, chosen in sorted(by_budget.items(), key=lambda one: float(one[0])):
        for (a, a_ids), (b, b_ids) in itertools.combinations(sorted(chosen, key=lambda one: one[0]), 2):
            known = {a, b} == {"Diff-High", "Sum-High"} and float(budget) == 0.25
            published = f"{paper.NUMBERS['diff_high_sum_high_overlap']:.2%}" if known else MISSING
            rows.append([f"overlap of {a} and {b}, budget {budget}", published,
                         f"{jaccard(a_ids, b_ids):.1%}; {shared(a_ids, b_ids):.1%}", f"{len(a_ids):,}, {len(b_ids):,}"])  # fmt: skip
    return rows


def _between(logs: Logs, held: dict[str, list[Run]]) -> list[tuple[str, list[list[str]]]]:
    """Spearman of RMI between each two sets of scores of one data set, over the pairs both have."""
    rows = []
    for (a, a_runs), (b, b_runs) in itertools.combinations(held.items(), 2):
        if a_runs[0]["data_digest"] != b_runs[0]["data_digest"]:
            continue
        first, second = _metrics(logs, a), _metrics(logs, b)
        if "rmi" not in first or "rmi" not in second:
            continue
        _, here, there = np.intersect1d(first["id"].astype(str), second["id"].astype(str), return_indices=True)
        found = spearman(first["rmi"][here], second["rmi"][there])
        if found:
            what = f"{of_data(a_runs[0])}: {of_scorer(a_runs[0])} and {of_scorer(b_runs[0])}"
            rows.append(
                [
                    what,
                    f"{paper.NUMBERS['tuned_scorer_spearman']} (scorer before and after fine-tuning)",
                    _interval(found),
                    f"{found.n:,}",
                ]
            )
    return [("Spearman of RMI between two scorers", rows)] if rows else []
