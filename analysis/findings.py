"""What a report of runs says, as plain values from LOGS: the same for the HTML page and for W&B.

Nothing is averaged and nothing left out: a run that must not be used stands there with its mark, and a cell of a sweep that
no run has as missing. A scoring is one set of pairs read by one scorer (or two); runs that share it differ in what they
selected.
"""

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis import contents, scored
from analysis.logs import Logs, counts
from qaq import report
from qaq.select import base
from qaq.tables import METRICS

STRATA = 10  # deciles of PPL(Q), as in the paper
DIGITS = 4  # of a metric, nats per token: finer than one reading of a pair repeats in float32
Rows = list[dict[str, Any]]


def findings(logs: Logs) -> dict[str, Any]:
    """Everything a report shows."""
    runs = sorted(logs.runs.to_pylist(), key=_order)
    subsets = _subsets(logs.subsets)
    names = names_of(runs)
    data = {digest: _data(logs, digest) for digest in sorted({r["data_digest"] for r in runs if r["data_digest"]})}
    scorings = [_scoring(logs, scores, runs, subsets, names) for scores in _in_use(runs, logs.metrics)]
    return {
        "title": title(runs),
        "runs": [_run(run, names, scorings) for run in runs],
        "results": results(logs, runs, names),
        "comparisons": comparisons(logs, runs, names),
        "leakage": contents.leakage(logs, runs, names),
        "composition": contents.composition(logs, runs, names),
        "scorings": scorings,
        "data": data,
    }


def _order(run: dict[str, Any]) -> tuple[Any, ...]:
    """Runs that are alike stand together, the larger budget first."""
    return (
        run["data"] or "",
        run["selector"] or "",
        -float(run["budget"] or 0),
        run["seed"] or 0,
        run["name"] or "",
        run["run"],
    )


def title(runs: Rows) -> str:
    """One line that says how much of what this is."""
    data = sorted({run["data"] for run in runs if run["data"]})
    selectors = sorted({run["selector"] for run in runs if run["selector"]})
    return f"{', '.join(data) or 'no data'}: {len(runs)} run{'s' * (len(runs) != 1)} of {', '.join(selectors) or 'no selector'}"


def names_of(runs: Rows) -> dict[str, str]:
    """A short name for each run: selector and budget, and whatever else is needed to tell it from the others."""
    levels = ("data", "target", "scorer", "train", "options", "seed", "run")
    names = {run["run"]: f"{run['selector'] or 'no selector'} {budget(run['budget'])}".strip() for run in runs}
    for level in levels:
        same = defaultdict(list)
        for run in runs:
            same[names[run["run"]]].append(run)
        for name, alike in same.items():
            values = {run["run"]: _value(level, run) for run in alike}
            if len(set(values.values())) > 1:
                names |= {id: name + _part(level, value, set(values.values())) for id, value in values.items()}
    return names


def _value(level: str, run: dict[str, Any]) -> Any:
    return tuple(sorted(scored.details(run).items())) if level == "options" else run[level]


def _part(level: str, value: Any, values: set[Any]) -> str:
    if level == "options":
        return scored.differing(value, values)
    return f", {level} {value}" if level in ("seed", "run") else f", {value}"


def budget(value: str | None) -> str:
    """`25%` of a share, `500 pairs` of a number; nothing where there is none."""
    if not value:
        return ""
    number = float(value)
    return f"{number:,.0f} pairs" if number > 1 else f"{100 * number:.4g}%"


def results(logs: Logs, runs: Rows, names: dict[str, str]) -> Rows:
    """Rows of the table with intervals. A base model that several runs share stands there once."""
    rows, base_rows = [], set()
    order = {run["run"]: i for i, run in enumerate(runs)}
    marks = {run["run"]: run["mark"] for run in runs}
    seeds = _training_seeds(logs.results.to_pylist())
    for row in sorted(logs.results.to_pylist(), key=lambda row: (row["selector"] != "base", order.get(row["run"], -1))):
        is_base = row["selector"] == "base"
        same = tuple(row[name] for name in ("models", "benchmark", "metric", "value", "low", "high", "tasks"))
        if is_base and same in base_rows:
            continue
        base_rows |= {same} if is_base else set()
        shown = {"model": _model(row, names, seeds), "mark": marks.get(row["run"]), "text": report.interval(row)}
        kept = ("run", "benchmark", "metric", "value", "low", "high", "tasks", "count", "of", "models")
        rows.append({**{name: row[name] for name in kept}, **shown, "base": is_base})
    return rows


def comparisons(logs: Logs, runs: Rows, names: dict[str, str]) -> Rows:
    """Each model less the one it is compared with, task by task."""
    known, seeds = {run["run"] for run in runs}, _training_seeds(logs.comparisons.to_pylist())
    return [
        {
            "run": row["run"], "model": _model(row, names, seeds), "against": row["against"], "benchmark": row["benchmark"],
            "metric": row["metric"], "difference": report.gain(row), "tally": report.tally(row),
            "p": report.p_value(row["p"]), "tasks": row["tasks"],
        }
        for row in logs.comparisons.to_pylist() if row["run"] in known
    ]  # fmt: skip


def _model(row: dict[str, Any], names: dict[str, str], seeds: dict[str, set[int]]) -> str:
    """`seeds` holds each run's training seeds: one of one is not worth telling."""
    if row["selector"] == "base":
        return "base model"
    name = names.get(row["run"], row["selector"])
    if (row["pooled"] or 1) > 1:
        return f"{name}, {row['pooled']} training seeds pooled"
    return f"{name}, training seed {row['train_seed']}" if len(seeds[row["run"]]) > 1 else name


