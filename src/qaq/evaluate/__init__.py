"""Evaluation: a model -> replies (worker `generate`) -> SOLUTIONS (`solutions`) -> VERDICTS (`grade`, torch-free) -> RESULTS and
COMPARISONS (`results`). `python analysis/compare.py RUN_A RUN_B` compares two runs.

benchmark.py    the tasks, downloaded or packaged, with their digests
protocol.py     how a model is asked and where its reply ends
generate.py     worker: the replies, batch by batch; qaq.decode or vllm_generator.py decodes
solutions.py    replies -> programs; clean.py is the process that sanitizes them
truth.py        what the canonical solutions return
grade.py        solutions -> verdicts: qaq.sandbox runs them, oracle.py compares
syntax.py       which solutions compile; compiles.py is asked, in a process of its own
statistics.py   intervals and tests

A new benchmark is an entry of `benchmark.RELEASES`; a comparison is a few lines of `oracle`.
"""

from qaq.evaluate.benchmark import Task, at_hand, identity, partial, prompts, ready, tasks
from qaq.evaluate.grade import calibrate, grade
from qaq.evaluate.grade import identity as grading_identity
from qaq.evaluate.grade import warn as warn_of_calibration
from qaq.evaluate.results import HELD_OUT, Measured, comparison, results
from qaq.evaluate.solutions import check, collect, left
from qaq.evaluate.solutions import identity as asking_identity
from qaq.evaluate.syntax import with_syntax
from qaq.evaluate.truth import identity as truth_identity
from qaq.evaluate.truth import make as ground_truth

__all__ = ["HELD_OUT", "Measured", "Task", "asking_identity", "at_hand", "calibrate", "check", "collect", "comparison", "grade", "grading_identity",
           "ground_truth", "identity", "left", "partial", "prompts", "ready", "results", "tasks", "truth_identity", "warn_of_calibration", "with_syntax"]  # fmt: skip
