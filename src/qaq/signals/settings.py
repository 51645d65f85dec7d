"""The types of what other models than the scorers are asked (conf/signals)."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from qaq.sections import DataConfig, Dtype, ModelSpec, knob


@dataclass
class ComplexityConfig:
    """The model that rates a query's complexity by a digit, and how it is asked."""

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: str = MISSING
    chat: bool = MISSING
    digits: list[int] = MISSING
    weights: list[float] | None = MISSING
    dtype: Dtype = MISSING
    max_length: int | None = MISSING
    tokens_per_batch: int | None = knob()


@dataclass
class UnitTestsConfig:
    """The model that writes test cases for a pair, and the limits under which the answer runs them."""

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: str = MISSING
    count: int = MISSING
    max_new_tokens: int = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    seed: int = MISSING
    dtype: Dtype = MISSING
    batch_size: int = MISSING
    seconds: float = MISSING
    memory_mb: int = MISSING
    require_isolation: str | None = MISSING
    workers: int = knob()


class Pooling(Enum):
    """How the states of a text's tokens become one vector."""

    mean = "mean"
    cls = "cls"
    last = "last"


@dataclass
class EmbeddingConfig:
    """The model whose vectors say which queries are alike."""

    model: ModelSpec = field(default_factory=ModelSpec)
    pooling: Pooling | None = MISSING
    prefix: str = MISSING
    dtype: Dtype = MISSING
    max_length: int | None = MISSING
    tokens_per_batch: int | None = knob()


@dataclass
class ScarConfig:
    """SCAR's ranker."""

    model: ModelSpec | None = MISSING
    encoder: Any = MISSING
    dtype: Dtype = MISSING
    max_length: int = MISSING
    tokens_per_batch: int | None = knob()


@dataclass
class RdsConfig:
    """The model whose states RDS+ compares, and the query set it compares with."""

    model: ModelSpec = field(default_factory=ModelSpec)
    queries: DataConfig = field(default_factory=DataConfig)
    dtype: Dtype = MISSING
    max_length: int | None = MISSING
    system_prompt: str | None = MISSING
    tokens_per_batch: int | None = knob()


@dataclass
class SignalsConfig:
    """What other models than the scorers are asked about a pair; only what the selector needs is asked."""

    name: str = MISSING
    complexity: ComplexityConfig = field(default_factory=ComplexityConfig)
    unit_tests: UnitTestsConfig = field(default_factory=UnitTestsConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    scar: ScarConfig = field(default_factory=ScarConfig)
    rds: RdsConfig = field(default_factory=RdsConfig)
    characters_per_shard: int = knob()


SCHEMAS = {
    "complexity": ComplexityConfig,
    "unit_tests": UnitTestsConfig,
    "embedding": EmbeddingConfig,
    "scar": ScarConfig,
    "rds": RdsConfig,
}
