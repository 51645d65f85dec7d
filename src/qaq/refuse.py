"""Refusing, before any work, what no job should start with.

Every job of a sweep is composed and checked first. A misspelt option, value or group is answered with the nearest
right name and the list; Hydra alone would give neither.
"""

import difflib
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qaq import composition, config, evaluate, launch, leakage, models, ranges, score, select, signals
from qaq.data import noise
from qaq.experiments import ROOT
from qaq.store import canonical
from qaq.train import plan, setup
from qaq.train.recipe import recipe

CONF = ROOT / "conf"


def check(overrides: list[str], sweep: bool) -> int | None:
    """Number of jobs of a sweep, None for a single run; ValueError for the first thing no job should start with.

    A sweep is what `-m` asks for (`sweep`), and every experiment: its YAML holds the values that are swept.
    """
    asked = _parsed(overrides)
    for override in asked:
        _check_name(override)
    experiment, params = _own_sweep(asked)
    if not (sweep or experiment):
        for override in asked:
            if override.is_sweep_override():
                raise ValueError(f"{override.input_line} has several values: put -m before it for a sweep, or quote a value "
                                 f"that holds a comma: \"{override.key_or_group}='...'\"")  # fmt: skip
        _check_job([o.input_line for o in asked if not _is_hydras(o)], sweep=False)
        return None
    for override in params:
        _check_name(override)
    # The sweeper's own arithmetic: what is asked for takes the place of what the configuration sweeps.
    jobs = BasicSweeper.split_arguments([o for o in [*params, *asked] if not _is_hydras(o)], None)[0]
    checked = [_check_job(job, sweep=True) for job in jobs]
    for k, (values, ahead) in enumerate(checked):
        _check_tuned(values, ahead, [earlier for earlier, _ in checked[:k]])
    return len(jobs)


def _parsed(overrides: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ValueError(
            f"{_last(error)} (a value with = , or spaces is quoted twice: \"data.path='a=b.jsonl'\")"
        ) from error


def _own_sweep(asked: list[Override]) -> tuple[bool, list[Override]]:
    """Whether the configuration is a sweep by itself, and the values that it sweeps (hydra.sweeper.params)."""
    for override in asked:
        if override.key_or_group == "experiments" and override.is_sweep_override():
            raise ValueError(
                f"{override.input_line}: an experiment is a sweep of its own; run them one after the other"
            )
    groups = [o for o in asked if _is_hydras(o) or _folder(o.key_or_group).is_dir()]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            chosen = [o.input_line for o in groups if not o.is_sweep_override()]
            hydra = compose("config", chosen, return_hydra_config=True).hydra
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_last(error)) from error
    return hydra.mode is RunMode.MULTIRUN, _parsed([f"{k}={v}" for k, v in (hydra.sweeper.params or {}).items()])


def _values(override: Override) -> list[str]:
    swept = override.is_sweep_override()
    values = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
    return [value.strip("'\"") for value in values]


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.split(".")[0] == "hydra"


def _folder(group: str) -> Path:
    """Where a group's files lie; no directory if `group` is an option."""
    return (ROOT if group == "experiments" else CONF) / group


def _check_name(override: Override) -> None:
    """A group's values must be files; anything else must be an option that exists."""
    name, folder = override.key_or_group, _folder(override.key_or_group)
    if _is_hydras(override):
        return
    if folder.is_dir():
        files = [*folder.glob("*.yaml"), *folder.glob("study/*.yaml")]
        known = sorted(str(p.relative_to(folder).with_suffix("")) for p in files) or ["null"]
        for chosen in _values(override):
            if chosen not in [*known, "null"]:
                raise ValueError(_unknown(f"{name}={chosen}", chosen, known))
        return
    if "." not in name and override.is_delete():
        raise ValueError(f"{override.input_line}: options cannot be removed; set them to another value")


