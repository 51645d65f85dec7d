"""LOGS of a sweep that never ran: every number is drawn from a generator, the selections are real ones of them."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from analysis import logs  # noqa: E402
from qaq import select  # noqa: E402
from qaq.config import pairs_for  # noqa: E402

KINDS = ("clean", "clean", "clean", "swapped", "echo", "invented", "cut", "clean", "clean", "clean")
SELECTORS = (
    {"name": "random"}, {"name": "ifd", "ratio": "loss", "max_ifd": None}, {"name": "rmi", "low": 0.5},
    {"name": "stratified", "low": 0.5, "strata": 10},
    {"name": "disagreement", "kind": "diff_high", "threshold": None, "stratified": True, "strata": 10},
    {"name": "disagreement", "kind": "sum_high", "threshold": None, "stratified": True, "strata": 10})  # fmt: skip
BENCHMARKS = ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus")


def metrics(pairs: int, noise: bool = False, seed: int = 0) -> pa.Table:
    """RMI whose spread grows with log PPL(Q), and a weak scorer that half agrees."""
    draw = np.random.default_rng(seed)
    log_ppl_q = draw.gamma(9, 0.3, pairs)
    rmi = draw.normal(0.3, 0.35, pairs) * log_ppl_q
    columns: dict[str, Any] = {"log_ppl_q": log_ppl_q, "rmi": rmi, "log_ppl_q_given_a": log_ppl_q - rmi}
    columns |= {"log_ppl_a": draw.gamma(8, 0.2, pairs), "ifd": draw.gamma(12, 0.06, pairs) - 0.05 * rmi}
    columns["log_ppl_a_given_q"] = columns["log_ppl_a"] * columns["ifd"]
    columns |= {f"weak_{name}": values + draw.normal(0, 0.4, pairs) for name, values in columns.items()}
    ids = [hashlib.sha256(f"{seed} {k}".encode()).hexdigest()[:16] for k in range(pairs)]
    kinds = [KINDS[k % len(KINDS)] if noise else "clean" for k in range(pairs)]
    return pa.table({"scores": [f"scores{seed}{noise:d}"] * pairs, "id": ids, **columns, "noise": kinds})


def run(options: dict[str, Any], budget: Any, table: pa.Table, **other: Any) -> dict[str, Any]:
    """A row of RUNS; `other` overrides."""
    name = " ".join([options["name"], *([options["kind"]] if "kind" in options else [])])
    row = {"name": f"{name} {budget}", "group": "sweep", "status": "complete", "selector": name, "budget": str(budget), "seed": 0,
           "data": "invented", "data_digest": "d" * 64, "rows": table.num_rows + 1, "pairs": table.num_rows, "scorer": "strong-model",
           "weak": "weak-model", "target": "target-model", "train": "smoke", "benchmark": "humaneval_plus", "partial": "",
           "scores": table["scores"][0].as_py(), "config": json.dumps({"selector": options, "data": {"noise": 0.4 if "1" in table["scores"][0].as_py()[-1] else 0.0}}), "keys": "{}",
           "seconds": json.dumps({"score": 30.5, "score_weak": 10.0, "select": 0.002, "train": 61.0, "total": 123.4})}  # fmt: skip
    row |= other
    row["cell"] = _hex(
        {name: value for name, value in row.items() if name not in ("seed", "name", "status", "mark", "run")}
    )
    return {"run": _hex(row), **row}


def small(pairs: int = 80, budgets: tuple[float, ...] = (0.1, 0.25, 0.5), noise: bool = False, seed: int = 0,
          benchmarks: tuple[str, ...] = BENCHMARKS[:2], steps: int = 6, selectors: tuple[dict[str, Any], ...] = SELECTORS) -> logs.Logs:  # fmt: skip
    """Every selector at every budget and the full data, each trained and evaluated."""
    table = metrics(pairs, noise, seed)
    plain = table.drop(["scores", "noise"])
    cells = [(options, budget) for options in selectors for budget in budgets] + [({"name": "full"}, 0.25)]
    runs, subsets, results, training = [], [], [], []
    for k, (options, budget) in enumerate(cells):
        count = pairs if options["name"] == "full" else pairs_for(budget, pairs)
        chosen = select.select(plain, options, count, 0)
        row = run(options, budget, table, selected=chosen.num_rows)
        runs.append(row)
        subsets += [{"run": row["run"], **one} for one in chosen.to_pylist()]
        results += [result(row, b, 0.3 + 0.01 * k - 0.03 * n) for n, b in enumerate(benchmarks)]
        results += [result(row, b, 0.21 - 0.02 * n, selector="base") for n, b in enumerate(benchmarks)]
        training += [{"run": row["run"], "train_seed": 0, "step": s, "loss": 2.0 / (s + k), "learning_rate": 1e-5 * s, "tokens": 100 + s}
                     for s in range(1, steps + 1)]  # fmt: skip
    return logs.conform(runs=runs, metrics=table, subsets=subsets, results=results, training=training)


def result(row: dict[str, Any], benchmark: str, value: float, **other: Any) -> dict[str, Any]:
    """A row of RESULTS of a run, an interval of a tenth around it."""
    return {"run": row["run"], "benchmark": benchmark, "metric": "pass@1", "selector": row["selector"].split()[0], "budget": row["budget"],
            "seed": row["seed"], "train_seed": 0, "value": value, "low": value - 0.05, "high": value + 0.05, "tasks": 164, "count": 50,
            "of": 164, "pooled": 1, **other}  # fmt: skip


def _hex(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
