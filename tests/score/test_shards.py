"""What was scored stays scored: after a kill, beside another process, on a bad or a full disk."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from qaq import shards as module
from qaq.score import texts
from qaq.score.shards import SCHEMA, Shards
from qaq.score.spans import Text
from qaq.shards import cut

IDS = np.array([f"id{i:03d}" for i in range(40)])
LENGTH = np.array([(i * 7) % 13 + 1 for i in range(40)])


def table(rows: np.ndarray) -> pa.Table:
    return pa.table([IDS[rows].tolist(), [[float(r)] for r in rows], [[int(LENGTH[r])] for r in rows]], schema=SCHEMA)


def fill(folder: Path, calls: list[list[int]] | None = None, ids: np.ndarray = IDS, compute=table) -> None:
    def counted(rows: np.ndarray) -> pa.Table:
        (calls if calls is not None else []).append(rows.tolist())
        return compute(rows)

    shards = Shards(folder)
    shards.fill(ids, LENGTH[: len(ids)], shards.missing(ids), 20, counted)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.parquet")}


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@given(lengths, st.integers(1, 120), st.data())
def test_taking_finished_shards_away_does_not_move_the_other_cuts(sizes, budget, data):
    ids, length = np.array([f"{i:03d}" for i in range(len(sizes))]), np.array(sizes)
    whole = [s.tolist() for s in cut(ids, length, np.arange(len(sizes)), budget)]
    assert sorted(sum(whole, [])) == list(range(len(sizes)))
    kept = [s for s in whole if data.draw(st.booleans())]
    rows = np.array(sorted(sum(kept, [])), dtype=np.int64)
    assert [s.tolist() for s in cut(ids, length, rows, budget)] == kept


def test_every_record_is_computed_once_and_read_back(tmp_path):
    calls: list[list[int]] = []
    fill(tmp_path, calls)
    fill(tmp_path, calls)
    assert sorted(sum(calls, [])) == list(range(40))
    assert sorted(Shards(tmp_path).read()["id"].to_pylist()) == IDS.tolist()


def test_new_records_among_old_ones_cost_only_themselves(tmp_path):
    fill(tmp_path, ids=IDS[:38])
    calls: list[list[int]] = []
    fill(tmp_path, calls)
    assert sorted(sum(calls, [])) == [38, 39]


def test_who_found_the_damage_sees_the_shard_that_comes_back(tmp_path):
    fill(tmp_path)
    victim = sorted(tmp_path.glob("*.parquet"))[1]
    victim.write_bytes(victim.read_bytes()[:-9])
    watching = Shards(tmp_path)
    assert len(watching.missing(IDS)) > 0
    fill(tmp_path)
    assert victim.exists()  # the same bytes, hence the same name
    assert len(watching.missing(IDS)) == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_found_set_aside_and_computed_again(tmp_path, damage):
    fill(tmp_path)
    before = contents(tmp_path)
    victim = sorted(tmp_path.glob("*.parquet"))[1]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes({"flip": bytes(data), "cut": bytes(data[:-9]), "empty": b""}[damage])
    calls: list[list[int]] = []
    fill(tmp_path, calls)
    assert len(calls) == 1
    assert contents(tmp_path) == before
    assert victim.with_suffix(".damaged").exists()


def test_of_two_processes_that_find_the_same_damage_both_go_on(tmp_path, monkeypatch):
    fill(tmp_path)
    victim = sorted(tmp_path.glob("*.parquet"))[1]
    victim.write_bytes(b"")
    digest = module._digest

    def other_was_faster(data: bytes) -> str:
        if not data:
            victim.rename(victim.with_suffix(".damaged"))
        return digest(data)

    monkeypatch.setattr(module, "_digest", other_was_faster)
    calls: list[list[int]] = []
    fill(tmp_path, calls)
    assert len(calls) == 1
    assert len(Shards(tmp_path).read()) == 40


def test_two_workers_share_the_shards_and_compute_none_twice(tmp_path):
    calls: list[list[int]] = []
    barrier = threading.Barrier(2)

    def work() -> None:
        barrier.wait()
        fill(tmp_path, calls)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sum(calls, [])) == list(range(40))


def test_runs_over_overlapping_records_at_once_leave_each_record_once(tmp_path):
    """Other cuts, other locks: a record both were scoring may be written twice, and counts once."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(rows: np.ndarray) -> pa.Table:
        inside.set()
        go_on.wait()
        return table(rows)

    first = threading.Thread(target=fill, args=(tmp_path,), kwargs={"compute": slow})
    first.start()
    inside.wait()
    fill(tmp_path, ids=IDS[:30])  # overtakes the other run, which holds one of the records by now
    go_on.set()
    first.join()
    ids = Shards(tmp_path).read()["id"].to_pylist()
    assert sorted(ids) == IDS.tolist()
    calls: list[list[int]] = []
    fill(tmp_path, calls)
    assert calls == []


KILLED = """
import os, signal, sys
sys.path[:0] = [{src!r}, {here!r}]
import test_shards as t
from pathlib import Path
left = int(sys.argv[2])
def compute(rows):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.table(rows)
t.fill(Path(sys.argv[1]), compute=compute)
"""


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    """SIGKILL in the middle of the first, second, first ... shard of each start, until nothing is left to do."""
    fill(tmp_path / "whole")
    code = KILLED.format(src=str(ROOT / "src"), here=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    kills = 0
    for finished in (0, 1, 2, 100):
        command = [sys.executable, "-c", code, str(tmp_path / "killed"), str(finished)]
        status = subprocess.run(command, env=environment, check=False).returncode
        kills += status == -signal.SIGKILL
    assert kills == 3
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    wrote = [0]
    fsync = os.fsync

    def full(fd: int) -> None:
        wrote[0] += 1
        if wrote[0] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match=r"no room for [\d,]+ bytes of finished scores .* run again to go on"):
        fill(tmp_path)
    assert len(contents(tmp_path)) == 2
    assert not list(tmp_path.glob("*.tmp"))
    monkeypatch.undo()
    calls: list[list[int]] = []
    fill(tmp_path, calls)
    assert len(Shards(tmp_path).read()) == 40
    assert len(sum(calls, [])) < 40


def test_tokens_that_a_full_disk_does_not_take_are_an_error(tmp_path):
    """The limit on a file's size stands for the disk; numpy's own writing to files would leave a short one in silence."""
    written = [Text(f"id{i:03d}", list(range(100)), ((1, 100),)) for i in range(100)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            texts._write(iter([written]), tmp_path / "forward")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
