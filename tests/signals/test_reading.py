"""Reading: whatever the model, the batch and the device's memory, a text comes out as it does alone."""

import pytest
import torch
from observing import tiny

from qaq.signals import reading

ROWS = [list(range(3, 3 + size)) for size in (30, 5, 29, 1, 60, 7)]
IDS = [f"t{place}" for place in range(len(ROWS))]
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4,
            "original_max_position_embeddings": 40}  # fmt: skip
KINDS = [("Llama", {}), ("Qwen2", {}), ("Bert", {}), ("Roberta", {"pad_token_id": 1}), ("GPTNeoX", {}),
         ("Gemma2", {"head_dim": 8}), ("Gte", {}),
         ("Phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 40})]  # fmt: skip


def mean(output, mask_BT):
    return (output.last_hidden_state.float() * mask_BT[:, :, None]).sum(1) / mask_BT.sum(1, keepdim=True)


def reader(body: torch.nn.Module, tokens_per_batch: int | None = None) -> reading.Reader:
    return reading.Reader(body, body.config.pad_token_id, tokens_per_batch, "embedding")


@pytest.mark.parametrize("budget", [1, 40, None])
@pytest.mark.parametrize(("kind", "changes"), KINDS)
@pytest.mark.parametrize("reduce", [mean, reading.last])
def test_a_text_comes_out_as_it_does_alone(kind, changes, budget, reduce):
    body = tiny(kind, **changes)
    with torch.no_grad():
        alone = [reduce(body(input_ids=torch.tensor([row])), torch.ones(1, len(row)).long())[0] for row in ROWS]
    found = reader(body, budget).read(ROWS, IDS, reduce)
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_half_precision_weights_are_reduced_in_float32():
    body = tiny("Llama").to(torch.bfloat16)
    found = reader(body).read(ROWS, IDS, mean)
    with torch.no_grad():
        exact_D = body(input_ids=torch.tensor([ROWS[4]])).last_hidden_state[0].double().mean(0)
    assert found.dtype == torch.float32
    assert torch.linalg.vector_norm(found[4] - exact_D) < 0.05 * torch.linalg.vector_norm(exact_D)


def watched(body: torch.nn.Module, monkeypatch, room: float = float("inf")) -> list[int]:
    """Tokens, padding included, of each batch the body is given; more than `room` do not fit."""
    sizes, theirs = [], body.forward

    def forward(input_ids, **others):
        sizes.append(input_ids.numel())
        if input_ids.numel() > room:
            raise torch.OutOfMemoryError("too large")
        return theirs(input_ids=input_ids, **others)

    monkeypatch.setattr(body, "forward", forward)
    return sizes


def test_a_batch_that_does_not_fit_is_halved_for_good_and_nothing_is_lost(monkeypatch):
    body, rows = tiny("Llama"), [list(range(3, 3 + size)) for size in (20, 15, 19, 16, 18, 17)]
    expected = reader(body).read(rows, IDS, mean)
    sizes, halved = watched(body, monkeypatch, room=60), reader(body, 240)
    torch.testing.assert_close(halved.read(rows, IDS, mean), expected, rtol=1e-4, atol=1e-4)
    assert sizes == [120, 60, 51]
    assert halved.tokens_per_batch == 60
    halved.read(rows, IDS, mean)
    assert sizes[3:] == [60, 51]


def test_at_most_a_third_of_a_batch_is_padding(monkeypatch):
    body = tiny("Llama")
    sizes = watched(body, monkeypatch)
    reader(body, 10**6).read(ROWS, IDS, mean)
    assert sizes == [60, 2 * 30, 2 * 7, 1]


def test_a_text_that_does_not_fit_alone_is_named(monkeypatch):
    body = tiny("Llama")
    watched(body, monkeypatch, room=10)
    with pytest.raises(MemoryError, match=r"t4: 60 tokens .* lower signals.embedding.max_length"):
        reader(body, 60).read(ROWS, IDS, mean)


def test_results_that_are_no_numbers_are_refused_with_advice():
    body = tiny("Llama")
    body.get_input_embeddings().weight.data[62] = float("nan")  # the last token of t4
    with pytest.raises(
        ValueError, match=r"of 1 texts, the first of them t4, is no number .* signals.embedding.dtype=bfl"
    ):
        reader(body).read(ROWS, IDS, mean)


def test_a_text_without_a_token_is_named():
    with pytest.raises(ValueError, match="the text of b has no token"):
        reader(tiny("Llama")).read([[5], []], ["a", "b"], mean)


def test_no_texts_are_no_rows():
    assert reader(tiny("Llama")).read([], [], mean).shape[0] == 0


def test_the_window_leaves_out_positions_that_no_text_can_have():
    assert reading.limit(tiny("Bert"), None) == 256
    assert reading.limit(tiny("Bert"), 100) == 100
    assert reading.limit(tiny("Llama"), 1000) == 256
    body = tiny("Roberta", pad_token_id=1)
    assert reading.limit(body, None) == 254
    assert reader(body).read([[5] * 254], ["a"], mean).isfinite().all()
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        reader(body).read([[5] * 255], ["a"], mean)
