"""Which items of a query set are tasks of a benchmark: selecting data towards those and then being tested on them is leakage.

Compared are word 5-grams; words are letters, digits and underscores, so quotes, fences and line breaks do not hide a task. An
item is a task's if it holds most of what the task says in words, whatever stands around it and with or without its tests; or
if half of the grams of the shorter of the two, code and examples included, are in the other.
"""

import re
from collections import Counter, defaultdict

_GRAM = 5  # words
# Shares of the grams. Of 2,000 CodeAlpaca questions the nearest to another task of MBPP+ has 0.5 and 0.45 of them.
_WORDS, _WHOLE = 0.8, 0.6
_LEAST = 8  # grams: in a shorter text a common phrase is half of it
_CODE = re.compile(r"\s*(assert|>>>|def|class|from|import|@)")  # how a line of a task begins that is not its words

Gram = tuple[str, ...]


def held_out(items: list[str], tests: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """(position of the item, task_id) of each that are one task, in the order of the items. `tests`: (task_id, prompt)."""
    wholes = [_grams(text) for _, text in tests]
    words = [_grams("\n".join(line for line in text.splitlines() if not _CODE.match(line))) for _, text in tests]
    where = defaultdict(list)
    for place, known in enumerate(wholes):
        for gram in known:
            where[gram].append(place)
    found = []
    for position, item in enumerate(items):
        own = _grams(item)
        near = Counter(place for gram in own for place in where.get(gram, ()))
        found += [(position, tests[place][0]) for place, shared in sorted(near.items())
                  if _same(own, words[place], len(wholes[place]), shared)]  # fmt: skip
    return found


def _same(own: set[Gram], words: set[Gram], whole: int, shared: int) -> bool:
    """Whether an item is a task: `shared` of the task's `whole` grams are the item's `own`."""
    told = bool(words) and len(own & words) >= _WORDS * len(words)
    return told or shared >= _WHOLE * max(min(len(own), whole), _LEAST)


def _grams(text: str) -> set[Gram]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)}
