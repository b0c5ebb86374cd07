"""Metrics of crystals: how a model bends, squeezes, shakes and heals them.

Each compares the model with the same calculation done by the reference method on the
same cell; docs/crystal-tasks.md says how.
"""

from dpbench.metrics.definition import Definition

_EACH = "every crystal has weight 1"

CRYSTAL_METRICS: dict[str, Definition] = {
    "eos_volume_mae_percent": Definition(
        unit="%",
        title="Volume error",
        meaning="Mean |V0 - V0_ref| / V0_ref of the energy minimum, from a fit of the "
        f"Birch-Murnaghan equation of state; {_EACH}.",
    ),
    "eos_bulk_modulus_mae_percent": Definition(
        unit="%",
        title="Bulk modulus error",
        meaning=f"Mean |B0 - B0_ref| / B0_ref of the same fits; {_EACH}.",
    ),
    "eos_bulk_modulus_derivative_mae": Definition(
        unit="1",
        title="B0' error",
        meaning=f"Mean |B0' - B0'_ref| of the same fits; {_EACH}.",
    ),
    "eos_delta_per_atom_mev": Definition(
        unit="meV/atom",
        title="Equation of state, delta",
        meaning="RMS difference of the two fitted curves E(V) - E0 over the volumes "
        f"within 6 % of the mean V0, averaged over crystals; {_EACH}.",
    ),
    "formation_energy_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Formation energy error",
        meaning="Mean |E_f - E_f_ref|, E_f the energy minimum per atom of a crystal "
        "less that of the lowest crystal of each of its elements, by composition; "
        f"{_EACH}, the lowest elements themselves left out.",
    ),
    "elastic_mae_gpa": Definition(
        unit="GPa",
        title="Elastic constants, MAE",
        meaning="Mean |C - C_ref| over C11, C12 and C44 of cubic crystals, each at its "
        f"own energy minimum, atoms relaxed in the strained cell; {_EACH}.",
    ),
    "elastic_mae_percent": Definition(
        unit="%",
        title="Elastic constants, relative",
        meaning="Sum of |C - C_ref| over C11, C12 and C44, divided by the sum of "
        f"|C_ref|, so that a constant near zero weighs little; {_EACH}.",
    ),
    "elastic_c11_mae_gpa": Definition(
        unit="GPa", title="C11 error", meaning=f"Mean |C11 - C11_ref|; {_EACH}."
    ),
    "elastic_c12_mae_gpa": Definition(
        unit="GPa", title="C12 error", meaning=f"Mean |C12 - C12_ref|; {_EACH}."
    ),
    "elastic_c44_mae_gpa": Definition(
        unit="GPa", title="C44 error", meaning=f"Mean |C44 - C44_ref|; {_EACH}."
    ),
    "phonon_frequency_mae_thz": Definition(
        unit="THz",
        title="Phonon frequency MAE",
        meaning="Mean |f - f_ref| over all branches at the wave vectors that fit into "
        "the supercell, frequencies sorted at each, imaginary ones counted as "
        f"negative, from finite displacements; {_EACH}.",
    ),
    "phonon_frequency_max_thz": Definition(
        unit="THz",
        title="Phonon frequency, worst",
        meaning="Largest |f - f_ref| of the same frequencies over all crystals.",
    ),
    "phonon_imaginary_modes": Definition(
        unit="1",
        title="Imaginary phonons",
        meaning="Frequencies below -0.3 THz where the reference has none, counted over "
        "all crystals.",
    ),
    "vacancy_formation_energy_mae_ev": Definition(
        unit="eV",
        title="Vacancy energy error",
        meaning="Mean |E_v - E_v_ref|, E_v = E(N-1) - (N-1)/N E(N), in one supercell "
        f"of fixed shape, atoms relaxed; {_EACH}.",
    ),
    "vacancy_unrelaxed_energy_mae_ev": Definition(
        unit="eV",
        title="Vacancy energy error, unrelaxed",
        meaning=f"As the vacancy energy error, atoms at their sites; {_EACH}.",
    ),
    "relaxation_rmsd_ang": Definition(
        unit="Å",
        title="Relaxation RMSD",
        meaning="RMS distance of the relaxed atoms from those of the reference in "
        "fractions of the cell times the reference cell, common shift taken off, "
        "averaged over the structures.",
    ),
    "relaxation_energy_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Relaxation energy error",
        meaning="Mean |D - D_ref|, D the energy per atom from the start structure to "
        "the relaxed one.",
    ),
    "relaxation_volume_mae_percent": Definition(
        unit="%",
        title="Relaxation volume error",
        meaning="Mean |V - V_ref| / V_ref of the structures whose cell was free.",
    ),
    "relaxation_converged_percent": Definition(
        unit="%",
        title="Relaxations converged",
        meaning="Relaxations whose forces fell below the limit within the steps "
        "allowed, of all that were begun.",
        polarity="higher",
    ),
    "size_transfer_energy_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Energy MAE, larger cells",
        meaning="Mean |E - E_ref| / natoms over cells larger than any trained on; "
        "every frame has weight 1.",
    ),
    "size_transfer_force_rmse_component_mev_per_ang": Definition(
        unit="meV/Å",
        title="Force RMSE, larger cells",
        meaning="RMS over the three components of F - F_ref, pooled over all atoms of "
        "the same frames.",
    ),
    "size_transfer_stress_mae_component_gpa": Definition(
        unit="GPa",
        title="Stress MAE, larger cells",
        meaning="Mean |component| of the stress error over the same frames.",
    ),
    "size_transfer_force_ratio": Definition(
        unit="1",
        title="Force RMSE, larger to small",
        meaning="Force RMSE on the larger cells divided by that on cells of the "
        "trained size whose atoms are displaced alike; 1 where size costs nothing.",
    ),
    "conservativeness_mae_component_mev_per_ang": Definition(
        unit="meV/Å",
        title="Conservativeness",
        meaning="Mean |F + dE/dr| over the components probed, dE/dr by central "
        "differences.",
    ),
    "conservativeness_max_component_mev_per_ang": Definition(
        unit="meV/Å",
        title="Conservativeness, worst",
        meaning="Largest |F + dE/dr| of the same components.",
    ),
    "virial_consistency_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Virial consistency",
        meaning="Mean |W + dE/dstrain| / natoms over the six symmetric strains, by "
        "central differences.",
    ),
    "diatomic_tortuosity": Definition(
        unit="1",
        title="Diatomic tortuosity",
        meaning="Total variation of a dimer's energy curve divided by the two falls to "
        "its minimum, mean over element pairs; 1 for a curve with one minimum.",
    ),
    "diatomic_energy_jump_ev": Definition(
        unit="eV",
        title="Diatomic energy jump",
        meaning="Sum over a dimer's curve of |steps| around each point where the step "
        "changes sign and back, mean over element pairs; 0 for a smooth curve.",
    ),
    "diatomic_force_flips": Definition(
        unit="1",
        title="Diatomic force flips",
        meaning="Sign changes of a dimer's force along its curve, mean over element "
        "pairs; 1 for a curve with one minimum.",
    ),
}
"""In the order of reports."""
