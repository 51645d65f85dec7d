"""Fixtures shared by all rooms: a real transformers model of a few thousand parameters, made on the spot."""

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from qaq.sandbox import LEVELS, parent  # noqa: E402

# No deadline: a shared machine is slow now and then, and a test never asserts a time. The same examples every time.
hypothesis.settings.register_profile("qaq", deadline=None, max_examples=40, derandomize=True)
hypothesis.settings.load_profile("qaq")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tokenizer(directory: Path, vocabulary: int = 300, template: str | None = CHATML) -> None:
    """A byte-level BPE tokenizer trained on this test suite's own text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    core.train_from_iterator([Path(__file__).read_text()], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = template
    made.save_pretrained(directory)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A directory with a random Llama (2 layers, width 16, window 2048), its tokenizer and a ChatML template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("tiny-model")
    make_tokenizer(directory)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=2048,
                         bos_token_id=0, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
                         initializer_range=0.5)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Every level of isolation that the machine has."""
    if not parent.allowed(request.param):
        pytest.skip(f"this machine does not allow {request.param!r}")
    monkeypatch.setattr(parent, "level", lambda: request.param)
    return request.param
