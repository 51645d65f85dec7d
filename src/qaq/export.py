"""SUBSET + EXAMPLES -> a folder people train from as it is.

selected.jsonl     the source's own records, every field kept, in rank order
messages.jsonl     the same pairs as {"messages": [user, assistant]}, which TRL, axolotl and LLaMA-Factory read
README.md          the dataset card; its `configs` tell datasets.load_dataset which file is which
dataset_info.json  the entry LLaMA-Factory asks for
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qaq.tables import write_jsonl

_COLUMNS = ["id", "query", "answer", "record"]


def export(examples: Path, subset: pa.Table, card: dict[str, Any], out: Path) -> None:
    """Write the folder. `card` holds what the dataset card states, as name -> value."""
    out.mkdir()
    rows = gather(examples, subset["id"].to_pylist(), _COLUMNS)
    write_jsonl((json.loads(row["record"]) for row in rows), out / "selected.jsonl")
    write_jsonl((_messages(row) for row in rows), out / "messages.jsonl")
    (out / "README.md").write_text(_card(card, len(rows)), encoding="utf-8")
    (out / "dataset_info.json").write_text(json.dumps(_llama_factory(), indent=2) + "\n")


def gather(examples: Path, ids: list[str], columns: list[str]) -> list[dict[str, Any]]:
    """The rows of `ids`, in that order, read a row group at a time so that only they are held."""
    place = {id: rank for rank, id in enumerate(ids)}
    rows: list[Any] = [None] * len(ids)
    for batch in _kept(examples, pa.array(ids, pa.string()), columns):
        for row in batch.to_pylist():
            rows[place[row["id"]]] = row
    return rows


def _kept(examples: Path, ids: pa.Array, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for batch in pq.ParquetFile(examples).iter_batches(columns=columns):
        yield batch.filter(pc.is_in(batch["id"], value_set=ids))


def _messages(row: dict[str, Any]) -> dict[str, Any]:
    turns = (("user", row["query"]), ("assistant", row["answer"]))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _llama_factory() -> dict[str, Any]:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {"selected": {"file_name": "messages.jsonl", "formatting": "sharegpt",
                         "columns": {"messages": "messages"}, "tags": tags}}  # fmt: skip


def _card(card: dict[str, Any], pairs: int) -> str:
    facts = "\n".join(f"| {name} | {value} |" for name, value in card.items())
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
{facts}

```python
from datasets import load_dataset
load_dataset("THIS_FOLDER")               # conversations, as TRL, axolotl and LLaMA-Factory take them
load_dataset("THIS_FOLDER", "selected")   # the original records
```
"""
