"""The test leakage indicator, against tuples counted one by one, and data.decontaminate from the file to the counts."""

import gzip
import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from loading import load, settings

from qaq import data, evaluate
from qaq.data import leakage, stdlib

PROMPTS = evaluate.prompts({"benchmark": "humaneval", "path": None, "limit": None})


def asked_of(texts, text="query"):
    rows = {"benchmark": ["humaneval"] * len(texts), "task_id": [f"T/{i}" for i in range(len(texts))], "text": texts}
    return leakage.Tests(pa.table({name: pa.array(column, pa.string()) for name, column in rows.items()}), text)


def examples(place: Path, pairs: list[tuple[str, str]]) -> Path:
    columns = [
        pa.array(column, pa.string()) for column in ([str(i) for i in range(len(pairs))], *zip(*pairs, strict=True))
    ]
    pq.write_table(pa.table(columns, names=["id", "query", "answer"]), place / "examples.parquet", row_group_size=1000)
    return place / "examples.parquet"


def by_hand(text: str) -> set[tuple[str, ...]]:
    """XCoder's definition, word for word."""
    grams = set()
    for n in (4, 5):
        padded = ["<start>"] * (n - 1) + text.split() + ["<end>"] * (n - 1)
        grams |= {tuple(padded[i : i + n]) for i in range(len(padded) - n + 1)}
    return grams


def all_pairs(texts: list[str], tests: list[str]) -> np.ndarray:
    """Every similarity [pairs, tests]."""
    held = [by_hand(test) for test in tests]
    return np.array([[len(test & grams) / len(test) for test in held] for grams in map(by_hand, texts)])


def expect(
    place: Path, pairs: list[tuple[str, str]], texts: list[str], tests: list[str], text: str = "query"
) -> leakage.Leak:
    """The leaks found, which must be those counted by hand over `texts`."""
    asked = asked_of(tests, text)
    found = leakage.find(examples(place, pairs), asked)
    leak, truth = leakage.leak(found, asked.index), all_pairs(texts, tests)
    rows = [int(id) for id in found["id"].to_pylist()]
    np.testing.assert_allclose(leak.of_test, truth.max(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(leak.of_pair, truth[rows].max(axis=1), rtol=0, atol=1e-12)
    assert not truth[[row for row in range(len(texts)) if row not in set(rows)]].any()
    for test, row in enumerate(leak.pair):
        assert (
            truth[rows[row], test] == pytest.approx(leak.of_test[test], abs=1e-12)
            if row >= 0
            else not leak.of_test[test]
        )
    assert all(truth[row, test] == pytest.approx(best, abs=1e-12)
               for row, test, best in zip(rows, leak.test, leak.of_pair, strict=True))  # fmt: skip
    return leak


@pytest.mark.parametrize("text", list(leakage.TEXTS))
def test_real_prompts_against_real_pairs_are_as_counted_by_hand(tmp_path, text):
    pairs = [(pair["instruction"], pair["output"]) for pair in stdlib.mine()[:1200]]
    texts = {"query": [q for q, _ in pairs], "answer": [a for _, a in pairs], "pair": [f"{q}\n{a}" for q, a in pairs]}[
        text
    ]
    leak = expect(tmp_path, pairs, texts, [prompt for _, prompt in PROMPTS], text)
    assert 0 < leak.of_test.mean() < 0.1


WORDS = st.lists(st.sampled_from(["a", "b", "c", "<start>", "<end>"]), max_size=8).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, min_size=1, max_size=4))
def test_short_empty_and_repetitive_texts_are_as_counted_by_hand(tmp_path_factory, texts, tests):
    expect(tmp_path_factory.mktemp("pairs"), [(text, "") for text in texts], texts, tests)


def test_a_task_copied_into_a_query_has_similarity_1_whatever_its_spaces(tmp_path):
    prompts = [prompt for _, prompt in PROMPTS]
    copied = "\t".join(prompts[12].split())
    asked = asked_of(prompts)
    leak = leakage.leak(leakage.find(examples(tmp_path, [("Sort it.", ""), (copied, "")]), asked), asked.index)
    assert (leak.of_test[12], leak.of_pair[-1], leak.test[-1]) == (1, 1, 12)


def test_two_texts_of_which_neither_holds_a_token_of_the_other_share_only_nothing(tmp_path):
    leak = expect(
        tmp_path, [("one two three four five", "")], ["one two three four five"], ["six seven eight nine ten", "x"]
    )
    assert leak.of_test.tolist() == [0, 0]
    assert leak.pair.tolist() == [-1, -1]


def test_a_subset_gives_away_no_more_than_the_whole_and_exactly_its_own(tmp_path):
    pairs = [(pair["instruction"], "") for pair in stdlib.mine()[:900]]
    asked = asked_of([prompt for _, prompt in PROMPTS])
    found = leakage.find(examples(tmp_path, pairs), asked)
    whole, chosen = leakage.leak(found, asked.index), [str(i) for i in range(0, 900, 7)]
    part = leakage.leak(leakage.among(found, pa.array(chosen)), asked.index)
    assert (part.of_test <= whole.of_test).all()
    assert part.of_test.mean() < whole.of_test.mean()
    truth = all_pairs([pairs[int(id)][0] for id in chosen], [prompt for _, prompt in PROMPTS])
    np.testing.assert_allclose(part.of_test, truth.max(axis=0), rtol=0, atol=1e-12)


