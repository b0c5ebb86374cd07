"""Charges by torch-admp against an Ewald sum of our own, and beside a model."""

import json
import sys
from math import erfc, pi, sqrt

import numpy as np
import pytest

from dpbench.errors import ModelError, SimulationError
from dpbench.md.long_range import (
    EquilibratedCharges,
    FixedCharges,
    LongRange,
    LongRangeSettings,
)
from tests.md.foreign import run_beside
from tests.models.structures import BOX, water

COULOMB = 14.3996454784
"""eV Å, e^2 / (4 pi epsilon_0), CODATA 2018."""

CHARGE = {"O": -0.84, "H": 0.42}
CHI = {"O": 8.5, "H": 4.5}
HARDNESS = {"O": 7.0, "H": 6.5}
ETA = {"O": 0.6, "H": 0.4}

SCRIPT = """
import json, sys
import numpy as np
from dpbench.md.long_range import *
from dpbench.md.skin import Geometry

settings = LongRangeSettings(charges=eval(sys.argv[1]), rcut=5.0, tolerance=1e-6)
z, coord, box, pbc = (np.array(a) for a in json.loads(sys.argv[2]))
strains = np.array(json.loads(sys.argv[3]))
one = LongRange(settings)

def ask(strain, coord=coord):
    stretch = np.eye(3) + strain
    return one.evaluate(
        Geometry(z=z, coord=coord @ stretch, box=box @ stretch, pbc=pbc)
    )

found = ask(np.zeros((3, 3)))
out = {name: np.asarray(getattr(found, name)).tolist()
       for name in ("energy", "force", "virial", "charge")}
out["strained"] = [ask(strain).energy for strain in strains]
step = 1e-4
moved = coord.copy(); moved[1, 2] += step; up = ask(np.zeros((3, 3)), moved).energy
moved[1, 2] -= 2 * step; down = ask(np.zeros((3, 3)), moved).energy
out["slope"] = (up - down) / (2 * step)
print(json.dumps(out))
"""


def ewald(coord, charge, box, *, eta=None):
    """Energy of point charges (or Gaussians of width eta) in a cell, eV, summed far."""
    kappa, images, waves = 0.9, 3, 9
    volume = abs(np.linalg.det(box))
    coord = (coord @ np.linalg.inv(box) % 1) @ box
    shifts = np.array(list(np.ndindex((2 * images + 1,) * 3))) - images
    energy = 0.0
    for i in range(len(coord)):
        for j in range(len(coord)):
            for r in np.linalg.norm(coord[j] - coord[i] + shifts @ box, axis=1):
                if r < 1e-9:
                    continue
                screened = erfc(kappa * r)
                if eta is not None:
                    screened -= erfc(r / sqrt(2 * (eta[i] ** 2 + eta[j] ** 2)))
                energy += 0.5 * charge[i] * charge[j] * screened / r
    ks = np.array(list(np.ndindex((2 * waves + 1,) * 3))) - waves
    ks = ks[np.any(ks != 0, axis=1)] @ (2 * pi * np.linalg.inv(box).T)
    squares = (ks**2).sum(axis=1)
    factor = np.abs(np.exp(1j * coord @ ks.T).T @ charge) ** 2
    energy += (2 * pi / volume) * (
        factor * np.exp(-squares / 4 / kappa**2) / squares
    ).sum()
    energy -= kappa / sqrt(pi) * (charge**2).sum()
    energy -= pi / (2 * volume * kappa**2) * charge.sum() ** 2
    if eta is not None:
        energy += (charge**2 / (2 * sqrt(pi) * eta)).sum()
    return COULOMB * energy


def direct(coord, charge):
    """Energy of point charges in open space, eV."""
    gap = np.linalg.norm(coord[:, None] - coord[None], axis=2)
    upper = np.triu_indices(len(coord), 1)
    return COULOMB * (np.outer(charge, charge)[upper] / gap[upper]).sum()


def arrays(kind):
    """A structure in a skewed or left-handed cell, one atom far outside, or in none."""
    frame = water(2, natoms=9, box=BOX)
    box, pbc, coord = BOX, True, frame.coord.astype(float)
    if kind == "left":
        box = BOX[[1, 0, 2]]
    if kind == "open":
        box, pbc = np.zeros((3, 3)), False
    else:
        coord[0] += 30 * BOX[0] - 17 * BOX[2]
    return frame.z.astype(int), coord, box, np.full(3, pbc)


def ask(charges, kind):
    """What torch-admp says, and energies of small strains."""
    strains = []
    for a, b in np.ndindex(3, 3):
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] = sign * 1e-5
            strains.append(strain.tolist())
    words = [json.dumps([a.tolist() for a in arrays(kind)]), json.dumps(strains)]
    out = run_beside("admp", SCRIPT, repr(charges), *words)
    found = json.loads(out.splitlines()[-1])
    return {name: np.array(value) for name, value in found.items()}


