"""Correlations of the metrics, between scorers, and overlaps of the selections."""

import itertools
import logging
from typing import Any

import numpy as np
import pyarrow as pa

from analysis import drawing, paper
from analysis.logs import Logs
from analysis.measures import DECILES, counted, interval, overlap, spearman
from analysis.scored import reading
from analysis.typeset import MISSING, Table
from analysis.usable import Run, asked, asks_weak, label, left_out, of_data, of_scorer, one_budget, selections, usable
from qaq.select import select
from qaq.select.base import ranks, scaled, strata

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")
RMI_IFD, TWO_SCORERS = "Spearman of RMI and IFD", "Spearman of RMI, scorer before and after fine-tuning"
KNOWN = {
    RMI_IFD: "rmi_ifd_spearman",
    "overlap of Diff-High and Sum-High": "diff_high_sum_high_overlap",
    TWO_SCORERS: "tuned_scorer_spearman",
}
PAIRS = {RMI_IFD: ("rmi", "ifd"), "Spearman of RMI and log PPL(Q)": ("rmi", "log_ppl_q"),
         "Spearman of log PPL(Q) and RMI's distance from its decile's median": ("log_ppl_q", "spread"),
         "Spearman of RMI, strong and weak scorer": ("rmi", "weak_rmi")}  # fmt: skip
EASY = 3  # deciles


