"""How a scorer reads pairs, as keys of the store: its texts, and the shards that all data sets read alike share; and how a
trained model reads right answers.

What is run and the estimate meet here: what one has tokenised or scored, the other finds, and both read alike.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qaq.job import Job, Model
from qaq.store import Entry, fingerprint

# Raised when the code changes what it makes.
VERSIONS = {"texts": 1, "likelihood": 3}
# What decides the tokens that are read.
_RENDERING = ("protocol", "system_prompt", "reverse_instruction")


def inputs(digest: str, model: Model) -> dict[str, str]:
    """What is read, and by whom; `digest` is that of the pairs' ids."""
    return {"examples": digest, "model": model.key}


def texts(job: Job, spec: dict[str, Any], what: dict[str, str], examples: Path,
          directory: Callable[[], Path]) -> Entry:  # fmt: skip
    """The tokens of EXAMPLES (a file whose pairs have the digest in `what`), pass by pass."""
    scorer = job.cfg["scorer"]
    settings = {**{name: scorer[name] for name in _RENDERING}, "passes": scorer["passes"]}

    def build(out: Path) -> None:
        ask = {"name": spec["name"], "settings": scorer, "examples": str(examples), "out": str(out)}
        job.worker("qaq.score.tokenise", {**ask, "model": str(directory())})

    return job.store.entry("texts", VERSIONS["texts"], settings, what, build)


def how(job: Job, model: Model) -> dict[str, Any]:
    """What decides a pair's likelihood besides the pair."""
    scorer = job.cfg["scorer"]
    names = (*_RENDERING, "dtype", "max_length")
    return {"version": VERSIONS["likelihood"], "model": model.key, **{name: scorer[name] for name in names}}


def right_answers(job: Job) -> dict[str, Any]:
    """Settings of the scorer's engine for right answers, a benchmark's and the held-out pairs': in evaluate's dtype, the latter in the
    conversation that training uses."""
    scorer = job.cfg["scorer"]
    # No pass here reads the reverse instruction; the tokeniser asks for it.
    taken = {name: scorer[name] for name in ("reverse_instruction", "tokens_per_batch", "tokens_per_shard")}
    return {"dtype": job.cfg["evaluate"]["dtype"], "max_length": None, "passes": ["forward"], "protocol": "exact",
            "system_prompt": job.cfg["train"]["system_prompt"], **taken}  # fmt: skip


def shards(job: Job, model: Model) -> Path:
    """The folder of what is scored in this way; a pair scored once is never scored again."""
    return job.store.root / "shards" / fingerprint(how(job, model))[:24]
