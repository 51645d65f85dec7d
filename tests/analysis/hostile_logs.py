"""LOGS of a small sweep whose texts and names try everything that a page could mistake for markup."""

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

from analysis.logs import Logs  # noqa: E402
from analysis.logs import conform as conform_logs  # noqa: E402
from qaq import select  # noqa: E402
from qaq.tables import COMPARISONS, METRICS, RESULTS, conform, pair_id  # noqa: E402

ATTACKS = (
    "</script><script>window.injected = 1</script>",
    "<img src=x onerror='window.injected = 1'>",
    "<!-- <script> \"'>]]></style><svg onload=window.injected=1>",
    "{{data}} {{script}} \\1 \\g<0> $& ${window.injected = 1} {% raw %}",
    "javascript:window.injected=1//",
    "null \x00, bell \x07, escape \x1b[31m, delete \x7f, right to left \u202eeteled\u202c, byte order \ufeff",
    "```html\n<script>window.injected = 1</script>\n```\n~~~constructor\n__proto__\n~~~",
    "\u2028\u2029 separators, \U0001f469\u200d\U0001f4bb, İstanbul, e\u0301, 漢字",
    "",
)
CODE = 'Write it down.\n\n```python\ndef double(x):\n    # twice the number\n    return 2 * x  # "quoted"\n```\n'
DATA, SCORES = "0123456789ab", "ba9876543210"
CELLS = (("stratified", 0.25), ("stratified", 0.1), ("random", 0.25))


def logs(pairs: int = 60, weak: bool = True) -> Logs:
    """The tables of three runs on the same scores, of which one failed, and of a cell that no run has."""
    texts = _texts(pairs)
    metrics = _metrics(texts["id"], weak)
    noise = pa.array(["clean" if i % 5 else ("swapped", "<b>echo</b>")[i % 2] for i in range(pairs)])
    runs = [_run(selector, budget, pairs, weak) for selector, budget in CELLS]
    runs.append({**runs[0], "run": "a" * 12, "seed": 1, "status": "missing", "scores": None, "selected": None})
    return conform_logs(
        runs=pa.Table.from_pylist(runs),
        results=conform([row for run in runs for row in _results(run)], RESULTS),
        comparisons=conform([row for run in runs for row in _compared(run)], COMPARISONS),
        metrics=metrics.append_column("scores", pa.array([SCORES] * pairs)).append_column("noise", noise),
        subsets=pa.concat_tables(_subset(run, metrics) for run in runs if run["status"] == "complete"),
        pairs=pa.table({"data_digest": [DATA] * pairs, **texts, "source": ["<i>source</i>"] * pairs, "noise": noise}),
        quarantine=_quarantine(),
        composition=[row for run in runs if run["status"] == "complete" for row in _composition(run)],
        tli=[row for run in runs if run["status"] == "complete" for row in _tli(run)],
        leakage=[
            row for run in runs if run["status"] == "complete" for row in _leakage(run, metrics["id"].to_pylist())
        ],
    )


def _texts(pairs: int) -> dict[str, list[Any]]:
    query = [f"query {i}: {ATTACKS[i % len(ATTACKS)]}" for i in range(pairs)]
    answer = [CODE if i % 3 == 0 else f"answer {i} {ATTACKS[(i * 7 + 1) % len(ATTACKS)]}" for i in range(pairs)]
    ids = [pair_id(q, a) for q, a in zip(query, answer, strict=True)]
    order = np.argsort(ids).tolist()
    return {"id": sorted(ids), "row": order, "query": [query[i] for i in order], "answer": [answer[i] for i in order]}


def _metrics(ids: list[str], weak: bool) -> pa.Table:
    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {"id": ids}
    for side in ("", "weak_") if weak else ("",):
        query, answer = draw.uniform(1, 5, len(ids)), draw.uniform(1, 3, len(ids))
        rmi = draw.normal(0.2, 0.1, len(ids)) * query
        given = answer * draw.uniform(0.3, 1.2, len(ids))
        values = (query, query - rmi, answer, given, rmi, given / answer)
        columns |= {side + name: value for name, value in zip(METRICS.columns.names[1:7], values, strict=True)}
    return conform(columns, METRICS)


