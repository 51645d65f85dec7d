"""Only a checkpoint whose every byte is the one that was written is trained from."""

import json
import logging
import re

import pytest

from qaq.train.checkpoints import MANIFEST, complete, newest, prune

FACTS = {"order": "abc", "global_batch": 8}


@pytest.fixture
def work(tmp_path):
    for step in (2, 10):
        make(tmp_path, step)
        complete(tmp_path / f"checkpoint-{step}", {**FACTS, "step": step})
    return tmp_path


def make(work, step: int) -> None:
    folder = work / f"checkpoint-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * step)
    (folder / "global_step" / "optimizer.pt").write_bytes(b"moments" * step)


def found(work) -> int:
    return newest(work, FACTS)[1]["step"]


def test_the_furthest_complete_one_is_taken(work):
    assert found(work) == 10
    make(work, 12)  # killed before its manifest
    assert found(work) == 10


FILE = "checkpoint-10/global_step/optimizer.pt"


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda work: (work / FILE).write_bytes(b"moments" * 9), r"optimizer.pt is not what was written: 63 of 70 bytes"),
    (lambda work: (work / FILE).write_bytes(b"Moments" + b"moments" * 9), r"optimizer.pt is not what was written"),
    (lambda work: (work / FILE).unlink(), r"optimizer.pt is missing"),
    (lambda work: (work / "checkpoint-10" / MANIFEST).unlink(), r"no manifest.json"),
    (lambda work: (work / "checkpoint-10" / MANIFEST).write_text('{"order"'), r"manifest.json cannot be read"),
    (lambda work: (work / "checkpoint-10" / MANIFEST).write_text("[]"), r"manifest.json cannot be read"),
    (lambda work: (work / "checkpoint-10" / MANIFEST).write_text(json.dumps({**FACTS, "order": "x", "files": {}})), r"its order is x"),
])  # fmt: skip
def test_an_incomplete_or_altered_one_is_set_aside_with_its_reason_and_the_one_before_is_taken(work, caplog, spoil, reason):  # fmt: skip
    spoil(work)
    with caplog.at_level(logging.WARNING):
        assert found(work) == 2
    assert not (work / "checkpoint-10").exists()
    assert (work / "aside-1-checkpoint-10").is_dir()
    assert "set aside as aside-1-checkpoint-10" in caplog.text
    assert re.search(reason, caplog.text)


def test_one_set_aside_before_stays(work):
    for _ in range(2):
        make(work, 12)
        assert found(work) == 10
    assert len(list(work.glob("aside-*-checkpoint-12"))) == 2


def test_nothing_to_go_on_from(tmp_path):
    assert newest(tmp_path, FACTS) is None


def test_what_is_behind_the_furthest_goes_and_what_is_beyond_it_is_nobodys_to_remove(work):
    for step in (8, 12):  # killed before their manifests
        make(work, step)
    (work / "aside-1-checkpoint-9").mkdir()
    prune(work, 1)
    assert sorted(folder.name for folder in work.iterdir()) == ["checkpoint-10", "checkpoint-12"]
