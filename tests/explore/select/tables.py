"""Tables of deviations and structures that the tests of selection share."""

import numpy as np

from dpbench.explore.select.table import DeviationTable, table_of
from dpbench.frames import Frames, uniform

FCC = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0.0]])
"""Å, (atom, 3), a cubic cell of 4 Å."""


def table(force, *, virial=None, energy=None, **more) -> DeviationTable:
    """A table of these largest force deviations; ``atoms`` may be given."""
    force = np.asarray(force, float)
    columns = {"max_devi_f": force}
    for name, values in (("max_devi_v", virial), ("devi_e", energy)):
        if values is not None:
            columns[name] = np.asarray(values, float)
    step = np.asarray(more.pop("step", np.arange(len(force))), np.int64)
    atoms = [np.asarray(a, float) for a in more.pop("atoms", [])]
    return table_of(step, columns, atoms, **more)


def crystals(count: int, *, amplitude: float = 0.1, seed: int = 0) -> Frames:
    """Al-Mg crystals whose atoms are moved at random by ``amplitude``, Å."""
    moved = amplitude * np.random.default_rng(seed).normal(size=(count, 4, 3))
    return uniform(
        z=[13, 13, 12, 12],
        coord=FCC + moved,
        box=np.tile(4.0 * np.eye(3), (count, 1, 1)),
    )
