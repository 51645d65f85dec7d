"""How far the data and each selection leak a benchmark's test items: XCoder's TLI, its published numbers above ours."""

import logging
from typing import Any

from analysis import drawing, paper, scored
from analysis.logs import Logs
from analysis.typeset import MISSING, Table
from analysis.usable import Run, asked, label, left_out, named, of_data, share, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "tli")
Row = dict[str, Any]


def table(logs: Logs) -> Table | None:
    """The published sets, then a section a data set: all its pairs, then each selection; columns are benchmarks."""
    runs = sorted(
        usable(logs), key=lambda run: (-(run["rows"] or 0), drawing.order(label(run)), share(run) or 0, run["run"])
    )
    told: dict[str, list[Row]] = {}
    for row in logs.tli.to_pylist():
        told.setdefault(row["run"], []).append(row)
    measured = [run for run in runs if run["run"] in told]
    if not measured:
        log.info("leakage: of no usable run it was measured")
        return None
    published = paper.NUMBERS["leakage"]
    found = sorted({row["benchmark"] for run in measured for row in told[run["run"]]}, key=_known)
    benchmarks = list(dict.fromkeys([published["benchmark"], *found]))
    sections = [(f"Published: {published['source']}", _published(published, benchmarks))]
    for how in dict.fromkeys(map(_how, measured)):
        own = [run for run in measured if _how(run) == how]
        sections.append(
            (f"Ours: {of_data(own[0])}, {how[1]} compared, in brackets from {how[2]:.0%}", _ours(own, told, benchmarks))
        )
    lacking = [named(run) for run in runs if run["run"] not in told and run["selected"]]
    reasons = sorted({row["note"] for run in measured for row in told[run["run"]] if row["note"]})
    out = left_out(logs)
    return Table("Test leakage indicator (TLI), in %", ["pairs of", "share", "pairs", *map(scored.benchmark, benchmarks)], sections, [
        "TLI: the mean over test items of the best share of an item's 4- and 5-grams that one pair holds. Fewer pairs can only leak less, so "
        "compare selections of one size.",
        f"In brackets: pairs with at least that similarity; XCoder's filter drops those from {published['threshold']:.0%}. {MISSING}: not measured.",
        *([f"Remarks: {'; '.join(reasons)}."] if reasons else []),
        *([f"Not measured in: {', '.join(lacking)}."] if lacking else []),
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _how(run: Run) -> tuple[str | None, str, float]:
    """Which pairs, which of their texts is compared, and from which similarity on they are counted."""
    how = asked(run, "leakage")
    return run["data_digest"], how.get("text", "query"), how.get("threshold", paper.NUMBERS["leakage"]["threshold"])


def _known(benchmark: str) -> tuple[int, str]:
    names = list(paper.NUMBERS["benchmarks"])
    return (names.index(benchmark) if benchmark in names else len(names), benchmark)


def _published(published: dict[str, Any], benchmarks: list[str]) -> list[list[str]]:
    cells = [(f"{one['name']}{then}", one[key]) for one in published["sets"] for key, then in (("tli", ""), ("cleaned", ", cleaned"))
             if key in one]  # fmt: skip
    return [[name, MISSING, MISSING, *(f"{value:.1f}" if benchmark == published["benchmark"] else MISSING for benchmark in benchmarks)]
            for name, value in cells]  # fmt: skip


def _ours(runs: list[Run], told: dict[str, list[Row]], benchmarks: list[str]) -> list[list[str]]:
    """A row for all pairs, one for each selection; the same row of several runs stands there once."""
    data = [row for run in runs for row in told[run["run"]] if row["part"] == "data"]
    rows = [["all pairs", "100.0%", _pairs(data), *_cells(data, benchmarks)]] if data else []
    for run in runs:
        chosen = [row for row in told[run["run"]] if row["part"] == "selection"]
        if chosen and run["selected"] != run["pairs"]:  # else they are all pairs again
            rows.append([label(run), f"{share(run):.1%}", _pairs(chosen), *_cells(chosen, benchmarks)])
    return list(map(list, dict.fromkeys(map(tuple, rows))))


def _pairs(rows: list[Row]) -> str:
    return next((f"{row['pairs']:,}" for row in rows if row["pairs"] is not None), MISSING)


def _cells(rows: list[Row], benchmarks: list[str]) -> list[str]:
    held = {row["benchmark"]: row for row in reversed(rows) if row["tli"] is not None}
    return [
        f"{100 * held[one]['tli']:.2f} ({held[one]['leaking']:,})" if one in held else MISSING for one in benchmarks
    ]
