"""Evaluation: a model -> SOLUTIONS (worker `generate`) -> VERDICTS (`grade`, torch-free) -> RESULTS and
COMPARISONS (`results`). `python -m qaq.evaluate.compare RUN_A RUN_B` compares two runs.

A new benchmark is an entry of `benchmark._READERS`; a stronger sandbox replaces `sandbox.run`.
"""

from qaq.evaluate.benchmark import Task, check, identity, tasks
from qaq.evaluate.grade import calibrate, grade, grade_canonical
from qaq.evaluate.grade import identity as grading_identity
from qaq.evaluate.results import Measured, comparison, results
from qaq.evaluate.syntax import with_syntax

__all__ = ["Measured", "Task", "calibrate", "check", "comparison", "grade", "grade_canonical", "grading_identity", "identity",
           "results", "tasks", "with_syntax"]  # fmt: skip
