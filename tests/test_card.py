"""Cards: every fact is a row, whatever it holds, and a departure from the paper is stated."""

import json

import pytest

from qaq.card import rows, write_model_card


def test_a_value_with_a_pipe_or_a_line_break_stays_one_cell():
    assert rows({"command": "a | b\nc", "n": 3}) == "| command | a \\| b c |\n| n | 3 |"


@pytest.mark.parametrize("adapter", [None, {"rank": 4}])
def test_the_models_card_names_its_base_its_loss_and_a_departure(tmp_path, adapter):
    (tmp_path / "model").mkdir()
    lines = [{"step": n, "loss": 3.0 - n, "learning_rate": 1e-5} for n in (1, 2)]
    (tmp_path / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "counts.json").write_text(json.dumps({"trained": 7, "steps": 2}))
    write_model_card(tmp_path, {"name": "Base", "id": "who/base"}, {"selector": "rmi", "train.adapter": adapter})
    card = (tmp_path / "model/README.md").read_text()
    assert "base_model: who/base\n" in card
    assert "Loss from 2.000 to 1.000 nats per completion token in 2 updates" in card
    assert "| selector | rmi |" in card
    assert ("| departure from the paper | an adapter was trained" in card) == bool(adapter)
    assert (tmp_path / "model/loss.png").stat().st_size > 1000
