"""The store: the same question is answered once, another question never meets an old answer."""

import errno
import logging
import multiprocessing
import threading
from pathlib import Path

import pytest

from qaq import store
from qaq.store import DiskFull, Store, fingerprint, lock, room, tree_digest, turn


def ask(store: Store, settings: dict, inputs: dict | None = None, version: int = 1, calls: list | None = None):
    def build(out: Path) -> None:
        (calls if calls is not None else []).append(1)
        (out / "value").write_text(str(settings))

    return store.entry("stage", version, settings, inputs or {}, build)


def test_the_same_question_is_computed_once(tmp_path):
    calls: list[int] = []
    first = ask(Store(tmp_path), {"a": 1, "b": [2, None]}, calls=calls)
    again = ask(Store(tmp_path), {"b": [2, None], "a": 1}, calls=calls)  # another order is the same settings
    assert (first.key, first.path, first.reused, again.reused) == (again.key, again.path, False, True)
    assert len(calls) == 1
    assert again.seconds == first.seconds


def test_whether_a_result_is_held_can_be_asked_without_making_it(tmp_path):
    store = Store(tmp_path)
    assert not store.holds("stage", 1, {"a": 1}, {})
    ask(store, {"a": 1})
    assert store.holds("stage", 1, {"a": 1}, {})
    assert not store.holds("stage", 2, {"a": 1}, {})


@pytest.mark.parametrize("change", [{"settings": {"a": 2}}, {"inputs": {"x": "d2"}}, {"version": 2}])
def test_a_changed_setting_input_or_version_is_another_question(tmp_path, change):
    question = {"settings": {"a": 1}, "inputs": {"x": "d1"}, "version": 1}
    keys = {ask(Store(tmp_path), **q).key for q in (question, {**question, **change})}
    assert len(keys) == 2


def test_a_build_that_fails_leaves_nothing_and_the_next_one_works(tmp_path):
    def broken(out: Path) -> None:
        (out / "half").write_text("x")
        raise ValueError("disk on fire")

    store = Store(tmp_path)
    with pytest.raises(ValueError, match="disk on fire"):
        store.entry("stage", 1, {}, {}, broken)
    assert not [p for p in (tmp_path / "stage").iterdir() if p.is_dir()]
    assert not ask(store, {}).reused


def test_what_a_killed_process_left_is_not_mistaken_for_a_result(tmp_path):
    key = ask(Store(tmp_path / "other"), {}).key
    leftover = tmp_path / "stage" / f".{key}.tmp-dead"
    leftover.mkdir(parents=True)
    (leftover / "value").write_text("half")
    entry = ask(Store(tmp_path), {})
    assert (entry.path / "value").read_text() == "{}"
    assert not leftover.exists()


@pytest.mark.parametrize("name", ["value", "entry.json"])
@pytest.mark.parametrize(
    "damage", [lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-2], lambda data: b""]
)
def test_a_damaged_entry_is_found_set_aside_and_made_again(tmp_path, caplog, name, damage):
    store = Store(tmp_path)
    entry = ask(store, {"a": 1})
    value, file = (entry.path / "value").read_bytes(), entry.path / name
    file.write_bytes(damage(file.read_bytes()))
    again = ask(store, {"a": 1})
    assert (again.reused, again.path) == (False, entry.path)
    assert (again.path / "value").read_bytes() == value
    assert entry.path.with_name(f"{entry.key}.damaged").is_dir()
    assert f"{entry.path}: {name} is not what was written there" in caplog.text
    assert ask(store, {"a": 1}).reused


def test_an_entry_that_lost_a_file_is_made_again_and_one_that_gained_a_file_is_not(tmp_path):
    store = Store(tmp_path)
    entry = ask(store, {})
    (entry.path / "more").write_text("a note")
    assert ask(store, {}).reused
    (entry.path / "value").unlink()
    assert not ask(store, {}).reused


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_the_place_what_is_free_and_the_way_out(tmp_path, number):
    def full(out: Path) -> None:
        raise OSError(number, "full")

    with pytest.raises(DiskFull, match=r"no room for stage \w+ in .*stage, where [\d,]+ bytes are free .*full.*: free some, or "
                                       r"set store_dir.*run again to go on"):  # fmt: skip
        Store(tmp_path).entry("stage", 1, {}, {}, full)


def test_who_knows_more_about_a_full_disk_is_heard(tmp_path):
    with pytest.raises(DiskFull, match="no room for 12 bytes"), room(tmp_path, "this run"), room(tmp_path, "12 bytes"):
        raise OSError(errno.ENOSPC, "full")


def test_another_error_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError), room(tmp_path, "this run"):
        raise PermissionError(errno.EACCES, "not yours")


def _compete(root: str, counter: str) -> None:
    def build(out: Path) -> None:
        with open(counter, "a") as file:
            file.write("x")
        (out / "value").write_text("1")

    Store(Path(root)).entry("stage", 1, {}, {}, build)


def test_of_two_processes_one_computes_and_the_other_waits(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    jobs = [spawn.Process(target=_compete, args=(str(tmp_path / "s"), str(tmp_path / "count"))) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert (tmp_path / "count").read_text() == "x"


def test_waiting_for_another_process_is_told(tmp_path):
    told, done = threading.Event(), threading.Event()

    class Heard(logging.Handler):
        def emit(self, record):
            if "stage key: another process is at it" in record.getMessage():
                told.set()

    def wait():
        with turn(tmp_path / "lock", "stage key"):
            done.set()

    heard = Heard()
    store.log.addHandler(heard)
    store.log.setLevel(logging.INFO)
    try:
        with lock(tmp_path / "lock"):
            waiting = threading.Thread(target=wait)
            waiting.start()
            assert told.wait(30)
            assert not done.is_set()
        waiting.join(30)
    finally:
        store.log.removeHandler(heard)
        store.log.setLevel(logging.NOTSET)
    assert done.is_set()


def test_what_has_no_stable_form_is_refused_by_name():
    with pytest.raises(TypeError, match="has no stable form"):
        fingerprint({"a": object()})


def test_a_tree_is_its_names_and_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("same")
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")
    (tmp_path / "two" / "g").write_text("")
    assert tree_digest(tmp_path / "one") != tree_digest(tmp_path / "two")
