"""How much memory a worker may use, and how much it used. Bytes; of the device the model is on."""

import resource
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


def describe(device: str) -> dict[str, Any]:
    """What ran: the device's name and, for a CPU, its threads."""
    import torch

    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device), "threads": None}
    return {"device": "cpu", "threads": torch.get_num_threads()}


def _free(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
