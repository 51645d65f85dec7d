"""Score: EXAMPLES -> LIKELIHOOD -> METRICS. The summed NLL of one text given another; no selection policy here.

spans.py    which tokens are scored, pass by pass
engine.py   the summed NLL of every target, batched
metrics.py  arithmetic on the sums: log PPL, RMI, IFD
__main__    the worker that loads a model and runs the passes
"""

from qaq.score.metrics import metrics, too_long

__all__ = ["metrics", "too_long"]
