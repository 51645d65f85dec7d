"""LOGS: the folder of plain tables that figures, tables, the report and the comparison read, and nothing else.

Every table is sorted by its key; missing is null. A table that the logs do not have is None.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Logs:
    """The tables by name; `pairs` and `quarantine` hold texts, for the report only."""

    runs: pa.Table
    results: pa.Table | None = None
    comparisons: pa.Table | None = None
    metrics: pa.Table | None = None
    subsets: pa.Table | None = None
    training: pa.Table | None = None
    noise: pa.Table | None = None
    pairs: pa.Table | None = None
    quarantine: pa.Table | None = None


def read(folder: Path) -> Logs:
    """The tables that lie in `folder`."""
    files = {field.name: folder / f"{field.name}.parquet" for field in fields(Logs)}
    return Logs(**{name: pq.read_table(file) for name, file in files.items() if file.is_file()})


def write(logs: Logs, folder: Path) -> None:
    """One Parquet file a table."""
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(Logs):
        if getattr(logs, field.name) is not None:
            pq.write_table(getattr(logs, field.name), folder / f"{field.name}.parquet", compression="zstd")
