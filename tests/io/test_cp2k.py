"""CP2K logs and trajectories against independently parsed references."""

import numpy as np
import pytest

from dpbench.elements import atomic_numbers
from dpbench.io.discover import find_sources
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.cp2k.input import theory_of_input
from dpbench.io.readers.cp2k.reader import read
from dpbench.io.readers.cp2k.theory import theory_of_log
from dpbench.units import HARTREE

ENERGY = 1e-8  # relative
FORCE = 1e-6  # eV/Å
VIRIAL = 1e-6  # of the largest element
COORD = 1e-8  # Å
BOX = 1e-8  # relative


def parse(*paths):
    return read(SourceFiles(format="cp2k", paths=paths))


def reference(folder):
    arrays = {p.stem: np.load(p) for p in (folder / "set.000").glob("*.npy")}
    return {name: a.reshape(len(a), -1) for name, a in arrays.items()}


def types(folder):
    names = (folder / "type_map.raw").read_text().split()
    index = np.loadtxt(folder / "type.raw", dtype=int)
    return atomic_numbers([names[i] for i in index], where="type.raw")


def flat(frames, name):
    return getattr(frames, name).reshape(frames.nframes, -1)


def assert_agrees(frames, folder, *, box=BOX):
    expected = reference(folder)
    assert tuple(frames.z[: frames.natoms[0]]) == types(folder)
    energy = expected["energy"].reshape(-1, 1)
    np.testing.assert_allclose(flat(frames, "energy"), energy, rtol=ENERGY)
    np.testing.assert_allclose(flat(frames, "force"), expected["force"], atol=FORCE)
    np.testing.assert_allclose(flat(frames, "coord"), expected["coord"], atol=COORD)
    length = np.abs(expected["box"]).max()
    assert np.abs(flat(frames, "box") - expected["box"]).max() < box * length
    if "virial" in expected:
        largest = np.abs(expected["virial"]).max(axis=1, keepdims=True)
        wrong = np.abs(flat(frames, "virial") - expected["virial"]) / largest
        assert wrong.max() < VIRIAL


def work_against_energy(frames, shift=0):
    """Correlation of dE with -(F_k + F_k+1)/2 . dx along a trajectory."""
    coord = flat(frames, "coord")
    force = np.roll(flat(frames, "force"), shift, axis=0)
    step = np.diff(coord, axis=0)
    work = -((force[1:] + force[:-1]) / 2 * step).sum(axis=1)
    return np.corrcoef(work, np.diff(frames.energy))[0, 1]


@pytest.fixture(scope="module")
def pbe(shared_data):
    folder = shared_data / "generated/water8_cp2k_pbe"
    return parse(folder / "cp2k.log", *sorted(folder.glob("water8_pbe*")))


def test_aimd_agrees_with_the_reference(shared_data, pbe):
    assert pbe.frames.nframes == 61
    assert pbe.frames.has_virial.all()
    assert_agrees(pbe.frames, shared_data / "generated/npy/water8_cp2k_pbe/330K")
    assert pbe.step.tolist() == list(range(61))
    assert pbe.complete
    assert set(pbe.quarantine) == {Quarantine.NONE}


def test_energies_have_the_digits_of_the_log(pbe):
    assert pbe.frames.energy[0] == -137.804656132507517 * HARTREE
    assert pbe.frames.energy[1] == -137.803936232681792 * HARTREE


def test_labels_belong_to_the_positions_they_stand_with(pbe):
    assert work_against_energy(pbe.frames) > 0.999
    assert work_against_energy(pbe.frames, shift=1) < 0.995


def test_every_file_is_named_in_the_notes(pbe):
    notes = " ".join(pbe.notes)
    for name in ("-pos-1.xyz", "-frc-1.xyz", "-1.cell", "-1.stress"):
        assert name in notes
    assert "energies agree with the log" in notes
    assert "holds the kinetic part" in notes


def test_level_of_theory_is_read(pbe):
    theory = pbe.theory
    assert theory["code_version"] == "2023.1"
    assert theory["functional"] == "PBE"
    assert theory["cutoff"] == 120 * HARTREE
    assert theory["kpoints"] == {"mesh": [1, 1, 1], "shift": [0, 0, 0]}
    assert theory["basis"]["O"] == {"title": "DZVP-MOLOPT-SR-GTH", "hash": None}
    assert theory["pseudopotentials"]["H"]["title"] == "GTH-PBE-q1"
    assert theory["spin"] == "none"
    assert theory["energy_kind"] == "total energy"


