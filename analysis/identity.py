"""Which runs are the same: by their settings and data, never by their names.

Knobs (qaq.config) and what lies outside the run (tracking, store, launch) change no result and do not count; nor do the settings
of stages that were not asked for.
"""

import functools
from pathlib import Path
from typing import Any

from qaq import select, signals
from qaq.config import SECTIONS, STAGES, identity
from qaq.store import fingerprint

_READ_BY = {"load": ("data",), "score": ("scorer",), "select": ("selector", "budget", "seed", "signals", "leakage"), "train": ("target", "train"),
            "evaluate": ("evaluate",)}  # fmt: skip
_SEEDS = (("train", "seeds"), ("evaluate", "seed"))  # beside the selection's; data.seed makes other data
_SHOWN = ("name", "device", "workers", "nodes", "ranks")  # of launch: what the cost hangs on


def asked(result: dict[str, Any]) -> dict[str, Any]:
    """The settings that determine the result of a run, as they were asked for."""
    config, stages = result["config"], result["stages"]
    wanted = [name for stage in stages for name in _READ_BY[stage]] if set(stages) <= set(STAGES) else config
    kept = {
        name: config[name]
        for name in wanted
        if name in config and name not in ("tracking", "launch", "store_dir", "debug")
    }
    kept = {name: identity(value, SECTIONS[name]) if name in SECTIONS else value for name, value in kept.items()}
    if "signals" in kept:  # those of the selector; no other was asked
        by_model = signals.by_model(select.signals(config["selector"]))
        kept["signals"] = {name: kept["signals"][name] for name in by_model}
    if "leakage" in kept:  # by which similarity pairs are counted, and not where a benchmark's file lies
        kept["leakage"] = {name: kept["leakage"][name] for name in ("text", "threshold", "benchmarks")}
    return {**kept, "stages": stages}


def cell(result: dict[str, Any]) -> str:
    """`asked` without its seeds, the files it names by their content where that is known, and the stages' versions:
    repetitions share it."""
    config, keys = {**asked(result), "code": result.get("code")}, result["keys"]
    config |= {part: _without(config[part], name) for part, name in _SEEDS if part in config}
    config.pop("seed", None)
    if "data" in keys:
        config["data"] = keys["data"]
    if "scorer" in config:
        models = {"model": "model_score", "weak": "model_score_weak"}
        scorer = config["scorer"]
        config["scorer"] = {**scorer, **{name: _model(scorer[name], keys.get(key)) for name, key in models.items()}}
    if "target" in config:
        config["target"] = _model(config["target"], keys.get("model_target"))
    if "evaluation" in result:
        config["evaluate"] = {
            **_without(config["evaluate"], "path"),
            "sha256": result["evaluation"]["tasks"].get("data_sha256"),
        }
    return fingerprint(config)[:12]


def run(result: dict[str, Any], status: str) -> str:
    """The content of a run: its cell, its seeds, what it made and how it ended."""
    config = asked(result)
    seeds = [config.get("seed"), *(config.get(part, {}).get(name) for part, name in _SEEDS)]
    made = {
        stage: key for stage, key in result["keys"].items() if not stage.startswith("model_")
    }  # the others hold these
    return fingerprint({"cell": cell(result), "seeds": seeds, "keys": made, "status": status})[:12]


def shown(config: dict[str, Any]) -> dict[str, Any]:
    """The config without this machine's folders, hosts and tracking."""
    kept = {name: value for name, value in config.items() if name not in ("tracking", "store_dir", "debug")}
    for part in ("launch", "composition"):  # of the rules of the composition only their name
        kept[part] = {name: value for name, value in config.get(part, {}).items() if name in _SHOWN}
    return _portable(kept)


def label(options: dict[str, Any]) -> str:
    """A selector's name, which side of the disagreement it keeps, and its options that are not the defaults."""
    other = [f"{name}={value}" for name, value in departures(options).items()]
    return " ".join([options["name"], *filter(None, [options.get("kind")]), *other])


def departures(options: dict[str, Any]) -> dict[str, Any]:
    """A selector's options that are not its defaults; `kind` is part of its name."""
    usual = _defaults().get(options.get("name"), {})
    return {name: value for name, value in options.items() if name != "kind" and value != usual.get(name, value)}


@functools.cache
def _defaults() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in select.defaults()}


def _model(spec: dict[str, Any] | None, key: str | None) -> Any:
    """A local directory's content; any other model's spec names it."""
    return key if spec and spec["path"] and key else spec


def _without(section: dict[str, Any], left_out: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != left_out}


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _portable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
