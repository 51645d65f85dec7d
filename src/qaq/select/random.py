"""A uniform sample: the baseline every selector has to beat."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from qaq.select.base import Choice, top


@dataclass
class Settings:
    """No options; the sample is decided by the seed."""


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """Each pair draws a number in [0, 1) from its id and the seed, so a pair's luck does not depend on the others."""
    priority = np.array([_draw(seed, id) for id in metrics["id"].to_pylist()])
    return Choice(top(priority, count), priority)


def _draw(seed: int, id: str) -> float:
    digest = hashlib.blake2b(f"{seed}:{id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
