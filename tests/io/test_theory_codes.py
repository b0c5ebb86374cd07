"""Levels of theory as captured from real outputs of each code, checked by eye."""

import numpy as np
import pytest

from dpbench.io.discover import find_sources
from dpbench.io.ingest_plan import read_source
from dpbench.io.readers.molecular_theory import orca
from dpbench.io.readers.told_theory import charges, multiplicities
from dpbench.units import HARTREE, RYDBERG

PW_GAMMA = {"mesh": [1, 1, 1], "shift": [0, 0, 0]}

EXPECTED = {
    # VASP 5.4.4, OUTCAR alone, dpgen's labelling
    "thirdparty/fp_trees/out_data_post_fp_vasp/02.fp/task.000.000000": {
        "code": "vasp",
        "code_version": "5.4.4.18Apr17-6-g9f103f2a35",
        "functional": "PBE",
        "dispersion": "none",
        "hubbard_u": {},
        "cutoff": 600.0,
        "kpoints": PW_GAMMA,
        "smearing": "methfessel-paxton",
        "smearing_width": 1.0,
        "spin": "none",
        "pseudopotentials": {"Al": {"title": "PAW_PBE Al 04Jan2001", "hash": None}},
        "energy_kind": "free_energy_TOTEN",
        "details": {"aspherical": False},
    },
    # OUTCAR, vasprun.xml, INCAR
    "thirdparty/vasp_ch4/000000": {
        "cutoff": 400.0,
        "kpoints": {"mesh": [2, 2, 2], "shift": [1, 1, 1]},
        "smearing": "gaussian",
        "smearing_width": 0.2,
        "pseudopotentials": {
            "H": {"title": "PAW_PBE H 15Jun2001", "hash": None},
            "C": {"title": "PAW_PBE C 08Apr2002", "hash": None},
        },
    },
    # VASP 5.2 with +U; its OUTCAR lists k-points and names no mesh
    "thirdparty/pymatgen_vasp/OUTCAR.gz": {
        "code_version": "5.2.11",
        "hubbard_u": {"type": 2, "Ni": {"l": 2, "u": 6.0, "j": 0.0}},
        "kpoints": {"mesh": [6, 6, 4], "shift": [0, 0, 0]},
        "smearing": "tetrahedron-bloechl",
        "spin": "collinear",
    },
    "thirdparty/pymatgen_vasp/vasprun.bad_random_seed.xml.gz": {
        "code_version": "6.3.0",
        "functional": "PBEsol",
        "cutoff": 500.0,
        "details": {"aspherical": True},
        "dispersion": "none",
    },
    "thirdparty/qe_samples/relax_success": {
        "code": "qe",
        "code_version": "6.6",
        "functional": "PBE",
        "dispersion": "none",
        "hubbard_u": {},
        "cutoff": 30 * RYDBERG,
        "cutoff_density": 240 * RYDBERG,
        "kpoints": {"mesh": [2, 2, 2], "shift": [0, 0, 0]},
        "smearing": "none",
        "smearing_width": None,
        "spin": "none",
        "pseudopotentials": {
            "Si": {
                "title": "Si.pbe-n-rrkjus_psl.1.0.0.UPF",
                "hash": "md5:0b0bb1205258b0d07b9f9672cf965d36",
            }
        },
        "energy_kind": "total energy",
    },
    # only the XML is whole
    "thirdparty/qe_samples/default_xml_240411": {
        "functional": "PBEsol",
        "dispersion": "none",
        "cutoff": 15 * HARTREE,
        "cutoff_density": 120 * HARTREE,
        "smearing": "marzari-vanderbilt",
        "smearing_width": 5e-3 * HARTREE,
        "energy_kind": "free energy",
    },
    "thirdparty/fp_trees/out_data_post_fp_pwscf/02.fp/task.000.000000": {
        "code_version": "5.1.1",
        "functional": "PBE",
        "dispersion": "TS",
        "cutoff": 110 * RYDBERG,
    },
    "generated/si8_qe_lda/si8_a540_300K.out": {
        "functional": "LDA-PZ",
        "cutoff": 18 * RYDBERG,
        "cutoff_density": 72 * RYDBERG,
        "kpoints": {"mesh": [2, 2, 2], "shift": [1, 1, 1]},
        "smearing": "gaussian",
        "smearing_width": 0.005 * RYDBERG,
    },
    "thirdparty/cp2k_samples/v2023.1/aimd_npt_f/output": {
        "code": "cp2k",
        "code_version": "2023.1",
        "functional": "PBE",
        "dispersion": "DFT-D3(BJ)",
        "hubbard_u": {},
        "cutoff": 200 * HARTREE,
        "rel_cutoff": 20 * HARTREE,
        "kpoints": PW_GAMMA,
        "smearing": "none",
        "spin": "none",
        "energy_kind": "total energy",
        "details": {"method": "GPW"},
    },
    "thirdparty/cp2k_samples/v2022.2/aimd_npt_i/output": {
        "dispersion": "none",
        "smearing": "fermi-dirac",
        "kpoints": {"mesh": [2, 2, 2], "shift": [1, 1, 1]},
        "energy_kind": "free energy",
        "rel_cutoff": 30 * HARTREE,
    },
    "thirdparty/fp_trees/out_data_post_fp_cp2k/02.fp/task.000.000000": {
        "code_version": "6.1",
        "dispersion": "DFT-D3(zero)",
        "rel_cutoff": 25 * HARTREE,
    },
    "thirdparty/fp_trees/out_data_post_fp_abacus/02.fp/task.001.000000": {
        "code": "abacus",
        "code_version": "2.1.0",
        "functional": "PBE",
        "cutoff": 80 * RYDBERG,
        "kpoints": PW_GAMMA,
        "smearing": "none",
        "spin": "none",
    },
    # its log says that the functional of the potentials was overruled
    "thirdparty/fp_trees/out_data_post_fp_abacus/02.fp/task.001.000002": {
        "code_version": "3.1",
        "functional": "LDA-PZ",
    },
    "thirdparty/dpdata_samples/abacus.md.newversion": {
        "functional": "LDA-PZ",
        "cutoff": 30 * RYDBERG,
        "cutoff_density": 120 * RYDBERG,
        "basis": {"Sn": {"title": "Sn_pz-bhs_8.0au_16Ry_2s2p1d", "hash": None}},
        "smearing": "gaussian",
        "smearing_width": 0.01 * RYDBERG,
    },
    "thirdparty/dpdata_samples/fhi_aims/out_scf": {
        "code": "fhi_aims",
        "code_version": "180126",
        "functional": "LDA-PW",
        "dispersion": "none",
        "kpoints": {"mesh": [8, 8, 8]},
        "smearing": "gaussian",
        "smearing_width": 0.01,
        "details": {"relativistic": "atomic_zora scalar"},
    },
    "thirdparty/dpdata_samples/fhi_aims/output_multi_elements": {
        "functional": "PBE",
        "dispersion": "MBD",
    },
    "thirdparty/dpdata_samples/siesta/scf/siesta_output": {
        "code": "siesta",
        "code_version": "v4.0.2",
        "functional": "PBE",
        "cutoff_density": 300 * RYDBERG,
        "kpoints": {"mesh": [2, 2, 2], "shift": [0, 0, 0]},
        "spin": "none",
    },
    "thirdparty/dpdata_samples/gaussian/aimd_gaussian_CH4_output": {
        "code": "gaussian",
        "functional": "B3LYP",
        "dispersion": "none",
        "basis": {s: {"title": "6-31G", "hash": None} for s in ("H", "C")},
    },
    "generated/other_codes/h2o_psi4.out": {
        "code": "psi4",
        "code_version": "1.3.2",
        "functional": "B3LYP",
        "dispersion": "none",
        "basis": {s: {"title": "DEF2-SVP", "hash": None} for s in ("H", "O")},
    },
}


