"""The scorer against an independent computation: one text at a time, full logits, nothing but transformers."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from qaq import score, tables
from qaq.score import engine, spans
from qaq.score.__main__ import score as score_worker

READING = {"system_prompt": None, "reverse_instruction": "Guess the task:\n{answer}\nTask?", "dtype": "float32",
           "max_length": None, "tokens_per_batch": 256}  # fmt: skip
PAIRS = [
    ("Write a function that adds two numbers.", "def add(a, b):\n    return a + b"),
    ("Explain list comprehension.", "A list comprehension builds a list."),
    ("x", "y"),
    ("Sort these words: pear, apple.", "sorted(['pear', 'apple'])\n# gives ['apple', 'pear']\n" * 3),
    ("Ünïcode — 数字 🙂", "print('🙂')"),
]


def nll(model, context: list[int], target: list[int]) -> float:
    """Summed NLL of target after context: batch 1, all logits, float64 log-softmax."""
    ids = torch.tensor([context + target])
    with torch.no_grad():
        logits = model(ids).logits[0].double()
    log_p = logits.log_softmax(-1)
    return -sum(log_p[len(context) + i - 1, token].item() for i, token in enumerate(target))


def independent(directory: Path, query: str, answer: str) -> dict[tuple[str, str], float]:
    """The four likelihoods from the definition, rendered by the tokenizer's own template."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def before(turns: list[tuple[str, str]], content: str) -> str:
        messages = [{"role": r, "content": c} for r, c in turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        return text[: text.rindex(content)]

    q, a = ids(query), ids(answer)
    head = ids(before([("user", "QQQ")], "QQQ"))
    turn = ids("<|im_end|>\n<|im_start|>assistant\n")
    asked = before([("user", READING["reverse_instruction"].replace("{answer}", "AAA")), ("assistant", "QQQ")], "QQQ")
    left, right = asked.split("AAA")
    return {("query", "nothing"): nll(model, head, q),
            ("answer", "query"): nll(model, head + q + turn, a),
            ("query", "answer"): nll(model, ids(left) + a + ids(right), q),
            ("answer", "nothing"): nll(model, ids("<|im_start|>assistant\n"), a)}  # fmt: skip


def likelihood(directory: Path, pairs: list[tuple[str, str]], out: Path, **changes) -> pa.Table:
    out.mkdir(exist_ok=True)
    rows = [{"id": f"{i:03d}", "query": q, "answer": a} for i, (q, a) in enumerate(pairs)]
    tables.write(pa.Table.from_pylist(rows), out / "examples.parquet")
    score_worker({"model": directory, "name": "tiny", "examples": out / "examples.parquet", "device": "cpu",
                  "settings": {**READING, "passes": list(spans.PASSES), **changes}, "out": out})  # fmt: skip
    return tables.read(out / "likelihood.parquet")


def test_every_likelihood_equals_the_batch_of_one_computation(tiny_model, tmp_path):
    table = likelihood(tiny_model, PAIRS, tmp_path)
    assert table.num_rows == 4 * len(PAIRS)
    for row in table.to_pylist():
        expected = independent(tiny_model, *PAIRS[int(row["id"])])[row["target"], row["given"]]
        assert row["nll_sum"] / row["tokens"] == pytest.approx(expected / row["tokens"], abs=1e-5)


def test_a_query_has_the_same_tokens_in_both_directions(tiny_model, tmp_path):
    rows = likelihood(tiny_model, PAIRS, tmp_path).to_pylist()
    counts = {(r["id"], r["target"], r["given"]): r["tokens"] for r in rows}
    for i, (query, answer) in enumerate(PAIRS):
        id = f"{i:03d}"
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        assert counts[id, "query", "nothing"] == counts[id, "query", "answer"] == len(tokenizer(query)["input_ids"])
        assert counts[id, "answer", "nothing"] == counts[id, "answer", "query"] == len(tokenizer(answer)["input_ids"])


@settings(max_examples=12)
@given(budget=st.integers(1, 2000), order=st.permutations(range(len(PAIRS))))
def test_batch_budget_and_row_order_do_not_change_a_likelihood(tiny_model, tmp_path_factory, budget, order):
    usual = {r["id"]: r["nll_sum"] for r in _forward(tiny_model, tmp_path_factory.mktemp("a"), range(len(PAIRS)), 256)}
    other = {r["id"]: r["nll_sum"] for r in _forward(tiny_model, tmp_path_factory.mktemp("b"), order, budget)}
    for id, value in usual.items():
        assert other[id] == pytest.approx(value, abs=1e-4)


def _forward(directory: Path, out: Path, order, budget: int) -> list[dict]:
    pairs = [PAIRS[i] for i in order]
    table = likelihood(directory, pairs, out, passes=["forward"], tokens_per_batch=budget)
    rows = [r for r in table.to_pylist() if r["target"] == "query"]
    return [{**r, "id": order[int(r["id"])]} for r in rows]


def test_a_text_longer_than_the_window_is_a_row_without_a_value_and_takes_nobody_with_it(tiny_model, tmp_path):
    long = ("Count.", "one two three " * 800)
    table = likelihood(tiny_model, [PAIRS[0], long, PAIRS[1]], tmp_path)
    over = [r for r in table.to_pylist() if r["truncated"]]
    assert {r["id"] for r in over} == {"001"}
    assert all(r["nll_sum"] is None for r in over)
    assert score.metrics(table)["id"].to_pylist() == ["000", "002"]
    assert [id for id, _ in score.too_long(table)] == ["001"]


def test_metrics_are_the_arithmetic_of_the_definitions():
    sums = {("query", "nothing"): (12.0, 4), ("query", "answer"): (8.0, 4), ("answer", "nothing"): (30.0, 10),
            ("answer", "query"): (15.0, 10)}  # fmt: skip
    rows = [{"id": "p", "model": "m", "target": t, "given": g, "nll_sum": s, "tokens": n, "truncated": False}
            for (t, g), (s, n) in sums.items()]  # fmt: skip
    row = score.metrics(tables.conform(rows, tables.LIKELIHOOD)).to_pylist()[0]
    assert (row["log_ppl_q"], row["log_ppl_q_given_a"]) == (3.0, 2.0)
    assert row["rmi"] == 1.0  # 3.0 - 2.0 nats per token of Q
    assert row["ifd"] == 0.5  # 1.5 / 3.0, a ratio of losses
    assert row["weak_rmi"] is None


def test_the_weak_models_metrics_stand_beside_the_strong_ones():
    def table(model: str, factor: float) -> pa.Table:
        rows = [{"id": i, "model": model, "target": "query", "given": g, "nll_sum": factor * s, "tokens": 2,
                 "truncated": False} for i in "ab" for g, s in (("nothing", 6.0), ("answer", 2.0))]  # fmt: skip
        return tables.conform(rows, tables.LIKELIHOOD)

    rows = score.metrics(table("s", 1.0), table("w", 0.5)).to_pylist()
    assert [(r["rmi"], r["weak_rmi"]) for r in rows] == [(2.0, 1.0), (2.0, 1.0)]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 1000))