def test_an_input_tells_what_a_silent_log_does_not(shared_data, pbe):
    """At print level LOW the log has neither functional nor cutoff nor kinds."""
    folder = shared_data / "generated/water8_cp2k_pbe"
    text = (folder / "cp2k.log").read_text()
    head = text[: text.index("ENERGY| Total")]
    kept = ("CP2K|", "GLOBAL|")
    lines = [line for line in head.splitlines() if line.strip().startswith(kept)]
    silent = "\n".join(lines).replace("MEDIUM", "   LOW")
    alone = theory_of_log(silent)
    told = ("functional", "cutoff", "basis", "kpoints", "spin", "pseudopotentials")
    assert all(not alone[key] for key in told)
    given = (folder / "water8_pbe.inp").read_text()
    assert theory_of_log(silent, input_text=given) == pbe.theory
    assert theory_of_log(text, input_text=given) == pbe.theory


def test_inputs_name_dispersion_spin_and_meshes():
    text = """
    @SET SYSTEM slab
    &FORCE_EVAL
      &DFT
        UKS
        &KPOINTS
          SCHEME MONKHORST-PACK 4 3 1
        &END KPOINTS
        &XC
          &XC_FUNCTIONAL BLYP  ! a comment
          &END
          &HF
            FRACTION 0.25
          &END
          &VDW_POTENTIAL
            &PAIR_POTENTIAL
              TYPE DFTD3(BJ)
            &END
          &END
        &END XC
      &END DFT
    &END FORCE_EVAL
    """
    found = theory_of_input(text)
    assert found["functional"] == "BECKE88+LYP+HFX 0.25"
    assert found["dispersion"] == "DFT-D3(BJ)"
    assert found["kpoints"] == {"mesh": [4, 3, 1], "shift": [1, 0, 0]}
    assert found["spin"] == "collinear"
    assert theory_of_input(text + "\n@INCLUDE other.inc\n") == {}


def test_iterations_of_an_outer_loop_are_counted_together(pbe):
    """The first SCF left its inner loop after 30 steps and converged 2 later."""
    assert pbe.n_scf[:3].tolist() == [32, 6, 5]


@pytest.mark.parametrize(("temperature", "raw"), [("350K", 261), ("700K", 161)])
def test_xtb_frames_agree_from_step_400_on(shared_data, temperature, raw):
    """The reference leaves out equilibration: 342 of 422 frames, those from step 400.

    Every tenth step is in the trajectory, so the first 40 frames (steps 0 to 390) of
    each of the two runs are raw only.
    """
    folder = shared_data / "generated/water8_xtb_cp2k"
    files = sorted(folder.glob(f"w8_{temperature}-*"))
    source = parse(folder / f"w8_{temperature}.out.gz", *files)
    assert source.frames.nframes == raw
    kept = source.step >= 400
    assert kept.sum() == raw - 40
    assert source.step[~kept].tolist() == list(range(0, 400, 10))
    npy = shared_data / "generated/npy/water8_xtb_cp2k" / temperature
    assert_agrees(source.frames.select(np.flatnonzero(kept)), npy)
    assert not source.frames.has_virial.any()


def test_tight_binding_is_a_functional_not_another_code(shared_data):
    folder = shared_data / "generated/water8_xtb_cp2k"
    files = (folder / "w8_350K-pos-1.xyz", folder / "w8_350K.inp")
    low = parse(folder / "w8_350K.out.gz", *files)
    assert low.code == "cp2k"
    assert low.theory["functional"] == "GFN1-xTB"
    assert set(low.quarantine) == {Quarantine.NO_FORCE}
    folder = shared_data / "generated/other_codes/cp2k_xtb_medium_log"
    medium = parse(folder / "cp2k.log", *sorted(folder.glob("w8-*")))
    assert medium.theory == low.theory
    assert set(medium.quarantine) == {Quarantine.NONE}


def test_forces_of_a_log_at_medium_level_are_those_of_the_trajectory(shared_data):
    folder = shared_data / "generated/other_codes/cp2k_xtb_medium_log"
    both = parse(folder / "cp2k.log", *sorted(folder.glob("w8-*")))
    log_only = parse(folder / "cp2k.log", folder / "w8-pos-1.xyz")
    assert both.frames.nframes == log_only.frames.nframes == 5
    assert both.frames.has_virial.all()
    np.testing.assert_allclose(both.frames.force, log_only.frames.force, atol=1e-6)
    np.testing.assert_allclose(both.frames.box, log_only.frames.box, atol=1e-8)
    np.testing.assert_allclose(both.frames.virial, log_only.frames.virial, rtol=1e-8)


def test_the_pressure_is_that_of_the_run(pbe):
    """The log prints the pressure with its kinetic part: 2/3 of Ekin / V more."""
    volume = 6.2138**3
    configurational = np.trace(pbe.frames.virial[1]) / 3 / volume
    kinetic = 2 / 3 * 0.0358230031286 * HARTREE / volume
    bar = 1 / 6.241509074e-7
    printed = 3.331099183637e04
    assert (configurational + kinetic) * bar == pytest.approx(printed, rel=1e-5)


