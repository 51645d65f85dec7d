"""The time of generation from two measurements: a line through two batch sizes, and how long replies are."""

import json

import pytest
import yaml
from conftest import ROOT

from qaq import tables
from qaq.evaluate import measure

SETTINGS = {**yaml.safe_load((ROOT / "conf/evaluate/humaneval.yaml").read_text()), "system_prompt": None, "limit": 6,
            "max_new_tokens": 12, "dtype": "float32", "batch_size": 4}  # fmt: skip


def test_generation_is_steps_with_as_many_replies_as_still_run():
    # one batch of two prompts of 10: 20 tokens at 0.1 s; replies of 3 and 1 tokens: steps with 2, 1 and 1 running
    found = measure.generation([10, 8], 2, [3, 1], 0.1, (1.0, 0.5))
    assert found == pytest.approx(2.0 + 3 * 1.0 + 4 * 0.5)


@pytest.mark.parametrize(("base", "slope"), [(1.0, 0.25), (0.5, 0.0)])
def test_the_line_through_two_measurements_is_found(base, slope):
    replies = [5, 3, 1]
    spent = sum(base + slope * sum(length > n for length in replies) for n in range(5))
    assert measure._line(replies, spent, 40, base + slope * 40) == pytest.approx((base, slope))


def test_a_batch_as_full_as_the_full_one_gives_one_point():
    assert measure._line([4, 4], 8.0, 2, 2.0) == (2.0, 0.0)


def asked(tiny_model, out, **changes) -> dict:
    return {"model": str(tiny_model), "settings": SETTINGS, "needed": {"fixed": 0, "token": 0}, "seconds": 0.0,
            "weights": True, "device": "cpu", "out": str(out), **changes}  # fmt: skip


def test_prompts_are_those_that_are_asked_and_solutions_those_that_are_scored(tiny_model, tmp_path):
    from qaq.evaluate import generate

    measure.measure(asked(tiny_model, tmp_path, weights=False))
    asking = generate.Asking.of({"model": str(tiny_model), "settings": SETTINGS})
    tasks = measure.benchmark.tasks(SETTINGS)
    counted = tables.read(tmp_path / "prompts.parquet")["prompt"].to_pylist()
    assert counted == [
        len(asking.tokenizer(asking.protocol.prompt(task), add_special_tokens=False)["input_ids"]) for task in tasks
    ]
    assert tables.read(tmp_path / "canonical.parquet").equals(generate.canonical(asking, tasks))
    assert not (tmp_path / "measured.json").exists()


def test_real_replies_are_timed(tiny_model, tmp_path):
    measure.measure(asked(tiny_model, tmp_path))
    found = json.loads((tmp_path / "measured.json").read_text())
    assert 4 <= len(found["replies"]) <= 6
    assert max(found["replies"]) <= 12
    assert min(found["work"], found["token"], found["peak_bytes"]) > 0
    assert min(found["step"]) >= 0
