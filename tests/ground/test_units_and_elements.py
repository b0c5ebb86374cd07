"""Constants against an independent source, and element names."""

import ase.data
import pytest
from ase import units as ase_units

from dpbench import units
from dpbench.elements import SYMBOLS, atomic_numbers, symbols_of
from dpbench.errors import SourceError


@pytest.mark.parametrize(
    ("ours", "independent"),
    [
        (units.BOHR, ase_units.create_units("2018")["Bohr"]),
        (units.HARTREE, ase_units.create_units("2018")["Hartree"]),
        (units.RYDBERG, ase_units.create_units("2018")["Rydberg"]),
        (units.GPA, ase_units.create_units("2018")["GPa"]),
        (units.KBAR, ase_units.create_units("2018")["GPa"] / 10),
        (units.BAR, ase_units.create_units("2018")["bar"]),
        (units.BOLTZMANN, ase_units.create_units("2018")["kB"]),
    ],
)
def test_constants_are_codata_2018(ours, independent):
    # ASE derives Hartree from e, m_e and eps0, which is good to 1.1e-9
    assert ours == pytest.approx(independent, rel=2e-9)


def test_amu_gives_velocities_in_angstrom_per_picosecond():
    # ASE's time unit is Å sqrt(amu/eV); one amu (Å/ps)^2 in eV is (fs unit * 1e3)^-2
    assert pytest.approx((1 / (ase_units.fs * 1000)) ** 2, rel=1e-6) == units.AMU


def test_symbols_are_the_periodic_table():
    assert tuple(ase.data.chemical_symbols) == SYMBOLS


def test_names_become_numbers_and_back():
    assert atomic_numbers(["O", "H"], where="x") == (8, 1)
    assert symbols_of((1, 8)) == ("H", "O")


@pytest.mark.parametrize("name", ["Xx", "X", "h", "O_1", ""])
def test_a_name_that_is_no_element_is_refused_not_guessed(name):
    with pytest.raises(SourceError, match=r"type_map\.raw: unknown element"):
        atomic_numbers([name], where="type_map.raw")
