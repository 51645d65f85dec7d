"""Python values on disk, written one after the other and read back in any order: what has to be put into another order
does not have to be held."""

import os
import pickle
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any


class Spool:
    """An unnamed file in `folder` that is gone when the context ends."""

    def __init__(self, folder: Path) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()

    def put(self, value: Any) -> int:
        """Where `value` lies now."""
        place = self.file.seek(0, os.SEEK_END)
        pickle.dump(value, self.file)
        return place

    def get(self, place: int) -> Any:
        """What was put there."""
        self.file.seek(place)
        return pickle.load(self.file)
