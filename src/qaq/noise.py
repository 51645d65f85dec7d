"""How much planted noise (data.noise) a subset holds, and what each metric sees of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qaq import select
from qaq.select.base import middle_ranks

METRICS = ("rmi", "ifd", "log_ppl_q", "log_ppl_q_given_a", "log_ppl_a", "log_ppl_a_given_q", "weak_rmi")


def grade(
    metrics: pa.Table, labels: pa.Table, subset: pa.Table, options: dict[str, Any], count: int, seed: int
) -> dict[str, Any]:
    """What result.json says of planted noise; `labels` holds id and noise ("clean" where nothing was spoiled).

    noise: share of spoiled pairs in the data and in this run's subset. noise_auc: see `by_metric`. noise_by_selector:
    the same share for every selector at its defaults and `count`, and for this run's own subset; where a selector needs what
    `metrics` does not hold, or cannot fill `count`, a note says so.
    """
    kinds = labels["noise"].take(pc.index_in(metrics["id"], labels["id"]))
    spoiled = metrics["id"].filter(pc.not_equal(kinds, "clean"))
    others = [other for other in select.defaults() if other["name"] != options["name"]]
    return {
        "noise": {"in_data": _share(spoiled, metrics), "in_subset": _share(spoiled, subset)},
        "noise_auc": by_metric(metrics, kinds.to_pylist()),
        "noise_by_selector": [
            {"selector": other["name"], **_let_through(spoiled, metrics, other, count, seed)}
            for other in sorted([*others, options], key=lambda o: o["name"])
        ],
    }


def by_metric(metrics: pa.Table, noise: Sequence[str]) -> list[dict[str, Any]]:
    """AUC of every metric for every kind of noise against the clean pairs; above 0.5: spoiled pairs score higher,
    below: lower. `noise` is aligned with `metrics`."""
    labels = np.array(noise)
    held = [name for name in METRICS if metrics[name].null_count == 0]
    rows = []
    for kind in sorted(set(labels) - {"clean"}):
        mask = (labels == kind) | (labels == "clean")
        values = {m: auc(metrics[m].to_numpy()[mask], (labels == kind)[mask]) for m in held}
        rows.append({"kind": str(kind), "pairs": int((labels == kind).sum()), **values})
    return rows


def auc(values: np.ndarray, positive: np.ndarray) -> float | None:
    """P(a positive's value > a negative's), ties half (Mann-Whitney U / n_pos n_neg). None if a side is empty."""
    count, total = int(positive.sum()), len(values)
    if count in (0, total):
        return None
    return float((middle_ranks(values)[positive].sum() - count * (count + 1) / 2) / (count * (total - count)))


def _let_through(
    spoiled: pa.ChunkedArray, metrics: pa.Table, options: dict[str, Any], count: int, seed: int
) -> dict[str, Any]:
    if select.needs_weak(options) and metrics["weak_rmi"].null_count:
        return {"note": "needs two scorers: scorer=embedded_pair"}
    if absent := select.absent(metrics, options):
        return {"note": f"needs {', '.join(absent)}: selector={options['name']}"}
    try:
        subset = select.select(metrics, options, count, seed)
    except ValueError as error:  # a selector whose own rule cannot fill this budget is reported, not hidden
        return {"note": str(error)}
    return {"selected": subset.num_rows, "in_subset": _share(spoiled, subset)}


def _share(spoiled: pa.ChunkedArray, table: pa.Table) -> float:
    """Share of the table's ids that are among the spoiled ones."""
    return pc.mean(pc.is_in(table["id"], spoiled)).as_py()
