"""Ground truth: what the canonical solutions return on a benchmark's inputs, and how long they take.

They run behind the same walls as a model's solutions: they are code of strangers too. The offline HumanEval has tests
and no inputs; its inputs are those that its tests pass to the canonical solution (with the random seed fixed, as some are
drawn). Nothing is kept from one call to the next: the caller keeps the folder.
"""

import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qaq import sandbox
from qaq.evaluate import oracle
from qaq.evaluate.benchmark import Task
from qaq.evaluate.oracle import Expected
from qaq.progress import Progress
from qaq.sandbox import Output, values

FILE = "truth.parquet"
_RULES = 2  # goes up with every change that may change what is kept
# An input of a task. suite is "base" or "plus", position counts within it; given and output are encoded by
# qaq.sandbox.values, kind is the name of the output's type; floats: see oracle.Expected; seconds of processor time.
TABLE = pa.schema([
    ("task_id", pa.string()), ("suite", pa.string()), ("position", pa.int32()), ("given", pa.binary()),
    ("kind", pa.string()), ("output", pa.binary()), ("floats", pa.bool_()), ("seconds", pa.float64()),
])  # fmt: skip
_SUITES = ("base", "plus")
_SECONDS = 60.0  # of processor time for one input, at least; a task's inputs together may take ten times as long
_AT_ONCE = 8  # tasks whose outputs are held in memory
_LARGEST = 1 << 30  # bytes of an output
_RECORDED = """

def _inputs_of_the_tests():
    import copy, random
    random.seed(0)
    inputs = []
    def candidate(*arguments):
        inputs.append(copy.deepcopy(list(arguments)))
        return {entry_point}(*arguments)
    check(candidate)
    return inputs
"""


class TruthFailed(RuntimeError):
    """A canonical solution did not give all its outputs: nothing can be graded by it."""


def make(tasks: list[Task], settings: dict[str, Any], out: Path) -> None:
    """Write the truth of `tasks` into the folder `out`: one table, in which each task is a row group."""
    sandbox.require(settings["require_isolation"])
    with (
        pq.ParquetWriter(
            out / FILE, TABLE, compression="zstd", use_dictionary=False, write_statistics=["task_id"]
        ) as writer,
        ThreadPoolExecutor(settings["workers"]) as pool,
        Progress("truth", len(tasks), "tasks") as progress,
    ):
        for start in range(0, len(tasks), _AT_ONCE):
            for rows in pool.map(lambda task: _rows(task, settings), tasks[start : start + _AT_ONCE]):
                writer.write_table(pa.Table.from_pylist(rows, TABLE), row_group_size=len(rows))
                progress.add(1)


def identity() -> dict[str, Any]:
    """What determines the truth besides the tasks."""
    return {"rules": _RULES, "python": platform.python_version()}


def of(task: Task, truth: Path, suites: tuple[str, ...]) -> list[list[Expected]]:
    """What `make` found for one task, by suite."""
    table = pq.read_table(truth / FILE, filters=pc.field("task_id") == task.task_id)
    if not table.num_rows:
        raise ValueError(f"the ground truth in {truth} has no task {task.task_id}: it was made for other tasks")
    rows = table.to_pylist()
    return [_expected([row for row in rows if row["suite"] == suite]) for suite in suites]


def _rows(task: Task, settings: dict[str, Any]) -> list[dict[str, Any]]:
    base = _recorded(task, settings) if task.base_inputs is None else task.base_inputs
    inputs = {"base": base, "plus": task.plus_inputs}
    found = _outputs(task, task.canonical_program, task.entry_point, [inputs[suite] for suite in _SUITES], settings)
    places = [(suite, i) for suite in _SUITES for i in range(len(inputs[suite]))]
    return [_row(task, place, inputs[place[0]][place[1]], *output) for place, output in zip(places, found, strict=True)]


def _recorded(task: Task, settings: dict[str, Any]) -> list[list[Any]]:
    """The inputs that a task's tests pass to the canonical solution."""
    program = f"{task.canonical_program}\n{task.test}{_RECORDED.format(entry_point=task.entry_point)}"
    [(output, _)] = _outputs(task, program, "_inputs_of_the_tests", [[[]]], settings)
    return values.decode(output.data)


def _outputs(task: Task, program: str, entry_point: str, suites: list[list[list[Any]]],
             settings: dict[str, Any]) -> list[tuple[Output, float]]:  # fmt: skip
    """The outputs with their processor seconds, of all inputs."""
    count, seconds, found = sum(map(len, suites)), max(settings["seconds"], _SECONDS), []

    def keep(_: int, output: Output, used: float) -> bool:
        found.append((output, used))
        return bool(output.kind)

    call = sandbox.Call(program, entry_point, suites, [seconds] * count, [_LARGEST] * count, 10 * seconds)
    outcome = sandbox.run(call, settings["memory_mb"], keep)
    if outcome.status != "done":
        why = values.decode(found[-1][0].data) if outcome.status == "refused" and found else outcome.status
        raise TruthFailed(f"the canonical solution of {task.task_id} gave {outcome.outputs} of {count} outputs ({why}); a "
                          "larger evaluate.memory_mb may help")  # fmt: skip
    return found


def _row(task: Task, place: tuple[str, int], given: list[Any], output: Output, seconds: float) -> dict[str, Any]:
    suite, position = place
    kind, data = oracle.truth_of(task, output)
    return {"task_id": task.task_id, "suite": suite, "position": position, "given": values.encode([*given]), "kind": kind,
            "output": data, "floats": oracle.is_float(data), "seconds": seconds}  # fmt: skip


def _expected(rows: list[dict[str, Any]]) -> list[Expected]:
    """`rows` are one suite's, in their order."""
    expected, floats = [], False
    for row in rows:
        before, floats = floats, floats or row["floats"]
        given = values.decode(row["given"])
        expected.append(Expected(given, Output(row["kind"], row["output"]), floats, before, row["seconds"]))
    return expected
