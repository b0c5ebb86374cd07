"""Units: inside dpbench lengths are Å, energies eV, times ps, pressures bar.

The constants are CODATA 2018. A conversion is one elementwise product with one of
these numbers, so that the same digits in a file always give the same bits in a store.

Source: E. Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021).
"""

BOHR = 0.529177210903
"""Å."""

HARTREE = 27.211386245988
"""eV."""

RYDBERG = HARTREE / 2
"""eV."""

ELEMENTARY_CHARGE = 1.602176634e-19
"""J per eV; exact."""

BOLTZMANN = 8.617333262e-5
"""eV/K."""

GPA = 1e-21 / ELEMENTARY_CHARGE
"""eV/Å^3 in one GPa."""

KBAR = GPA / 10
"""eV/Å^3 in one kbar."""

BAR = GPA / 10_000
"""eV/Å^3 in one bar."""

AMU = 1.66053906660e-27 * 1e4 / ELEMENTARY_CHARGE
"""eV ps^2/Å^2 in one unified atomic mass unit."""