def _training_seeds(rows: Rows) -> dict[str, set[int]]:
    seeds = defaultdict(set)
    for row in rows:
        seeds[row["run"]] |= {row["train_seed"]} - {None}
    return seeds


def _run(run: dict[str, Any], names: dict[str, str], scorings: Rows) -> dict[str, Any]:
    place = next((i for i, scoring in enumerate(scorings) if scoring["scores"] == run["scores"]), None)
    held = {} if place is None else {s: subset for subset in scorings[place]["subsets"] for s in subset["runs"]}
    parsed = {name: json.loads(run[name]) if run[name] else {} for name in ("config", "keys", "seconds")}
    spoiled = held[run["run"]]["spoiled"] if run["run"] in held else None
    return {
        **run,
        **parsed,
        "label": names[run["run"]],
        "usable": counts(run),
        "budget": budget(run["budget"]),
        "scoring": place,
        "spoiled": spoiled,
    }


def _in_use(runs: Rows, metrics: pa.Table) -> list[str]:
    """Digests of the scorings that have metrics, in the order of the first run of each."""
    there = set(pc.unique(metrics["scores"]).to_pylist())
    return [scores for scores in dict.fromkeys(run["scores"] for run in runs) if scores in there]


def _scoring(
    logs: Logs, scores: str, runs: Rows, subsets: dict[str, pa.Table], names: dict[str, str]
) -> dict[str, Any]:
    metrics = logs.scored(scores).sort_by("id")
    using = [run for run in runs if run["scores"] == scores]
    values = {name: metrics[name].to_numpy().astype(np.float64) for name in METRICS.columns.names[1:]}
    held = {name: column for name, column in values.items() if np.isfinite(column).any()}
    shown = {**held, **_strata(held, ""), **_strata(held, "weak_")}
    scorer = " and ".join(name for name in (using[0]["scorer"], using[0]["weak"]) if name)
    return {
        "scores": scores,
        "data": using[0]["data_digest"],
        "name": f"{using[0]['data']}: {metrics.num_rows:,} pairs read by {scorer}",
        "scorer": using[0]["scorer"],
        "weak": using[0]["weak"],
        "ids": metrics["id"].to_pylist(),
        "columns": {name: _plain(column) for name, column in shown.items()},
        "noise": _noise(metrics),
        "subsets": _chosen(metrics, [run for run in using if run["run"] in subsets], subsets, names),
    }


def _strata(values: dict[str, np.ndarray], side: str) -> dict[str, np.ndarray]:
    """The decile of PPL(Q), 0 to 9, and the rank of RMI inside it on [0, 1]; NaN where either is missing."""
    rmi, ppl = values.get(f"{side}rmi"), values.get(f"{side}log_ppl_q")
    if rmi is None or ppl is None:
        return {}
    there = np.isfinite(rmi) & np.isfinite(ppl)
    decile, rank = np.full(len(rmi), np.nan), np.full(len(rmi), np.nan)
    decile[there] = base.strata(ppl[there], STRATA)
    rank[there] = base.scaled(*base.ranks_within(rmi[there], decile[there].astype(np.int64)))
    return {f"{side}decile": decile, f"{side}rank": rank}


def _plain(column: np.ndarray) -> list[float | int | None]:
    rounded = np.round(column, DIGITS)
    return [None if not np.isfinite(x) else int(x) if x == int(x) else x for x in rounded.tolist()]


def _noise(metrics: pa.Table) -> list[str] | None:
    """The planted defect of each pair, "clean" where none; None where nobody planted any."""
    kinds = metrics["noise"].to_pylist() if "noise" in metrics.column_names else []
    return [kind or "unknown" for kind in kinds] if any(kind not in (None, "clean") for kind in kinds) else None


def _chosen(metrics: pa.Table, using: Rows, subsets: dict[str, pa.Table], names: dict[str, str]) -> Rows:
    """The distinct subsets of a scoring, each with the positions of its pairs, best first, and the runs that chose it."""
    found: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for run in using:
        places = pc.index_in(subsets[run["run"]]["id"], metrics["id"].combine_chunks())
        found[tuple(places.drop_null().to_pylist())].append(run["run"])
    spoiled = _noise(metrics)
    return [
        {
            "label": " = ".join(dict.fromkeys(names[run] for run in runs)),
            "runs": runs,
            "order": list(order),
            "spoiled": _spoiled(spoiled, order),
        }
        for order, runs in found.items()
    ]


def _spoiled(noise: list[str] | None, order: tuple[int, ...]) -> dict[str, float] | None:
    if noise is None or not order:
        return None
    bad = np.array([kind not in ("clean", "unknown") for kind in noise])
    return {"in_data": float(bad.mean()), "in_subset": float(bad[list(order)].mean())}


def _subsets(table: pa.Table) -> dict[str, pa.Table]:
    """Each run's SUBSET, best first."""
    ordered = table.select(["run", "rank", "id"]).sort_by([("run", "ascending"), ("rank", "ascending")])
    return {run: ordered.filter(pc.equal(ordered["run"], run)) for run in pc.unique(ordered["run"]).to_pylist()}


def _data(logs: Logs, digest: str) -> dict[str, Any]:
    """Texts of a data set by id, and what was refused; without texts where the logs hold none."""
    pairs, refused = _of(logs.pairs, digest), _of(logs.quarantine, digest)
    columns = ("id", "row", "query", "answer", "source")
    texts = {name: pairs[name].to_pylist() for name in columns} if pairs is not None else None
    return {
        "pairs": texts,
        "quarantine": refused.select(["row", "reason", "record"]).to_pylist() if refused is not None else [],
    }


def _of(table: pa.Table | None, digest: str) -> pa.Table | None:
    return None if table is None else table.filter(pc.equal(table["data_digest"], digest))
