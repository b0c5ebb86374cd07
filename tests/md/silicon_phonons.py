"""Phonons of silicon by finite displacements; both programs run this file.

Run by DeePMD-kit's interpreter: silicon_phonons.py MODEL FOLDER OUT.npy
"""

import sys

import numpy as np
from ase.build import bulk
from ase.phonons import Phonons

THZ = 241.79893
"""Per eV."""

LATTICE = 5.3932
"""Å, where the stress of tests/data/silicon.pth vanishes."""


def frequencies(calculator, folder):
    """Frequencies (point, branch), THz, along Gamma-X-W-L-Gamma; imaginary below 0."""
    atoms = bulk("Si", a=LATTICE)
    phonons = Phonons(
        atoms, calculator, supercell=(3, 3, 3), delta=0.02, name=str(folder)
    )
    phonons.run()
    phonons.read(acoustic=True)
    path = atoms.cell.bandpath("GXWLG", npoints=24)
    return np.asarray(phonons.band_structure(path.kpts)) * THZ


if __name__ == "__main__":
    from deepmd.calculator import DP

    model, place, out = sys.argv[1:]
    np.save(out, frequencies(DP(model=model), place))
