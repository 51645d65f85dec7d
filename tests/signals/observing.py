"""Tiny random models and pairs for the tests of the signals."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import transformers
from conftest import make_tokenizer
from tokenizers import processors
from transformers import AutoTokenizer

SMALL = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 2,
         "pad_token_id": 0, "initializer_range": 0.3}  # fmt: skip
QUERIES = ["add two numbers", "x", "Sort a list of 3-tuples by the second item, then by the first.\nKeep equal ones in order.",
           "reverse a string {query}", "Write a function that counts the words of a sentence, whatever stands between them."]  # fmt: skip


def config(kind: str, **changes: Any) -> Any:
    """A configuration of that family; of SMALL, what it does not know is left out."""
    made = getattr(transformers, f"{kind}Config")()
    known = {name: value for name, value in SMALL.items() if hasattr(made, name)}
    return type(made)(**{**known, **changes})


def tiny(kind: str, what: str = "AutoModel", **changes: Any) -> torch.nn.Module:
    """A random model of that family."""
    torch.manual_seed(0)
    return getattr(transformers, what).from_config(config(kind, **changes), dtype=torch.float32).eval()


def saved(model: torch.nn.Module, directory: Path, marks: bool = False, side: str = "right", **options: Any) -> Path:
    """`model` with a byte-level tokenizer; with `marks` that puts one before and one behind a text, as BERT's does."""
    directory.mkdir()
    make_tokenizer(directory, **options)
    model.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    if marks:
        template = processors.TemplateProcessing("<|im_start|> $A <|im_end|>", None, [("<|im_start|>", 1), ("<|im_end|>", 2)])  # fmt: skip
        tokenizer.backend_tokenizer.post_processor = template
    tokenizer.padding_side = side
    tokenizer.save_pretrained(directory)
    return directory


def pairs(
    queries: list[str] = QUERIES, answers: list[str] | None = None, turns: list[list[str]] | None = None
) -> pa.Table:
    """Rows as the worker hands them over."""
    answers = answers or [f"def f():\n    return {len(query)}" * (1 + place % 3) for place, query in enumerate(queries)]
    return pa.table({"id": [f"p{place}" for place in range(len(queries))], "query": queries, "answer": answers,
                     "queries": turns or [[query] for query in queries]})  # fmt: skip


def alone_and_together(made: Any, table: pa.Table, column: str) -> tuple[list[Any], list[Any]]:
    """A column made pair by pair, and made of all pairs at once."""
    alone = [made(table.slice(place, 1))[column].to_pylist()[0] for place in range(len(table))]
    return alone, made(table)[column].to_pylist()
