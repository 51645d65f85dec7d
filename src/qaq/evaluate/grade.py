"""Verdicts: every solution with the benchmark's tests, each in a sandbox of its own.

Runs in the pipeline's process, which loads no torch: the address-space limit is the program's alone. A time-out by
the wall clock may be the fault of a busy machine: it is repeated once, alone and with more patience, before it counts.
(A program that used up its processor time would only do so again.)
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from qaq import tables
from qaq.evaluate import benchmark, sandbox
from qaq.evaluate.benchmark import Task
from qaq.progress import Progress

log = logging.getLogger(__name__)
_PATIENCE = 3.0  # wall over processor time when a program is repeated alone


def grade(tasks: list[Task], solutions: pa.Table, settings: dict[str, Any]) -> pa.Table:
    """VERDICTS of SOLUTIONS, in their order. ValueError unless every task has a solution and every solution a task."""
    known = {task.task_id: task for task in tasks}
    rows = solutions.select(["task_id", "sample", "solution"]).to_pylist()
    _check_complete(set(known), {row["task_id"] for row in rows})
    programs = [program(known[row["task_id"]], row["solution"]) for row in rows]
    outcomes = _first_runs(programs, settings)
    for i, outcome in enumerate(outcomes):
        if outcome.waited:
            log.info("%s ran out of time while it waited; once more, alone", rows[i]["task_id"])
            outcomes[i] = _run(programs[i], settings, _PATIENCE)
    return tables.conform([_verdict(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)],
                          tables.VERDICTS)  # fmt: skip


def grade_canonical(tasks: list[Task], settings: dict[str, Any]) -> dict[str, Any]:
    """Calibration: the benchmark's own solutions under the same settings; anything but all passed is a warning."""
    rows = [{"task_id": t.task_id, "sample": 0, "solution": t.prompt + t.canonical_solution} for t in tasks]
    verdicts = grade(tasks, tables.conform(rows, tables.SOLUTIONS), settings).to_pylist()
    failed = [row["task_id"] for row in verdicts if not row["base_passed"]]
    if failed:
        log.warning("calibration: %d of %d canonical solutions do not pass (%s); every score here is too low by "
                    "that much; a larger evaluate.seconds or evaluate.memory_mb may help",
                    len(failed), len(tasks), ", ".join(failed[:10]))  # fmt: skip
    return {"passed": len(tasks) - len(failed), "tasks": len(tasks), "failed": failed, "isolation": sandbox.level()}


def calibrate(settings: dict[str, Any]) -> dict[str, Any]:
    """`grade_canonical` of the benchmark that `settings` names."""
    return grade_canonical(benchmark.tasks(settings), settings)


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines the verdicts besides tasks and solutions."""
    return {"seconds": settings["seconds"], "memory_mb": settings["memory_mb"], "isolation": sandbox.level()}


def program(task: Task, solution: str) -> str:
    """The solution, then the benchmark's tests of its entry point."""
    return f"{solution}\n\n{task.test}\n\ncheck({task.entry_point})\n"


def _first_runs(programs: list[str], settings: dict[str, Any]) -> list[sandbox.Outcome]:
    outcomes = []
    with ThreadPoolExecutor(settings["workers"]) as pool, Progress("grade", len(programs), "solutions") as progress:
        for outcome in pool.map(lambda text: _run(text, settings, 1.0), programs):
            outcomes.append(outcome)
            progress.add(1)
    return outcomes


def _run(text: str, settings: dict[str, Any], patience: float) -> sandbox.Outcome:
    return sandbox.run(text, settings["seconds"], settings["memory_mb"], patience)


def _verdict(row: dict[str, Any], outcome: sandbox.Outcome) -> dict[str, Any]:
    return {"task_id": row["task_id"], "sample": row["sample"], "base_passed": outcome.status == "pass",
            "plus_passed": None, "status": outcome.status, "seconds": outcome.seconds}  # fmt: skip


def _check_complete(tasks: set[str], solved: set[str]) -> None:
    if tasks != solved:
        raise ValueError(f"solutions and tasks differ: without a solution {sorted(tasks - solved)[:5]}, without a "
                         f"task {sorted(solved - tasks)[:5]}; use one evaluate.limit for both")  # fmt: skip
