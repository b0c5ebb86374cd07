import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dpbench.io.discover import find_sources
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers import reader_of
from dpbench.io.readers.vasp.outcar import read_outcar
from dpbench.io.readers.vasp.xml import read_vasprun
from dpbench.units import KBAR

VIRIAL_TOLERANCE = 2e-5  # eV; dpdata rounds its kbar constant at the ninth digit


def read(*paths: Path) -> ParsedSource:
    return reader_of("vasp").read(SourceFiles(format="vasp", paths=paths))


def virials(run):
    volume = np.abs(np.linalg.det(run.box))
    return run.stress * KBAR * volume[:, None, None]


@pytest.mark.shared_data
def test_vasp_ch4_gives_120_frames_not_240(shared_data):
    found = find_sources("vasp", [shared_data / "thirdparty/vasp_ch4"])
    parsed = [reader_of(s.format).read(s) for s in found.sources]
    assert len(found.sources) == 12
    assert sum(p.frames.nframes for p in parsed) == 120
    assert {q for p in parsed for q in p.quarantine} == {Quarantine.NONE}
    assert all(p.complete and p.code_version.startswith("5.4.4") for p in parsed)
    assert all("cross-checked in 10 frames, they agree" in p.notes[0] for p in parsed)
    assert all(p.frames.has_virial.all() for p in parsed)
    assert len({str(p.theory) for p in parsed}) == 1


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["OUTCAR", "vasprun.xml"])
def test_vasp_ch4_agrees_with_dpdata_and_ase(shared_data, name):
    import ase.io
    import dpdata

    for folder in sorted((shared_data / "thirdparty/vasp_ch4").iterdir()):
        path = folder / name
        is_xml = name.endswith("xml")
        run = read_vasprun(path) if is_xml else read_outcar(path)
        # dpdata rotates OUTCAR cells to lower triangles: compare what does not turn
        peer = dpdata.LabeledSystem(str(path), fmt="vasp/xml" if is_xml else "outcar")
        assert_array_equal(run.energy, peer["energies"])
        assert_allclose(
            np.linalg.norm(run.force, axis=2),
            np.linalg.norm(peer["forces"], axis=2),
            atol=1e-14,
        )
        assert_allclose(
            np.trace(virials(run), axis1=1, axis2=2),
            np.trace(peer["virials"], axis1=1, axis2=2),
            atol=VIRIAL_TOLERANCE,
        )
        other = ase.io.read(path, ":", format="vasp-xml" if is_xml else "vasp-out")
        assert_allclose([a.positions for a in other], run.coord, atol=1e-14)
        assert_allclose([a.get_forces() for a in other], run.force, atol=0)
        free = [a.get_potential_energy(force_consistent=True) for a in other]
        assert_array_equal(free, run.energy)
        stress = np.array([a.get_stress(voigt=False) for a in other])
        assert_allclose(-stress, run.stress * KBAR, atol=1e-8)


@pytest.mark.shared_data
def test_the_best_digits_of_both_files_win(shared_data):
    folder = shared_data / "thirdparty/vasp_ch4/000003"
    both = read(folder / "OUTCAR", folder / "vasprun.xml")
    xml = read_vasprun(folder / "vasprun.xml")
    assert_array_equal(both.frames.force, xml.force.reshape(-1, 3))
    assert_array_equal(both.frames.coord, xml.coord.reshape(-1, 3))
    assert both.format == "vasp/xml"
    assert_array_equal(both.step, np.arange(1, 11))
    assert (both.n_scf > 0).all()


