"""Progress a person can read: a bar with rate and time left on a terminal, a plain line a minute elsewhere."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)

_BETWEEN_LINES = 60.0  # seconds


class Progress:
    """Counts `total` units of `unit`; use as a context manager and call `add`."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.start = self.last = time.monotonic()
        self.bar = tqdm(total=total, desc=what, unit=unit, unit_scale=True) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def add(self, count: int) -> None:
        """`count` more units are done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif (now := time.monotonic()) - self.last >= _BETWEEN_LINES and self.done < self.total:
            self.last = now
            log.info("%s", self.line())

    def line(self) -> str:
        """One line: what, share done, rate, time left."""
        rate = self.done / max(time.monotonic() - self.start, 1e-9)
        left = (self.total - self.done) / rate if rate else float("inf")
        return (f"{self.what}: {self.done:,}/{self.total:,} {self.unit} ({self.done / max(self.total, 1):.0%}), "
                f"{rate:,.1f} {self.unit}/s, {left:.0f} s left")  # fmt: skip

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done:  # another worker may have done it all
            log.info("%s", self.line())
