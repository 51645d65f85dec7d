"""What a query is about: families of words (conf/composition/*.yaml), some of which are certain and the others counted."""

import re
from collections.abc import Callable, Sequence
from typing import Any

OTHER = "other"
_WORD = re.compile(r"[a-z0-9](?:[\w.+#'-]*[\w+#])?")
Words = tuple[str, ...]


def detector(topics: Sequence[dict[str, Any]]) -> Callable[[str], str]:
    """The function from a query to its topic: the first family one of whose `certain` words occurs in it; else that of whose
    `words` most different ones occur, of equals the first; "other" where none does."""
    certain, counted = _places(topics, "certain"), _places(topics, "words")
    known = certain.keys() | counted.keys()
    first, longest = {words[0] for words in known}, max(map(len, known), default=0)
    names = [one["name"] for one in topics]

    def topic(query: str) -> str:
        words = _words(query)
        starts = [i for i, word in enumerate(words) if word in first]
        held = {words[i : i + n] for i in starts for n in range(1, longest + 1)} & known
        if sure := [certain[found] for found in held if found in certain]:
            return names[min(sure)]
        counts = [0] * len(names)
        for found in held:
            counts[counted[found]] += 1
        most = max(counts, default=0)
        return names[counts.index(most)] if most else OTHER

    return topic


def _places(topics: Sequence[dict[str, Any]], part: str) -> dict[Words, int]:
    """Each word of `part` and the place of its family. ValueError for one that two families have."""
    places: dict[Words, int] = {}
    for k, one in enumerate(topics):
        for text in one[part]:
            words = _words(text)
            if not words or places.setdefault(words, k) != k:
                other = f"stands in {topics[places[words]]['name']!r} too" if words else "holds no letter or digit"
                raise ValueError(f"composition.topics: {text!r} of {one['name']!r} {other}")
    return places


def _words(text: str) -> Words:
    """In lower case, without the ending of a plural."""
    return tuple(map(_singular, _WORD.findall(text.lower())))


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]
