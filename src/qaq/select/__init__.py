"""Select: METRICS -> SUBSET. Arithmetic over tables: no torch, no files.

A selector is one YAML in conf/selector, found by listing, and one file of the same name here; a file without a YAML (base,
diversity) is no selector. The file holds `Settings`, a dataclass of its options without values, and

    choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> base.Choice

and, where it asks other models than the scorers,

    signals(settings: Settings) -> tuple[str, ...]      # names of tables.SIGNALS; `choose` finds their columns in `metrics`
"""

import difflib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
from omegaconf import OmegaConf

from qaq.select import base
from qaq.tables import SIGNALS

CONF = Path(__file__).resolve().parents[3] / "conf" / "selector"
NAMES = tuple(sorted(p.stem for p in CONF.glob("*.yaml")))


def module(name: str) -> ModuleType:
    """The file of a selector; ValueError with the nearest name if there is none."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown selector {name!r}{hint} known: {', '.join(NAMES)}")
    return importlib.import_module(f"qaq.select.{name}")


def settings(options: dict[str, Any]) -> Any:
    """The selector's own Settings from its YAML. omegaconf's errors name a wrong option or value."""
    chosen = module(options["name"]).Settings
    values = {key: value for key, value in options.items() if key != "name"}
    made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(chosen), values))
    if hasattr(made, "check"):
        made.check()
    return made


def check(options: dict[str, Any], budget: float) -> None:
    """ValueError for options, or a fractional budget, that could keep nothing sensible whatever the data."""
    low = getattr(settings(options), "low", None)
    if low is not None and budget <= 1 and low + budget > 1:
        raise ValueError(
            f"budget={budget}: a band that starts at selector.low={low} has no room for it; at most {1 - low:g}"
        )


def uses_budget(options: dict[str, Any]) -> bool:
    """Whether the budget decides the size; `full` keeps all, a threshold keeps what lies beyond it."""
    return options["name"] != "full" and options.get("threshold") is None


def needs_weak(options: dict[str, Any]) -> bool:
    """Whether the selector compares two scorers."""
    return bool(getattr(module(options["name"]), "NEEDS_WEAK", False))


def signals(options: dict[str, Any]) -> tuple[str, ...]:
    """The quality signals (tables.SIGNALS) whose columns the selector needs beside METRICS."""
    chosen = module(options["name"])
    return chosen.signals(settings(options)) if hasattr(chosen, "signals") else ()


def absent(metrics: pa.Table, options: dict[str, Any]) -> tuple[str, ...]:
    """Those of them that `metrics` does not hold."""
    return tuple(name for name in signals(options) if not set(SIGNALS[name]) <= set(metrics.column_names))


def select(metrics: pa.Table, options: dict[str, Any], count: int, seed: int) -> pa.Table:
    """SUBSET of `count` pairs (or as many as the selector's own rule keeps), best first.

    The result depends on the set of rows, not on their order; ties are broken by id. ValueError where a needed metric
    or signal is missing or the selector cannot give `count` pairs.
    """
    ordered = metrics.sort_by("id")
    chosen = module(options["name"]).choose(ordered, settings(options), count, seed)
    return base.subset(ordered, chosen)


def defaults() -> list[dict[str, Any]]:
    """Every selector's options as its YAML gives them."""
    return [OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")) for name in NAMES]
