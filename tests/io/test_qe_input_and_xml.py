"""The companions of a pw.x output: its input and its XML."""

import math

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.qe.input import is_input, read_input
from dpbench.io.readers.qe.reader import read
from dpbench.io.readers.qe.theory import theory_of_output
from dpbench.io.readers.qe.xml import read_xml
from dpbench.units import BOHR, HARTREE

INPUT = """&CONTROL
  calculation = 'scf' ! a comment = 3
/
&system
  {system}
  nat = 2, ntyp = 2, ecutwfc = 3.0d1
/
ATOMIC_SPECIES
 Ga 69.7 Ga.UPF
 As 74.9 As.UPF
ATOMIC_POSITIONS {positions}
 Ga 0.0 0.0 0.0 0 0 0
 As 0.25 0.25 0.25
K_POINTS {mesh}
{cell}
"""


def make(system, positions="{crystal}", mesh="gamma", cell=""):
    text = INPUT.format(system=system, positions=positions, mesh=mesh, cell=cell)
    assert is_input(text)
    return read_input(text)


@pytest.mark.parametrize(
    ("system", "volume"),
    [
        ("ibrav = 1, celldm(1) = 10.0", 1.0),
        ("ibrav = 2, celldm(1) = 10.0", 1 / 4),
        ("ibrav = 3, celldm(1) = 10.0", 1 / 2),
        ("ibrav = -3, celldm(1) = 10.0", 1 / 2),
        ("ibrav = 4, celldm(1) = 10.0, celldm(3) = 1.6", 1.6 * math.sqrt(3) / 2),
        ("ibrav = 6, celldm(1) = 10.0, celldm(3) = 1.6", 1.6),
        ("ibrav = 8, celldm(1) = 10.0, celldm(2) = 1.1, celldm(3) = 1.6", 1.76),
    ],
)
def test_bravais_lattices_have_their_volume(system, volume):
    box = make(system).box
    assert np.linalg.det(box) == pytest.approx(volume * (10 * BOHR) ** 3)


def test_lengths_may_be_given_in_angstrom():
    one = make("ibrav = 8, A = 5.0, B = 5.5, C = 8.0").box
    np.testing.assert_allclose(np.diag(one), [5.0, 5.5, 8.0], rtol=1e-15)


def test_a_lattice_that_is_not_made_here_is_left_to_the_output():
    assert make("ibrav = 14, celldm(1) = 10.0").box is None


@pytest.mark.parametrize(
    ("unit", "scale"), [("angstrom", 1.0), ("bohr", BOHR), ("", BOHR), ("alat", BOHR)]
)
def test_cell_parameters_come_in_every_unit(unit, scale):
    cell = f"CELL_PARAMETERS {{{unit}}}\n 8 0 0\n 0 8 0\n 0 0 8\n"
    np.testing.assert_allclose(make("ibrav = 0", cell=cell).box, np.eye(3) * 8 * scale)


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("(angstrom)", 1.0), ("bohr", BOHR), ("{alat}", 8.0), ("crystal", 8.0), ("", 8.0)],
)
def test_positions_come_in_every_unit(unit, scale):
    cell = "CELL_PARAMETERS angstrom\n 8 0 0\n 0 8 0\n 0 0 8\n"
    found = make("ibrav = 0", positions=unit, cell=cell)
    np.testing.assert_allclose(found.coord[1], 0.25 * scale)
    assert found.labels == ("Ga", "As")


def test_a_formula_for_a_position_is_left_to_the_output():
    text = INPUT.format(
        system="ibrav = 1, A = 5.0", positions="alat", mesh="gamma", cell=""
    )
    assert read_input(text.replace("0.25 0.25 0.25", "1/4 1/4 1/4")).coord is None


def test_meshes_are_read():
    assert make("ibrav = 1, A = 5.0", mesh="gamma").mesh == ((1, 1, 1), (0, 0, 0))
    found = make("ibrav = 1, A = 5.0", mesh="automatic\n 4 4 2 1 1 0")
    assert found.mesh == ((4, 4, 2), (1, 1, 0))
    assert make("ibrav = 1, A = 5.0", mesh="crystal\n 1\n 0 0 0 1").mesh is None


