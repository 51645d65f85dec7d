"""SUBSET + EXAMPLES -> a folder people train from as it is.

selected.jsonl     the source's own records, every field kept, in rank order
messages.jsonl     the same pairs as {"messages": [user, assistant]}, which TRL, axolotl and LLaMA-Factory read
README.md          the dataset card; its `configs` tell datasets.load_dataset which file is which
dataset_info.json  the entry LLaMA-Factory asks for
"""

import json
import tempfile
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qaq import spool
from qaq.card import rows
from qaq.tables import json_line

_COLUMNS = ["id", "query", "answer", "record"]
_BATCH = 1024  # rows of EXAMPLES held at a time


def export(examples: Path, subset: pa.Table, card: dict[str, Any], out: Path) -> None:
    """Write the folder. `card` holds what the dataset card states, as name -> value."""
    out.mkdir()
    with (
        (out / "selected.jsonl").open("w", encoding="utf-8") as selected,
        (out / "messages.jsonl").open("w", encoding="utf-8") as messages,
    ):
        for row in gather(examples, subset["id"].to_pylist(), _COLUMNS, out):
            selected.write(json_line(json.loads(row["record"])))
            messages.write(json_line(_messages(row)))
    (out / "README.md").write_text(_card(card, subset.num_rows), encoding="utf-8")
    (out / "dataset_info.json").write_text(json.dumps(_llama_factory(), indent=2) + "\n")


def gather(examples: Path, ids: list[str], columns: list[str], scratch: Path) -> Iterator[dict[str, Any]]:
    """The rows of `ids`, in that order; KeyError if one is not there.

    They are laid down in the folder `scratch` in the file's order and picked up in the order asked for: where each one
    lies is all that is held, however many and however long they are.
    """
    place: dict[str, int | None] = dict.fromkeys(ids)
    with tempfile.TemporaryFile(dir=scratch) as file:
        for row in _rows(examples, place, columns) if place else ():
            place[row["id"]] = spool.put(file, row)
        for id, at in place.items():
            if at is None:
                raise KeyError(f"{examples} has no row {id}")
            yield spool.get(file, at)


def _rows(examples: Path, wanted: Container[str], columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(examples).iter_batches(_BATCH, columns=columns):
        kept = batch.filter(pa.array([id in wanted for id in batch["id"].to_pylist()]))
        yield from kept.to_pylist()


def _messages(row: dict[str, Any]) -> dict[str, Any]:
    turns = (("user", row["query"]), ("assistant", row["answer"]))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _llama_factory() -> dict[str, Any]:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {"selected": {"file_name": "messages.jsonl", "formatting": "sharegpt",
                         "columns": {"messages": "messages"}, "tags": tags}}  # fmt: skip


def _card(card: dict[str, Any], pairs: int) -> str:
    return f"""---
configs:
- config_name: messages
  data_files: messages.jsonl
  default: true
- config_name: selected
  data_files: selected.jsonl
---
# {pairs} selected pairs

A subset of code instructions chosen by data selection (RMI, IFD and others). `messages.jsonl` holds the pairs as
conversations, `selected.jsonl` the source's own records with every field, both in rank order, best first.

| what | value |
|---|---|
{rows(card)}

```python
from datasets import load_dataset
load_dataset("THIS_FOLDER")               # conversations, as TRL, axolotl and LLaMA-Factory take them
load_dataset("THIS_FOLDER", "selected")   # the original records
```
"""
