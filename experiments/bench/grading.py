"""Our verdicts against EvalPlus's own, on canonical solutions and mutants of them; and calibration on a busy machine.

    python experiments/bench/grading.py [--humaneval HumanEvalPlus.jsonl.gz] [--mbpp MbppPlus.jsonl.gz]
        [--mutants 2] [--calibrations 3] [--tasks 0:400] [--solutions solutions.parquet]

A mutant is a canonical solution with one constant or operator changed, drawn with a fixed seed; --solutions takes a model's
(a SOLUTIONS table) instead. EvalPlus's verdicts are those of its untrusted_check with min_time_limit=4, whose code runs here in
its own guard, which is no sandbox: a model's solutions only in a container. Prints times, counts and every disagreement with
its explanation; ends with 1 if one has none, or if a canonical solution fails.
"""

import argparse
import ast
import copy
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from evalplus.eval import untrusted_check  # noqa: E402
from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS  # noqa: E402
from evalplus.gen.util import trusted_exec  # noqa: E402

from qaq import evaluate, tables  # noqa: E402
from qaq.evaluate.benchmark import Task  # noqa: E402

SECONDS = 4.0
SETTINGS = {"limit": None, "seconds": SECONDS, "memory_mb": 4096, "workers": 2, "require_isolation": None}
SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Add,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def main() -> int:
    """Prints the comparison; 1 if something is left unexplained."""
    asked = _arguments()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # EvalPlus's limit of 4 GB counts what this process holds: the canonical solution of Mbpp/255 fails under it here.
    os.environ["EVALPLUS_MAX_MEMORY_BYTES"] = "-1"
    sound = True
    for benchmark, path in (("humaneval_plus", asked.humaneval), ("mbpp_plus", asked.mbpp)):
        if path is None:
            continue
        settings = {**SETTINGS, "benchmark": benchmark, "path": str(path)}
        if tasks := evaluate.tasks(settings)[slice(*map(int, asked.tasks.split(":")))]:
            with tempfile.TemporaryDirectory() as truth:
                sound &= _compare(tasks, settings, Path(truth), asked)
    return 0 if sound else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--humaneval", type=Path)
    parser.add_argument("--mbpp", type=Path)
    parser.add_argument("--mutants", type=int, default=2)
    parser.add_argument("--calibrations", type=int, default=3)
    parser.add_argument("--tasks", default="0:400")
    parser.add_argument("--solutions", type=Path)
    return parser.parse_args()


def _compare(tasks: list[Task], settings: dict[str, Any], truth: Path, asked: argparse.Namespace) -> bool:
    begun = time.monotonic()
    evaluate.ground_truth(tasks, settings, truth)
    size = sum(file.stat().st_size for file in truth.iterdir()) / 1e6
    print(
        f"{settings['benchmark']}: {len(tasks)} tasks, truth in {time.monotonic() - begun:.1f} s, {size:.1f} MB",
        flush=True,
    )
    sound = _calibrate(tasks, settings, truth, busy=False)
    for _ in range(asked.calibrations):
        sound &= _calibrate(tasks, settings, truth, busy=True)
    programs = _of_model(tasks, asked.solutions) if asked.solutions else _mutants(tasks, asked.mutants)
    return _agree(programs, settings, truth) and sound if programs else sound


def _mutants(tasks: list[Task], mutants: int) -> list[tuple[Task, int, str]]:
    return [(task, i, text) for task in tasks for i, text in enumerate(_programs(task, mutants))] if mutants else []


def _of_model(tasks: list[Task], solutions: Path) -> list[tuple[Task, int, str]]:
    known = {task.task_id: task for task in tasks}
    rows = tables.read(solutions, ["task_id", "sample", "solution"]).to_pylist()
    return [(known[row["task_id"]], row["sample"], row["solution"]) for row in rows if row["task_id"] in known]


def _calibrate(tasks: list[Task], settings: dict[str, Any], truth: Path, busy: bool) -> bool:
    burner = multiprocessing.Process(target=_burn, daemon=True)
    if busy:
        burner.start()
    begun = time.monotonic()
    said = evaluate.calibrate(tasks, settings, truth)
    print(f"  calibration{', busy machine' if busy else ''}: {said}, {time.monotonic() - begun:.1f} s", flush=True)
    if busy:
        burner.kill()
        burner.join()
    return not said["failed"]


