"""A source (the standard library, a user's file, the hub) becomes the table EXAMPLES; refused records keep a reason.

One file per source, `shapes` for the fields that hold a pair, `near_duplicates` and `leakage` for pairs that
copy another pair or a benchmark's task, `noise` for planted defects, `examples` for the pass.
"""

from qaq.data.examples import identity, load, write_turns

VERSION = 2  # of the results: raise it when the same settings would give other examples

__all__ = ["VERSION", "identity", "load", "write_turns"]