def _run(selector: str, budget: float, pairs: int, weak: bool) -> dict[str, Any]:
    failed = selector == "random"
    return {
        "run": hashlib.sha256(f"{selector} {budget}".encode()).hexdigest()[:12], "name": "</title><script>window.injected = 1</script>",
        "group": "sweep", "status": "failed" if failed else "complete", "mark": None, "cell": selector[:12],
        "selector": selector, "budget": str(budget), "seed": 0, "data": "<b>data</b>", "data_digest": DATA,
        "rows": pairs + 3, "pairs": pairs, "selected": None if failed else round(budget * pairs), "scorer": "scorer",
        "weak": "weak" if weak else None, "target": "target", "train": "smoke", "benchmark": "humaneval", "partial": "",
        "scores": SCORES, "started": None, "config": json.dumps({"selector": {"name": selector}}), "keys": "{}",
        "seconds": json.dumps({"total": 75.0}), "error": ATTACKS[1] if failed else None,
    }  # fmt: skip


def _results(run: dict[str, Any]) -> list[dict[str, Any]]:
    if run["status"] != "complete":
        return []
    same = {"run": run["run"], "benchmark": "humaneval", "budget": run["budget"], "seed": 0, "models": "target",
            "tasks": 164, "pooled": 1}  # fmt: skip
    shares = {"metric": "pass@1", "count": 8, "of": 164, "value": 8 / 164, "low": 0.02, "high": 0.09}
    losses = {"metric": "canonical_nll", "value": 1.12, "low": 1.05, "high": 1.19}
    return [
        {**same, **what, "selector": model, "train_seed": seed}
        for model, seed in (("base", None), (run["selector"], 0))
        for what in (shares, losses)
    ]


def _compared(run: dict[str, Any]) -> list[dict[str, Any]]:
    if run["status"] != "complete":
        return []
    return [
        {"run": run["run"], "selector": run["selector"], "against": "base", "benchmark": "humaneval", "metric": "pass@1",
         "train_seed": 0, "value": -0.018, "low": -0.05, "high": 0.012, "p": 0.25, "won": 1, "lost": 4, "tied": 159,
         "tasks": 164, "pooled": 1}
    ]  # fmt: skip


def _composition(run: dict[str, Any]) -> list[dict[str, Any]]:
    """A source with markup for a name takes all that is selected; topics are as in the pool."""
    pairs, selected = run["pairs"], run["selected"]
    counts = {"source": [("<b>source</b>", pairs // 2, selected), (ATTACKS[1], pairs - pairs // 2, 0)],
              "topic": [("strings", pairs - pairs // 4, selected - selected // 4), ("other", pairs // 4, selected // 4)]}  # fmt: skip
    return [{"run": run["run"], "facet": facet, "value": value, "pool": pool, "selected": taken}
            for facet, values in counts.items() for value, pool, taken in values]  # fmt: skip


def _tli(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Of HumanEval, and of MBPP, whose tasks were not there."""
    same = {"run": run["run"], "tasks": 164}
    return [{**same, "benchmark": "humaneval", "part": "data", "tli": 0.0712, "pairs": run["pairs"], "leaking": 9},
            {**same, "benchmark": "humaneval", "part": "selection", "tli": 0.04, "pairs": run["selected"], "leaking": 2},
            {**same, "benchmark": "mbpp", "part": "data", "tasks": None, "note": ATTACKS[1]}]  # fmt: skip


def _leakage(run: dict[str, Any], ids: list[str]) -> list[dict[str, Any]]:
    """Every task of a few is leaked by a pair of its own; the first without the text of its query, the last without any."""
    return [{"run": run["run"], "benchmark": "humaneval", "part": part, "task_id": f"HumanEval/{k}", "similarity": (9 - k) / 10, "id": id,
             "query": ATTACKS[k] if k else None, "test": f"def test_{k}():\n    {ATTACKS[k]}" if k < 7 else None}
            for part in ("data", "selection") for k, id in enumerate(ids[:8])]  # fmt: skip


def _subset(run: dict[str, Any], metrics: pa.Table) -> pa.Table:
    options = next(one for one in select.defaults() if one["name"] == run["selector"])
    chosen = select.select(metrics, options, run["selected"], 0)
    return chosen.append_column("run", pa.array([run["run"]] * chosen.num_rows))


def _quarantine() -> pa.Table:
    records = [json.dumps({"instruction": ATTACKS[0]}), '{"half": "\\ud800 of a pair"}', "not <b>JSON</b> at all"]
    reasons = ["empty answer", "not UTF-8: an escape stands for half a surrogate pair", f"not JSON: {ATTACKS[1]}"]
    return pa.table({"data_digest": [DATA] * 3, "row": [60, 61, 62], "reason": reasons, "record": records})
