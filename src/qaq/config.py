"""The whole experiment's settings, typed by section (qaq.sections), and what of them may enter a key."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from qaq.sections import (
    DataConfig,
    EstimateConfig,
    EvaluateConfig,
    LaunchConfig,
    LeakageConfig,
    ModelSpec,
    RayConfig,
    ScorerConfig,
    SlurmConfig,
    TrackingConfig,
    TrainConfig,
)
from qaq.signals.settings import SignalsConfig

STAGES = ("load", "score", "select", "train", "evaluate")
ESTIMATE = "estimate"  # a list of its own: what the stages would cost; reads the pairs, keeps nothing but their tokens


@dataclass
class Config:
    """The whole experiment. `selector` is checked against the Settings of src/qaq/select/<selector.name>.py."""

    stages: list[str] = MISSING
    budget: Any = MISSING
    seed: int = MISSING
    store_dir: str = MISSING
    system_prompt: str | None = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    leakage: LeakageConfig = field(default_factory=LeakageConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    signals: SignalsConfig = field(default_factory=SignalsConfig)
    selector: Any = MISSING
    target: ModelSpec = field(default_factory=ModelSpec)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    composition: Any = MISSING  # checked by qaq.composition
    debug: Any = None


SECTIONS = {
    "scorer": ScorerConfig,
    "signals": SignalsConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "launch": LaunchConfig,
}


def register() -> None:
    """Give Hydra the types: of everything, and of the two launch groups that have options of their own; and experiments/."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    from qaq.experiments import Experiments

    Plugins.instance().register(Experiments)
    store = ConfigStore.instance()
    store.store("schema", node=Config)
    store.store("slurm_options", node=SlurmConfig, group="launch")
    store.store("ray_options", node=RayConfig, group="launch")


def plain(node: DictConfig) -> dict[str, Any]:
    """A resolved config node as plain Python values."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def identity(settings: dict[str, Any], schema: type) -> dict[str, Any]:
    """`settings` without the knobs: what may enter a key."""
    kept = {}
    for spec in fields(schema):
        if spec.metadata.get("knob") or spec.name not in settings:
            continue
        value = settings[spec.name]
        kept[spec.name] = identity(value, spec.type) if is_dataclass(spec.type) and isinstance(value, dict) else value
    return kept


def pairs_for(budget: float | int, pairs: int) -> int:
    """Number of pairs a budget keeps: a fraction in (0, 1] of `pairs`, rounded half up, or a whole number >= 2."""
    count = int(budget * pairs + 0.5) if budget <= 1 else int(budget)
    if count < 1 or count > pairs:
        raise ValueError(f"budget={budget} keeps {count} of {pairs} pairs: ask for a fraction in (0, 1] that keeps "
                         f"at least one, or a whole number from 2 to {pairs}")  # fmt: skip
    return count
