"""Quality signals: what other models than the scorers say of a pair, as XCoder, SCAR and RDS+ ask them. No selection policy here.

complexity.py    how complex the queries are: the expectation over a model's digits (XCoder)
unit_tests.py    test cases a model writes for the pair                            (XCoder)
quality.py       how many of them the answer passes, in the sandbox                (XCoder); no model
embedding.py     where the query lies among the others                             (XCoder)
query_length     words of the query: XCoder's weaker measure of complexity; no model, made by `qaq.observe`
scar.py          SCAR's style ranker
rds.py           similarity to the items of a query set                            (RDS+)

A signal that a model makes is one file with VERSION, WHAT (its records in a word), SCHEMA (a row for each pair, id first) and
`load(request)`, which gives a function from rows of EXAMPLES to rows of SCHEMA. The pipeline reads the first three, so torch is
imported only inside. The worker (`__main__.py`) does the rest; `qaq.observe` keeps what comes out.
"""

import importlib
from types import ModuleType
from typing import Any


def module(name: str) -> ModuleType:
    """The file of a signal."""
    return importlib.import_module(f"qaq.signals.{name}")


def by_model(names: tuple[str, ...]) -> tuple[str, ...]:
    """Of the signals `names`, and those they stand on, the ones that a model makes: a section of the settings each."""
    stands_on = {"quality": ("unit_tests",), "query_length": ()}
    return tuple(one for name in names for one in stands_on.get(name, (name,)))


def talks(name: str, settings: dict[str, Any]) -> bool:
    """Whether the model of a signal is asked in its chat template."""
    return name in ("unit_tests", "rds") or (name == "complexity" and settings["chat"])


def _check_questions(names: tuple[str, ...], settings: dict[str, Any]) -> None:
    """ValueError for a prompt that leaves out what it is about, and for digits that make no scale."""
    complexity, shown = settings["complexity"], settings["unit_tests"]["prompt"]
    if "complexity" in names:
        module("complexity").check_prompt(complexity["prompt"])
    if "quality" in names and "{answer}" not in shown:
        raise ValueError(f"signals.unit_tests.prompt does not hold {{answer}}, what the tests are for: {shown!r}")
    digits = complexity["digits"]
    if len(set(digits)) < 2 or len(set(digits)) < len(digits) or not set(digits) <= {*range(10)}:
        raise ValueError(f"signals.complexity.digits={digits}: give two or more different ones of 0 to 9")
    module("complexity").weights_of(complexity)


def check(names: tuple[str, ...], settings: dict[str, Any]) -> None:
    """ValueError, with the way out, if one of the signals `names` could not be made under `settings`."""
    _check_questions(names, settings)
    for name in names:
        if name == "scar" and settings["scar"]["model"] is None:
            raise ValueError("SCAR's ranker is not packaged: signals=paper names the published one (lizhuang144/scar-gte-base), or "
                             "give its directory: +model@signals.scar.model=local signals.scar.model.path=DIR")  # fmt: skip
        if name == "rds" and not (settings["rds"]["queries"]["path"] or settings["rds"]["queries"]["id"]):
            raise ValueError("RDS+ compares with a query set, and none is given: signals.rds.queries.path=FILE (records as in "
                             "data.path), or signals.rds.queries.id=HUB_ID with its revision")  # fmt: skip
