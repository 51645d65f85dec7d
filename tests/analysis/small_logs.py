"""LOGS of a sweep that never ran: every number is drawn from a generator, the selections are real ones of them."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from analysis import logs  # noqa: E402
from qaq import composition, select  # noqa: E402
from qaq.config import pairs_for  # noqa: E402
from qaq.tables import FACETS, conform  # noqa: E402

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


def run(
    options: dict[str, Any], budget: Any, table: pa.Table, recipe: dict[str, Any] | None = None, **other: Any
) -> dict[str, Any]:
    """A row of RUNS; `other` overrides. `recipe`: of the settings of `train`."""
    config = {"selector": options, "data": {"noise": 0.4 if "1" in table["scores"][0].as_py()[-1] else 0.0}}
    config |= {"train": recipe} if recipe else {}
    name = " ".join([options["name"], *([options["kind"]] if "kind" in options else [])])
    row = {"name": f"{name} {budget}", "group": "sweep", "status": "complete", "selector": name, "budget": str(budget), "seed": 0,
           "data": "invented", "data_digest": "d" * 64, "rows": table.num_rows + 1, "pairs": table.num_rows, "scorer": "strong-model",
           "weak": "weak-model", "target": "target-model", "train": "smoke", "benchmark": "humaneval_plus", "partial": "",
           "scores": table["scores"][0].as_py(), "config": json.dumps(config), "keys": "{}",
           "seconds": json.dumps({"score": 30.5, "score_weak": 10.0, "select": 0.002, "train": 61.0, "total": 123.4})}  # fmt: skip
    row |= other
    row["cell"] = _hex(
        {name: value for name, value in row.items() if name not in ("seed", "name", "status", "mark", "run")}
    )
    return {"run": _hex(row), **row}


def small(pairs: int = 80, budgets: tuple[float, ...] = (0.1, 0.25, 0.5), noise: bool = False, seed: int = 0,
          benchmarks: tuple[str, ...] = BENCHMARKS[:2], steps: int = 6, selectors: tuple[dict[str, Any], ...] = SELECTORS,
          recipe: dict[str, Any] | None = None) -> logs.Logs:  # fmt: skip
    """Every selector at every budget and the full data, each trained and evaluated."""
    table = metrics(pairs, noise, seed)
    plain = table.drop(["scores", "noise"])
    cells = [(options, budget) for options in selectors for budget in budgets] + [({"name": "full"}, 0.25)]
    runs, subsets, results, training, made_up, tli, leaks, labels = [], [], [], [], [], [], [], facets(table)
    nll = []
    for k, (options, budget) in enumerate(cells):
        count = pairs if options["name"] == "full" else pairs_for(budget, pairs)
        chosen = select.select(plain, options, count, 0)
        row = run(options, budget, table, recipe, selected=chosen.num_rows)
        runs.append(row)
        subsets += [{"run": row["run"], **one} for one in chosen.to_pylist()]
        made_up += [
            {"run": row["run"], **one} for one in composition.composition(labels, table["id"], chosen["id"]).to_pylist()
        ]
        tli += [leaked(row, b, part) for b in benchmarks for part in ("data", "selection")]
        leaks += [
            leak(row, b, part, id)
            for b in benchmarks
            for part in ("data", "selection")
            for id in chosen["id"].to_pylist()[:3]
        ]
        results += [result(row, b, 0.3 + 0.01 * k - 0.03 * n) for n, b in enumerate(benchmarks)]
        results += [result(row, b, 0.21 - 0.02 * n, selector="base") for n, b in enumerate(benchmarks)]
        nll += [
            one
            for name, gain in (("base", 0.0), (row["selector"].split()[0], 0.01 * k))
            for one in read(row, name, gain)
        ]
        training += [{"run": row["run"], "train_seed": 0, "step": s, "loss": 2.0 / (s + k), "learning_rate": 1e-5 * s, "tokens": 100 + s}
                     for s in range(1, steps + 1)]  # fmt: skip
    return logs.conform(runs=runs, metrics=table, subsets=subsets, results=results, training=training,
                        likelihoods=nll, composition=made_up, tli=tli, leakage=leaks)  # fmt: skip


def spoiled() -> logs.Logs:
    """A sweep over the same pairs, spoiled."""
    held = small(noise=True, budgets=(0.25,))
    return replace(
        held, runs=logs.conform(runs=[{**run, "data_digest": "5" * 64} for run in held.runs.to_pylist()]).runs
    )


def patient() -> logs.Logs:
    """A quarter of the same pairs, trained with twice as many updates."""
    return small(budgets=(0.25,), steps=12, recipe={"batch_size": 4})


def result(row: dict[str, Any], benchmark: str, value: float, **other: Any) -> dict[str, Any]:
    """A row of RESULTS of a run, an interval of a tenth around it."""
    return {"run": row["run"], "benchmark": benchmark, "metric": "pass@1", "selector": row["selector"].split()[0], "budget": row["budget"],
            "seed": row["seed"], "train_seed": 0, "value": value, "low": value - 0.05, "high": value + 0.05, "tasks": 164, "count": 50,
            "of": 164, "pooled": 1, **other}  # fmt: skip


def read(row: dict[str, Any], model: str, gain: float) -> list[dict[str, Any]]:
    """Rows of LIKELIHOODS of a run: five held-out answers, each a little easier for this model than for the base."""
    return [{"run": row["run"], "selector": model, "train_seed": None if model == "base" else 0, "benchmark": "held_out",
             "id": f"text{k}", "nll_sum": (10.0 + k) * (1 - gain - 0.001 * k * (gain > 0)), "tokens": 10 + k} for k in range(5)]  # fmt: skip


def facets(table: pa.Table) -> pa.Table:
    """FACETS of METRICS: Python is easy, long answers have a high IFD, topics and sources are anything."""
    ids, hard, ifd = (table[name].to_pylist() for name in ("id", "log_ppl_q", "ifd"))
    draw = np.random.default_rng(5)
    topics = draw.choice(
        ["mathematics", "strings", "web", "other", "algorithms"], len(ids), p=[0.4, 0.3, 0.15, 0.1, 0.05]
    )
    return conform({"id": ids, "source": draw.choice(["evol", "oss"], len(ids)).tolist(), "query_words": draw.integers(1, 60, len(ids)),
                    "answer_words": [int(2 ** (8 * x)) + 1 for x in ifd], "topic": topics.tolist(),
                    "language": ["Python" if x < 2.5 else "Java" if x < 3.5 else "no code" for x in hard]}, FACETS)  # fmt: skip


def leaked(row: dict[str, Any], benchmark: str, part: str) -> dict[str, Any]:
    """A row of TLI of a run."""
    pairs = row["pairs"] if part == "data" else row["selected"]
    return {"run": row["run"], "benchmark": benchmark, "part": part, "tli": 0.034 if part == "data" else 0.034 * row["selected"] / row["pairs"],
            "tasks": 164, "pairs": pairs, "leaking": pairs // 20}  # fmt: skip


def leak(row: dict[str, Any], benchmark: str, part: str, id: str) -> dict[str, Any]:
    """A row of LEAKAGE of a run, without texts."""
    return {
        "run": row["run"],
        "benchmark": benchmark,
        "part": part,
        "task_id": f"HumanEval/{int(id, 16) % 10**9}",
        "similarity": 0.4,
        "id": id,
    }


def _hex(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
