"""LOGS: the plain tables that figures, tables, the report and the comparison read, and nothing else. Missing is null."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Logs:
    """One field a table; the texts (pairs, quarantine) are None where they were not asked for."""

    runs: pa.Table
    results: pa.Table
    comparisons: pa.Table
    metrics: pa.Table
    subsets: pa.Table
    pairs: pa.Table | None = None
    quarantine: pa.Table | None = None


def conform(**held: Any) -> Logs:
    """Logs of these tables."""
    return Logs(**held)


def read(folder: Path) -> Logs:
    """What `write` wrote."""
    files = {field.name: folder / f"{field.name}.parquet" for field in fields(Logs)}
    return Logs(**{name: pq.read_table(file) for name, file in files.items() if file.is_file()})


def write(logs: Logs, folder: Path) -> None:
    """A Parquet file a table."""
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(Logs):
        if getattr(logs, field.name) is not None:
            pq.write_table(getattr(logs, field.name), folder / f"{field.name}.parquet", compression="zstd")
