"""An adapter that takes a known time: the worker of benchmarks/protocol_overhead.py.

Option ``seconds`` says how long an evaluation takes. It computes all the while, as a
backend would, and returns arrays of the right size.
"""

import time

import numpy as np


def open_model(path, options):
    """Open nothing."""
    return Model(float(options["seconds"]))


class Model:
    """Computes for a while and answers nought."""

    def __init__(self, seconds):
        """Take how long."""
        self.seconds = seconds
        self.work = np.random.default_rng(0).normal(size=(64, 64))
        self.facts = {"type_map": ["Ar"], "rcut": 6.0, "precision": "float64"}

    def evaluate(self, coord, box, pbc, atype, extra):
        """Multiply matrices until the time is up."""
        until = time.perf_counter() + self.seconds
        while time.perf_counter() < until:
            self.work = np.tanh(self.work @ self.work)
        nframes = len(coord)
        return {
            "energy": np.zeros(nframes),
            "force": np.zeros(coord.shape),
            "virial": np.zeros((nframes, 3, 3)),
        }
