"""dpdata's formats against reference arrays."""

import gzip

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.discover import find_sources
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.dpdata.formats import read
from dpbench.io.readers.dpdata.names import check_format, labelled_formats
from dpbench.units import BOHR, HARTREE


def parse(name, path):
    return read(SourceFiles(format=f"dpdata:{name}", paths=(path,)))


def reasons(source):
    return [str(reason) for reason in source.quarantine]


@pytest.fixture(scope="session")
def samples(shared_data):
    return shared_data / "thirdparty" / "dpdata_samples"


@pytest.fixture(scope="session")
def psi4_output(shared_data):
    return shared_data / "generated" / "other_codes" / "h2o_psi4.out"


def test_every_labelled_format_of_dpdata_is_offered():
    known = labelled_formats()
    expected = {"vasp/outcar", "qe/pw/scf", "abacus/md", "siesta/output", "orca/spout"}
    assert expected <= set(known)
    assert "vasp/poscar" not in known
    assert "gaussian/gjf" not in known
    assert len(known) >= 45


def test_unknown_format_names_the_nearest():
    with pytest.raises(SourceError, match="did you mean siesta/output"):
        check_format("siesta/outptu")
    with pytest.raises(SourceError, match="expected one of abacus/"):
        check_format("poscar")


def test_abacus_md_agrees_with_its_reference(samples):
    folder = samples / "abacus.md.newversion"
    source = parse("abacus/md", folder)
    frames = source.frames
    assert reasons(source) == [""] * 11
    assert source.complete
    assert (source.code, source.code_version) == ("abacus", "3.2")
    reference = {
        n: np.loadtxt(folder / f"{n}.ref") for n in ("coord", "force", "virial")
    }
    np.testing.assert_allclose(frames.coord, reference["coord"], atol=1e-8)
    np.testing.assert_allclose(frames.force, reference["force"], atol=1e-8)
    np.testing.assert_allclose(
        frames.virial.reshape(-1, 3), reference["virial"], atol=1e-8
    )
    assert frames.symbols == ("Sn",)


def test_abacus_scf_folders_keep_two_and_flag_the_killed_one(shared_data):
    root = shared_data / "thirdparty" / "fp_trees" / "out_data_post_fp_abacus"
    found = find_sources("dpdata:abacus/scf", [root / "02.fp"]).sources
    sources = [read(files) for files in found]
    assert [reasons(source) for source in sources] == [[""], [""], ["truncated"]]
    saved = root / "orig" / "set.000"
    energy = [source.frames.energy[0] for source in sources[:2]]
    np.testing.assert_allclose(
        np.sort(energy), np.sort(np.load(saved / "energy.npy")), rtol=1e-7
    )


def test_siesta_virial_has_the_sign_of_the_printed_pressure(samples):
    """SIESTA's stress is tension > 0; dpdata takes it as a virial without a sign."""
    folder = samples / "siesta" / "scf"
    frames = parse("siesta/output", folder / "siesta_output").frames
    pressure = -0.00011520  # eV/Å^3, "siesta: Pressure (static)" of the file
    volume = 995.608381  # Å^3, as printed
    np.testing.assert_allclose(
        frames.virial[0].trace(), 3 * pressure * volume, rtol=5e-3
    )
    stress = np.loadtxt(folder / "ref_virial")
    np.testing.assert_allclose(frames.virial[0], -stress * volume, atol=1e-5)
    force = np.loadtxt(folder / "ref_force").reshape(-1, 3)
    np.testing.assert_allclose(frames.force, force, atol=1e-6)


def test_siesta_trajectory_agrees_with_its_reference(samples):
    folder = samples / "siesta" / "aimd"
    # asked for as a single point it is still read as what it is
    for name in ("siesta/aimd_output", "siesta/output"):
        source = parse(name, folder / "output")
        assert source.format == "dpdata:siesta/aimd_output"
        assert reasons(source) == [""] * 5
        np.testing.assert_allclose(source.frames.energy, np.loadtxt(folder / "energy"))
        coord = np.loadtxt(folder / "coord").reshape(-1, 3)
        np.testing.assert_allclose(source.frames.coord, coord, atol=1e-8)
        force = np.loadtxt(folder / "force").reshape(-1, 3)
        np.testing.assert_allclose(source.frames.force, force, atol=1e-6)
        assert (source.frames.virial[:, 0, 0] > 0).all()  # 7.6 kbar of pressure
        assert any("sign" in note for note in source.notes)


