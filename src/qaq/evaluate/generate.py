"""Worker: a model's greedy solutions of a benchmark.

Request: {model: prepared directory, settings: EvaluateConfig, device, out}. Writes into `out`: solutions.parquet
(SOLUTIONS), raw.jsonl (replies as generated), counts.json, and canonical.parquet (id, context, target): the canonical
solution as the reply to the same prompt, for whoever measures its likelihood.
"""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from qaq import chat, models, tables
from qaq.evaluate import benchmark, decode, protocol
from qaq.evaluate.benchmark import Task
from qaq.launch import request
from qaq.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Room:
    """A loaded model with what is needed to ask it."""

    model: Any
    tokenizer: Any
    frame: chat.Frame


def main(asked: dict[str, Any]) -> None:
    """Answer one request."""
    settings, out = asked["settings"], Path(asked["out"])
    start = time.monotonic()
    room = load(asked)
    loaded = time.monotonic()
    tasks = benchmark.tasks(settings)
    replies = answer(room, tasks, settings)
    counts = _counts(replies, loaded - start, time.monotonic() - loaded)
    log.info("%(tasks)d solutions, %(tokens)d tokens in %(seconds).0f s; %(capped)d stopped by max_new_tokens", counts)
    _write(room, tasks, replies, out)
    (out / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")


def answer(room: Room, tasks: list[Task], settings: dict[str, Any]) -> list[decode.Reply]:
    """A reply to every task, in order. One whose prompt leaves no room in the model's window is empty and capped."""
    prompts = chat.encode(room.tokenizer, [protocol.prompt(room.frame, task) for task in tasks])
    ended = decode.stopping(room.tokenizer, decode.end_tokens(room.model, room.tokenizer, room.frame.tail),
                            protocol.STOPS)  # fmt: skip
    window = models.window(room.model.config)
    replies: dict[int, decode.Reply] = {}
    with Progress("generate", len(tasks), "tasks") as progress:
        for batch in decode.batches([len(p) for p in prompts], settings["batch_size"]):
            limits = [min(settings["max_new_tokens"], window - len(prompts[i])) for i in batch]
            found = decode.greedy(room.model, [prompts[i] for i in batch], limits, room.tokenizer.pad_token_id, ended)
            replies.update(zip(batch, found, strict=True))
            progress.add(len(batch))
    return [replies[i] for i in range(len(tasks))]


def canonical(frame: chat.Frame, tasks: list[Task]) -> pa.Table:
    """id, context, target: the task's own head opens the reply, the canonical solution is what is left to say."""
    return pa.table({
        "id": [task.task_id for task in tasks],
        "context": [protocol.prompt(frame, task) + task.prompt for task in tasks],
        "target": [task.canonical_solution for task in tasks],
    })  # fmt: skip


def load(asked: dict[str, Any]) -> Room:
    """The model of a request, ready to be asked."""
    where = models.device(asked["device"])
    model, tokenizer = models.load(Path(asked["model"]), asked["settings"]["dtype"], where)
    return Room(model, tokenizer, chat.frame(tokenizer, asked["settings"]["system_prompt"]))


def _counts(replies: list[decode.Reply], loading: float, seconds: float) -> dict[str, Any]:
    return {
        "tasks": len(replies),
        "capped": sum(reply.capped for reply in replies),
        "no_room": sum(reply.capped and not reply.tokens for reply in replies),
        "tokens": sum(len(reply.tokens) for reply in replies),
        "seconds": seconds,
        "seconds_loading": loading,
    }


def _write(room: Room, tasks: list[Task], replies: list[decode.Reply], out: Path) -> None:
    raw = [room.tokenizer.decode(r.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
           for r in replies]  # fmt: skip
    rows = [{"task_id": task.task_id, "sample": 0, "solution": protocol.solution(task, text),
             "tokens": len(reply.tokens), "capped": reply.capped}
            for task, text, reply in zip(tasks, raw, replies, strict=True)]  # fmt: skip
    tables.write(tables.conform(rows, tables.SOLUTIONS), out / "solutions.parquet")
    tables.write_jsonl(({"task_id": t.task_id, "raw": text} for t, text in zip(tasks, raw, strict=True)),
                       out / "raw.jsonl")  # fmt: skip
    tables.write(canonical(room.frame, tasks), out / "canonical.parquet")


if __name__ == "__main__":
    main(request())