def check_derivatives(found):
    """The virial is the strain derivative, the force the slope."""
    up, down = found["strained"].reshape(3, 3, 2).transpose(2, 0, 1)
    np.testing.assert_allclose(found["virial"], (down - up) / 2e-5, atol=2e-4)
    assert found["force"][1, 2] == pytest.approx(-found["slope"], abs=1e-5)
    # The mesh moves the sum of forces a little, by its tolerance.
    np.testing.assert_allclose(found["force"].sum(axis=0), 0, atol=1e-3)


@pytest.mark.backends
@pytest.mark.parametrize("kind", ["skewed", "left", "open"])
def test_fixed_charges_give_the_sum_of_ewald(kind, figures):
    z, coord, box, pbc = arrays(kind)
    charge = np.where(z == 8, CHARGE["O"], CHARGE["H"])
    found = ask(FixedCharges(charge=CHARGE), kind)
    wanted = ewald(coord, charge, box) if pbc.all() else direct(coord, charge)
    figures(f"{kind}: {found['energy']:.8f} eV, Ewald {wanted:.8f} eV")
    assert found["energy"] == pytest.approx(wanted, abs=2e-5)
    np.testing.assert_array_equal(found["charge"], charge)
    check_derivatives(found)


@pytest.mark.backends
def test_a_charged_cell_has_a_background():
    z, coord, box, _ = arrays("skewed")
    lopsided = {"O": -0.5, "H": 0.42}
    charge = np.where(z == 8, lopsided["O"], lopsided["H"])
    found = ask(FixedCharges(charge=lopsided), "skewed")
    assert found["energy"] == pytest.approx(ewald(coord, charge, box), abs=2e-5)
    check_derivatives(found)


@pytest.mark.backends
def test_equilibrated_charges_minimise_the_energy(figures):
    """At them the energy is ours, and every exchange of charge costs energy."""
    z, coord, box, _ = arrays("skewed")
    chi, hardness, eta = (
        np.where(z == 8, table["O"], table["H"]) for table in (CHI, HARDNESS, ETA)
    )
    charges = EquilibratedCharges(chi=CHI, hardness=HARDNESS, eta=ETA, total=0.0)
    found = ask(charges, "skewed")
    charge = found["charge"]

    def energy(q):
        return (chi * q + hardness * q**2).sum() + ewald(coord, q, box, eta=eta)

    assert found["energy"] == pytest.approx(energy(charge), abs=2e-5)
    assert charge.sum() == pytest.approx(0, abs=1e-12)
    assert charge[z == 8].mean() < -0.05 < 0.02 < charge[z == 1].mean()
    figures(f"QEq: charges of O {charge[z == 8]}, energy {found['energy']:.6f} eV")
    for a, b in ((0, 1), (3, 5), (2, 7)):
        for sign in (1, -1):
            other = charge.copy()
            other[a] += sign * 1e-2
            other[b] -= sign * 1e-2
            assert energy(other) > energy(charge)
    check_derivatives(found)


BESIDE = """
import sys
import numpy as np
from ase.calculators.mixing import SumCalculator
from ase.io import read
from dpbench.frames import uniform
from dpbench.md.ase_calculator import DPCalculator
from dpbench.md.charge_calculator import ChargeCalculator
from dpbench.md.long_range import *

settings = LongRangeSettings(charges=FixedCharges(charge={"O": -0.84, "H": 0.42}))
one = LongRange(settings)
atoms = read(sys.argv[2])
parts = [DPCalculator(sys.argv[1]), ChargeCalculator(one)]
alone = [(c.get_potential_energy(atoms), c.get_forces(atoms), c.get_stress(atoms))
         for c in parts]
atoms.calc = SumCalculator(parts)
both = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
for k in range(3):
    np.testing.assert_allclose(both[k], alone[0][k] + alone[1][k], rtol=1e-12)
frames = uniform(
    z=atoms.numbers, coord=atoms.positions[None], box=atoms.cell.array[None],
    energy=np.array([both[0]]), force=both[1][None],
    virial=-atoms.get_volume() * atoms.get_stress(voigt=False)[None],
)
left = without_long_range(frames, one)
np.testing.assert_allclose(left.energy, alone[0][0], rtol=1e-12)
np.testing.assert_allclose(left.force, alone[0][1], atol=1e-10)
np.testing.assert_allclose(
    left.virial[0],
    -atoms.get_volume() * parts[0].get_stress(atoms)[[[0,5,4],[5,1,3],[4,3,2]]],
    atol=1e-8)
"""


@pytest.mark.backends
def test_charges_stand_beside_a_model_and_come_out_of_labels(md_files):
    run_beside("admp", BESIDE, md_files / "m.pth", md_files / "s.extxyz")


def test_without_torch_admp_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_admp.pme", None)
    settings = LongRangeSettings(charges=FixedCharges(charge=CHARGE))
    with pytest.raises(SimulationError, match=r"expected torch-admp 1\.1\.5"):
        LongRange(settings)


@pytest.mark.parametrize("wrong", [{"rcut": 0.0}, {"tolerance": 0.5}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ModelError, match="expected rcut above 0"):
        LongRangeSettings(charges=FixedCharges(charge=CHARGE), **wrong)
