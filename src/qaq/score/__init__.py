"""Score: EXAMPLES -> LIKELIHOOD -> METRICS. The summed NLL of one text given another; no selection policy here.

spans.py       which tokens are scored, pass by pass
texts.py       the token sequences on disk (worker: tokenise.py)
engine.py      the summed NLL of every target, as fast as the hardware
shards.py      what is scored is kept, record by record (worker: __main__.py)
likelihood.py  shards -> LIKELIHOOD
metrics.py     arithmetic on the sums: log PPL, RMI, IFD
"""

from qaq.score.likelihood import left, likelihood
from qaq.score.metrics import metrics, too_long
from qaq.score.spans import PASSES

__all__ = ["PASSES", "left", "likelihood", "metrics", "too_long"]
