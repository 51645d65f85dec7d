"""Two runs compared task by task: `PYTHONPATH=src python -m qaq.evaluate.compare RUN_A [RUN_B]`.

Each is the directory of a run that evaluated; their tuned models are compared, all training seeds of a run together. With one
directory its tuned model is compared with the base model it came from. Nothing is computed that needs a model.
"""

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from qaq import report, tables
from qaq.evaluate.results import Measured, comparison, results, won_and_lost

USAGE = "python -m qaq.evaluate.compare RUN_A [RUN_B]: directories of runs; one alone: its tuned model against its base"
_WIDTH = 80
_TASKS = ("benchmark", "limit", "data")  # what may not differ, besides the grading; the others are told
_TOLD = ("isolation",)  # of the grading: a right verdict does not hang on it


class Side(NamedTuple):
    """One of the two: what is said of it, its result.json, its models."""

    label: str
    result: dict[str, Any]
    models: list[Measured]


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 compared, 2 refused."""
    if not 1 <= len(arguments) <= 2 or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    try:
        print(compare(*map(Path, arguments)))
    except (ValueError, OSError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    return 0


def compare(run_a: Path, run_b: Path | None = None) -> str:
    """The text of the comparison. ValueError, naming it, for what is missing or was graded differently."""
    a, b = side(run_a, "tuned"), side(run_b or run_a, "tuned" if run_b else "base")
    notes = [*differences(a.result, b.result), *_warnings("A", a.result), *(_warnings("B", b.result) if run_b else [])]
    notes.append(_on_seeds(a, b))
    benchmark = a.result["evaluation"]["tasks"]["benchmark"]
    values = {(r["benchmark"], r["metric"]): [r["value"]] for r in results(benchmark, a.models)}
    for row in results(benchmark, b.models):
        values.setdefault((row["benchmark"], row["metric"]), [None]).append(row["value"])
    rows = comparison(benchmark, a.models, b.models)
    heads = [f"{letter}  {one.label}" for letter, one in (("A", a), ("B", b))]
    heads.append(
        _wrapped(f"{benchmark}, {rows[0]['tasks']} tasks{_partial(a.result)}; shares in %, their differences in points")
    )
    grid = _grid([_cells(row, benchmark, *values[row["benchmark"], row["metric"]]) for row in rows])
    lists = _lists(*won_and_lost(benchmark, a.models, b.models))
    return "\n".join([*heads, *(_wrapped(f"note: {note}") for note in notes), grid, *lists])


def side(run: Path, which: str) -> Side:
    """`which` ("tuned" or "base") of a run. ValueError, naming the run, if it has not been evaluated."""
    if not (run / "result.json").is_file():
        raise ValueError(f"{run} has no result.json: it is not the directory of a run")
    result = json.loads((run / "result.json").read_text())
    if result["status"] != "complete" or "evaluated" not in result:
        raise ValueError(f"{run} holds no evaluated model (status: {result['status']}, stages: {', '.join(result['stages'])}): "
                         "run it again, with stages=[load,score,select,train,evaluate]")  # fmt: skip
    asked = [one for one in result["evaluated"] if (one["selector"] == "base") == (which == "base")]
    if not asked:
        raise ValueError(f"{run} did not evaluate the base model: run it with evaluate.baseline=true")
    seeds = [one["train_seed"] for one in asked]
    trained = f", budget {result['budget']}, training seeds {seeds}" if which == "tuned" else " model, not trained"
    return Side(f"{asked[0]['selector']}{trained}\n   {run}", result, [read(run, one["name"]) for one in asked])


def read(run: Path, name: str) -> Measured:
    """The tables of one model, as the run left them. ValueError if one is gone."""
    files = [run / f"{table}_{name}.parquet" for table in Measured._fields]
    if gone := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{run} lacks {', '.join(gone)}: run the same command again in it")
    return Measured(*map(tables.read, files))


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """In what else two results' evaluations differ. ValueError if it is the tasks or the grading."""
    told, refused = [], []
    for part in ("tasks", "grading"):
        ours, theirs = a["evaluation"][part], b["evaluation"][part]
        for name in dict.fromkeys([*ours, *theirs]):
            if ours.get(name) == theirs.get(name):
                continue
            line = f"{name} is {json.dumps(ours.get(name))} in A and {json.dumps(theirs.get(name))} in B"
            same = name.startswith(_TASKS) if part == "tasks" else name not in _TOLD
            (refused if same else told).append(line)
    if refused:
        raise ValueError(f"the two were not measured alike, so they cannot be compared: {'; '.join(refused)}")
    return told


def _warnings(letter: str, result: dict[str, Any]) -> list[str]:
    failed = result["calibration"]["failed"]
    return [f"canonical solutions that do not pass as {letter} was graded: {len(failed)}"] if failed else []


def _on_seeds(a: Side, b: Side) -> str:
    if max(len(a.models), len(b.models)) > 1:
        return "p asks whether these very models differ; the interval also covers what other training seeds would give"
    return "one training seed: neither p nor interval tells what another seed would give"


def _partial(result: dict[str, Any]) -> str:
    return " (PARTIAL: evaluate.limit)" if result["evaluation"]["tasks"]["limit"] else ""


def _cells(row: dict[str, Any], benchmark: str, a: float | None, b: float | None) -> list[str]:
    scale, digits = (1, 3) if row["metric"] in ("canonical_nll", "reply_tokens") else (100, 1)
    digits = 1 if row["metric"] == "reply_tokens" else digits
    name = row["metric"] if row["benchmark"] == benchmark else f"{row['metric']} (base)"
    sides = ["-" if x is None else f"{scale * x:.{digits}f}" for x in (a, b)]
    return [name, *sides, report.gain(row), report.tally(row), report.p_value(row["p"])]


def _grid(rows: list[list[str]]) -> str:
    grid = Table(box=None, pad_edge=False)
    for name in ("metric", "A", "B", "A - B [95% interval]", "won/lost/tied", "p"):
        grid.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console = Console(width=_WIDTH, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(grid)
    return "\n" + "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _lists(won: list[str], lost: list[str]) -> list[str]:
    return [_wrapped(f"{letter} passes more often on {len(some)}: {' '.join(some)}") if some else
            f"{letter} passes more often on no task" for letter, some in (("A", won), ("B", lost))]  # fmt: skip


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
