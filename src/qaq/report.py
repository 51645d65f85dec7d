"""What a person sees at the end: tables on the terminal, the RMI distribution as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from qaq.estimate.table import table as estimate_table
from qaq.evaluate import HELD_OUT
from qaq.grid import grid


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A text table that keeps to the terminal's width; numbers are right-aligned."""
    right = [
        all(isinstance(row[i], (int, float)) or row[i] in ("", "-") for row in rows) and bool(rows)
        for i in range(len(columns))
    ]
    cells = [[_cell(value) for value in row] for row in rows]
    return f"{title}\n{grid(columns, cells, right, None if Console().is_terminal else 118)}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def interval(row: dict[str, Any]) -> str:
    """`value [low, high]` of a RESULTS row; shares in %; `-` where nothing could be measured."""
    if row["value"] is None:
        return "-"
    if row["low"] is None:
        return f"{row['value']:.3f} [no interval: {row['tasks']} task]"
    if _is_share(row["metric"]):
        return f"{row['value']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
    digits = _digits(row["metric"])
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def sweep_rows(jobs: list[Path]) -> list[list[Any]]:
    """A row per job directory of a sweep, failed and unfinished ones included."""
    rows = []
    for job in jobs:
        file = job / "result.json"
        result = json.loads(file.read_text()) if file.is_file() else {"status": "not started"}
        rows.append([job.name, *_job_cells(result)])
    return rows


SWEEP_COLUMNS = ("job", "selector", "budget", "status", "pairs", "spoiled kept/in data", "pass@1", "canonical NLL")


def _job_cells(result: dict[str, Any]) -> list[Any]:
    asked = result.get("config", {}).get("evaluate", {}).get("benchmark", "") + result.get("partial", "")
    values = _best_known([r for r in result.get("values", []) if r["selector"] != "base" and r["benchmark"] == asked])
    share = result.get("noise", {})
    spoiled = f"{share['in_subset']:.1%} / {share['in_data']:.1%}" if share else "-"
    status = result["status"] + result.get("partial", "") + (f": {result['error']}" if result.get("error") else "")
    return [result.get("selector", "-"), result.get("budget", "-"), status, result.get("counts", {}).get("selected", "-"),
            spoiled, values.get("pass@1", "-"), values.get("canonical_nll", "-")]  # fmt: skip


