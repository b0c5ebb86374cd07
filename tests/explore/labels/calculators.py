"""Calculators of ASE with planted faults, found by their import path."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, SCFError, all_changes


class Spring(Calculator):
    """E = k/2 sum |x|^2 about the origin, if its mixing is gentle enough."""

    implemented_properties = ("energy", "forces")

    def __init__(self, *, stiffness=1.0, mixing=0.1):
        super().__init__()
        self._stiffness, self._mixing = stiffness, mixing

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        if self._mixing > 0.2:
            raise SCFError("charges swing")
        x = atoms.positions
        self.results = {
            "energy": self._stiffness / 2 * float(np.sum(x**2)),
            "forces": -self._stiffness * x,
        }


class WithoutForces(Calculator):
    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        self.results = {"energy": 0.0}


class Deadly(Calculator):
    """Ends the process that asks it."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Spring):
    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        time.sleep(600)


class Counting(Spring):
    """Counts how often it is made in a file."""

    def __init__(self, *, book, stiffness=1.0):
        super().__init__(stiffness=stiffness)
        with Path(book).open("a") as file:
            file.write("x")
