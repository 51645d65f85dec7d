"""The types of the settings, section by section. The values live in conf/, each beside its source; their ranges are in qaq.ranges.

A field marked `knob()` may change speed but not a result: it is recorded and never enters a key. Those of the quality signals
are in qaq.signals.settings.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

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
    near_duplicates: float | None = MISSING
    decontaminate: float | None = MISSING
    held_out: float = MISSING
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


class Compared(Enum):
    """Which text of a pair is held against a benchmark's tasks."""

    query = "query"
    answer = "answer"
    pair = "pair"


@dataclass
class LeakageConfig:
    """What counts as leakage, of which benchmarks, and where their files lie."""

    name: str = MISSING
    text: Compared = MISSING
    threshold: float = MISSING
    benchmarks: list[str] = MISSING
    humaneval: str | None = MISSING
    mbpp: str | None = MISSING


@dataclass
class EstimateConfig:
    """How `stages=[estimate]` counts and measures; nothing here enters another stage."""

    name: str = MISSING
    pairs: int = MISSING
    seconds: float = MISSING
    flops_share: float = MISSING
    bandwidth_share: float = MISSING
