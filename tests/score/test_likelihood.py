"""The scorer against an independent computation: one text at a time, full logits, nothing but transformers."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from qaq import score, tables
from qaq.score import engine, spans
from qaq.score import texts as texts_module
from qaq.score.__main__ import score as score_worker
from qaq.score.tokenise import tokenise

READING = {"system_prompt": None, "reverse_instruction": "Guess the task:\n{answer}\nTask?", "dtype": "float32",
           "protocol": "exact", "max_length": None, "tokens_per_batch": 256, "tokens_per_shard": 300}  # fmt: skip
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


def likelihood(directory: Path, pairs: list[tuple[str, str]], out: Path, ids: list[str] | None = None,
               **changes) -> pa.Table:  # fmt: skip
    """The real path: tokenise, fill shards, gather."""
    ids = ids or [f"{i:03d}" for i in range(len(pairs))]
    settings = {**READING, "passes": list(spans.PASSES), **changes}
    out.mkdir(exist_ok=True)
    rows = [{"id": id, "query": q, "answer": a} for id, (q, a) in zip(ids, pairs, strict=True)]
    tables.write(pa.Table.from_pylist(rows), out / "examples.parquet")
    request = {"model": directory, "name": "tiny", "device": "cpu", "settings": settings, "passes": settings["passes"]}
    texts = Path(tempfile.mkdtemp(dir=out))
    tokenise({**request, "examples": out / "examples.parquet", "out": texts})
    score_worker({**request, "texts": texts, "shards": out / "shards"})
    return score.likelihood(out / "shards", settings["passes"], ids, "tiny")


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


@settings(max_examples=10)
@given(budget=st.integers(1, 2000), shard=st.integers(1, 2000), order=st.permutations(range(len(PAIRS))))
def test_batch_budget_shard_size_and_row_order_do_not_change_a_likelihood(
    tiny_model, tmp_path_factory, budget, shard, order
):
    pairs, ids = [PAIRS[i] for i in order], [f"{i:03d}" for i in order]
    table = likelihood(tiny_model, pairs, tmp_path_factory.mktemp("b"), ids, passes=["forward"], tokens_per_batch=budget,
                       tokens_per_shard=shard)  # fmt: skip
    for row in table.to_pylist():
        expected = _expected(tiny_model)[int(row["id"])][row["target"], row["given"]]
        assert row["nll_sum"] == pytest.approx(expected, abs=1e-4 * row["tokens"])


@functools.cache
def _expected(directory: Path) -> list[dict[tuple[str, str], float]]:
    return [independent(directory, *pair) for pair in PAIRS]


@pytest.mark.parametrize("protocol", ["reference"])
def test_the_reference_protocol_is_a_direct_rendering_of_its_description(tiny_model, tmp_path, protocol):
    table = likelihood(tiny_model, PAIRS, tmp_path, protocol=protocol, passes=["forward", "reverse"])
    found = {(r["id"], r["target"], r["given"]): (r["nll_sum"], r["tokens"]) for r in table.to_pylist()}
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()

    def chat(*turns: tuple[str, str]) -> str:
        return tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in turns], tokenize=False)

    for i, (query, answer) in enumerate(PAIRS):
        asked, start = chat(("user", query)), len(chat(("user", "")))
        prompt = READING["reverse_instruction"].replace("{answer}", answer)
        told = chat(("user", prompt), ("assistant", query))
        told_start = len(chat(("user", prompt)) + "<|im_start|>assistant\n")
        for key, text, where in ((("query", "nothing"), asked, start), (("query", "answer"), told, told_start)):
            coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            first = next(
                (n for n, (at, _) in enumerate(coded["offset_mapping"]) if at >= where), len(coded["input_ids"])
            )
            ids = coded["input_ids"]
            value, tokens = found[f"{i:03d}", *key]
            assert tokens == len(ids) - first
            assert value == pytest.approx(nll(model, ids[:first], ids[first:]), abs=1e-4 * max(tokens, 1))


def test_what_all_texts_share_is_read_once_and_changes_nothing(tiny_model, tmp_path):
    from qaq.score.texts import open_texts

    likelihood(tiny_model, PAIRS, tmp_path, system_prompt="You are a careful assistant. " * 5)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    for name in spans.PASSES:
        texts = open_texts(next(p for p in tmp_path.iterdir() if (p / name).is_dir() and p.name != "shards") / name)
        rows = np.arange(len(PAIRS))
        sharing = engine.Engine(model, texts, rows, 512)
        alone = engine.Engine(model, texts, rows, 512)
        alone.shared, alone.cache = 0, None
        assert sharing.shared == len(texts.shared(rows)) > 0
        np.testing.assert_allclose(sharing.sums(rows), alone.sums(rows), rtol=1e-5, atol=1e-4)


def test_what_texts_share_is_found_whatever_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(texts_module, "_AT_ONCE", 2)
    rows = [[1, 2, 3, 4, 9, 9], [1, 2, 3, 4, 8, 8], [1, 2, 3, 4, 7, 7, 7], [1, 2, 3, 5, 7, 7]]
    tokens, length = np.concatenate(rows).astype(np.uint32), np.array([len(row) for row in rows])
    texts = texts_module.Texts(np.array(list("abcd")), np.cumsum(length) - length, length,
                               np.stack([np.full(4, 5), length], axis=1)[:, None], tokens)  # fmt: skip
    assert texts.shared([0, 1, 2]).tolist() == [1, 2, 3, 4]
    assert texts.shared([0, 1, 2, 3]).tolist() == [1, 2, 3]
    assert texts.shared([3, 0]).tolist() == [1, 2, 3]


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


def test_the_weak_models_metrics_stand_beside_the_strong_ones_whatever_the_order():
    def table(model: str, sums: dict[str, float | None]) -> pa.Table:
        rows = [{"id": i, "model": model, "target": "query", "given": g, "nll_sum": s and s * factor, "tokens": 2,
                 "truncated": s is None} for i, s in sums.items() for g, factor in (("nothing", 3), ("answer", 1))]  # fmt: skip
        return tables.conform(rows, tables.LIKELIHOOD)

    strong = table("s", {"c": 3.0, "a": 1.0, "b": 2.0, "d": None, "e": 5.0})
    weak = table("w", {"b": 20.0, "c": 30.0, "d": 40.0, "e": None, "a": 10.0})
    rows = score.metrics(strong, weak).to_pylist()  # d and e are too long for one of the two
    assert [(r["id"], r["rmi"], r["weak_rmi"]) for r in rows] == [("a", 1, 10), ("b", 2, 20), ("c", 3, 30)]
    assert [(r["log_ppl_q"], r["weak_log_ppl_q_given_a"]) for r in rows] == [(1.5, 5), (3, 10), (4.5, 15)]


def test_a_rendered_text_can_be_continued_and_scored(tiny_model, tmp_path):
    rows = [{"id": "t", "context": "def add(a, b):\n", "target": "    return a + b\n"}]
    tables.write(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    request = {"model": tiny_model, "name": "tiny", "device": "cpu", "settings": READING, "passes": ["continuation"]}
    tokenise({**request, "continuations": tmp_path / "texts.parquet", "out": tmp_path})
    score_worker({**request, "texts": tmp_path, "shards": tmp_path / "shards"})
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    context, target = (tokenizer(rows[0][name])["input_ids"] for name in ("context", "target"))
    row = score.likelihood(tmp_path / "shards", ["continuation"], ["t"], "tiny").to_pylist()[0]
    assert (row["target"], row["given"]) == ("answer", "query")
    assert row["nll_sum"] == pytest.approx(nll(model, context, target), abs=1e-4)


def test_a_pair_with_nothing_to_score_is_set_aside_alone(tiny_model, tmp_path):
    """Under the reference spans a query shorter than the end-of-turn mark can lose all its characters."""
    from qaq.score.shards import SCHEMA, Shards

    rows = pa.table([["a", "b"], [[0.0], [3.0]], [[0], [2]]], schema=SCHEMA)
    for name in ("reverse",):
        Shards(tmp_path / name).fill(np.array(["a", "b"]), np.array([1, 2]), np.arange(2), 99, lambda r: rows.take(r))
    table = score.likelihood(tmp_path, ["reverse"], ["a", "b"], "m")
    assert table["truncated"].to_pylist() == [True, False]
    assert [id for id, _ in score.too_long(table)] == ["a"]
