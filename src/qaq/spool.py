"""Values laid down one after the other in a file and picked up in any order, so that what has to change its order need
not be held in memory. For an unnamed temporary file, which goes when it is closed: pickles are for their writer only."""

import os
import pickle
from typing import Any, BinaryIO


def put(file: BinaryIO, value: Any) -> int:
    """Where `value` lies now."""
    place = file.seek(0, os.SEEK_END)
    pickle.dump(value, file)
    return place


def get(file: BinaryIO, place: int) -> Any:
    """What was put there."""
    file.seek(place)
    return pickle.load(file)
