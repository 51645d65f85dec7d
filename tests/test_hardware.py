"""What a worker says about its machine."""

import math

import pytest

from qaq import hardware


def test_a_long_run_is_expected_to_hold_more_than_its_sample_where_the_heap_grows(monkeypatch):
    monkeypatch.setattr(hardware, "peak", lambda device: 1000)
    assert hardware.expected("cpu", 1.4) == 1400
    assert hardware.expected("cuda:0", 1.4) == 1000  # torch gives a GPU's memory back to itself


@pytest.mark.parametrize(("groups", "folder", "files"), [
    ("0::/job/step", "job/step", ("memory.max", "memory.current", "inactive_file")),
    ("0::/job/step", "job", ("memory.max", "memory.current", "inactive_file")),  # a group above sets the limit
    ("0::/", ".", ("memory.max", "memory.current", "inactive_file")),  # a container that sees itself as the root
    ("4:memory:/job\n0::/", "memory/job", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
])  # fmt: skip
def test_free_memory_ends_where_the_control_group_does(tmp_path, groups, folder, files):
    limit, used, inactive = files
    for above in (tmp_path, tmp_path / "job", tmp_path / "job/step"):
        above.mkdir(exist_ok=True)
        (above / "memory.max").write_text("max\n")
    group = tmp_path / folder
    group.mkdir(parents=True, exist_ok=True)
    (group / limit).write_text("1000\n")
    (group / used).write_text("700\n")
    (group / "memory.stat").write_text(f"anon 3\n{inactive} 50\n")
    assert hardware._left_to_group(tmp_path, groups) == 350


def test_without_a_control_group_all_memory_is_free(tmp_path):
    assert hardware._left_to_group(tmp_path, "0::/") == math.inf
