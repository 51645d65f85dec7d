"""The training worker: `python -m qaq.train REQUEST` (see `qaq.train.fit` for the request)."""

from qaq.launch import request
from qaq.train.fit import fit

if __name__ == "__main__":
    fit(request())
