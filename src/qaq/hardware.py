"""The machine a worker runs on: how much memory it may use and has used (bytes, of the device the model is on), how fast it multiplies."""

import math
import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def lacking(needed: float, device: str) -> str | None:
    """Why `needed` bytes should not be asked of `device`, if they should not."""
    free = _free(device)
    if needed <= free:
        return None
    return f"it needs about {needed / 1e9:,.0f} GB, and {free / 1e9:,.0f} GB are free on this machine's {device}"


def peak(device: str) -> int:
    """The most this process has held so far."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def expected(device: str, heap_grows: float) -> int:
    """The most a long run like this sample will hold. A CPU's heap goes on growing past its sample's, `heap_grows` times
    (glibc keeps what is freed, see `launch`)."""
    return round(peak(device) * (1 if device.startswith("cuda") else heap_grows))


def describe(device: str) -> dict[str, Any]:
    """What ran: the device's name and, for a CPU, its threads."""
    import torch

    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device), "threads": None}
    return {"device": "cpu", "threads": torch.get_num_threads()}


def memory(device: str) -> float:
    """All the memory of the device."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def default_tokens_per_batch(model: Any) -> int:
    """A budget for the device of a transformers model: on a GPU from the free memory, on a CPU what stays in its caches.

    SmolLM2 read 2,048 and 4,096 tokens at once equally fast on two cores. On a GPU a token is taken to need 24 hidden
    vectors and 6 of the MLP's width (not measured yet), and half of the free memory is left free.
    """
    if model.device.type != "cuda":
        return 4096
    import torch

    config = model.config.get_text_config()
    width = 24 * config.hidden_size + 6 * getattr(config, "intermediate_size", 4 * config.hidden_size)
    free, _ = torch.cuda.mem_get_info(model.device)
    return int(min(max(free / 2 / (width * model.dtype.itemsize), 2048), 2**17))


def _free(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as lines:
        machine = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return min(machine, _left_to_group(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text()))


def _left_to_group(root: Path, groups: str) -> float:
    """What the control groups this process is in (a container, a job of a cluster) leave it; infinite without a limit.

    `groups`: /proc/self/cgroup, lines of number:controllers:path. A container may see its own group as the root.
    """
    left = math.inf
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        place, limit, used = root, "memory.max", "memory.current"
        if controllers:  # version 1
            place, limit, used = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        own = Path(path.strip("/"))
        for group in {place / own, *(place / above for above in own.parents)}:
            with suppress(FileNotFoundError, ValueError):  # no such group is seen from here; "max" is no limit
                most = int((group / limit).read_text())
                left = min(left, most - int((group / used).read_text()) + _given_up(group))
    return left


def _given_up(group: Path) -> int:
    """Bytes of files that the kernel keeps and would give up first."""
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def matrix_rate(device: str, dtype: str) -> float:
    """Floating-point operations a second of a large matrix product, best of three: what nothing here can exceed."""
    import torch

    size = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the product
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
