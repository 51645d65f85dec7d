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


def specs(names: tuple[str, ...], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The models that the signals `names` ask."""
    sections = {"quality": "unit_tests", "query_length": None}
    asked = [sections.get(name, name) for name in names]
    return [settings[name]["model"] for name in asked if name]


def talks(name: str, settings: dict[str, Any]) -> bool:
    """Whether the model of a signal is asked in its chat template."""
    return name in ("unit_tests", "rds") or (name == "complexity" and settings["chat"])


def _check_questions(names: tuple[str, ...], settings: dict[str, Any]) -> None:
    """ValueError for a prompt that leaves out what it is about, and for digits that make no scale."""
    asked, shown = settings["complexity"]["prompt"], settings["unit_tests"]["prompt"]
    if "complexity" in names and asked.count("{query}") != 1:
        raise ValueError(
            f"signals.complexity.prompt holds {asked.count('{query}')} times {{query}}, it has to once: {asked!r}"
        )
    if "quality" in names and "{answer}" not in shown:
        raise ValueError(f"signals.unit_tests.prompt does not hold {{answer}}, what the tests are for: {shown!r}")
    digits, weights = settings["complexity"]["digits"], settings["complexity"]["weights"]
    if len(set(digits)) < 2 or len(set(digits)) < len(digits) or not set(digits) <= {*range(10)}:
        raise ValueError(f"signals.complexity.digits={digits}: give two or more different ones of 0 to 9")
    if weights is not None and len(weights) != len(digits):
        raise ValueError(f"signals.complexity has {len(digits)} digits and {len(weights)} weights: a digit has one")


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
