"""pw.x outputs against independently parsed references and third-party arrays."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from ase.io import read as ase_read

from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.qe.reader import read
from dpbench.units import KBAR, RYDBERG

ENERGY = 1e-8  # relative
FORCE = 1e-6  # eV/Å
VIRIAL = 1e-6  # of the largest element
FIRST_COORD = 1e-6  # Å; the header prints seven decimals of alat
COORD = 1e-8  # Å
BOX = 5e-7  # relative; the header prints six decimals of alat
EXACT = 1e-8  # where the input lies beside

MD_SETS = {"si8_qe_lda": 600, "almg_qe_lda": 850}


def parse(*paths):
    return read(SourceFiles(format="qe", paths=paths))


def reference(folder):
    arrays = {p.stem: np.load(p) for p in (folder / "set.000").glob("*.npy")}
    return {name: a.reshape(len(a), -1) for name, a in arrays.items()}


def flat(frames, name):
    return getattr(frames, name).reshape(frames.nframes, -1)


def assert_agrees(frames, expected, *, coord, box):
    np.testing.assert_allclose(
        flat(frames, "energy"), expected["energy"].reshape(-1, 1), rtol=ENERGY
    )
    np.testing.assert_allclose(
        flat(frames, "force"), expected["force"], rtol=0, atol=FORCE
    )
    largest = np.abs(expected["virial"]).max(axis=1, keepdims=True)
    wrong = np.abs(flat(frames, "virial") - expected["virial"]) / largest
    assert wrong.max() < VIRIAL
    shift = np.abs(flat(frames, "coord") - expected["coord"])
    assert shift[0].max() < coord
    assert shift[1:].max(initial=0) < COORD
    length = np.abs(expected["box"]).max()
    assert np.abs(flat(frames, "box") - expected["box"]).max() < box * length


def work_against_energy(frames, shift=0):
    """Correlation of dE with -(F_k + F_k+1)/2 . dx along a trajectory."""
    coord = flat(frames, "coord")
    force = np.roll(flat(frames, "force"), shift, axis=0)
    step = np.diff(coord, axis=0)
    work = -((force[1:] + force[:-1]) / 2 * step).sum(axis=1)
    return np.corrcoef(work, np.diff(frames.energy))[0, 1]


@pytest.mark.parametrize("name", MD_SETS)
@pytest.mark.parametrize("with_input", [False, True])
def test_md_frames_agree_with_the_reference(shared_data, name, with_input):
    folder = shared_data / "generated" / name
    total = 0
    for out in sorted(folder.glob("*.out")):
        beside = (out.with_suffix(".in"),) if with_input else ()
        source = parse(out, *beside)
        expected = reference(shared_data / "generated/npy" / name / out.stem)
        assert_agrees(
            source.frames,
            expected,
            coord=EXACT if with_input else FIRST_COORD,
            box=EXACT if with_input else BOX,
        )
        assert source.complete
        assert set(source.quarantine) == {Quarantine.NONE}
        assert source.step.tolist() == list(range(1, len(source.step) + 1))
        total += source.frames.nframes
    assert total == MD_SETS[name]


@pytest.mark.parametrize("temperature", ["350K", "700K"])
@pytest.mark.parametrize("with_input", [False, True])
def test_scf_frames_agree_with_the_reference(shared_data, temperature, with_input):
    folder = shared_data / "generated/water8_qe_pbe"
    expected = reference(shared_data / "generated/npy/water8_qe_pbe" / temperature)
    outputs = sorted(folder.glob(f"f_{temperature}_*.out"))
    assert len(outputs) == len(expected["energy"])
    for index, out in enumerate(outputs):
        beside = (out.with_suffix(".in"),) if with_input else ()
        source = parse(out, *beside)
        assert source.frames.nframes == 1
        assert source.quarantine == (Quarantine.NONE,)
        assert_agrees(
            source.frames,
            {name: a[index : index + 1] for name, a in expected.items()},
            coord=EXACT if with_input else FIRST_COORD,
            box=EXACT if with_input else BOX,
        )


def test_labels_belong_to_the_positions_they_stand_with(shared_data):
    """The energy follows the work of the forces; labels moved by a step do not."""
    for out in sorted((shared_data / "generated/si8_qe_lda").glob("*.out")):
        frames = parse(out).frames
        assert work_against_energy(frames) > 0.999
        assert work_against_energy(frames, shift=1) < 0.995


def test_level_of_theory_does_not_depend_on_the_input(shared_data):
    generated = shared_data / "generated"
    theories = set()
    for out in (generated / "almg_qe_lda").glob("Al1Mg3*.out"):
        alone, both = parse(out), parse(out, out.with_suffix(".in"))
        assert alone.theory == both.theory
        theories.add(str(alone.theory))
    assert len(theories) == 1


def test_level_of_theory_is_read(shared_data):
    theory = parse(shared_data / "generated/almg_qe_lda/Al1Mg3_fcc_300K.out").theory
    assert theory["code"] == "qe"
    assert theory["code_version"] == "6.7MaX"
    assert theory["functional"] == "LDA-PZ"
    assert theory["cutoff"] == 15 * RYDBERG
    assert theory["kpoints"] == {"mesh": [4, 4, 4], "shift": [1, 1, 1]}
    assert theory["smearing"] == "methfessel-paxton"
    assert theory["smearing_width"] == 0.05 * RYDBERG
    assert theory["spin"] == "none"
    assert theory["energy_kind"] == "free energy"
    assert theory["pseudopotentials"]["Mg"] == {
        "title": "Mg.pz-n-vbc.UPF",
        "hash": "md5:adf9ca49345680d0fd32b5bc0752f25b",
    }


def test_a_functional_has_one_name_in_all_versions(shared_data):
    outputs = [
        "generated/water8_qe_pbe/f_350K_00400.out",  # SLA PW PBX PBC
        "thirdparty/dpdata_samples/qe.scf/01.out",  # PBE ( 1 4 3 4 0 0)
        "thirdparty/fp_trees/out_data_post_fp_pwscf/02.fp/task.000.000000/output",
    ]
    names = {parse(shared_data / out).theory["functional"] for out in outputs}
    assert names == {"PBE"}


def test_dispersion_is_read(shared_data):
    folder = shared_data / "thirdparty/fp_trees/out_data_post_fp_pwscf/02.fp"
    assert parse(folder / "task.000.000000/output").theory["dispersion"] == "TS"


def test_a_killed_run_keeps_its_whole_frames(shared_data):
    source = parse(shared_data / "generated/qe_fixtures/si8_md_killed.out")
    assert source.frames.nframes == 27
    assert set(source.quarantine[:-1]) == {Quarantine.NONE}
    assert source.quarantine[-1] is Quarantine.TRUNCATED
    assert not source.complete
    assert np.isnan(source.frames.force[source.frames.atoms_of(26)]).all()
    assert work_against_energy(source.frames.select(range(26))) > 0.999


def test_an_unconverged_frame_is_quarantined_and_readable(shared_data):
    source = parse(shared_data / "generated/qe_fixtures/si8_unconverged.out")
    assert source.quarantine == (Quarantine.UNCONVERGED,)
    assert source.n_scf.tolist() == [3]
    assert source.complete
    assert np.isfinite(source.frames.coord).all()
    assert np.isnan(source.frames.energy).all()


def test_relax_gives_every_geometry_once(shared_data):
    folder = shared_data / "generated/qe_fixtures"
    source = parse(folder / "si8_relax.out", folder / "si8_relax.in")
    assert source.frames.nframes == 6
    assert set(source.quarantine) == {Quarantine.NONE}
    first = parse(folder / "si8_scf.out", folder / "si8_scf.in").frames
    assert source.frames.energy[0] == first.energy[0]
    assert np.diff(source.frames.energy).max() < 0
    assert np.abs(np.diff(flat(source.frames, "coord"), axis=0)).max(axis=1).min() > 0


def test_a_compressed_output_reads_the_same(shared_data, tmp_path):
    out = shared_data / "generated/qe_fixtures/si8_scf.out"
    packed = tmp_path / "si8_scf.out.gz"
    packed.write_bytes(gzip.compress(out.read_bytes()))
    a, b = parse(out), parse(packed)
    np.testing.assert_array_equal(a.frames.force, b.frames.force)
    assert a.theory == b.theory


def test_dpdata_samples_agree_with_their_arrays(shared_data):
    folder = shared_data / "thirdparty/dpdata_samples/qe.scf"
    methane = parse(folder / "01.out", folder / "01.in").frames
    box = 10.0
    coord = np.loadtxt(folder / "ch4_coord")
    np.testing.assert_allclose(methane.coord / box, coord / box, atol=1e-6)
    force = np.loadtxt(folder / "ch4_force")
    np.testing.assert_allclose(methane.force, force, atol=FORCE)
    # the array was made with 1602 kbar in one eV/Å^3
    virial = np.loadtxt(folder / "ch4_virial") * (1602 * KBAR)
    np.testing.assert_allclose(methane.virial[0], virial, rtol=1e-6)
    water = parse(folder / "02.out", folder / "02.in").frames
    np.testing.assert_allclose(water.box[0], np.loadtxt(folder / "h2o_cell"), atol=1e-5)
    force = np.loadtxt(folder / "h2o_force")
    np.testing.assert_allclose(water.force, force, atol=FORCE)


@pytest.mark.parametrize("name", ["01", "02", "03", "Al", "na"])
def test_dpdata_samples_read(shared_data, name):
    folder = shared_data / "thirdparty/dpdata_samples/qe.scf"
    source = parse(folder / f"{name}.out", folder / f"{name}.in")
    assert source.quarantine == (Quarantine.NONE,)
    assert any("agrees with the output" in note for note in source.notes)


def test_energy_of_every_iteration_leaves_the_last(shared_data):
    """With iprint = 1 pw.x prints a '!' energy in every iteration."""
    source = parse(shared_data / "thirdparty/dpdata_samples/qe.scf/Al.out")
    assert source.frames.energy[0] == -21.76175741 * RYDBERG


def test_labelling_tree_agrees_with_its_raw_arrays(shared_data):
    tree = shared_data / "thirdparty/fp_trees/out_data_post_fp_pwscf"
    raw = {name: np.loadtxt(tree / f"orig/{name}.raw") for name in ("energy", "force")}
    tasks = sorted((tree / "02.fp").glob("task.*"))
    for index, task in enumerate(tasks):
        frames = parse(task / "output", task / "input").frames
        assert frames.energy[0] == pytest.approx(raw["energy"][index], rel=ENERGY)
        order = np.argsort(frames.z, kind="stable")
        expected = raw["force"][index].reshape(-1, 3)
        found = frames.force
        if np.abs(found - expected).max() > 1e-3:  # its atoms are sorted by type
            found = found[order]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_aiida_samples_are_judged(shared_data):
    folder = shared_data / "thirdparty/qe_samples"
    expected = {
        "default_xml_240411": [Quarantine.NONE] * 4,
        "failed_interrupted": [Quarantine.TRUNCATED],
        "failed_interrupted_relax": [Quarantine.NONE],
        "failed_out_of_walltime": [Quarantine.UNCONVERGED],
        "failed_scf_not_converged": [Quarantine.UNCONVERGED],
        "relax_success": [Quarantine.NONE],
        "vcrelax_success": [Quarantine.NONE] * 3,
    }
    for name, reasons in expected.items():
        files = [folder / name / "aiida.out", folder / name / "data-file-schema.xml"]
        source = parse(*(Path(f) for f in files if f.exists()))
        assert list(source.quarantine) == reasons, name


def test_vc_relax_reads_the_cells_and_the_final_scf(shared_data):
    folder = shared_data / "thirdparty/qe_samples/vcrelax_success"
    alone = parse(folder / "aiida.out")
    both = parse(folder / "aiida.out", folder / "data-file-schema.xml")
    assert alone.frames.nframes == 3
    assert alone.frames.has_virial.all()
    np.testing.assert_allclose(alone.frames.box, both.frames.box, atol=5e-6)
    np.testing.assert_allclose(alone.frames.coord, both.frames.coord, atol=2e-6)
    assert alone.frames.box[1, 0, 1] == 2.806884226
    # the last stress is that of the cell whose volume it is multiplied by
    np.testing.assert_allclose(alone.frames.virial[2], both.frames.virial[2], atol=2e-4)


def test_an_input_of_another_cell_is_a_mismatch(shared_data):
    """The sample's input was edited after the run: its cell is smaller."""
    folder = shared_data / "thirdparty/qe_samples/vcrelax_success"
    source = parse(folder / "aiida.out", folder / "aiida.in")
    assert set(source.quarantine) == {Quarantine.MISMATCH}
    assert any("another cell" in note for note in source.notes)


