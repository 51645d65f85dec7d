"""What a worker says about its machine."""

from qaq import hardware


def test_a_long_run_is_expected_to_hold_more_than_its_sample_where_the_heap_grows(monkeypatch):
    monkeypatch.setattr(hardware, "peak", lambda device: 1000)
    assert hardware.expected("cpu", 1.4) == 1400
    assert hardware.expected("cuda:0", 1.4) == 1000  # torch gives a GPU's memory back to itself
