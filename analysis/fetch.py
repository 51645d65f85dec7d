"""Runs -> LOGS: `python analysis/fetch.py SOURCE... --out LOGS [--texts]`.

SOURCE is the directory of a run or of a sweep, a W&B folder, or wandb:ENTITY/PROJECT[/GROUP]. LOGS (analysis/logs.py) is a folder
of Parquet files: the same runs give the same bytes wherever they come from. --texts adds the pairs themselves and the refused
records, for the report; W&B has them only if tracking.texts was set.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from analysis import logs, rows  # noqa: E402
from analysis.logs import Logs  # noqa: E402
from analysis.runs import MISSING, runs  # noqa: E402
from analysis.sources import attempts  # noqa: E402
from qaq import report  # noqa: E402


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 2 refused."""
    logging.basicConfig(format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        found = fetch(asked.source, asked.texts)
    except (ValueError, OSError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    logs.write(found, asked.out)
    print(overview(found))
    return 0


def fetch(sources: Iterable[str], texts: bool = False) -> Logs:
    """LOGS of every run in `sources`. ValueError for a source that holds none."""
    with tempfile.TemporaryDirectory() as scratch:
        return rows.tables(runs(attempts(sources, Path(scratch))), texts)


def overview(found: Logs) -> str:
    """A line for each run, and how many there are of each kind."""
    columns = ("run", "group", "name", "status", "selector", "budget", "seed", "data_digest", "mark")
    held = sorted(
        found.runs.to_pylist(), key=lambda run: (run["group"], run["status"] == MISSING, run["name"], run["run"])
    )
    cells = [[(run[name] or "")[:8] if name == "data_digest" else run[name] for name in columns] for run in held]
    statuses = [run["status"] for run in held]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    return report.table(counts, columns, cells)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