def test_an_input_of_another_cell_harms_no_frame_that_the_xml_bears_out(shared_data):
    folder = shared_data / "thirdparty/qe_samples/vcrelax_success"
    xml = folder / "data-file-schema.xml"
    source = parse(folder / "aiida.out", folder / "aiida.in", xml)
    assert set(source.quarantine) == {Quarantine.NONE}
    assert any("another cell" in note for note in source.notes)
    without = parse(folder / "aiida.out", xml)
    np.testing.assert_array_equal(source.frames.coord, without.frames.coord)
    np.testing.assert_array_equal(source.frames.box, without.frames.box)
    assert source.theory == without.theory


@pytest.mark.parametrize(
    "output",
    [
        "generated/si8_qe_lda/si8_a535_3000K.out",
        "generated/almg_qe_lda/Mg4_hcp_300K.out",
        "generated/qe_fixtures/si8_relax.out",
        "thirdparty/qe_samples/vcrelax_success/aiida.out",
    ],
)
def test_frames_agree_with_ase(shared_data, output):
    """ASE reads the same files by itself, with older constants and other columns."""
    path = shared_data / output
    frames = parse(path).frames
    others = ase_read(path, index=":", format="espresso-out")
    assert len(others) == frames.nframes
    for index, other in enumerate(others):
        rows = frames.atoms_of(index)
        assert other.numbers.tolist() == frames.z[rows].tolist()
        energy = other.get_potential_energy()
        assert frames.energy[index] == pytest.approx(energy, rel=2e-7)
        np.testing.assert_allclose(frames.coord[rows], other.positions, atol=1e-6)
        np.testing.assert_allclose(frames.force[rows], other.get_forces(), atol=1e-5)
        np.testing.assert_allclose(frames.box[index], other.cell.array, atol=1e-6)
        virial = -other.get_stress(voigt=False) * other.get_volume()
        np.testing.assert_allclose(frames.virial[index], virial, atol=2e-3)