@pytest.mark.parametrize(
    ("file", "suffix", "count"),
    [("out_md", "md", 3), ("output_multi_elements", "md_m", 6)],
)
def test_fhi_aims_agrees_with_its_reference(samples, file, suffix, count):
    folder = samples / "fhi_aims"
    source = parse("fhi_aims/output", folder / file)
    assert reasons(source) == [""] * count
    energy = np.loadtxt(folder / f"ref_energy_{suffix}.txt")
    np.testing.assert_allclose(source.frames.energy, energy)
    force = np.loadtxt(folder / f"ref_force_{suffix}.txt").reshape(-1, 3)
    np.testing.assert_allclose(source.frames.force, force)


def test_fhi_aims_single_point_is_told_from_a_trajectory(samples):
    source = parse("fhi_aims/output", samples / "fhi_aims" / "out_scf")
    assert source.format == "dpdata:fhi_aims/scf"
    assert reasons(source) == [""]
    assert source.complete
    reference = np.loadtxt(samples / "fhi_aims" / "ref_coord.txt").reshape(-1, 3)
    np.testing.assert_allclose(source.frames.coord, reference, atol=1e-6)


def test_gaussian_trajectory_has_no_cell(samples):
    source = parse("gaussian/md", samples / "gaussian" / "aimd_gaussian_CH4_output")
    assert reasons(source) == [""] * 22
    assert np.isnan(source.frames.box).all()
    np.testing.assert_allclose(
        source.frames.energy[0], -40.5096755160 * HARTREE, rtol=1e-9
    )


def test_psi4_output_of_today_is_read(psi4_output):
    source = parse("psi4/out", psi4_output)
    frames = source.frames
    assert reasons(source) == [""]
    assert source.complete
    assert frames.symbols == ("H", "O")
    np.testing.assert_allclose(frames.energy, -76.3580372196054498 * HARTREE, rtol=1e-9)
    np.testing.assert_allclose(
        frames.force[0, 2], 0.016105745720 * HARTREE / BOHR, rtol=1e-8
    )
    assert not frames.pbc.any()
    assert source.theory["functional"] == "B3LYP"


def test_gzipped_output_reads_the_same(psi4_output, tmp_path):
    path = tmp_path / "h2o.out.gz"
    path.write_bytes(gzip.compress(psi4_output.read_bytes()))
    packed, plain = parse("psi4/out", path), parse("psi4/out", psi4_output)
    np.testing.assert_array_equal(packed.frames.force, plain.frames.force)


def test_vasp_cell_is_not_rotated(samples):
    import dpdata

    path = samples / "poscars" / "vasprun.h2o.md.tribox.xml"
    frames = parse("vasp/xml", path).frames
    rotated = dpdata.LabeledSystem(str(path), fmt="vasp/xml")
    assert np.abs(rotated["cells"] - frames.box).max() > 1e-3
    np.testing.assert_allclose(rotated["energies"], frames.energy)
    lengths = np.linalg.norm(frames.force.reshape(rotated["forces"].shape), axis=2)
    np.testing.assert_allclose(np.linalg.norm(rotated["forces"], axis=2), lengths)


def test_extxyz_of_several_compositions_is_read_through_dpdata(tmp_path):
    columns = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3'
    path = tmp_path / "two.xyz"
    path.write_text(
        f"1\n{columns} energy=1\nSi 0 0 0 1 2 3\n"
        f"2\n{columns} energy=2\nO 1 1 1 4 5 6\nH 2 2 2 7 8 9\n"
    )
    frames = parse("extxyz", path).frames
    assert frames.natoms.tolist() == [1, 2]
    assert sorted(frames.z.tolist()) == [1, 8, 14]


@pytest.mark.parametrize(
    "name",
    [
        "deepmd/npy",
        "deepmd/npy/mixed",
        "deepmd/hdf5",
        "deepmd/hdf5/mixed",
        "deepmd/lmdb",
        "ase/traj",
        "n2p2",
    ],
)
def test_data_formats_keep_all_frames(samples, tmp_path, name):
    import dpdata

    given = dpdata.LabeledSystem(
        str(samples / "poscars" / "OUTCAR.h2o.md.10"), fmt="vasp/outcar"
    )
    path = tmp_path / ("system.hdf5" if "hdf5" in name else "system")
    holds_many = "mixed" in name or "hdf5" in name or "lmdb" in name
    system = dpdata.MultiSystems(given) if holds_many else given
    system.to(name, str(path))
    source = parse(name, path)
    assert reasons(source) == [""] * 10
    np.testing.assert_allclose(source.frames.energy, given["energies"], rtol=1e-6)
    np.testing.assert_allclose(
        source.frames.force, given["forces"].reshape(-1, 3), atol=1e-5
    )
    assert source.frames.pbc.all()
