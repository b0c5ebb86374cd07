from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dpbench.errors import SourceError
from dpbench.io.discover import find_sources
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers import reader_of

NATOMS = 3


def read(path: Path, format_name: str = "deepmd/npy", member: str = "") -> ParsedSource:
    files = SourceFiles(format=format_name, paths=(path,), member=member)
    return reader_of(format_name).read(files)


def made_up(nframes: int = 4, dtype: type = np.float64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    return {
        "coord": rng.uniform(0, 5, (nframes, NATOMS * 3)).astype(dtype),
        "box": np.tile(np.diag([5.0, 6.0, 7.0]).ravel(), (nframes, 1)).astype(dtype),
        "energy": rng.normal(-10, 1, nframes).astype(dtype),
        "force": rng.normal(0, 1, (nframes, NATOMS * 3)).astype(dtype),
        "virial": rng.normal(0, 1, (nframes, 9)).astype(dtype),
    }


def write_system(folder: Path, *sets: dict[str, np.ndarray], nopbc: bool = False):
    folder.mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    if nopbc:
        (folder / "nopbc").touch()
    for number, arrays in enumerate(sets):
        target = folder / f"set.{number:03d}"
        target.mkdir()
        for name, array in arrays.items():
            np.save(target / f"{name}.npy", array)
    return folder


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("folder", "nframes"),
    [("data_0", 80), ("data_1", 160), ("data_2", 80), ("data_3", 80)],
)
def test_deepmd_water_is_read_bit_for_bit_in_float32(shared_data, folder, nframes):
    path = shared_data / "thirdparty/deepmd_water/data" / folder
    parsed = read(path)
    sets = sorted(path.glob("set.*"))
    coord = np.concatenate([np.load(s / "coord.npy") for s in sets]).reshape(-1, 3)
    assert parsed.frames.nframes == nframes
    assert parsed.frames.coord.dtype == np.float32
    assert_array_equal(parsed.frames.coord, coord)
    assert parsed.frames.has_force.all()
    assert not parsed.frames.has_virial.any()
    assert set(parsed.quarantine) == {Quarantine.NONE}
    assert parsed.frames.symbols == ("H", "O")


def test_sets_follow_each_other_in_natural_order(tmp_path):
    sets = [made_up(1) for _ in range(11)]
    for number, arrays in enumerate(sets):
        arrays["energy"] = np.array([float(number)])
    folder = write_system(tmp_path / "s", *sets)
    (folder / "set.002").rename(folder / "set.2")
    parsed = read(folder)
    assert parsed.frames.energy.tolist() == list(map(float, range(11)))
    assert parsed.step.tolist() == list(range(11))


@pytest.mark.parametrize("shape", ["flat", "square"])
def test_both_shapes_of_the_arrays_are_read(tmp_path, shape):
    arrays = made_up()
    if shape == "square":
        arrays["coord"] = arrays["coord"].reshape(4, NATOMS, 3)
        arrays["box"] = arrays["box"].reshape(4, 3, 3)
        arrays["energy"] = arrays["energy"].reshape(4, 1)
    frames = read(write_system(tmp_path / "s", arrays)).frames
    assert_array_equal(frames.coord, made_up()["coord"].reshape(-1, 3))
    assert_array_equal(frames.energy, made_up()["energy"])
    assert_array_equal(frames.virial, made_up()["virial"].reshape(4, 3, 3))
    assert frames.pbc.all()


def test_nopbc_has_no_cell(tmp_path):
    arrays = made_up()
    del arrays["box"], arrays["virial"]
    parsed = read(write_system(tmp_path / "s", arrays, nopbc=True))
    assert np.isnan(parsed.frames.box).all()
    assert not parsed.frames.pbc.any()
    assert set(parsed.quarantine) == {Quarantine.NONE}


def test_padding_of_mixed_type_is_taken_off(tmp_path):
    arrays = made_up(3)
    arrays["real_atom_types"] = np.array([[0, 1, 1], [0, 1, -1], [1, 1, -1]])
    folder = write_system(tmp_path / "s", arrays)
    (folder / "type.raw").write_text("0\n0\n0\n")
    found = find_sources("deepmd", [folder]).sources
    assert [s.format for s in found] == ["deepmd/mixed"]
    frames = read(folder, "deepmd/mixed").frames
    assert frames.natoms.tolist() == [3, 2, 2]
    assert frames.z.tolist() == [8, 1, 1, 8, 1, 1, 1]
    coord = arrays["coord"].reshape(3, 3, 3)
    assert_array_equal(frames.coord[frames.atoms_of(1)], coord[1, :2])


def test_raw_text_is_read(tmp_path):
    folder = write_system(tmp_path / "s")
    arrays = made_up()
    for name, array in arrays.items():
        np.savetxt(folder / f"{name}.raw", array.reshape(4, -1))
    found = find_sources("deepmd", [folder]).sources
    assert [s.format for s in found] == ["deepmd/raw"]
    frames = read(folder, "deepmd/raw").frames
    assert_array_equal(frames.coord, arrays["coord"].reshape(-1, 3))