def test_the_digest_is_of_what_is_compared():
    first = asked_of(["a b", "c"])
    assert first.digest == asked_of(["a b", "c"]).digest
    others = [asked_of(["a", "b c"]), asked_of(["c", "a b"]), asked_of(["a b", "c"], "answer")]
    assert len({first.digest, *(other.digest for other in others)}) == 4


@pytest.fixture
def leaky(tmp_path) -> Path:
    """Five pairs: the second is HumanEval/3 in full, the fourth repeats the first."""
    queries = ["Sort a list.", PROMPTS[3][1], "Add two numbers.", "Sort a list.", "Reverse the words of a text."]
    lines = [json.dumps({"instruction": query, "output": "pass"}) for query in queries]
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return tmp_path / "pairs.jsonl.gz"


def test_leaking_pairs_go_to_the_quarantine_with_the_task_they_leak(tmp_path, leaky):
    asked = {"path": str(leaky), "decontaminate": 0.05}
    tests = leakage.Tests(
        pa.Table.from_pylist([{"benchmark": "humaneval", "task_id": t, "text": p} for t, p in PROMPTS]), "query"
    )
    counts, kept, quarantine = load(tmp_path / "out", tests=tests, **asked)
    assert [row["row"] for row in kept] == [0, 2, 4]
    assert counts["by_reason"] == {"duplicate": 1, "leaks a benchmark": 1}
    assert counts["shape"] == {"instruction/output": 3}
    assert {row["row"]: row["reason"] for row in quarantine} == {
        1: "leaks HumanEval/3 (humaneval): similarity 1.000, data.decontaminate=0.05", 3: "duplicate of row 0"}  # fmt: skip
    assert quarantine[-1]["record"] == {"instruction": PROMPTS[3][1], "output": "pass"}
    assert data.identity(settings(**asked), tests) != data.identity(settings(path=str(leaky)))
    assert data.identity(settings(**asked), tests) != data.identity(settings(**asked), asked_of(["x"]))


def test_another_way_of_looking_for_leaks_makes_other_examples(monkeypatch, leaky):
    asked, tests = settings(path=str(leaky), decontaminate=0.05), asked_of(["x"])
    before = data.identity(asked, tests)
    monkeypatch.setattr(leakage, "VERSION", leakage.VERSION + 1)
    assert data.identity(asked, tests) != before


def test_no_pair_goes_as_the_copy_of_one_that_leaks(tmp_path):
    answer = " ".join(f"word{i}" for i in range(300))
    rows = [{"instruction": query, "output": answer} for query in (PROMPTS[3][1], "Say it all.", "Say it all again.")]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    _, kept, quarantine = load(tmp_path / "out", tests=asked_of([PROMPTS[3][1]]), path=str(tmp_path / "pairs.json"),
                               decontaminate=0.05, near_duplicates=0.5)  # fmt: skip
    assert [row["row"] for row in kept] == [1]
    assert [row["reason"].partition(" ")[0] for row in quarantine] == ["leaks", "near-duplicate"]


def test_turns_that_nobody_held_against_the_benchmarks_are_told(tmp_path, caplog):
    turns = ["Say hello.", "hello", PROMPTS[3][1], "pass"]
    record = {
        "messages": [
            {"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, turns, strict=True)
        ]
    }
    (tmp_path / "pairs.json").write_text(
        json.dumps([record, {"messages": [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "2"}]}])
    )
    asked = {"tests": asked_of([PROMPTS[3][1]]), "path": str(tmp_path / "pairs.json"), "decontaminate": 0.05}
    assert len(load(tmp_path / "first", **asked)[1]) == 2
    assert "only the first exchange of 1 kept records" in caplog.text
    caplog.clear()
    assert len(load(tmp_path / "every", **asked, turns="every")[1]) == 1
    assert not caplog.records


def test_noise_is_planted_among_the_pairs_that_are_left(tmp_path, leaky):
    tests = asked_of([PROMPTS[3][1]])
    counts, kept, _ = load(
        tmp_path / "out", tests=tests, path=str(leaky), decontaminate=0.05, noise=0.34, noise_kinds=["echo"]
    )
    assert counts["noise"] == {"clean": 2, "echo": 1}
    assert len(kept) == 3


def test_a_threshold_that_takes_everything_or_no_benchmark_at_all_is_refused(tmp_path, leaky):
    (tmp_path / "out").mkdir()
    asked = settings(path=str(leaky), decontaminate=1e-3)
    everything = asked_of(["Sort a list. x", "Add two numbers. x", "Reverse the words of a text.", PROMPTS[3][1]])
    with pytest.raises(
        ValueError, match=r"data.decontaminate=0.001 takes out every one of 4 pairs .*leaks T/0.* raise it"
    ):
        data.load(asked, tmp_path / "out", everything)
    with pytest.raises(ValueError, match="leave it null here"):
        data.identity(asked)
