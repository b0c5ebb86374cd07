"""CP2K logs in forms that no sample covers, and the cells they print."""

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.cp2k.cell import cell_from_lengths
from dpbench.io.readers.cp2k.reader import read
from dpbench.units import BAR, BOHR, HARTREE


def reasons(source):
    return [str(reason) for reason in source.quarantine]


NEW = """\
  **** **** ******  **  PROGRAM STARTED AT               2025-11-21 08:37:46.922
 CP2K| version string:                                       CP2K version 2025.1
 GLOBAL| Run type                                                   ENERGY_FORCE
 CELL| Volume [angstrom^3]:                                          1000.000000
 CELL| Vector a [angstrom]:      10.000     0.000     0.000   |a| =    10.000000
 CELL| Vector b [angstrom]:       0.000    10.000     0.000   |b| =    10.000000
 CELL| Vector c [angstrom]:       0.000     0.000    10.000   |c| =    10.000000
 CELL| Angle (b,c), alpha [degree]:                                    90.000000
 CELL| Angle (a,c), beta  [degree]:                                    90.000000
 CELL| Angle (a,b), gamma [degree]:                                    90.000000
 CELL| Periodicity                                                           XYZ
 DFT| Spin unrestricted (spin-polarized) Kohn-Sham calculation               UKS

 FUNCTIONAL| BECKE88:
 FUNCTIONAL| A. Becke, Phys. Rev. A 38, 3098 (1988) {LSD version}
 FUNCTIONAL| LYP:
 FUNCTIONAL| C. Lee, W. Yang, R.G. Parr, Phys. Rev. B, 37, 785 (1988)

 MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM

   Atom Kind Element         X             Y             Z       Z(eff)     Mass
      1    1 O     8      1.500000      1.250000      1.000000   6.0000  15.9994
      2    2 H     1      2.500000      1.250000      1.000000   1.0000   1.0079

 SCF PARAMETERS         Density guess:                                    ATOMIC

  *** SCF run converged in     9 steps ***

 ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]            -17.125000000000000

 FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom     x               y               z               |f|
 FORCES|      1  1.00000000E-02  2.00000000E-02 -3.00000000E-02  3.74165739E-02
 FORCES|      2 -1.00000000E-02 -2.00000000E-02  3.00000000E-02  3.74165739E-02
 FORCES| Sum     0.00000000E+00  0.00000000E+00  0.00000000E+00  0.00000000E+00

 STRESS| Analytical stress tensor [bar]
 STRESS|                        x                   y                   z
 STRESS|      x        1.00000000000E+03   2.00000000000E+00   3.00000000000E+00
 STRESS|      y        2.00000000000E+00   2.00000000000E+03   4.00000000000E+00
 STRESS|      z        3.00000000000E+00   4.00000000000E+00   3.00000000000E+03

  **** **** ******  **  PROGRAM ENDED AT                 2025-11-21 08:37:50.922
"""


def test_a_single_point_of_a_new_version_is_read(tmp_path):
    log = tmp_path / "cp2k.out"
    log.write_text(NEW)
    source = read(SourceFiles(format="cp2k", paths=(log,)))
    assert reasons(source) == [""]
    assert source.complete
    assert source.n_scf.tolist() == [9]
    frames = source.frames
    assert frames.z.tolist() == [8, 1]
    assert frames.energy[0] == -17.125 * HARTREE
    np.testing.assert_allclose(
        frames.force[0], np.array([0.01, 0.02, -0.03]) * HARTREE / BOHR, rtol=1e-14
    )
    np.testing.assert_allclose(
        np.diag(frames.virial[0]), np.array([1e3, 2e3, 3e3]) * 1000 * BAR, rtol=1e-14
    )
    assert source.theory["functional"] == "BECKE88+LYP"
    assert source.theory["spin"] == "collinear"


def test_an_optimisation_is_joined_by_its_energies(tmp_path):
    """A line search evaluates more often than it writes positions; cells change."""
    first = NEW.index(" CELL| Volume")
    energy = NEW.index("  *** SCF run")
    end = NEW.index("  **** **** ******  **  PROGRAM ENDED")
    cells, block = NEW[first : NEW.index(" DFT|")], NEW[energy:end]
    text = NEW[:energy].replace("ENERGY_FORCE", "    CELL_OPT")
    for index in range(4):
        size = f"{10 + index / 10:.6f}"
        changed = cells.replace("10.000000", size).replace("10.000", size[:-3])
        text += changed + block.replace("-17.1250", f"-17.12{index}0")
    log = tmp_path / "opt.out"
    log.write_text(text + NEW[end:])
    pos = tmp_path / "opt-pos-1.xyz"
    pos.write_text(
        "".join(
            f"       2\n i = {step}, E = -17.12{index}0000000\n"
            f"  O 1.5 1.25 1.0\n  H {2.5 + index / 10} 1.25 1.0\n"
            for step, index in ((1, 1), (2, 3))
        )
    )
    source = read(SourceFiles(format="cp2k", paths=(log, pos)))
    assert reasons(source) == ["", ""]
    assert source.step.tolist() == [1, 2]
    np.testing.assert_allclose(source.frames.box[:, 0, 0], [10.1, 10.3])
    np.testing.assert_allclose(
        source.frames.energy, np.array([-17.121, -17.123]) * HARTREE, rtol=1e-12
    )


