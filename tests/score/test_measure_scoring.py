"""The sample that times scoring stands for all of it: drawn over all lengths, in whole batches."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaq.score import measure
from qaq.score.__main__ import score
from qaq.score.tokenise import tokenise

READING = {"system_prompt": None, "reverse_instruction": "Guess:\n{answer}", "dtype": "float32", "protocol": "exact",
           "max_length": None, "tokens_per_batch": 256, "tokens_per_shard": 300}  # fmt: skip


class Fake:
    """A batch whose reading takes what a rule says."""

    def __init__(self, tokens: int, rows: int, rate: float) -> None:
        self.tokens, self.rows, self.rate, self.read = tokens, np.arange(rows), rate, 0

    def seconds(self) -> float:
        self.read += 1
        return self.tokens * self.rate


def test_few_batches_are_all_timed_and_then_nothing_is_estimated():
    batches = [Fake(100, 1, 0.02), Fake(90, 3, 0.01), Fake(50, 5, 0.01)]
    found = measure.sample(batches, seconds=1e9)
    assert found["work"] == pytest.approx(100 * 0.02 + 90 * 0.01 + 50 * 0.01)
    assert found["error"] == 0
    assert [batch.read for batch in batches] == [2, 1, 1]  # the longest warmed up


def test_a_sample_is_spread_over_the_lengths_and_tells_its_error():
    """A thousand batches, the first twice as slow a token as the last: a twentieth of them is enough."""
    batches = [Fake(100, 1 + i, 0.02 - i * 1e-5) for i in range(1000)]
    true = sum(batch.tokens * batch.rate for batch in batches)
    found = measure.sample(batches, seconds=true / 20)
    assert found["work"] == pytest.approx(true, rel=0.01)
    assert true / 20 <= found["timed"] < true / 15
    assert 0 < found["error"] < 0.05


@pytest.fixture
def asked(tiny_model, tmp_path) -> dict:
    pairs = {"id": [f"{i:02}" for i in range(12)], "query": ["add " + "and add " * i for i in range(12)],
             "answer": ["def f(x):\n" + "    x += 1\n" * i for i in range(12)]}  # fmt: skip
    pq.write_table(pa.table(pairs), tmp_path / "examples.parquet")
    for name in ("texts", "shards", "out"):
        (tmp_path / name).mkdir()
    passes = ["forward", "reverse", "answer"]
    request = {"model": str(tiny_model), "settings": {**READING, "passes": passes}, "passes": passes, "device": "cpu",
               "name": "m", "texts": str(tmp_path / "texts"), "shards": str(tmp_path / "shards"),
               "out": str(tmp_path / "out"), "needed": 0, "seconds": 1e9}  # fmt: skip
    examples = str(tmp_path / "examples.parquet")
    tokenise({**request, "examples": examples, "out": request["texts"]})
    return request


def test_the_batches_hold_what_is_missing_once(asked, tiny_model):
    from qaq import models

    model, _ = models.load(tiny_model, "float32", "cpu")
    batches = measure._batches(model, asked)
    assert sum(len(batch.rows) for batch in batches) == 3 * 12
    score({**asked, "passes": ["forward"]})
    assert sum(len(batch.rows) for batch in measure._batches(model, asked)) == 2 * 12


def test_the_worker_says_what_it_timed(asked, tmp_path):
    measure.measure(asked)
    found = json.loads((tmp_path / "out/measured.json").read_text())
    assert found["work"] > 0
    assert found["error"] == 0  # so few that all were timed
    assert found["peak_bytes"] > 2**20
    assert found["device"] == "cpu"


def test_a_model_that_does_not_fit_is_not_loaded(asked, tmp_path):
    measure.measure({**asked, "model": "/nowhere", "needed": 1e18})
    found = json.loads((tmp_path / "out/measured.json").read_text())
    assert list(found) == ["not_measured"]
    assert found["not_measured"].startswith("it needs about 1,000,000,000 GB, and ")