@pytest.mark.shared_data
def test_theory_is_the_same_from_either_file(shared_data):
    folder = shared_data / "thirdparty/vasp_ch4/000000"
    theories = [
        read(folder / "OUTCAR").theory,
        read(folder / "vasprun.xml").theory,
        read(folder / "OUTCAR", folder / "vasprun.xml").theory,
    ]
    assert theories[0] == theories[1] == theories[2]
    assert theories[0]["functional"] == "PBE"
    assert theories[0]["cutoff"] == 400.0
    assert theories[0]["kpoints"] == {"mesh": [2, 2, 2], "shift": [1, 1, 1]}
    assert theories[0]["energy_kind"] == "free_energy_TOTEN"
    assert theories[0]["pseudopotentials"]["C"]["title"] == "PAW_PBE C 08Apr2002"


@pytest.mark.shared_data
def test_vasp_5_at_the_last_iteration_is_unconverged(shared_data):
    path = shared_data / "thirdparty/dpdata_samples/poscars/OUTCAR.ch4.unconverged"
    parsed = read(path)
    # all three steps print "aborting loop because EDIFF is reached"
    assert path.read_text().count("because EDIFF is reached") == 3
    assert parsed.n_scf.tolist() == [15, 15, 12]
    bad = Quarantine.UNCONVERGED
    assert parsed.quarantine == (bad, bad, Quarantine.NONE)


@pytest.mark.shared_data
def test_nwrite_0_is_read_from_vasprun_and_cut_down_without_it(shared_data):
    folder = shared_data / "thirdparty/dpdata_samples/poscars/Ti-aimd-nwrite0"
    both = read(folder / "OUTCAR", folder / "vasprun.xml")
    assert both.frames.nframes == 10
    alone = read(folder / "OUTCAR")
    # only the first and the last step print their positions
    assert alone.step.tolist() == [1, 10]
    assert "8 of 10 ionic steps print no coordinates" in alone.notes[0]
    assert_allclose(alone.frames.energy, both.frames.energy[[0, 9]], atol=1e-8)
    assert_allclose(alone.frames.force[:32], both.frames.force[:32], atol=1e-6)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "nframes", "reason"),
    [
        ("OUTCAR.gz", 5, Quarantine.NONE),
        ("vasprun.bad_random_seed.xml.gz", 264, Quarantine.NONE),
        ("vasprun.md.xml.gz", 10, Quarantine.NONE),
        ("vasprun.unconverged.xml.gz", 5, Quarantine.UNCONVERGED),
    ],
)
def test_gzipped_files_of_vasp_5_and_6_are_read(shared_data, name, nframes, reason):
    parsed = read(shared_data / "thirdparty/pymatgen_vasp" / name)
    assert parsed.frames.nframes == nframes
    assert set(parsed.quarantine) == {reason}
    assert parsed.complete


@pytest.mark.shared_data
def test_hubbard_u_is_read_by_element(shared_data):
    theory = read(shared_data / "thirdparty/pymatgen_vasp/OUTCAR.gz").theory
    assert theory["hubbard_u"] == {"type": 2, "Ni": {"l": 2, "u": 6.0, "j": 0.0}}
    assert theory["spin"] == "collinear"


@pytest.mark.shared_data
def test_forces_with_dispersion_are_taken_not_those_without(shared_data):
    import dpdata

    path = shared_data / "thirdparty/dpdata_samples/poscars/OUTCAR.Ge.vdw"
    parsed = read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = dpdata.LabeledSystem(str(path), fmt="outcar")
    assert_allclose(
        np.linalg.norm(parsed.frames.force, axis=1),
        np.linalg.norm(peer["forces"][0], axis=1),
        atol=1e-12,
    )
    assert parsed.theory["dispersion"] == "unnamed"
    # dpdata turned the cell; ours is as printed, with a negative off-diagonal
    assert parsed.frames.box[0, 1, 0] == -0.298112781


@pytest.mark.shared_data
def test_a_run_without_stress_has_no_virial(shared_data):
    path = shared_data / "thirdparty/dpdata_samples/poscars/vasprun.h2o.md.novirial.xml"
    parsed = read(path)
    assert parsed.frames.nframes == 3
    assert not parsed.frames.has_virial.any()
    assert set(parsed.quarantine) == {Quarantine.NONE}