def test_a_log_cut_before_its_forces_is_truncated(tmp_path):
    log = tmp_path / "cp2k.out"
    log.write_text(NEW[: NEW.index("FORCES|      2")])
    source = read(SourceFiles(format="cp2k", paths=(log,)))
    assert reasons(source) == ["truncated"]


OLD_STEP = """\
  *** SCF run converged in     {n} steps ***
 ENERGY| Total FORCE_EVAL ( QS ) energy (a.u.):              {energy}
 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      O           0.0{step}000000     0.00000000     0.00000000
      2      2      H          -0.0{step}000000     0.00000000     0.00000000
 SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000     0.00000
{title}
"""


def old_md(energies):
    """A log and positions as CP2K 6.1 wrote them."""
    log = NEW[: NEW.index(" DFT|")].replace("2025.1", "6.1")
    log = log.replace("ENERGY_FORCE", "          MD")
    log += " GLOBAL| Global print level                                     MEDIUM\n"
    log += "  1. Atomic kind: O     Number of atoms:       1\n"
    log += "  2. Atomic kind: H     Number of atoms:       1\n"
    pos = ""
    for step, energy in enumerate(energies):
        stars = " ******** GO CP2K GO! **********************************"
        lines = [
            stars,
            f" INITIAL POTENTIAL ENERGY[hartree]     =     {energy}",
            " INITIAL CELL LNTHS[bohr]  =  18.8972613  18.8972613  18.8972613",
            " INITIAL CELL ANGLS[deg]   =  90.0000000  90.0000000  90.0000000",
        ]
        if step:
            stars = " *****************************************************"
            lines = [
                stars,
                " ENSEMBLE TYPE                =                       NVT",
                f" STEP NUMBER                  =                       {step}",
                f" POTENTIAL ENERGY[hartree]    =      {energy}   {energy}",
            ]
        title = "\n".join([*lines, stars])
        log += OLD_STEP.format(n=5 + step, step=step + 1, energy=energy, title=title)
        pos += f"       2\n i = {step}, time = 0.5, E = {energy}\n"
        pos += f"  O 1.5 1.25 1.0\n  H {2.5 + step / 10} 1.25 1.0\n"
    return log + "  **** **** ******  **  PROGRAM ENDED AT\n", pos


@pytest.mark.filterwarnings("ignore:unclosed file")  # dpdata's
def test_md_of_an_old_version_goes_through_dpdata_behind_the_gate(tmp_path):
    log, pos = old_md(["-17.1250000000", "-17.1260000000", "-17.1240000000"])
    log = log.replace("converged in     6", "NOT converged in     6")
    paths = tmp_path / "cp2k.log", tmp_path / "w-pos-1.xyz"
    paths[0].write_text(log)
    paths[1].write_text(pos)
    source = read(SourceFiles(format="cp2k", paths=paths))
    assert source.format == "dpdata:cp2k/aimd_output"
    assert source.complete
    assert reasons(source) == ["", "unconverged", ""]
    assert source.step.tolist() == [0, 1, 2]
    assert source.n_scf[[0, 2]].tolist() == [5, 7]
    frames = source.frames
    assert frames.z.tolist() == [8, 1] * 3
    np.testing.assert_allclose(frames.coord[1::2, 0], [2.5, 2.6, 2.7])
    np.testing.assert_allclose(frames.energy / HARTREE, [-17.125, -17.126, -17.124])
    force = frames.force[::2, 0] * BOHR / HARTREE
    np.testing.assert_allclose(force, [0.01, 0.02, 0.03])
    np.testing.assert_array_equal(frames.box[:, 0], [[10.0, 0.0, 0.0]] * 3)


def test_an_old_log_that_dpdata_cannot_read_is_a_named_failure(tmp_path):
    log, pos = old_md(["-17.1250000000", "-17.1260000000"])
    paths = tmp_path / "cp2k.log", tmp_path / "w-pos-1.xyz"
    paths[0].write_text(log)
    paths[1].write_text(pos.replace("-17.126", "-18.126"))
    with pytest.raises(SourceError, match="dpdata's cp2k/aimd_output cannot read"):
        read(SourceFiles(format="cp2k", paths=paths))


@pytest.mark.parametrize("text", ["", "nothing of CP2K\n", "\0\1"])
def test_what_is_no_log_is_refused(tmp_path, text):
    log = tmp_path / "cp2k.out"
    log.write_text(text)
    with pytest.raises(SourceError, match=r"cp2k\.out"):
        read(SourceFiles(format="cp2k", paths=(log,)))


def test_cells_are_made_with_their_lengths_and_angles():
    box = cell_from_lengths((4.0, 5.0, 6.0), (80.0, 95.0, 120.0), vectors=None)
    assert box is not None
    lengths = np.linalg.norm(box, axis=1)
    np.testing.assert_allclose(lengths, [4, 5, 6], atol=1e-9)
    cosines = [box[1] @ box[2] / 30, box[0] @ box[2] / 24, box[0] @ box[1] / 20]
    np.testing.assert_allclose(np.degrees(np.arccos(cosines)), [80, 95, 120], atol=1e-7)
    assert cell_from_lengths((1.0, 1.0, 1.0), (10.0, 10.0, 170.0), vectors=None) is None


def test_a_cell_keeps_its_printed_orientation():
    printed = np.array([[0.0, 2.715, 2.715], [2.715, 0.0, 2.715], [2.715, 2.715, 0.0]])
    box = cell_from_lengths((3.839590,) * 3, (60.0,) * 3, vectors=printed)
    np.testing.assert_allclose(box, printed, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(box, axis=1), 3.839590, atol=1e-9)