@pytest.mark.parametrize(
    ("sample", "frames", "box"),
    [
        ("v2022.2/aimd_npt_i", 11, 1e-7),
        # the reference keeps the three decimals of the log's first vectors, and its
        # angles while the run changes them: the next test holds the printed volumes
        ("v2023.1/aimd_npt_f", 4, 1e-3),
        ("v2023.1/aimd_nvt", 4, 5e-5),
    ],
)
def test_samples_agree_with_their_arrays(shared_data, sample, frames, box):
    folder = shared_data / "thirdparty/cp2k_samples" / sample
    source = parse(folder / "output", *sorted(folder.glob("*-1.*")))
    assert source.frames.nframes == frames
    assert set(source.quarantine) == {Quarantine.NONE}
    assert_agrees(source.frames, folder / "deepmd", box=box)


def test_a_cell_has_more_digits_than_its_printed_vectors(shared_data):
    folder = shared_data / "thirdparty/cp2k_samples/v2023.1/aimd_npt_f"
    frames = parse(folder / "output", folder / "cp2k-pos-1.xyz").frames
    lengths = np.linalg.norm(frames.box[0], axis=1)
    np.testing.assert_allclose(lengths, [14.7549, 8.2, 13.0], atol=1e-8)
    lengths = np.linalg.norm(frames.box[1], axis=1)
    np.testing.assert_allclose(lengths, [14.7585631, 8.20045315, 12.9992246], atol=1e-8)
    volume = [1.555455670244e3, 1.555893535161e3]
    np.testing.assert_allclose(np.linalg.det(frames.box[:2]), volume, rtol=1e-7)


def test_smearing_and_kpoints_are_read(shared_data):
    folder = shared_data / "thirdparty/cp2k_samples/v2022.2/aimd_npt_i"
    theory = parse(folder / "output", folder / "system-pos-1.xyz").theory
    assert theory["smearing"] == "fermi-dirac"
    assert theory["smearing_width"] == pytest.approx(300 * 8.617333262e-5)
    assert theory["energy_kind"] == "free energy"
    assert theory["kpoints"] == {"mesh": [2, 2, 2], "shift": [1, 1, 1]}


def test_a_single_point_of_an_old_version_goes_through_dpdata(shared_data):
    tree = shared_data / "thirdparty/fp_trees/out_data_post_fp_cp2k"
    source = parse(tree / "02.fp/task.000.000000/output")
    assert source.format == "dpdata:cp2k/output"
    assert source.code_version == "6.1"
    assert source.quarantine == (Quarantine.NONE,)
    assert source.n_scf.tolist() == [29]
    for name in ("energy", "force", "coord", "box"):
        expected = np.loadtxt(tree / f"orig/{name}.raw").ravel()
        np.testing.assert_allclose(
            getattr(source.frames, name).ravel(), expected, atol=1e-8
        )
    assert source.theory["dispersion"] == "DFT-D3(zero)"


def test_an_old_log_that_did_not_converge_is_quarantined(shared_data, tmp_path):
    """dpdata itself knows of no convergence in MD, and of one verdict a file here."""
    tree = shared_data / "thirdparty/fp_trees/out_data_post_fp_cp2k"
    text = (tree / "02.fp/task.000.000000/output").read_text()
    log = tmp_path / "cp2k.log"
    log.write_text(text + "  *** SCF run converged in     1 steps ***\n")
    assert parse(log).quarantine == (Quarantine.NONE,)
    text = text.replace("SCF run converged in", "SCF run NOT converged in")
    log.write_text(text + "  *** SCF run converged in     1 steps ***\n")
    assert parse(log).quarantine == (Quarantine.UNCONVERGED,)


def test_logs_of_restarts_are_one_source(shared_data, tmp_path):
    """Two logs that name one trajectory: each step finds its verdict in its log."""
    folder = shared_data / "generated/other_codes/cp2k_xtb_medium_log"
    for path in folder.glob("w8-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (folder / "cp2k.log").read_text()
    head = text[: text.index(" SCF WAVEFUNCTION")]
    cut = text.index("SCF WAVEFUNCTION", text.index("MD| Step number     "))
    (tmp_path / "run-1.log").write_text(text[:cut])
    (tmp_path / "run-2.log").write_text(head + text[cut:])
    (found,) = find_sources("cp2k", [tmp_path]).sources
    assert [path.name for path in found.paths[:2]] == ["run-1.log", "run-2.log"]
    source = read(found)
    whole = parse(folder / "cp2k.log", *sorted(folder.glob("w8-*")))
    assert source.quarantine == whole.quarantine
    np.testing.assert_array_equal(source.frames.energy, whole.frames.energy)
