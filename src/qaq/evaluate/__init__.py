"""Evaluation: a model -> SOLUTIONS (worker `generate`) -> VERDICTS (`grade`, torch-free) -> pass@1 with its interval.

A new benchmark is an entry of `benchmark._READERS`; a new wall is a few lines of `walls`, and a comparison of `oracle`.
"""

from qaq.evaluate.benchmark import Task, check, identity, tasks
from qaq.evaluate.grade import calibrate, grade
from qaq.evaluate.grade import identity as grading_identity
from qaq.evaluate.results import results
from qaq.evaluate.statistics import PassRate, pass_at_1
from qaq.evaluate.truth import identity as truth_identity
from qaq.evaluate.truth import make as ground_truth

__all__ = ["PassRate", "Task", "calibrate", "check", "grade", "grading_identity", "ground_truth", "identity", "pass_at_1",
           "results", "tasks", "truth_identity"]  # fmt: skip