@pytest.mark.parametrize(
    ("mesh", "shift"), [((2, 3, 4), (0, 0, 0)), ((4, 4, 2), (1, 1, 0)), ((5, 1, 1), 0)]
)
def test_a_mesh_is_inferred_from_its_points(mesh, shift):
    """The level of theory must be the same without the input."""
    shift = np.broadcast_to(shift, 3)
    axes = [(np.arange(n) + s / 2) / n for n, s in zip(mesh, shift, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    cell = np.array([[1.0, 0.1, 0.0], [0.0, 1.2, 0.0], [0.2, 0.0, 0.9]])
    cartesian = points @ np.linalg.inv(cell).T
    rows = "".join(
        "        k({:5d}) = ({:12.7f}{:12.7f}{:12.7f}), wk = {:11.7f}\n".format(
            i, *k, 2 / len(points)
        )
        for i, k in enumerate(cartesian, 1)
    )
    vectors = "".join(
        f"     a({i}) = ( {a[0]:10.6f} {a[1]:10.6f} {a[2]:10.6f} )\n"
        for i, a in enumerate(cell, 1)
    )
    run = f"{vectors}     number of k points= {len(points)}\n{rows}\n"
    theory = theory_of_output(run, mesh=None)
    assert theory["kpoints"] == {"mesh": list(mesh), "shift": shift.tolist()}


def test_points_that_are_no_mesh_stay_a_count():
    rows = "".join(
        f"        k({i:5d}) = ({x:12.7f}   0.0000000   0.0000000), wk =   1.0000000\n"
        for i, x in enumerate((0.0, 0.1234567), 1)
    )
    axes = "".join(
        f"     a({i + 1}) = ( {row[0]:.6f} {row[1]:.6f} {row[2]:.6f} )\n"
        for i, row in enumerate(np.eye(3))
    )
    theory = theory_of_output(f"{axes} number of k points= 2\n{rows}", mesh=None)
    assert theory["kpoints"] == {"count": 2}


HEAD = """     Program PWSCF v.7.2 starts on 1Jan2026
     kinetic-energy cutoff     =      50.0000  Ry
     Exchange-correlation= PBE0
                           (   6   4   8   4   0   0   0)
     EXX-fraction              =        0.25
     Simplified LDA+U calculation (l_max = 2) with parameters (eV):
     atomic species    L          U    alpha       J0     beta
        Fe1            2     4.3000   0.0000   0.0000   0.0000

     Starting magnetic structure
     number of k points=     1  Marzari-Vanderbilt smearing, width (Ry)=  0.0200
     Self-consistent Calculation
!    total energy              =     -22.66 Ry
     DFT-D3 Dispersion         =       -0.01 Ry
     convergence has been achieved in   5 iterations
"""


def test_hubbard_u_spin_hybrids_and_dispersion_are_read():
    theory = theory_of_output(HEAD, mesh=((1, 1, 1), (0, 0, 0)))
    assert theory["functional"] == "PBE0 (EXX 0.25)"
    assert theory["hubbard_u"] == {"Fe1": {"U": 4.3}}
    assert theory["spin"] == "collinear"
    assert theory["dispersion"] == "DFT-D3"
    assert theory["smearing"] == "marzari-vanderbilt"


def test_hubbard_parameters_of_new_versions_are_read():
    old = HEAD[HEAD.index("     Simplified") : HEAD.index("     Starting")]
    new = "     Hubbard parameters of DFT+U (Dudarev formulation) in eV:\n"
    text = HEAD.replace(old, new + "     U(Fe-3d)  =  4.3000\n\n")
    assert theory_of_output(text, mesh=None)["hubbard_u"] == {"Fe": {"U": 4.3}}


@pytest.fixture(scope="module")
def sample(shared_data):
    return shared_data / "thirdparty/qe_samples/default_xml_240411"


def test_xml_alone_gives_every_step_at_full_precision(sample):
    path = sample / "data-file-schema.xml"
    source = read(SourceFiles(format="qe", paths=(path,)))
    assert source.format == "qe/xml"
    assert source.code_version == "7.3.1"
    assert source.complete
    assert source.frames.nframes == 4
    assert set(source.quarantine) == {Quarantine.NONE}
    assert source.frames.energy[0] == -1.133139963720461e001 * HARTREE
    assert source.frames.coord[0, 0] == 1.096128452905589e001 * BOHR
    assert source.theory["functional"] == "PBEsol"
    assert source.theory["kpoints"] == {"mesh": [4, 4, 4], "shift": [0, 0, 0]}
    assert source.theory["smearing_width"] == 5e-3 * HARTREE
    # the output prints P = -11.77 kbar for this cell
    box = source.frames.box[0]
    pressure = np.trace(source.frames.virial[0]) / 3 / abs(np.linalg.det(box))
    assert pressure * 1602.1766 == pytest.approx(-11.77, abs=0.005)


def test_output_and_xml_agree_and_the_xml_gives_the_digits(shared_data):
    folder = shared_data / "thirdparty/qe_samples/relax_success"
    out, xml = folder / "aiida.out", folder / "data-file-schema.xml"
    both = read(SourceFiles(format="qe", paths=(out, xml)))
    alone = read(SourceFiles(format="qe", paths=(xml,)))
    np.testing.assert_array_equal(both.frames.coord, alone.frames.coord)
    assert both.frames.energy[0] == alone.frames.energy[0]
    assert both.frames.nframes == alone.frames.nframes == 1
    assert any("1 of 1 frames" in note for note in both.notes)


def test_xml_of_another_calculation_is_a_mismatch(shared_data):
    folder = shared_data / "thirdparty/qe_samples"
    out = folder / "relax_success/aiida.out"
    xml = folder / "vcrelax_success/data-file-schema.xml"
    source = read(SourceFiles(format="qe", paths=(out, xml)))
    assert set(source.quarantine) == {Quarantine.MISMATCH}


def test_a_cut_xml_is_read_as_far_as_it_goes(sample):
    text = (sample / "data-file-schema.xml").read_text()
    cut = text[: text.rindex("<step>") + 400]
    document = read_xml(cut, where="cut.xml")
    assert not document.is_complete
    assert len(document.snapshots) >= 2
    assert document.snapshots[1].energy == -1.133142171001848e001 * HARTREE


def test_xml_of_something_else_is_refused():
    with pytest.raises(SourceError, match="no XML file of pw"):
        read_xml("<html><body>espresso</body></html>", where="page.xml")
