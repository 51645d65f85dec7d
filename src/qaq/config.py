"""The types of every option. The values live in conf/, each beside its source; their ranges are in qaq.ranges.

A field marked `knob()` may change speed but not a result: it is recorded and never enters a key.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

STAGES = ("load", "score", "select", "train", "evaluate")
ESTIMATE = "estimate"  # a list of its own: what the stages would cost; reads the pairs, keeps nothing but their tokens


_KNOB = {"knob": True}


def knob() -> Any:
    """A mandatory field that may not change a result."""
    return field(default=MISSING, metadata=_KNOB)


class Turns(Enum):
    """Which turns of a conversation make the pair (query, answer)."""

    first = "first"
    last = "last"
    every = "every"


class Dtype(Enum):
    """Number format of the weights; sums are always float32 or wider."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Protocol(Enum):
    """Which tokens count as the query (see qaq.score.spans)."""

    exact = "exact"
    reference = "reference"


class Asking(Enum):
    """EvalPlus's protocols (see qaq.evaluate.protocol); auto: chat with a model that has a template."""

    auto = "auto"
    chat = "chat"
    completion = "completion"


class Generator(Enum):
    """Who decodes."""

    transformers = "transformers"
    vllm = "vllm"


class Scheduler(Enum):
    """How the learning rate falls after the warm-up."""

    cosine = "cosine"
    linear = "linear"
    constant_with_warmup = "constant_with_warmup"


class TooLong(Enum):
    """What happens to a training row longer than max_length; both are counted and listed."""

    drop = "drop"
    truncate = "truncate"


class Mode(Enum):
    """Where the records go besides metrics.jsonl."""

    online = "online"
    offline = "offline"
    off = "off"


@dataclass
class ModelSpec:
    """A model: exactly one of `id` (hub, with `revision`), `path` (local directory) and `packages` is set."""

    name: str = MISSING
    id: str | None = MISSING
    revision: str | None = MISSING
    path: str | None = MISSING
    packages: list[str] | None = MISSING
    member: str | None = MISSING
    sha256: str | None = MISSING
    template_id: str | None = MISSING
    template_revision: str | None = MISSING
    template_path: str | None = MISSING


@dataclass
class DataConfig:
    """Where the pairs come from."""

    name: str = MISSING
    path: str | None = MISSING
    id: str | None = MISSING
    revision: str | None = MISSING
    subset: str | None = MISSING
    split: str | None = MISSING
    query: str | None = MISSING
    answer: str | None = MISSING
    input: str | None = MISSING
    turns: Turns = MISSING
    limit: int | None = MISSING
    seed: int = MISSING
    noise: float = MISSING
    noise_kinds: list[str] = MISSING


@dataclass
class ScorerConfig:
    """The models that read the pairs and how they read them."""

    name: str = MISSING
    model: ModelSpec = field(default_factory=ModelSpec)
    weak: ModelSpec | None = MISSING
    protocol: Protocol = MISSING
    system_prompt: str | None = MISSING
    reverse_instruction: str = MISSING
    passes: list[str] = MISSING
    dtype: Dtype = MISSING
    max_length: int | None = MISSING
    tokens_per_batch: int | None = knob()
    tokens_per_shard: int = knob()


@dataclass
class ShareRow:
    """What the recipe sets for one share of the data."""

    share: float = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING


@dataclass
class AdapterConfig:
    """LoRA on every linear layer; merged into the weights at the end."""

    rank: int = MISSING
    alpha: float = MISSING
    dropout: float = MISSING


@dataclass
class TrainConfig:
    """The fine-tuning recipe; `by_share` rows set batch size and learning rate from the share of the data."""

    name: str = MISSING
    epochs: float = MISSING
    updates: int | None = MISSING
    batch_size: int | None = MISSING
    learning_rate: float | None = MISSING
    by_share: list[ShareRow] | None = MISSING
    interpolate: bool = MISSING
    scheduler: Scheduler = MISSING
    warmup: float = MISSING
    weight_decay: float = MISSING
    max_grad_norm: float = MISSING
    max_length: int = MISSING
    too_long: TooLong = MISSING
    dtype: Dtype = MISSING
    system_prompt: str | None = MISSING
    adapter: AdapterConfig | None = MISSING
    seeds: list[int] = MISSING
    micro_batch_size: int = knob()
    gradient_checkpointing: bool = knob()
    packing: bool = knob()
    deepspeed: Any = field(default=MISSING, metadata=_KNOB)
    save_steps: int = knob()
    keep_checkpoints: int = knob()


@dataclass
class EvaluateConfig:
    """The benchmark and the limits under which solutions run."""

    name: str = MISSING
    benchmark: str = MISSING
    path: str | None = MISSING
    limit: int | None = MISSING
    protocol: Asking = MISSING
    generator: Generator = MISSING
    max_new_tokens: int = MISSING
    samples: int = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    seed: int = MISSING
    dtype: Dtype = MISSING
    system_prompt: str | None = MISSING
    baseline: bool = MISSING
    seconds: float = MISSING
    memory_mb: int = MISSING
    require_isolation: str | None = MISSING
    batch_size: int = MISSING
    workers: int = knob()


@dataclass
class TrackingConfig:
    """Weights & Biases; metrics.jsonl is written in every mode."""

    mode: Mode = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    group: str | None = MISSING
    texts: bool = MISSING


class Place(Enum):
    """Where scoring and training run: the modules of qaq.launch that start workers."""

    local = "local"
    slurm = "slurm"
    ray = "ray"


@dataclass
class LaunchConfig:
    """Where the work runs: all of it may change the speed and nothing else."""

    name: Place = field(default=MISSING, metadata=_KNOB)
    device: str = knob()
    workers: int = knob()
    nodes: int = knob()
    ranks: int = knob()
    hosts: list[str] = field(default=MISSING, metadata=_KNOB)
    remote_shell: str = knob()
    port: int = knob()
    dry_run: bool = knob()


@dataclass
class ClusterConfig(LaunchConfig):
    """What each task of a cluster reserves."""

    cpus_per_task: int = knob()
    mem_per_cpu_gb: int = knob()
    gpus_per_task: int = knob()


@dataclass
class SlurmConfig(ClusterConfig):
    """A job array."""

    partition: str = knob()
    time: str = knob()
    qos: str | None = knob()
    env_command: str | None = knob()
    sbatch_args: list[str] = field(default=MISSING, metadata=_KNOB)
    poll_seconds: float = knob()


@dataclass
class RayConfig(ClusterConfig):
    """Tasks of a Ray cluster."""

    address: str | None = knob()


@dataclass
class EstimateConfig:
    """How `stages=[estimate]` counts and measures; nothing here enters another stage."""

    name: str = MISSING
    pairs: int = MISSING
    seconds: float = MISSING
    flops_share: float = MISSING
    bandwidth_share: float = MISSING


@dataclass
class Config:
    """The whole experiment. `selector` is checked against the Settings of src/qaq/select/<selector.name>.py."""

    stages: list[str] = MISSING
    budget: Any = MISSING
    seed: int = MISSING
    store_dir: str = MISSING
    system_prompt: str | None = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    selector: Any = MISSING
    target: ModelSpec = field(default_factory=ModelSpec)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    composition: Any = MISSING  # checked by qaq.composition
    debug: Any = None


SECTIONS = {"scorer": ScorerConfig, "train": TrainConfig, "evaluate": EvaluateConfig, "launch": LaunchConfig}


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
