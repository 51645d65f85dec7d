"""Ranges of options, checked before any work: what needs neither data nor a room's knowledge."""

import math
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qaq.config import ESTIMATE, STAGES
from qaq.sections import Dtype

_POSITIVE = ("train.epochs", "train.max_length", "train.micro_batch_size", "train.save_steps", "train.keep_checkpoints",
             "evaluate.max_new_tokens", "evaluate.seconds", "evaluate.memory_mb", "evaluate.batch_size", "evaluate.workers",
             "signals.characters_per_shard", "signals.unit_tests.count", "signals.unit_tests.max_new_tokens",
             "signals.unit_tests.batch_size", "signals.unit_tests.seconds", "signals.unit_tests.memory_mb",
             "signals.unit_tests.workers", "signals.scar.max_length",
             "scorer.tokens_per_shard", "launch.workers", "launch.nodes", "launch.ranks", "estimate.pairs",
             "estimate.seconds")  # fmt: skip
_AT_LEAST_ONE_OR_NULL = ("data.limit", "evaluate.limit", "scorer.max_length", "scorer.tokens_per_batch", "train.updates",
                         "train.adapter.rank",
                         *(f"signals.{name}.tokens_per_batch" for name in ("complexity", "embedding", "scar", "rds")),
                         *(f"signals.{name}.max_length" for name in ("complexity", "embedding", "rds")))  # fmt: skip

_OR_NONE = "give a similarity in (0, 1], or null"
_SIMILARITIES = {"data.near_duplicates": _OR_NONE, "data.decontaminate": _OR_NONE, "leakage.threshold": "give a similarity in (0, 1]",
                 "signals.rds.queries.near_duplicates": _OR_NONE}  # fmt: skip
# Where the section is there at all (train.adapter).
_RANGES = {"data.noise": (0, 1), "train.warmup": (0, 1), "train.weight_decay": (0, 1), "train.adapter.dropout": (0, 1),
           "estimate.flops_share": (0.01, 1), "estimate.bandwidth_share": (0.01, 1),
           **{f"{room}.{name}": bounds for room in ("evaluate", "signals.unit_tests")
              for name, bounds in (("temperature", (0, 10)), ("top_p", (0.01, 1)))}}  # fmt: skip
_NOT_BELOW_ZERO = {"train.max_grad_norm": "0 for no limit", "evaluate.samples": "0 to measure likelihoods only"}


def check(cfg: DictConfig) -> None:
    """Refuse, before any work, values no stage could use. ValueError names the option, the value and the way out."""
    _check_stages(list(cfg.stages))
    _check_budget(cfg.budget)
    for option, bounds in _RANGES.items():
        if (value := OmegaConf.select(cfg, option)) is not None:
            _in_range(option, value, *bounds)
    if not 0 <= cfg.data.held_out < 1:
        raise ValueError(f"data.held_out={cfg.data.held_out}: give a share in [0, 1)")
    for option, way_out in _SIMILARITIES.items():
        value = OmegaConf.select(cfg, option)
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"{option}={value}: {way_out}")
    for option, meaning in _NOT_BELOW_ZERO.items():
        if (value := OmegaConf.select(cfg, option)) < 0:
            raise ValueError(f"{option}={value}: give a number above 0, or {meaning}")
    for option in _AT_LEAST_ONE_OR_NULL:
        value = OmegaConf.select(cfg, option)
        if value is not None and value < 1:
            raise ValueError(f"{option}={value}: give a whole number of at least 1, or null for no limit")
    for option in _POSITIVE:
        value = OmegaConf.select(cfg, option)
        if value <= 0:
            raise ValueError(f"{option}={value}: must be above 0")
    if cfg.scorer.reverse_instruction.count("{answer}") != 1:
        raise ValueError("scorer.reverse_instruction must hold {answer}, the place where the answer goes, exactly once")
    if cfg.train.dtype is Dtype.float16:
        raise ValueError("train.dtype=float16 would need loss scaling: use bfloat16 or float32")
    if not cfg.train.seeds or len(set(cfg.train.seeds)) < len(cfg.train.seeds):
        raise ValueError(
            f"train.seeds={list(cfg.train.seeds)}: give one or more different whole numbers, a training for each"
        )
    if not all(0 <= seed < 2**32 for seed in cfg.train.seeds):
        raise ValueError(f"train.seeds={list(cfg.train.seeds)}: numpy takes whole numbers from 0 to 2**32 - 1")
    _check_launch(cfg.launch)
    for option in ("scorer.model", "scorer.weak", "target"):
        spec = OmegaConf.select(cfg, option)
        if spec is not None:
            _check_model(option, spec)


def _check_launch(launch: DictConfig) -> None:
    _in_range("launch.port", launch.port, 1024, 65535)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", launch.device):
        raise ValueError(f"launch.device={launch.device}: give auto, cpu, cuda or cuda:N")
    for option in ("workers", "ranks"):
        if launch[option] > 1 and launch.device.startswith("cuda:"):
            raise ValueError(f"launch.device={launch.device} is one GPU for launch.{option}={launch[option]}: leave it at auto, "
                             "and name the GPUs in CUDA_VISIBLE_DEVICES")  # fmt: skip


def _check_stages(stages: list[str]) -> None:
    if stages != [ESTIMATE] and (not stages or tuple(stages) != STAGES[: len(stages)]):
        raise ValueError(f"stages={stages}: give the first one or more of {list(STAGES)}, in that order, or "
                         f"[{ESTIMATE}] alone")  # fmt: skip


def _check_budget(budget: Any) -> None:
    if isinstance(budget, bool) or not isinstance(budget, (int, float)):
        raise ValueError(f"budget={budget!r}: give a fraction in (0, 1] or a whole number of pairs")
    if not math.isfinite(budget) or budget <= 0 or (budget > 1 and budget != int(budget)):
        raise ValueError(f"budget={budget}: give a fraction in (0, 1] or a whole number of pairs of at least 2")


def _in_range(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{option}={value}: must lie in [{low}, {high}]")


def _check_model(option: str, spec: DictConfig) -> None:
    given = [name for name in ("id", "path", "packages") if spec.get(name)]
    if len(given) != 1:
        raise ValueError(f"{option} names {given or 'no source'}: set exactly one of {option}.id (hub), "
                         f"{option}.path (local directory), {option}.packages")  # fmt: skip