def table(logs: Logs) -> Table | None:
    """A section a set of scores; then one for each two scorers that read the same pairs."""
    runs: dict[str, list[Run]] = {}
    for run in sorted(usable(logs), key=lambda run: (-(run["pairs"] or 0), run["run"])):
        if run["scores"]:
            runs.setdefault(run["scores"], []).append(run)
    sections = [(f"{of_data(own[0])}; scorer {of_scorer(own[0])}", _rows(logs, own)) for own in runs.values()]
    between = _between(logs, list(runs.values()))
    sections += [("Between two readings of the same pairs", between)] if between else []
    sections = [section for section in sections if section[1]]
    if not sections:
        log.info("correlations: no usable run has scores")
        return None
    told = {row[0] for _, rows in sections for row in rows}
    absent = [f"{what} (the paper: {paper.NUMBERS[key]})" for what, key in KNOWN.items()
              if what not in told and not (what == TWO_SCORERS and any(row[1] != MISSING for row in between))]  # fmt: skip
    out = left_out(logs)
    return Table("Correlations and overlaps, the paper's beside ours", ["quantity", "the paper", "ours", "n"], sections, [
        f"The paper: {paper.SCORED}, weak scorer {paper.NUMBERS['weak']}. {MISSING}: it gives no number.",
        *([f"Not measured by us: {'; '.join(absent)}."] if absent else []),
        "Spearman with 95% intervals: Fisher's z, variance of Bonett and Wright. n: pairs.",
        "Overlap: Jaccard; pairs in both as a share of the smaller selection, with Wilson's interval. Which of the two the paper's "
        "number is, is not known to us.",
        *(["Two readings: those that differ in one thing (scorer, weak scorer, or an option), and of those that differ in the weak scorer "
           "only what looks at it."] if between else []),
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _rows(logs: Logs, runs: list[Run]) -> list[list[str]]:
    held, rows = _arrays(logs.scored(runs[0]["scores"])), []
    if {"rmi", "log_ppl_q"} <= set(held) and len(held["rmi"]) >= 2 * DECILES:
        held["spread"] = _spread(held["rmi"], held["log_ppl_q"])
        rows += _easy(held["rmi"], held["log_ppl_q"])
    for what, (x, y) in PAIRS.items():
        found = spearman(held[x], held[y]) if x in held and y in held else None
        rows += [[what, _known(what), interval(found), f"{found.n:,}"]] if found else []
    chosen = sorted(one_budget(selections(logs, runs)), key=lambda one: drawing.order(label(one[0])))
    for (a, a_ids), (b, b_ids) in itertools.combinations(chosen, 2):
        what = f"overlap of {label(a)} and {label(b)}"
        theirs = _known(what) if float(a["budget"]) == 0.25 else MISSING
        rows.append([what, theirs, overlap(a_ids, b_ids), f"{len(a_ids):,}, {len(b_ids):,}"])
    return rows


def _spread(rmi: np.ndarray, log_ppl_q: np.ndarray) -> np.ndarray:
    """How far each pair's RMI lies from the median of its decile of PPL(Q): correlated with PPL(Q) where the spread hangs on it."""
    stratum = strata(log_ppl_q, DECILES)
    medians = np.array([np.median(rmi[stratum == k]) for k in range(DECILES)])
    return abs(rmi - medians[stratum])


def _easy(rmi: np.ndarray, log_ppl_q: np.ndarray) -> list[list[str]]:
    """What a global rank does to the queries that are easiest to predict, which stratification leaves at their share."""
    easy, rank, rows = strata(log_ppl_q, DECILES) < EASY, scaled(ranks(rmi), len(rmi)), []
    for low, high in ((0.5, 0.75), (0.5, 1.0)):
        band = (rank >= low) & (rank < high)
        kept, count = int((easy & band).sum()), int(band.sum())
        rows.append([f"share of the {EASY} lowest deciles of PPL(Q) in {low:.0%} to {high:.0%} of RMI's global rank ({EASY / DECILES:.0%} if stratified)",
                     MISSING, counted(kept, count), f"{count:,}"])  # fmt: skip
    return rows


def _known(what: str) -> str:
    return str(paper.NUMBERS[KNOWN[what]]) if what in KNOWN else MISSING


def _arrays(scores: pa.Table) -> dict[str, np.ndarray]:
    return {name: scores[name].to_numpy() for name in scores.column_names if scores[name].null_count == 0}


def _between(logs: Logs, runs: list[list[Run]]) -> list[list[str]]:
    """Two readings of the same pairs that differ in one thing; `runs`: of each set of scores."""
    rows, told = [], set()
    readings = [(own[0], selections(logs, own)) for own in runs]
    for (a, ours), (b, others) in itertools.combinations(readings, 2):
        if a["data_digest"] != b["data_digest"] or len(_apart(a, b)) != 1:
            continue
        strong = frozenset(_strong(run) for run in (a, b))
        which = f"{of_data(a)}: {_told(a, b)}; and {_told(b, a)}"
        # of RMI once, whatever weak scorers stand beside
        both = [] if len(strong) == 1 or strong in told else [logs.scored(run["scores"]) for run in (a, b)]
        told.add(strong)
        # the paper's other scorer is its own, fine-tuned: no number for other models
        theirs = str(paper.NUMBERS["tuned_scorer_spearman"]) if _tuned(a, b) or _tuned(b, a) else MISSING
        rows += _same_order(*both, which, theirs) if both else []
        quarters = [_quarter(scores) for scores in both]
        chosen = [(run, [ids, other_ids]) for (run, ids), (other, other_ids) in itertools.product(ours, others)
                  if (label(run), run["budget"]) == (label(other), other["budget"])]  # fmt: skip
        if quarters and all(quarters):
            rows.append(_overlap("the quarters that stratified RMI keeps", quarters, which))
        rows += [_overlap(f"{label(run)} at budget {run['budget']}", ids, which) for run, ids in chosen
                 if run["selector"] not in ("full", "random") and ids != quarters and (both or asks_weak(run))]  # fmt: skip
    return rows


def _same_order(ours: pa.Table, others: pa.Table, which: str, theirs: str) -> list[list[str]]:
    """Spearman of RMI over the pairs that both have read; no row where one has no RMI."""
    first, second = _arrays(ours), _arrays(others)
    if "rmi" not in first or "rmi" not in second:
        return []
    _, here, there = np.intersect1d(first["id"].astype(str), second["id"].astype(str), return_indices=True)
    found = spearman(first["rmi"][here], second["rmi"][there])
    return [[f"Spearman of RMI, {which}", theirs, interval(found), f"{found.n:,}"]] if found else []


def _overlap(what: str, ids: list[frozenset[str]], which: str) -> list[str]:
    return [f"overlap of {what}, {which}", MISSING, overlap(*ids), ", ".join(f"{len(one):,}" for one in ids)]


def _apart(run: Run, other: Run) -> list[str]:
    """In what two readings differ; that only one of them has a weak scorer is no difference."""
    mine, theirs = reading(run), reading(other)
    options = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
    models = [name for name in ("scorer", "weak") if run[name] and other[name] and run[name] != other[name]]
    return models + options


def _strong(run: Run) -> tuple[Any, ...]:
    """How it read RMI."""
    return (run["data_digest"], run["scorer"], *sorted(reading(run).items()))


def _quarter(scores: pa.Table) -> frozenset[str]:
    """Ids that stratified RMI would keep at a quarter, whether or not a run asked it; none where a score is missing."""
    if any(scores[name].null_count for name in ("rmi", "log_ppl_q")) or scores.num_rows < 4:
        return frozenset()
    band = {"name": "stratified", "low": 0.5, "strata": DECILES}
    return frozenset(select(scores, band, scores.num_rows // 4, seed=0)["id"].to_pylist())


def _told(run: Run, other: Run) -> str:
    """The run's models, and in what else it read otherwise than `other`."""
    mine, theirs = reading(run), reading(other)
    more = [f"scorer.{name} {value}" for name, value in mine.items() if value != theirs.get(name)]
    return ", ".join([of_scorer(run), *more])


def _tuned(run: Run, other: Run) -> bool:
    """Whether `run` was read by the scorer of `other` after fine-tuning (scorer=tuned)."""
    return asked(run, "scorer").get("name") == "tuned" and run["scorer"] == f"{other['scorer']} fine-tuned"
