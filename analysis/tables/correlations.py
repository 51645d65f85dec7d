"""Correlations of the metrics, between scorers, and overlaps of the selections."""

import itertools
import logging

import numpy as np
import pyarrow.compute as pc

from analysis import drawing, paper
from analysis.logs import Logs
from analysis.measures import interval, jaccard, shared, spearman
from analysis.typeset import MISSING, Table
from analysis.usable import Run, label, left_out, of_data, of_scorer, one_budget, selections, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")
RMI_IFD, TWO_SCORERS = "Spearman of RMI and IFD", "Spearman of RMI, scorer before and after fine-tuning"
KNOWN = {
    RMI_IFD: "rmi_ifd_spearman",
    "overlap of Diff-High and Sum-High": "diff_high_sum_high_overlap",
    TWO_SCORERS: "tuned_scorer_spearman",
}
PAIRS = {RMI_IFD: ("rmi", "ifd"), "Spearman of RMI and log PPL(Q)": ("rmi", "log_ppl_q"),
         "Spearman of RMI, strong and weak scorer": ("rmi", "weak_rmi")}  # fmt: skip


def table(logs: Logs) -> Table | None:
    """A section a set of scores; then one for each two scorers that read the same pairs."""
    runs: dict[str, list[Run]] = {}
    for run in sorted(usable(logs), key=lambda run: (-(run["pairs"] or 0), run["run"])):
        if run["scores"]:
            runs.setdefault(run["scores"], []).append(run)
    sections = [(f"{of_data(own[0])}; scorer {of_scorer(own[0])}", _rows(logs, own)) for own in runs.values()]
    between = _between(logs, [own[0] for own in runs.values()])
    sections += [("Spearman of RMI between two scorers of the same pairs", between)] if between else []
    sections = [section for section in sections if section[1]]
    if not sections:
        log.info("correlations: no usable run has scores")
        return None
    told = {row[0] for _, rows in sections for row in rows}
    absent = [f"{what} (the paper: {paper.NUMBERS[key]})" for what, key in KNOWN.items()
              if what not in told and not (what == TWO_SCORERS and between)]  # fmt: skip
    out = left_out(logs)
    return Table("Correlations and overlaps, the paper's beside ours", ["quantity", "the paper", "ours", "n"], sections, [
        f"The paper: {paper.SCORED}, weak scorer {paper.NUMBERS['weak']}. {MISSING}: it gives no number.",
        *([f"Not measured by us: {'; '.join(absent)}."] if absent else []),
        "Spearman with 95% intervals: Fisher's z, variance of Bonett and Wright. n: pairs.",
        "Overlap: Jaccard; pairs in both as a share of the smaller selection. Which of the two the paper's number is, is not known to us.",
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _rows(logs: Logs, runs: list[Run]) -> list[list[str]]:
    held, rows = _metrics(logs, runs[0]["scores"]), []
    for what, (x, y) in PAIRS.items():
        found = spearman(held[x], held[y]) if x in held and y in held else None
        rows += [[what, _known(what), interval(found), f"{found.n:,}"]] if found else []
    chosen = sorted(one_budget(selections(logs, runs)), key=lambda one: drawing.order(label(one[0])))
    for (a, a_ids), (b, b_ids) in itertools.combinations(chosen, 2):
        what = f"overlap of {label(a)} and {label(b)}"
        theirs = _known(what) if float(a["budget"]) == 0.25 else MISSING
        rows.append(
            [
                what,
                theirs,
                f"{jaccard(a_ids, b_ids):.1%}; {shared(a_ids, b_ids):.1%}",
                f"{len(a_ids):,}, {len(b_ids):,}",
            ]
        )
    return rows


def _known(what: str) -> str:
    return str(paper.NUMBERS[KNOWN[what]]) if what in KNOWN else MISSING


def _metrics(logs: Logs, digest: str) -> dict[str, np.ndarray]:
    found = logs.metrics.filter(pc.equal(logs.metrics["scores"], digest))
    return {name: found[name].to_numpy() for name in found.column_names if found[name].null_count == 0}


def _between(logs: Logs, runs: list[Run]) -> list[list[str]]:
    """Over the pairs that both have read; `runs`: one of each set of scores."""
    rows = []
    for a, b in itertools.combinations(runs, 2):
        if a["data_digest"] != b["data_digest"]:
            continue
        first, second = _metrics(logs, a["scores"]), _metrics(logs, b["scores"])
        _, here, there = np.intersect1d(first["id"].astype(str), second["id"].astype(str), return_indices=True)
        found = spearman(first["rmi"][here], second["rmi"][there]) if "rmi" in first and "rmi" in second else None
        if found:
            theirs = f"{paper.NUMBERS['tuned_scorer_spearman']} (before and after fine-tuning)"
            rows.append([f"{of_data(a)}: {of_scorer(a)}; and {of_scorer(b)}", theirs, interval(found), f"{found.n:,}"])
    return rows
