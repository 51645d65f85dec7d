"""Verdicts: what every solution returns, behind walls, compared with the ground truth by EvalPlus's rules.

Runs in the pipeline's process, which loads no torch and runs no model's code. An input's limit is EvalPlus's: a multiple
of what the canonical solution took, and not less than evaluate.seconds; in processor time, so that a busy machine changes
no verdict. A time-out is repeated once, with nothing else running and more patience, before it counts.
"""

import logging
import platform
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from evalplus.config import DEFAULT_GT_TIME_LIMIT_FACTOR as FACTOR

from qaq import sandbox, tables
from qaq.evaluate import oracle
from qaq.evaluate import truth as ground
from qaq.evaluate.benchmark import Task
from qaq.evaluate.oracle import Expected
from qaq.progress import Progress
from qaq.sandbox import Output

log = logging.getLogger(__name__)
_RULES = 2  # goes up with every change that may change a verdict
_PATIENCE = 2.0  # times the limits, when a time-out is repeated
_TASK = 6  # a task's inputs together may take so many times the limit of one: EvalPlus's minute at 10 seconds
_LARGEST, _LARGER = 1 << 16, 32  # bytes of an output, on top of so many times the expected one's


def grade(tasks: list[Task], solutions: pa.Table, settings: dict[str, Any], truth: Path) -> pa.Table:
    """VERDICTS of SOLUTIONS, in their order; `truth` is a folder that `truth.make` filled.

    ValueError unless every task has a solution and every solution a task, or if the machine's isolation is weaker than
    `settings["require_isolation"]`.
    """
    sandbox.require(settings["require_isolation"])
    rows = solutions.select(["task_id", "sample", "solution"]).to_pylist()
    _check_complete({task.task_id for task in tasks}, {row["task_id"] for row in rows})
    verdicts = _first_runs(tasks, rows, settings, truth)
    known = {task.task_id: task for task in tasks}
    for i, verdict in enumerate(verdicts):
        if verdict["status"] == "timeout":
            log.info("%s ran out of time; once more, alone", verdict["task_id"])
            [verdicts[i]] = _verdicts(known[verdict["task_id"]], [rows[i]], settings, truth, _PATIENCE)
    return tables.conform(verdicts, tables.VERDICTS)


def calibrate(tasks: list[Task], settings: dict[str, Any], truth: Path) -> dict[str, Any]:
    """The benchmark's own solutions under the same settings: see `warn`."""
    rows = [{"task_id": t.task_id, "sample": 0, "solution": t.canonical_program} for t in tasks]
    verdicts = grade(tasks, tables.conform(rows, tables.SOLUTIONS), settings, truth).to_pylist()
    failed = [f"{row['task_id']} ({row['status']})" for row in verdicts if row["status"] != "pass"]
    passed = {f"{suite}_passed": sum(row[f"{suite}_passed"] for row in verdicts) for suite in _suites(settings)}
    return {"tasks": len(tasks), "base_passed": None, "plus_passed": None, **passed, "failed": failed,
            "isolation": sandbox.level()}  # fmt: skip


def warn(calibration: dict[str, Any]) -> None:
    """Say so if not all canonical solutions passed; in every run, also in one that finds its calibration kept."""
    if failed := calibration["failed"]:
        log.warning("CALIBRATION: %d of %d canonical solutions do not pass (%s); every score here is too low by that "
                    "much; a larger evaluate.seconds or evaluate.memory_mb may help",
                    len(failed), calibration["tasks"], ", ".join(failed[:10]))  # fmt: skip


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines the verdicts besides tasks and solutions."""
    return {
        **{name: settings[name] for name in ("benchmark", "seconds", "memory_mb")},
        "isolation": sandbox.level(),
        "python": platform.python_version(),
        "rules": _RULES,
    }


def _suites(settings: dict[str, Any]) -> tuple[str, ...]:
    return ("base", "plus") if settings["benchmark"].endswith("_plus") else ("base",)


def _first_runs(tasks: list[Task], rows: list[dict[str, Any]], settings: dict[str, Any],
                truth: Path) -> list[dict[str, Any]]:  # fmt: skip
    """Every solution once, task by task, so that a task's truth is read once; in the order of `rows`."""
    places = defaultdict(list)
    for i, row in enumerate(rows):
        places[row["task_id"]].append(i)
    verdicts: list[dict[str, Any]] = [{}] * len(rows)
    with ThreadPoolExecutor(settings["workers"]) as pool, Progress("grade", len(rows), "solutions") as progress:

        def work(task: Task) -> None:
            mine = places[task.task_id]
            for i, verdict in zip(mine, _verdicts(task, [rows[i] for i in mine], settings, truth, 1.0), strict=True):
                verdicts[i] = verdict
                progress.add(1)

        for _ in pool.map(work, tasks):
            pass
    return verdicts


def _verdicts(task: Task, rows: list[dict[str, Any]], settings: dict[str, Any], truth: Path,
              patience: float) -> list[dict[str, Any]]:  # fmt: skip
    suites = ground.of(task, truth, _suites(settings))
    return [_verdict(task, row, suites, settings, patience) for row in rows]


def _verdict(task: Task, row: dict[str, Any], suites: list[list[Expected]], settings: dict[str, Any],
             patience: float) -> dict[str, Any]:  # fmt: skip
    expected = [one for suite in suites for one in suite]
    call = sandbox.Call(
        row["solution"],
        task.entry_point,
        suites=[[one.given for one in suite] for suite in suites],
        seconds=[max(settings["seconds"], FACTOR * one.seconds) for one in expected],
        largest=[_LARGEST + _LARGER * len(one.output.data) for one in expected],
        total=_TASK * settings["seconds"] + FACTOR * sum(one.seconds for one in expected),
        elements=oracle.as_elements(task),
    )

    def right(i: int, output: Output, _: float) -> bool:
        return oracle.right(task, expected[i], output)

    outcome = sandbox.run(call, settings["memory_mb"], right, patience)
    return {
        "task_id": row["task_id"],
        "sample": row["sample"],
        "base_passed": outcome.outputs >= len(suites[0]),
        "plus_passed": outcome.status == "done" if len(suites) > 1 else None,
        "status": {"done": "pass", "refused": "fail"}.get(outcome.status, outcome.status),
        "seconds": outcome.seconds,
    }


def _check_complete(tasks: set[str], solved: set[str]) -> None:
    if tasks != solved:
        raise ValueError(f"solutions and tasks differ: without a solution {sorted(tasks - solved)[:5]}, without a "
                         f"task {sorted(solved - tasks)[:5]}; use one evaluate.limit for both")  # fmt: skip