def read_one(path):
    """The one calculation under a path; of a file in a crowded folder, that file's."""
    sources = find_sources("auto", [path]).sources
    wanted = [s for s in sources if s.main == path or path.is_dir()]
    (source,) = wanted
    return read_source(source, None)


@pytest.mark.shared_data
@pytest.mark.parametrize("path", EXPECTED)
def test_level_of_theory_is_what_the_files_say(shared_data, path):
    theory = read_one(shared_data / path).theory
    for key, value in EXPECTED[path].items():
        if isinstance(value, float):
            assert theory[key] == pytest.approx(value, rel=1e-9), key
        else:
            assert theory[key] == value, key


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("path", "charge", "multiplicity"),
    [
        ("thirdparty/vasp_ch4/000000", 0.0, None),
        ("thirdparty/pymatgen_vasp/vasprun.md.xml.gz", 0.0, None),
        ("generated/si8_qe_lda/si8_a540_300K.out", 0.0, None),
        ("thirdparty/qe_samples/default_xml_240411", 0.0, None),
        ("thirdparty/cp2k_samples/v2023.1/aimd_npt_f/output", 0.0, 1),
        ("thirdparty/dpdata_samples/gaussian/aimd_gaussian_CH4_output", 0.0, 1),
        ("generated/other_codes/h2o_psi4.out", 0.0, 1),
        ("thirdparty/dpdata_samples/siesta/scf/siesta_output", 0.0, None),
        # a sample whose header was cut down: 540 electrons for three atoms
        ("thirdparty/dpdata_samples/qe.scf/na.out", None, None),
        ("generated/npy/si8_qe_lda/si8_a540_300K", None, None),
    ],
)
def test_charge_and_multiplicity_are_those_of_the_output(
    shared_data, path, charge, multiplicity
):
    source = read_one(shared_data / path)
    for found, expected in (
        (source.charge, charge),
        (source.multiplicity, multiplicity),
    ):
        if expected is None:
            assert found is None
        else:
            np.testing.assert_array_equal(found, [expected] * source.frames.nframes)


ORCA = """
Your calculation utilizes the basis: def2-TZVP
 Density Functional     Method          .... DFT(GTOs)
 Exchange Functional    Exchange        .... B88
 Correlation Functional Correlation     .... LYP
 LDA part of GGA corr.  LDAOpt          .... VWN-5
   Fraction HF Exchange ScalHFX         ....  0.200000
 Total Charge           Charge          ....   -1
 Multiplicity           Mult            ....    2
"""


def test_orca_names_functional_basis_and_electrons():
    found = orca(ORCA, ("H", "O"))
    assert found.theory["functional"] == "B88+LYP+VWN-5+HFX 0.2"
    assert found.theory["dispersion"] == "none"
    assert found.theory["basis"]["O"]["title"] == "def2-TZVP"
    assert (found.charge, found.multiplicity) == (-1.0, 2)
    with_d3 = ORCA + "DFT DISPERSION CORRECTION\n USING Becke-Johnson damping\n"
    assert orca(with_d3, ("H",)).theory["dispersion"] == "DFT-D3(BJ)"


@pytest.mark.parametrize(("spin", "told"), [(1, [1]), (0, None), (123456, None)])
def test_a_multiplicity_that_no_system_has_is_unknown(spin, told):
    found = multiplicities(1, spin)
    assert (None if found is None else found.tolist()) == told
    assert charges(1, float("nan")) is None
