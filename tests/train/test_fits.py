"""What is named as a way out of full memory is predicted to fit, and changes as little as it can."""

from qaq import cost
from qaq.train.fits import fitting, too_large

DEEPSEEK = cost.Shape(
    hidden=4096, layers=32, query=4096, key=4096, mlp=11008, vocabulary=32256, tied=False, window=16384
)
PAPER = {"micro_batch_size": 4, "gradient_checkpointing": False, "dtype": "bfloat16", "deepspeed": {}, "adapter": None}
H100 = 80e9


def test_the_papers_model_on_eight_gpus_needs_its_weights_divided():
    ways = fitting(DEEPSEEK, PAPER, 8, 4096, H100)
    assert ways
    assert all("train/deepspeed=zero" in way for way in ways)


def test_each_way_holds_only_what_it_needs():
    ways = [set(way.split()) for way in fitting(DEEPSEEK, PAPER, 8, 4096, H100)]
    assert not any(a < b for a in ways for b in ways)


def test_more_room_needs_fewer_changes():
    assert len(fitting(DEEPSEEK, PAPER, 8, 512, 40e9)[0].split()) >= len(
        fitting(DEEPSEEK, PAPER, 8, 512, 200e9)[0].split()
    )


def test_where_nothing_fits_the_other_ways_are_told():
    assert "train=lora" in too_large(DEEPSEEK, PAPER, 1, 4096, 1e9)
    assert "train=lora" in too_large(None, PAPER, 1, 4096, H100)


def test_an_adapter_is_told_nothing_that_would_divide_what_it_does_not_hold():
    lora = {**PAPER, "adapter": {"rank": 16}}
    ways = fitting(DEEPSEEK, lora, 1, 4096, 40e9)
    assert ways
    assert not any("deepspeed" in way for way in ways)
    assert "train=lora" not in too_large(DEEPSEEK, lora, 1, 4096, 1e9)
