"""A worker of several ranks: adds up 1 + its rank over all of them and writes what it found; can be told to end badly.

Request: {out: a directory, end: {rank: a signal's number, or "raise", or "wait", which it does once}}.
"""

import json
import logging
import os
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from qaq.launch import request

if __name__ == "__main__":
    asked = request()
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, total = distributed.get_rank(), torch.tensor(distributed.get_rank() + 1)
    logging.info("%d ranks have met", distributed.get_world_size())
    logging.warning("rank %d warns", rank)
    distributed.all_reduce(total)
    what = asked["end"].get(str(rank))
    pid = Path(asked["out"]) / f"{rank}.pid"
    first = not pid.exists()
    pid.write_text(str(os.getpid()))
    if what == "raise":
        raise ValueError(f"rank {rank} was told to")
    if what == "wait":
        time.sleep(600 if first else 0)
    elif what:
        os.kill(os.getpid(), what)
    distributed.barrier()
    kept = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "HF_HOME")}
    (Path(asked["out"]) / f"{rank}.json").write_text(json.dumps({"sum": int(total), **kept}))
    distributed.destroy_process_group()