def _check_job(overrides: list[str], sweep: bool) -> tuple[dict[str, Any], str | None]:
    """The job's values, and the directory of its sweep."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            if any(o.startswith("+") for o in overrides):  # Hydra would add what does not exist
                _check_options(overrides)
            cfg = compose("config", overrides, return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)  # for options that follow from the sweep's directory
            ahead = cfg.hydra.sweep.dir if sweep else None
            with open_dict(cfg):
                del cfg["hydra"]
            OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except MissingMandatoryValue as error:
            raise ValueError(f"{error.full_key} has no value yet: add {error.full_key}=...") from error
        except (HydraException, OmegaConfBaseException) as error:
            _check_options(overrides)  # a misspelt name has a better answer
            raise ValueError(_last(error)) from error
    ranges.check(cfg)
    values = config.plain(cfg)
    _check_rooms(cfg, values, ahead)
    try:
        select.check(OmegaConf.to_container(cfg.selector), cfg.budget)
    except OmegaConfBaseException as error:
        raise ValueError(f"selector: {_last(error)}") from error
    if select.needs_weak({"name": cfg.selector.name}) and cfg.scorer.weak is None:
        raise ValueError(f"selector={cfg.selector.name} compares two scorers and scorer={cfg.scorer.name} has one: add "
                         "scorer=embedded_pair or scorer=paper")  # fmt: skip
    return values, ahead


def _check_tuned(values: dict[str, Any], ahead: str | None, earlier: list[dict[str, Any]]) -> None:
    """A scorer that another job of the sweep trains is one that an earlier one trains on all pairs: its name tells only that it is
    fine-tuned."""
    for side in ("model", "weak"):
        number = _maker(values["scorer"][side], ahead)
        if number is None:
            continue
        maker = earlier[int(number)] if number.isdigit() and int(number) < len(earlier) else None
        if maker is None or maker["selector"]["name"] != "full" or "train" not in maker["stages"]:
            does = (
                f"selects {maker['selector']['name']}, stages {maker['stages']}" if maker else "does not come before it"
            )
            raise ValueError(f"scorer={values['scorer']['name']} reads with the model that job {number} of this sweep trains, and that "
                             f"{does}: job {number} has to come first and train on all pairs (row=full). "
                             f"Of a model that is there: scorer.{side}.path=RUN/checkpoint")  # fmt: skip


def _maker(spec: dict[str, Any] | None, ahead: str | None) -> str | None:
    """The job of the sweep that makes this model: the folder under `ahead`, the directory of the sweep, that it will lie in; None
    of a model that is there."""
    if not (spec and ahead and str(spec["path"]).startswith(f"{ahead}/")):
        return None
    return next(iter(Path(spec["path"]).relative_to(ahead).parts), None)


def _check_rooms(cfg: DictConfig, values: dict[str, Any], ahead: str | None) -> None:
    """What only a room knows: the names it accepts and the values it can use. A model that an earlier job of the sweep will make
    is looked for when its turn comes."""
    noise.check(values["data"])
    leakage.check(values["leakage"])
    composition.check(values["composition"])
    evaluate.check(canonical(values["evaluate"]))
    launch.check(canonical(values["launch"]))
    for name in values["scorer"]["passes"]:
        if name not in score.PASSES:
            raise ValueError(f"scorer.passes holds {_unknown(name, name, list(score.PASSES))}")
    asked = select.signals(OmegaConf.to_container(cfg.selector))
    signals.check(asked, values["signals"])
    for spec in (
        values["scorer"]["model"],
        values["scorer"]["weak"],
        values["target"],
        *(values["signals"][name]["model"] for name in signals.by_model(asked)),
    ):
        if spec and _maker(spec, ahead) is None:
            models.check(spec)
    if {"train", config.ESTIMATE} & set(cfg.stages) and cfg.budget <= 1 and select.uses_budget(values["selector"]):
        settings = recipe(canonical(values["train"]), cfg.budget)
        setup.check(settings)
        plan.split(settings["batch_size"], settings["micro_batch_size"], cfg.launch.nodes * cfg.launch.ranks)


def _check_options(overrides: list[str]) -> None:
    """ValueError for the first option that does not exist beside the chosen groups, which are taken to be right."""
    groups = [o for o in overrides if _folder(_name(o)).is_dir()]
    try:
        names = _flat(compose("config", groups))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_last(error)) from error
    for name in (_name(o) for o in overrides if o not in groups):
        if name not in names:
            raise ValueError(_unknown(name, name, names))


def _name(override: str) -> str:
    """The group or option an override sets, without the package of a group."""
    return override.partition("=")[0].lstrip("+~").split("@")[0]


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
