"""Embedding nets as tables: quintic pieces for every channel, and their adjoint.

``reference`` is plain torch with autograd, for any activation, device and precision;
``compiled`` gives the same on CPUs in a fraction of the time. Both offer
``make_tables`` and ``tables_adjoint``; the training step calls one after each update of
the parameters, the other once per gradient. ``evaluate`` and ``error`` judge a table.
"""

from dpbench.kernels.tables.error import TableError, intervals_for, table_error
from dpbench.kernels.tables.evaluate import Evaluation, evaluate
from dpbench.kernels.tables.pieces import (
    Grid,
    Located,
    Tables,
    grid_for,
    locate,
    pieces_for,
)

__all__ = [
    "Evaluation",
    "Grid",
    "Located",
    "TableError",
    "Tables",
    "evaluate",
    "grid_for",
    "intervals_for",
    "locate",
    "pieces_for",
    "table_error",
]
