"""Unit tests that a model writes for a pair, for XCoder's quality score (Wang et al. 2024, arXiv 2409.03810).

XCoder asks a model trained for it (from LLaMA3-70B) for 12 tests. Here any instruct model is asked, in words of ours, for
`assert` lines in one block. The block and its first assert are begun for it, because a small model repeats the answer otherwise
(SmolLM2-135M: 21 tests for 40 answers); where the block closes the reply ends. What becomes of the reply: `parse`.
An answer that has nothing to test is not asked about: its reply is null.
"""

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from qaq.signals.programs import programs, tests

VERSION = 1
WHAT = "unit tests"
# reply: the block, as far as it was said; null for who was not asked; tests: the source of each, empty where none could be used.
SCHEMA = pa.schema([("id", pa.string()), ("reply", pa.string()), ("tests", pa.list_(pa.string()))])
BEGUN = "assert"
OPENING = f"```python\n{BEGUN}"
_END = ("\n```",)


def load(request: dict[str, Any]) -> Callable[[pa.Table], pa.Table]:
    """Asks `request["model"]` (prepared directory) as `request["settings"]` say: prompt (with {query}, {answer}, {count}), count,
    max_new_tokens, temperature, top_p, seed, dtype, batch_size.

    A pair whose prompt leaves no room in the model's window has an empty reply.
    """
    ask, settings = _asking(request), request["settings"]

    def written(pairs: pa.Table) -> pa.Table:
        found = programs(pairs["answer"].to_pylist())
        rows = [i for i, program in enumerate(found) if not program.status]
        said = dict(zip(rows, ask(pairs.take(pa.array(rows, pa.int64())).to_pylist()), strict=True))
        replies = [said.get(i) for i in range(len(found))]
        sources = tests([reply or "" for reply in replies], [program.names for program in found], settings["count"])
        return pa.table([pairs["id"], replies, sources], schema=SCHEMA)

    return written


def question(template: str, pair: dict[str, Any], count: int) -> str:
    """The user's turn: the template's marks are replaced, those in a query or an answer are not."""
    given = {"query": pair["query"], "answer": pair["answer"], "count": str(count)}
    return re.sub(r"\{(query|answer|count)\}", lambda mark: given[mark[1]], template)


def _asking(request: dict[str, Any]) -> Callable[[list[dict[str, Any]]], list[str]]:
    """The loaded model as a function from pairs to replies."""
    from qaq import chat, decode, models

    directory, settings = Path(request["model"]), request["settings"]
    model, tokenizer = models.load(directory, settings["dtype"], models.device(request.get("device", "auto")))
    frame, window = chat.frame(tokenizer, None), models.window(model.config)
    ended = decode.stopping(tokenizer, decode.end_tokens(model.generation_config, tokenizer, frame.tail), _END)

    text = functools.partial(tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def batch(pairs: list[dict[str, Any]], prompts: list[list[int]]) -> list[decode.Reply]:
        limits = [min(settings["max_new_tokens"], window - len(prompt)) for prompt in prompts]
        choose = decode.most_likely
        if settings["temperature"]:
            seeds = [seed(pair["id"], settings["seed"]) for pair in pairs]
            choose = decode.sampling(seeds, max([1, *limits]), settings["temperature"], settings["top_p"])
        return decode.replies(model, prompts, limits, tokenizer.pad_token_id, ended, choose)

    def ask(pairs: list[dict[str, Any]]) -> list[str]:
        texts = [frame.prompt(question(settings["prompt"], pair, settings["count"])) + OPENING for pair in pairs]
        prompts, found = chat.encode(tokenizer, texts), [""] * len(pairs)
        for rows in decode.batches([len(prompt) for prompt in prompts], settings["batch_size"]):
            for i, reply in zip(rows, batch([pairs[i] for i in rows], [prompts[i] for i in rows]), strict=True):
                found[i] = BEGUN + text(reply.tokens) if reply.tokens else ""
        return found

    return ask


def seed(id: str, base: int) -> int:
    """Each pair draws from its own."""
    return int.from_bytes(hashlib.sha256(f"{base} {id}".encode()).digest()[:7], "big")