def test_batches_hold_every_text_once_and_keep_the_token_budget(lengths, budget):
    texts = [spans.Text(str(i), [0] * n, ()) for i, n in enumerate(lengths)]
    groups = list(engine.batches(texts, budget))
    assert sorted(i for group in groups for i in group) == list(range(len(texts)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget


def test_a_rendered_text_can_be_continued_and_scored(tiny_model, tmp_path):
    rows = [{"id": "t", "context": "def add(a, b):\n", "target": "    return a + b\n"}]
    tables.write(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    score_worker({"model": tiny_model, "name": "tiny", "continuations": tmp_path / "texts.parquet", "device": "cpu",
                  "settings": READING, "out": tmp_path})  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    context, target = (tokenizer(rows[0][name])["input_ids"] for name in ("context", "target"))
    row = tables.read(tmp_path / "likelihood.parquet").to_pylist()[0]
    assert row["nll_sum"] == pytest.approx(nll(model, context, target), abs=1e-4)


def test_a_uniform_model_gives_log_of_the_vocabulary(tiny_model, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    sums = engine.nll_sums(model.eval(), [spans.Text("t", [5, 6, 7, 8], (spans.Target("query", "nothing", 1, 4),))], 64, "")
    assert sums[0][0] == pytest.approx(3 * math.log(300), abs=1e-5)
    assert json.dumps(sums)
