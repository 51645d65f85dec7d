"""Progress where there is no terminal: a line a minute, and one at the end."""

import logging

import pytest

from qaq import progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    return now


def test_a_line_a_minute_tells_tokens_done_rate_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO)
    with progress.Progress("score", 3_000, "tokens") as bar:
        for _ in range(150):  # a step a second
            clock[0] += 1
            bar.add(10)
        said = [record.getMessage() for record in caplog.records]
    assert said == ["score: 600/3,000 tokens (20%), 10.0 tokens/s, 240 s left",
                    "score: 1,200/3,000 tokens (40%), 10.0 tokens/s, 180 s left"]  # fmt: skip


def test_the_last_line_tells_the_whole_even_of_a_short_run(clock, caplog):
    caplog.set_level(logging.INFO)
    with progress.Progress("score", 50, "tokens") as bar:
        clock[0] += 5
        bar.add(50)
    assert [record.getMessage() for record in caplog.records] == ["score: 50/50 tokens (100%), 10.0 tokens/s, 0 s left"]
