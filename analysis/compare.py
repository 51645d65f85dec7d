"""Two runs side by side: `python analysis/compare.py RUN_A [RUN_B] [--logs LOGS]`.

What was set differently, how much of their subsets they share, task by task who won, and what they cost. Each is a SOURCE of
analysis/fetch.py that holds one complete run; with --logs the name or the beginning of the id of a run in that folder. Their tuned
models are compared, all training seeds of a run together; of one run alone its tuned model with the base model it came from.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from analysis import logs  # noqa: E402
from analysis.fetch import fetch  # noqa: E402
from analysis.logs import Logs  # noqa: E402
from qaq import report  # noqa: E402
from qaq.evaluate.results import HELD_OUT, Measured, comparison, results, won_and_lost  # noqa: E402
from qaq.grid import grid  # noqa: E402

_WIDTH = 80
_TASKS = ("benchmark", "limit", "data")  # what may not differ, besides the grading; the others are told
_TOLD = ("isolation",)  # of the grading: a right verdict does not hang on it


class Side(NamedTuple):
    """One of the two: its row of RUNS, the logs it is in, its models of the side that is compared."""

    label: str
    run: dict[str, Any]
    logs: Logs
    models: list[Measured]


def main(arguments: list[str]) -> int:
    """Exit status: 0 compared, 2 refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", metavar="RUN")
    parser.add_argument("--logs", type=Path)
    asked = parser.parse_args(arguments)
    if len(asked.run) > 2:
        parser.error("one run or two")
    try:
        print(compare(*(found(name, asked.logs) for name in asked.run)))
    except (ValueError, OSError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    return 0


def found(name: str, folder: Path | None) -> tuple[Logs, str]:
    """The logs that hold the one run that `name` means, and its id. ValueError if it means none or several."""
    held = logs.read(folder) if folder else fetch([name])
    rows = [row for row in held.runs.to_pylist() if row["status"] == "complete"]
    if folder:
        rows = [
            row for row in rows if row["run"].startswith(name) or name in (row["name"], f"{row['group']}/{row['name']}")
        ]
    if len(rows) != 1:
        others = ", ".join(f"{row['run']} ({row['group']}/{row['name']})" for row in rows) or _states(held)
        raise ValueError(f"{name} means {len(rows)} complete runs, not one: {others}")
    return held, rows[0]["run"]


def _states(held: Logs) -> str:
    return ", ".join(f"{row['group']}/{row['name']} is {row['mark'] or row['status']}" for row in held.runs.to_pylist())


def compare(a: tuple[Logs, str], b: tuple[Logs, str] | None = None) -> str:
    """The text of the comparison. ValueError, naming it, for what is missing or was graded differently."""
    if b is None:
        return "\n".join(_answered(side(*a, tuned=True), side(*a, tuned=False)))
    one, other = side(*a, tuned=True), side(*b, tuned=True)
    parts = [*_heads(one, other), "", *_settings(one.run, other.run), "", _overlap(one, other), ""]
    try:
        parts += _answered(one, other)[2:]
    except ValueError as reason:
        parts.append(_wrapped(f"no comparison task by task: {reason}"))
    return "\n".join([*parts, "", *_cost(one.run, other.run)])


def side(held: Logs, run: str, tuned: bool) -> Side:
    """The run's tuned models, or its base."""
    row = next(row for row in held.runs.to_pylist() if row["run"] == run)
    models = list(_models(_of(held.answers, run), _of(held.likelihoods, run), tuned))
    seeds = [seed for seed, _ in models]
    what = f"{row['selector']}, budget {row['budget']}" + (f", training seeds {seeds}" if seeds else "")
    mark = f"\n   {row['mark']}" if row["mark"] else ""
    label = f"{what if tuned else 'base model, not trained'}\n   run {run}, {row['group']}/{row['name']}{mark}"
    return Side(label, row, held, [model for _, model in models])


def _models(answers: pa.Table, likelihoods: pa.Table, tuned: bool) -> Iterator[tuple[int | None, Measured]]:
    """(Training seed, tables) of every tuned model of one run's ANSWERS and LIKELIHOODS, or of its base."""
    said, read = (
        [row for row in table.to_pylist() if (row["selector"] != "base") == tuned] for table in (answers, likelihoods)
    )
    said.sort(key=lambda row: (_natural(row["task_id"]), row["sample"]))
    for seed in sorted({row["train_seed"] for row in [*said, *read]}, key=lambda seed: (seed is None, seed)):
        mine = pa.Table.from_pylist([row for row in said if row["train_seed"] == seed], logs.ANSWERS.columns)
        own = [row for row in read if row["train_seed"] == seed]
        held_out = [row for row in own if row["benchmark"] == HELD_OUT]
        canonical = [row for row in own if row["benchmark"] != HELD_OUT] or [
            {
                "id": row["task_id"],
                "nll_sum": row["nll_sum"],
                "tokens": row["nll_tokens"],
            }  # LOGS from before LIKELIHOODS
            for row in mine.to_pylist()
            if row["sample"] == said[0]["sample"]
        ]
        yield (
            seed,
            Measured(mine, mine, pa.Table.from_pylist(canonical), pa.Table.from_pylist(held_out) if held_out else None),
        )


def _natural(task: str) -> list[Any]:
    """HumanEval/9 before HumanEval/10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", task)]


def _heads(a: Side, b: Side) -> list[str]:
    return [f"{letter}  {one.label}" for letter, one in (("A", a), ("B", b))]


def _settings(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What was set differently, and whether the data are."""
    ours, theirs = (dict(_flat(json.loads(run["config"]))) for run in (a, b))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    rows = [[name, *(json.dumps(x.get(name), ensure_ascii=False) for x in (ours, theirs))] for name in names]
    if a["data_digest"] != b["data_digest"]:
        rows.append(["the data themselves", *((run["data_digest"] or "unknown")[:12] for run in (a, b))])
    return [_grid(("setting", "A", "B"), rows)] if rows else ["no setting differs"]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key in value:
            yield from _flat(value[key], f"{name}.{key}" if name else key)
    else:
        yield name, value


def _overlap(a: Side, b: Side) -> str:
    ours, theirs = (set(_of(one.logs.subsets, one.run["run"])["id"].to_pylist()) for one in (a, b))
    if not ours or not theirs:
        return "no overlap of the subsets: " + " and ".join(
            letter for letter, ids in (("A", ours), ("B", theirs)) if not ids) + " selected none"  # fmt: skip
    both = len(ours & theirs)
    return _wrapped(f"subsets: {len(ours)} pairs in A, {len(theirs)} in B, {both} in both: {both / len(ours):.1%} of A, "
                    f"{both / len(theirs):.1%} of B, {both / len(ours | theirs):.1%} of those in either (Jaccard)")  # fmt: skip


def _of(table: pa.Table, run: str) -> pa.Table:
    return table.filter(pc.equal(table["run"], run))


def _cost(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    ours, theirs = (json.loads(run["seconds"]) for run in (a, b))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if name != "total"]
    rows = [[name, *("-" if name not in x else f"{x[name]:.1f}" for x in (ours, theirs))] for name in [*names, "total"]]
    note = "total is what the run itself took; a stage's seconds are those of its making, also where it was found made"
    return [_grid(("seconds", "A", "B"), rows), _wrapped(note)]


def _answered(a: Side, b: Side) -> list[str]:
    """Two lines of who is compared, then the comparison of their models."""
    for one in (a, b):
        if not one.models:
            raise ValueError(f"{one.run['group']}/{one.run['name']} evaluated no such model: run it again, with "
                             "stages=[load,score,select,train,evaluate] and, for a base, evaluate.baseline=true")  # fmt: skip
    asked, other = (json.loads(one.run["evaluation"]) for one in (a, b))
    notes = [*differences(asked, other), *_warnings("A", asked), *(_warnings("B", other) if b.run is not a.run else [])]
    notes += _on_held_out(a, b)
    notes.append(_on_seeds(a, b))
    benchmark = asked["tasks"]["benchmark"]
    values = {(r["benchmark"], r["metric"]): [r["value"]] for r in results(benchmark, a.models)}
    for row in results(benchmark, b.models):
        values.setdefault((row["benchmark"], row["metric"]), [None]).append(row["value"])
    rows = comparison(benchmark, a.models, b.models)
    partial = " (PARTIAL: evaluate.limit)" if asked["tasks"]["limit"] else ""
    tasks = next(row["tasks"] for row in rows if row["benchmark"] != HELD_OUT)
    title = _wrapped(f"{benchmark}, {tasks} tasks{partial}; shares in %, their differences in points")
    drawn = _grid(("metric", "A", "B", "A - B [95% interval]", "won/lost/tied", "p"),
                 [_cells(row, benchmark, *values[row["benchmark"], row["metric"]]) for row in rows])  # fmt: skip
    return [*_heads(a, b), title, *(_wrapped(f"note: {note}") for note in notes), drawn,
            *(_lists(*won_and_lost(benchmark, a.models, b.models)) if a.models[0].verdicts.num_rows else
              ["nothing was asked (evaluate.samples=0): no task was passed or failed"])]  # fmt: skip


def _on_held_out(a: Side, b: Side) -> list[str]:
    """A line where the two were not measured on the same held-out pairs."""
    ours, theirs = (
        {id for model in one.models if model.held_out for id in model.held_out["id"].to_pylist()} for one in (a, b)
    )
    if ours == theirs or not (ours and theirs):
        return []
    return [
        f"answer_nll: {len(ours)} held-out pairs in A, {len(theirs)} in B; the difference is over the {len(ours & theirs)} in both"
    ]


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """In what else two evaluations differ. ValueError if it is the tasks or the grading."""
    told, refused = [], []
    for part in ("tasks", "grading"):
        ours, theirs = dict(_flat(a[part])), dict(_flat(b[part]))
        for name in dict.fromkeys([*ours, *theirs]):
            if ours.get(name) == theirs.get(name):
                continue
            line = f"{name} is {json.dumps(ours.get(name))} in A and {json.dumps(theirs.get(name))} in B"
            same = name.startswith(_TASKS) if part == "tasks" else name not in _TOLD
            (refused if same else told).append(line)
    if refused:
        raise ValueError(f"the two were not measured alike, so they cannot be compared: {'; '.join(refused)}")
    return told


def _warnings(letter: str, evaluation: dict[str, Any]) -> list[str]:
    failed = evaluation["failed"]
    return [f"canonical solutions that do not pass as {letter} was graded: {len(failed)}"] if failed else []


def _on_seeds(a: Side, b: Side) -> str:
    if max(len(a.models), len(b.models)) > 1:
        return "p asks whether these very models differ; the interval also covers what other training seeds would give"
    return "one training seed: neither p nor interval tells what another seed would give"


def _cells(row: dict[str, Any], benchmark: str, a: float | None, b: float | None) -> list[str]:
    scale, digits = report.scaled(row["metric"])
    name = row["metric"] if row["benchmark"] in (benchmark, HELD_OUT) else f"{row['metric']} (base)"
    sides = ["-" if x is None else f"{scale * x:.{digits}f}" for x in (a, b)]
    return [name, *sides, report.gain(row), report.tally(row), report.p_value(row["p"])]


def _grid(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    drawn = grid(columns, rows, [i > 0 for i in range(len(columns))], _WIDTH, box=None, pad_edge=False)
    return "\n" + "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def _lists(won: list[str], lost: list[str]) -> list[str]:
    return [_wrapped(f"{letter} passes more often on {len(some)}: {' '.join(some)}") if some else
            f"{letter} passes more often on no task" for letter, some in (("A", won), ("B", lost))]  # fmt: skip


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
