"""The recipe: the paper's three rows, nothing between them, and an exact global batch."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from qaq.sections import TrainConfig
from qaq.train.recipe import determining, recipe

CONF = Path(__file__).resolve().parents[2] / "conf" / "train"


def settings(name: str = "paper", **changes) -> dict:
    """The file's values with its DeepSpeed configuration, as Hydra joins them."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    engine = values.pop("defaults")[0]["deepspeed"]
    return {**values, "deepspeed": yaml.safe_load((CONF / f"deepspeed/{engine}.yaml").read_text()), **changes}


@pytest.mark.parametrize(("share", "batch", "rate"), [(1.0, 512, 1.2e-4), (0.5, 256, 0.8e-4), (0.25, 256, 0.4e-4)])
def test_the_papers_shares_give_the_papers_batch_and_learning_rate(share, batch, rate):
    for near in (share, share - 0.004, share + 0.004):
        found = recipe(settings(), near)
        assert (found["batch_size"], found["learning_rate"]) == (batch, rate)
    assert isinstance(found["batch_size"], int)


@pytest.mark.parametrize("share", [0.1, 0.244, 0.256, 0.75])
def test_a_share_between_the_rows_is_refused_with_the_shares_there_are_and_the_way_out(share):
    with pytest.raises(ValueError, match=r"1, 0\.5, 0\.25.*train\.batch_size=.* train\.learning_rate="):
        recipe(settings(), share)


def test_given_values_win_over_the_row_and_one_alone_is_not_enough_elsewhere():
    assert recipe(settings(learning_rate=1e-5), 0.5)["batch_size"] == 256
    assert recipe(settings(learning_rate=1e-5), 0.5)["learning_rate"] == 1e-5
    assert recipe(settings(batch_size=64, learning_rate=1e-5), 0.1)["batch_size"] == 64
    with pytest.raises(ValueError, match=r"10\.00% of the data"):
        recipe(settings(learning_rate=1e-5), 0.1)


def test_between_the_rows_a_straight_line_is_taken_only_on_request_and_beyond_them_nothing():
    found = recipe(settings(interpolate=True), 0.75)
    assert (found["batch_size"], found["learning_rate"]) == (384, pytest.approx(1.0e-4))
    assert recipe(settings(interpolate=True), 0.25) == recipe(settings(), 0.25) | {"interpolate": True}
    with pytest.raises(ValueError, match=r"10\.00% of the data"):
        recipe(settings(interpolate=True), 0.1)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 2.5}, {"learning_rate": -1.0}])
def test_impossible_values_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"train.{next(iter(wrong))}="):
        recipe(settings("smoke", **wrong), 0.3)


def test_the_smoke_recipe_is_the_same_for_every_share():
    assert recipe(settings("smoke"), 0.03) == recipe(settings("smoke"), 1.0)


@pytest.mark.parametrize("name", ["smoke", "paper"])
def test_each_yaml_holds_every_option_and_no_other(name):
    assert set(settings(name)) == {field.name for field in fields(TrainConfig)}


def test_the_recipe_is_read_without_loading_torch():
    code = "import sys, qaq.train.recipe, qaq.train.fit; assert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    source = str(CONF.parents[1] / "src")
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source})


def test_how_rows_are_read_is_no_part_of_a_result_unless_dropout_is_drawn_on_the_way():
    def told(dropout: float, ranks: int, **changes) -> dict:
        adapter = {"rank": 4, "alpha": 8, "dropout": dropout}
        return determining(settings("paper", adapter=adapter, seed=0, **changes), ranks)

    assert told(0.0, 1) == told(0.0, 8, micro_batch_size=1, packing=True)
    assert told(0.1, 1) != told(0.1, 8)
    assert told(0.1, 1) != told(0.1, 1, micro_batch_size=1)
    assert determining(settings(seed=0), 1) != determining(settings(seed=1), 1)


def test_what_a_recipe_did_not_use_is_no_part_of_a_result():
    given = {**settings(), "seed": 0}
    assert determining(recipe({**given, "interpolate": True}, 0.25), 1) == determining(recipe(given, 0.25), 1)
    assert determining({**given, "updates": 9, "epochs": 1}, 1) == determining({**given, "updates": 9, "epochs": 3}, 1)
    assert determining({**given, "epochs": 1}, 1) != determining(given, 1)
