"""Refusing, before any work, what no job should start with.

Every job of a sweep is composed and checked first. A misspelt option, value or group is answered with the nearest
right name and the list; Hydra alone would give neither.
"""

import difflib
import itertools
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qaq import config, evaluate, launch, models, ranges, score, select
from qaq.data import noise
from qaq.store import canonical
from qaq.train import plan, setup
from qaq.train.recipe import recipe

CONF = Path(__file__).resolve().parents[2] / "conf"


def check(overrides: list[str], sweep: bool) -> int:
    """Number of jobs; ValueError for the first thing no job should start with."""
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ValueError(
            f"{_last(error)} (a value with = , or spaces is quoted twice: \"data.path='a=b.jsonl'\")"
        ) from error
    for override in parsed:
        if override.is_sweep_override() and not sweep:
            raise ValueError(f"{override.input_line} has several values: put -m before it for a sweep, or quote a value "
                             f"that holds a comma: \"{override.key_or_group}='...'\"")  # fmt: skip
        _check_name(override)
    choices = [_values(override) for override in parsed if not override.key_or_group.startswith("hydra")]
    jobs = list(itertools.product(*choices))
    for job in jobs:
        _check_job(list(job))
    return len(jobs)


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _check_name(override: Override) -> None:
    """A group's values must be files; anything else must be an option that exists."""
    name = override.key_or_group
    if name.split(".")[0] == "hydra":
        return
    if (CONF / name.split("@")[0]).is_dir():
        known = sorted(p.stem for p in (CONF / name).glob("*.yaml")) or ["null"]
        for value in _values(override):
            chosen = value.partition("=")[2].strip("'\"")
            if chosen not in [*known, "null"]:
                raise ValueError(_unknown(f"{name}={chosen}", chosen, known))
        return
    if "." not in name and override.is_delete():
        raise ValueError(f"{override.input_line}: options cannot be removed; set them to another value")


def _check_job(overrides: list[str]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        groups = [o for o in overrides if (CONF / o.partition("=")[0].lstrip("+~").split("@")[0]).is_dir()]
        try:
            known = compose("config", groups)
            _check_options([o for o in overrides if o not in groups], known)
            cfg = compose("config", overrides)
            OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(_last(error)) from error
    ranges.check(cfg)
    _check_rooms(cfg)
    try:
        select.check(OmegaConf.to_container(cfg.selector), cfg.budget)
    except OmegaConfBaseException as error:
        raise ValueError(f"selector: {_last(error)}") from error
    if select.needs_weak({"name": cfg.selector.name}) and cfg.scorer.weak is None:
        raise ValueError(f"selector={cfg.selector.name} compares two scorers and scorer={cfg.scorer.name} has one: add "
                         "scorer=embedded_pair or scorer=paper")  # fmt: skip


def _check_rooms(cfg: DictConfig) -> None:
    """What only a room knows: the names it accepts and the values it can use."""
    values = config.plain(cfg)
    noise.check(values["data"])
    evaluate.check(canonical(values["evaluate"]))
    launch.check(canonical(values["launch"]))
    for name in values["scorer"]["passes"]:
        if name not in score.PASSES:
            raise ValueError(f"scorer.passes holds {_unknown(name, name, list(score.PASSES))}")
    for spec in (values["scorer"]["model"], values["scorer"]["weak"], values["target"]):
        if spec:
            models.check(spec)
    if {"train", config.ESTIMATE} & set(cfg.stages) and cfg.budget <= 1 and select.uses_budget(values["selector"]):
        settings = recipe(canonical(values["train"]), cfg.budget)
        setup.check(settings)
        plan.split(settings["batch_size"], settings["micro_batch_size"], cfg.launch.nodes * cfg.launch.ranks)


def _check_options(overrides: list[str], known: DictConfig) -> None:
    names = _flat(known)
    for override in overrides:
        name = override.partition("=")[0].lstrip("+~")
        if name not in names:
            raise ValueError(_unknown(name, name, names))


def _flat(node: DictConfig, prefix: str = "") -> list[str]:

    names = []
    for key in node:
        child = node._get_node(key)
        names.append(f"{prefix}{key}")
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            names += _flat(child, f"{prefix}{key}.")
    return names


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    siblings = [k for k in known if k.rpartition(".")[0] == (near[0] if near else name).rpartition(".")[0]]
    hint = f": did you mean {near[0]!r}?" if near else ";"
    return f"unknown {what!r}{hint} known: {', '.join(siblings or known)}"


def _last(error: BaseException) -> str:
    """The innermost message: Hydra wraps the cause in its own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).replace("\n", " ")