def _burn() -> None:
    while True:
        pass


def _agree(programs: list[tuple[Task, int, str]], settings: dict[str, Any], truth: Path) -> bool:
    tasks = list({task.task_id: task for task, _, _ in programs}.values())
    rows = [{"task_id": task.task_id, "sample": i, "solution": text} for task, i, text in programs]
    ours = evaluate.grade(tasks, tables.conform(rows, tables.SOLUTIONS), settings, truth).to_pylist()
    counts, unexplained, oracles = {}, 0, {}
    for (task, i, text), mine in zip(programs, ours, strict=True):
        if task.task_id not in oracles:
            oracles = {task.task_id: _oracle(task)}  # of one task at a time: some are large
        theirs = _theirs(task, text, oracles[task.task_id])
        verdicts = ((mine["base_passed"], theirs[0]), (mine["plus_passed"], theirs[1]))
        for suite, (a, b) in zip(("base", "plus"), verdicts, strict=True):
            counts[a, b] = counts.get((a, b), 0) + 1
            if a != b:
                why = _why(task, a, b)
                unexplained += why is None
                print(f"  {task.task_id} program {i} {suite}: ours {a} ({mine['status']}), EvalPlus {b}: {why or '?'}")
                if why is None:
                    print(text)
    print(f"  (ours, EvalPlus): {counts}; unexplained: {unexplained}", flush=True)
    return not unexplained


def _why(task: Task, ours: bool, theirs: bool) -> str | None:
    """Why EvalPlus and we may differ on a task in this way."""
    if task.entry_point == "find_zero" and task.dataset == "humaneval" and ours and not theirs:
        return "its oracle of this task forgets to note a pass down (fixed after 0.3.1, not released)"
    return None


def _oracle(task: Task) -> list[tuple[list[Any], list[float]]]:
    """Expected outputs and times as EvalPlus makes them."""
    presence = task.dataset == "mbpp" and task.entry_point in MBPP_OUTPUT_NOT_NONE_TASKS
    return [trusted_exec(task.canonical_program, inputs, task.entry_point, True, presence)
            for inputs in (task.base_inputs, task.plus_inputs)]  # fmt: skip


def _theirs(task: Task, program: str, oracles: list[tuple[list[Any], list[float]]]) -> tuple[bool, bool]:
    """EvalPlus's verdicts: (base, base and plus)."""
    passed = []
    for inputs, (expected, seconds) in zip((task.base_inputs, task.plus_inputs), oracles, strict=True):
        status, _ = untrusted_check(task.dataset, program, copy.deepcopy(inputs), task.entry_point, expected, task.atol,
                                    seconds, fast_check=True, min_time_limit=SECONDS)  # fmt: skip
        passed.append(status == "pass")
        if not passed[0]:
            return False, False
    return passed[0], all(passed)


def _programs(task: Task, mutants: int) -> list[str]:
    """The canonical solution, and it with one place changed."""
    text = task.canonical_program
    places = range(_Mutation(None).count(text))
    chosen = random.Random(task.task_id).sample(places, min(mutants, len(places)))
    return [text, *(_Mutation(place).of(text) for place in chosen)]


class _Mutation(ast.NodeTransformer):
    """Changes the constant or operator at `place`, counted in the order of the tree; None: changes nothing."""

    def __init__(self, place: int | None) -> None:
        self.place, self.seen = place, 0

    def count(self, text: str) -> int:
        self.visit(ast.parse(text))
        return self.seen

    def of(self, text: str) -> str:
        return ast.unparse(ast.fix_missing_locations(self.visit(ast.parse(text))))

    def generic_visit(self, node: ast.AST) -> ast.AST:
        number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        if number or type(node) in SWAPPED:
            self.seen += 1
            if self.seen - 1 == self.place:
                return ast.Constant(node.value + 1) if number else SWAPPED[type(node)]()
        return super().generic_visit(node)


if __name__ == "__main__":
    sys.exit(main())