def write_hdf5(path: Path, *names: str) -> Path:
    with h5py.File(path, "w") as file:
        for name in names:
            group = file.require_group(name)
            group["type.raw"] = np.array([0, 1, 1])
            group["type_map.raw"] = np.array([b"O", b"H"])
            for key, array in made_up().items():
                group[f"set.000/{key}.npy"] = array
    return path


def test_an_hdf5_file_is_read_whole_or_by_group(tmp_path):
    path = write_hdf5(tmp_path / "two.hdf5", "water/a", "water/b10", "ice")
    assert read(path, "deepmd/hdf5").frames.nframes == 12
    assert read(path, "deepmd/hdf5", "/water").frames.nframes == 8
    assert read(path, "deepmd/hdf5", "/ice").frames.nframes == 4
    with pytest.raises(SourceError, match=r"no such group.*/water/a"):
        read(path, "deepmd/hdf5", "/steam")
    found = find_sources("deepmd", [f"{path}#/ice"]).sources
    assert [(s.main, s.member) for s in found] == [(path, "/ice")]


def test_hdf5_of_dpdata_is_read(tmp_path):
    import dpdata

    folder = write_system(tmp_path / "s", made_up())
    system = dpdata.LabeledSystem(str(folder), fmt="deepmd/npy")
    system.to("deepmd/hdf5", str(tmp_path / "out.hdf5"))
    frames = read(tmp_path / "out.hdf5", "deepmd/hdf5").frames
    assert_array_equal(frames.force, system["forces"].reshape(-1, 3))
    assert_array_equal(frames.virial, system["virials"])


def test_a_label_of_the_wrong_shape_quarantines_the_system(tmp_path):
    arrays = made_up()
    arrays["force"] = arrays["force"][:, :6]
    parsed = read(write_system(tmp_path / "s", arrays))
    assert set(parsed.quarantine) == {Quarantine.BAD_SHAPE}
    assert parsed.frames.nframes == 4
    assert "shape (4, 6) does not fit natoms = 3 from type.raw" in parsed.notes[0]
    assert_array_equal(parsed.frames.energy, arrays["energy"])


def test_too_few_energies_quarantine_the_system(tmp_path):
    arrays = made_up()
    arrays["energy"] = arrays["energy"][:3]
    parsed = read(write_system(tmp_path / "s", arrays))
    assert set(parsed.quarantine) == {Quarantine.BAD_SHAPE}


@pytest.mark.parametrize("name", ["coord", "energy", "force", "virial", "box"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_number_quarantines_its_frame_alone(tmp_path, name, value):
    arrays = made_up()
    arrays[name].reshape(4, -1)[2, 0] = value
    parsed = read(write_system(tmp_path / "s", arrays))
    none = Quarantine.NONE
    assert parsed.quarantine == (none, none, Quarantine.NOT_A_NUMBER, none)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("energy", Quarantine.NO_ENERGY), ("force", Quarantine.NO_FORCE)],
)
def test_a_missing_label_is_named(tmp_path, name, reason):
    arrays = made_up()
    del arrays[name]
    parsed = read(write_system(tmp_path / "s", arrays))
    assert set(parsed.quarantine) == {reason}


def test_a_flat_cell_is_quarantined(tmp_path):
    arrays = made_up()
    arrays["box"][1] = 0.0
    assert read(write_system(tmp_path / "s", arrays)).quarantine[1] == "bad_shape"


def test_a_type_without_atoms_needs_no_element_name(tmp_path):
    folder = write_system(tmp_path / "s", made_up())
    (folder / "type_map.raw").write_text("O\nH\nGHOST\n")
    assert read(folder).frames.symbols == ("H", "O")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("type_map.raw", None, "type_map.raw: does not exist; expected the element"),
        ("type_map.raw", "O\n", "atom type 1 has no name"),
        ("type_map.raw", "O\nHh\n", "unknown element 'Hh'"),
        ("type.raw", None, "type.raw: does not exist"),
        ("type.raw", "0\n1\n", "shape .4, 9.; expected .nframes, 6."),
        ("type.raw", "O\nH\nH\n", "expected one integer a line"),
        ("type.raw", "", "is empty"),
        ("set.000/coord.npy", "no array", "is damaged"),
        ("set.000/box.npy", None, "box.npy: is missing"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, name, content, words):
    folder = write_system(tmp_path / "s", made_up())
    path = folder / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(SourceError, match=words) as raised:
        read(folder)
    assert "\n" not in str(raised.value)


def test_pickled_arrays_are_refused(tmp_path):
    arrays = made_up()
    folder = write_system(tmp_path / "s", arrays)
    np.save(folder / "set.000/energy.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(SourceError, match="is damaged"):
        read(folder)