def _best_known(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Each metric's value with its interval; of several training seeds that of all pooled."""
    found = {row["metric"]: row for row in sorted(rows, key=lambda row: row["pooled"])}
    return {
        metric: interval(row) + (f", {row['pooled']} seeds" if row["pooled"] > 1 else "")
        for metric, row in found.items()
    }


def rmi_figure(metrics: pa.Table, subset: pa.Table, file: Path) -> None:
    """Histogram of RMI (nats per token): all pairs, and the selected ones in front."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rmi = metrics["rmi"].to_numpy()
    kept = pc.is_in(metrics["id"], value_set=subset["id"].combine_chunks()).to_numpy(zero_copy_only=False)
    edges = np.linspace(*np.percentile(rmi, [0.5, 99.5]), 41)
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    clipped = np.clip(rmi, edges[0], edges[-1])
    axes.hist(clipped, edges, color="0.8", edgecolor="0.6", linewidth=0.4, label=f"all {len(rmi)} pairs")
    axes.hist(clipped[kept], edges, color="#0072B2", label=f"{int(kept.sum())} selected")
    axes.set_xlabel("RMI = log PPL(Q) − log PPL(Q|A)  (nats per token)")
    axes.set_ylabel("pairs (outermost 0.5% in the end bars)", fontsize=8)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def summary(result: dict[str, Any]) -> str:
    """The tables at the end of one run."""
    counts, parts = result["counts"], []
    facts = [
        [name.replace("_", " "), counts[name]]
        for name in ("rows", "kept", "quarantined", "held_out", "selected")
        if name in counts
    ]
    facts += [[f"seconds: {name}", f"{value:.1f}{' (from the store)' if result['reused'].get(name) else ''}"]
              for name, value in result["seconds"].items()]  # fmt: skip
    parts.append(
        table(f"{result['selector']}, budget {result['budget']}: {result['status']}", ("what", "value"), facts)
    )
    if result.get("estimate"):
        parts.append(estimate_table(result["estimate"]))
    if result.get("signals"):
        rows = [
            [name, ", ".join(f"{counts[what]:,} {what}" for what in counts)]
            for name, counts in result["signals"].items()
        ]
        parts.append(table("what the selector asked of other models", ("signal", "counts"), rows))
    if result.get("noise"):
        parts += _noise_tables(result)
    if result.get("leakage"):
        parts.append(_leakage_table(result["leakage"], result["config"]["leakage"]))
    if result["values"]:
        parts += _evaluation_tables(result)
    return "\n\n".join(parts)


def _evaluation_tables(result: dict[str, Any]) -> list[str]:
    asked, values = result["config"]["evaluate"], result["values"]
    partial = " PARTIAL, by evaluate.limit:" if result["partial"] else ""
    title = f"{asked['benchmark']},{partial} {values[0]['tasks']} tasks (95% intervals)"
    rows = [[_model(r), _metric(r, asked), interval(r), _count(r)] for r in values]
    found = [table(title, ("model", "metric", "value", "count"), rows)]
    if result["comparisons"]:
        rows = [[_model(r), _metric(r, asked), gain(r), tally(r), p_value(r["p"])] for r in result["comparisons"]]
        columns = ("model", "metric", "difference", "won/lost/tied", "p")
        found.append(table(f"less the base model, task by task,{partial} shares in points", columns, rows))
    return found


def _metric(row: dict[str, Any], asked: dict[str, Any]) -> str:
    return row["metric"] if row["benchmark"].startswith(asked["benchmark"]) else f"{row['metric']} ({row['benchmark']})"


def _count(row: dict[str, Any]) -> str:
    what = "pairs" if row["benchmark"] == HELD_OUT else "tasks"
    return f"{row['tasks']} {what}" if row["of"] is None else f"{row['count']} / {row['of']}"


def tally(row: dict[str, Any]) -> str:
    """`won/lost/tied` of a COMPARISONS row; `-` where more is not better."""
    return "-" if row["won"] is None else f"{row['won']}/{row['lost']}/{row['tied']}"


def gain(row: dict[str, Any]) -> str:
    """`difference [low, high]` of a COMPARISONS row; shares in points of a hundred."""
    if row["value"] is None:
        return "-"
    scale, digits = scaled(row["metric"])
    value, *bounds = (
        None if x is None else f"{scale * x:+.{digits}f}" for x in (row["value"], row["low"], row["high"])
    )
    return f"{value} [{', '.join(bounds)}]" if None not in bounds else f"{value}"


def scaled(metric: str) -> tuple[int, int]:
    """(factor, digits) of a metric beside others: shares in a hundred."""
    return (100, 1) if _is_share(metric) else (1, _digits(metric))


def p_value(p: float | None) -> str:
    """Three digits; `-` where there is none."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _digits(metric: str) -> int:
    return 1 if metric == "reply_tokens" else 3


def _is_share(metric: str) -> bool:
    return metric.startswith("pass@") or metric in ("syntax_error", "timeout", "capped")


def _model(row: dict[str, Any]) -> str:
    if row["pooled"] > 1:
        return f"{row['selector']}, {row['pooled']} seeds pooled"
    return row["selector"] if "training seed" not in row["run"] else f"{row['selector']}, seed {row['train_seed']}"


def _leakage_table(rows: list[dict[str, Any]], asked: dict[str, Any]) -> str:
    """What the pairs give away of each benchmark; below, why one is missing."""
    columns = ("benchmark", "pairs of the", "TLI", "tasks", "pairs", f"at least {asked['threshold']} like a task")
    known = [
        [r["benchmark"], r["part"], f"{r['tli']:.2%}", r["tasks"], r["pairs"], r["leaking"]] for r in rows if r["tasks"]
    ]
    title = f"test leakage: TLI is the mean over the tasks of the best similarity with any pair's {asked['text']}"
    notes = dict.fromkeys(row["note"] for row in rows if row["note"])
    return "\n".join([table(title, columns, known) if known else title, *notes])


def _noise_tables(result: dict[str, Any]) -> list[str]:
    share, rows = result["noise"]["in_data"], []
    for row in result["noise_by_selector"]:
        caught = f"{row['in_subset']:.1%}" if "in_subset" in row else row["note"]
        rows.append([row["selector"], row.get("selected"), caught, f"{share:.1%}"])
    kinds = result["noise_auc"]
    if not kinds:  # a share so small that it rounds to no pair
        return [
            table(
                "planted noise: no pair was spoiled",
                ("selector", "pairs", "spoiled in subset", "spoiled in data"),
                rows,
            )
        ]
    measures = [name for name in kinds[0] if name not in ("kind", "pairs")]
    auc_rows = [[k["kind"], k["pairs"], *(k[m] for m in measures)] for k in kinds]
    return [table("planted noise: share of spoiled pairs, every selector at its defaults",
                  ("selector", "pairs", "spoiled in subset", "spoiled in data"), rows),
            table("planted noise: AUC (above 0.5: spoiled pairs score higher than clean ones; below: lower)",
                  ("kind", "pairs", *measures), auc_rows)]  # fmt: skip
