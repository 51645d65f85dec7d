"""Which runs are the same: what a selector asked of other models, and how leakage was counted, tell runs apart."""

import copy

import pytest
from small_logs import ROOT  # noqa: F401

from analysis import identity

MODEL = {"name": "m", "id": None, "path": "somewhere"}
CONFIG = {"data": {"name": "jsonl", "seed": 0}, "scorer": {"name": "local", "model": dict(MODEL), "weak": None}, "budget": 0.25, "seed": 0,
          "selector": {"name": "xcoder", "complexity": "scorer", "quality": False, "passed": "count", "unscored": "mean", "alpha": 0.5, "norm": "rank", "diversity": None, "exact_up_to": 10},
          "signals": {"complexity": {"model": dict(MODEL), "prompt": "{query}", "tokens_per_batch": None}, "scar": {"model": dict(MODEL)}},
          "leakage": {"name": "defaults", "text": "query", "threshold": 0.05, "benchmarks": ["humaneval"], "mbpp": None}}  # fmt: skip


def asked(*path, value):
    config = copy.deepcopy(CONFIG)
    section = config
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    return identity.asked({"config": config, "stages": ["load", "score", "select"]})


SAME = asked("seed", value=0)


@pytest.mark.parametrize(("path", "value"), [
    (("signals", "complexity", "prompt"), "Rate {query}"), (("signals", "complexity", "model", "path"), "elsewhere"),
    (("leakage", "threshold"), 0.5), (("leakage", "text"), "answer"),
])  # fmt: skip
def test_what_moves_a_number_tells_runs_apart(path, value):
    assert asked(*path, value=value) != SAME


@pytest.mark.parametrize(("path", "value"), [
    (("signals", "scar", "model", "path"), "elsewhere"), (("signals", "complexity", "tokens_per_batch"), 100),
    (("leakage", "mbpp"), "a/file.jsonl"),
])  # fmt: skip
def test_what_was_not_asked_for_and_knobs_do_not(path, value):
    assert asked(*path, value=value) == SAME


def test_results_from_before_there_was_leakage_have_an_identity():
    config = {name: value for name, value in CONFIG.items() if name not in ("leakage", "signals")}
    assert "leakage" not in identity.asked({"config": config, "stages": ["load", "score", "select"]})
