"""Evaluation: a model -> SOLUTIONS (worker `generate`) -> VERDICTS (`grade`, torch-free) -> pass@1 with its interval.

A new benchmark is an entry of `benchmark._READERS`; a stronger sandbox replaces `sandbox.run`.
"""

from qaq.evaluate.benchmark import Task, check, identity, tasks
from qaq.evaluate.grade import calibrate, grade, grade_canonical
from qaq.evaluate.grade import identity as grading_identity
from qaq.evaluate.results import results
from qaq.evaluate.statistics import PassRate, pass_at_1

__all__ = ["PassRate", "Task", "calibrate", "check", "grade", "grade_canonical", "grading_identity", "identity", "pass_at_1",
           "results", "tasks"]  # fmt: skip
