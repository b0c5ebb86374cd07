"""Extended XYZ files against ASE, and the faults that such files have."""

import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.extxyz.comment import read_pairs
from dpbench.io.readers.extxyz.reader import read

CELL = 'Lattice="4 0 0 0 5 0 0 0 6"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"
GOOD = f"""2
{CELL} {COLUMNS} energy=-1.5 pbc="T T T"
Si 0.0 0.0 0.0 0.1 0.2 0.3
O 1.0 1.0 1.0 -0.1 -0.2 -0.3
"""


def parse(path):
    return read(SourceFiles(format="extxyz", paths=(path,)))


def written(tmp_path, text):
    path = tmp_path / "frames.extxyz"
    path.write_text(text)
    return parse(path)


def reasons(source):
    return [str(reason) for reason in source.quarantine]


def test_frame_is_read_with_all_its_labels(tmp_path):
    source = written(tmp_path, GOOD)
    frames = source.frames
    assert reasons(source) == [""]
    assert frames.z.tolist() == [14, 8]
    assert frames.energy.tolist() == [-1.5]
    np.testing.assert_array_equal(frames.coord[1], [1, 1, 1])
    np.testing.assert_array_equal(frames.force[0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(frames.box[0], np.diag([4, 5, 6]))
    assert frames.pbc.all()
    assert not frames.has_virial.any()
    assert source.complete
    assert source.theory == {}
    assert source.code == "unknown"


def test_acac_agrees_with_ase(shared_data):
    for path in sorted((shared_data / "thirdparty" / "acac").glob("*.xyz")):
        frames = parse(path).frames
        atoms = ase.io.read(path, ":", format="extxyz")
        assert frames.nframes == len(atoms)
        coord = np.concatenate([a.positions for a in atoms])
        force = np.concatenate([a.get_forces() for a in atoms])
        np.testing.assert_array_equal(frames.coord, coord)
        np.testing.assert_array_equal(frames.force, force)
        energy = [a.get_potential_energy() for a in atoms]
        np.testing.assert_array_equal(frames.energy, energy)
        assert not frames.pbc.any()


def test_gpaw_frame_takes_the_free_energy_and_turns_stress_into_virial(shared_data):
    path = shared_data / "generated" / "other_codes" / "si_gpaw.extxyz"
    source = parse(path)
    atoms = ase.io.read(path)
    energy = atoms.get_potential_energy(force_consistent=True)
    assert source.frames.energy.tolist() == [energy]
    virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    np.testing.assert_allclose(source.frames.virial[0], virial, rtol=1e-12)
    assert any("free_energy" in note for note in source.notes)


numbers = st.floats(-50, 50, allow_nan=False).map(lambda x: round(x, 8))


@st.composite
def labelled_atoms(draw):
    natoms = draw(st.integers(1, 6))
    symbols = draw(
        st.lists(st.sampled_from(["H", "Si", "U"]), min_size=natoms, max_size=natoms)
    )
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    cell = np.eye(3) * 8 + draw(arrays(float, (3, 3), elements=st.floats(-1, 1)))
    atoms = Atoms(
        symbols, draw(arrays(float, (natoms, 3), elements=numbers)), cell=cell, pbc=pbc
    )
    results = {
        "energy": draw(numbers),
        "forces": draw(arrays(float, (natoms, 3), elements=numbers)),
        "stress": draw(arrays(float, 6, elements=st.floats(-1, 1))),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@given(frames=st.lists(labelled_atoms(), min_size=1, max_size=4))
def test_round_trip_through_ase(tmp_path_factory, frames):
    path = tmp_path_factory.mktemp("trip") / "out.extxyz"
    ase.io.write(path, frames, format="extxyz")
    got = parse(path).frames
    assert got.natoms.tolist() == [len(a) for a in frames]
    assert got.z.tolist() == [z for a in frames for z in a.numbers]
    assert got.pbc.tolist() == [a.pbc.tolist() for a in frames]
    np.testing.assert_array_equal(got.box, [a.cell.array for a in frames])
    np.testing.assert_array_equal(
        got.energy, [a.calc.results["energy"] for a in frames]
    )
    # ASE writes eight decimals
    coord = np.concatenate([a.positions for a in frames])
    np.testing.assert_allclose(got.coord, coord, atol=1e-8)
    force = np.concatenate([a.calc.results["forces"] for a in frames])
    np.testing.assert_allclose(got.force, force, atol=1e-8)
    virial = [-a.get_volume() * a.get_stress(voigt=False) for a in frames]
    np.testing.assert_allclose(got.virial, virial, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("comment", "pairs"),
    [
        ("a=1 b='x y' c={1 2}", {"a": "1", "b": "x y", "c": "1 2"}),
        ('key="a \\"b\\" = c" d', {"key": 'a "b" = c', "d": "T"}),
        ("m=[[1, 2], [3, 4]] e = -2", {"m": "[[1, 2], [3, 4]]", "e": "-2"}),
        ('"odd key"=3 lattice="1 2"', {"odd key": "3", "lattice": "1 2"}),
        ("", {}),
    ],
)
def test_comment_line_is_split(comment, pairs):
    assert read_pairs(comment) == pairs


def test_virial_key_is_taken_as_it_is_and_stress_times_minus_volume(tmp_path):
    voigt = 'virial="1 2 3 4 5 6"'
    frames = written(tmp_path, GOOD.replace("energy", f"{voigt} energy")).frames
    expected = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    np.testing.assert_array_equal(frames.virial[0], expected)
    stress = 'stress="0.1 0 0 0 0.2 0 0 0 0.3"'
    frames = written(tmp_path, GOOD.replace("energy", f"{stress} energy")).frames
    np.testing.assert_allclose(frames.virial[0], np.diag([-12.0, -24.0, -36.0]))


def test_virial_against_stress_is_a_mismatch(tmp_path):
    both = 'virial="12 24 36 0 0 0" stress="0.1 0.2 0.3 0 0 0" energy'
    assert reasons(written(tmp_path, GOOD.replace("energy", both))) == ["mismatch"]
    both = both.replace('"12 24 36', '"-12 -24 -36')
    assert reasons(written(tmp_path, GOOD.replace("energy", both))) == [""]


def test_reference_labels_win_over_those_of_another_calculator(tmp_path):
    text = f"""1
{CELL} {COLUMNS}:REF_forces:R:3 energy=1 REF_energy=2
H 0 0 0 0.1 0.1 0.1 0.2 0.2 0.2
"""
    source = written(tmp_path, text)
    assert source.frames.energy.tolist() == [2.0]
    assert source.frames.force.tolist() == [[0.2, 0.2, 0.2]]
    assert "REF_energy" in source.notes[0]


def test_spellings_of_gap_data(tmp_path):
    columns = "Properties=species:S:1:pos:R:3:Z:I:1:dft_force:R:3"
    text = f"""1
{CELL} {columns} dft_energy=-3 dft_virial="1 0 0 0 1 0 0 0 1"
H 0 0 0 1 0.1 0.2 0.3
"""
    frames = written(tmp_path, text).frames
    assert frames.energy.tolist() == [-3.0]
    assert frames.force.tolist() == [[0.1, 0.2, 0.3]]
    assert frames.virial[0].trace() == 3.0


def test_atomic_numbers_stand_for_symbols(tmp_path):
    text = (
        GOOD.replace("species:S:1", "Z:I:1").replace("Si ", "14 ").replace("O ", "8 ")
    )
    assert written(tmp_path, text).frames.z.tolist() == [14, 8]


def test_no_lattice_means_no_cell(tmp_path):
    source = written(tmp_path, GOOD.replace(CELL, "").replace(' pbc="T T T"', ""))
    assert np.isnan(source.frames.box).all()
    assert not source.frames.pbc.any()
    assert reasons(source) == [""]


def test_partial_periodicity_is_kept(tmp_path):
    source = written(tmp_path, GOOD.replace("T T T", "T T F"))
    assert source.frames.pbc.tolist() == [[True, True, False]]


def test_compositions_and_columns_may_change_from_frame_to_frame(tmp_path):
    columns = "Properties=species:S:1:forces:R:3:pos:R:3"
    other = f"1\n{CELL} {columns} energy=2\nAl 9 9 9 1 2 3\n"
    source = written(tmp_path, GOOD + other + GOOD)
    assert reasons(source) == ["", "", ""]
    assert source.frames.natoms.tolist() == [2, 1, 2]
    assert source.frames.coord[2].tolist() == [1.0, 2.0, 3.0]


FAULTS = {
    "no energy": (lambda t: t.replace("energy=-1.5", ""), "no_energy"),
    "no forces": (
        lambda t: f"1\n{CELL} energy=1\nSi 0 0 0\n",
        "no_force",
    ),
    "nan force": (lambda t: t.replace("-0.2", "NaN"), "nan"),
    "stars": (lambda t: t.replace("-0.2", "******"), "nan"),
    "nan energy": (lambda t: t.replace("-1.5", "nan"), "nan"),
    "short line": (lambda t: t.replace(" -0.3", ""), "bad_shape"),
    "long line": (lambda t: t.replace(" -0.3", " -0.3 7"), "bad_shape"),
    "too few atoms": (lambda t: t.replace("2\n", "3\n", 1), "bad_shape"),
    "too many atoms": (lambda t: t.replace("2\n", "1\n", 1), "bad_shape"),
    "damaged Properties": (lambda t: t.replace(":R:3:", ":R:"), "bad_shape"),
    "damaged Lattice": (lambda t: t.replace("4 0 0 0", "4 0 0"), "bad_shape"),
    "flat cell": (lambda t: t.replace("0 0 6", "0 0 0"), "bad_shape"),
    "odd pbc": (lambda t: t.replace("T T T", "T maybe"), "bad_shape"),
    "pbc without cell": (lambda t: t.replace(CELL, ""), "bad_shape"),
    "virial of four": (
        lambda t: t.replace("energy", 'virial="1 2 3 4" energy'),
        "bad_shape",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_frame_is_quarantined_and_its_neighbours_are_kept(tmp_path, fault):
    spoil, reason = FAULTS[fault]
    source = written(tmp_path, GOOD + spoil(GOOD) + GOOD)
    assert reasons(source) == ["", reason, ""]
    assert source.frames.energy[2] == -1.5


def test_file_that_ends_inside_a_frame_keeps_the_whole_ones(tmp_path):
    first_atom = GOOD.index("O 1.0")
    for size in range(4, len(GOOD) - 1):
        source = written(tmp_path, GOOD + GOOD[:size])
        assert reasons(source)[0] == ""
        assert reasons(source)[1:] in ([], ["truncated"])
        assert not source.complete
        if size >= first_atom:
            assert reasons(source)[1:] == ["truncated"]


def test_missing_last_line_end_is_no_fault(tmp_path):
    assert reasons(written(tmp_path, GOOD.rstrip("\n"))) == [""]


def test_gzipped_file_reads_the_same_and_a_cut_one_is_truncated(tmp_path):
    path = tmp_path / "frames.extxyz.gz"
    rng = np.random.default_rng(0)
    text = "".join(GOOD.replace("0.1", f"{x:.9f}") for x in rng.random(400))
    packed = gzip.compress(text.encode())
    path.write_bytes(packed)
    assert parse(path).frames.nframes == 400
    path.write_bytes(packed[: len(packed) // 2])
    source = parse(path)
    assert 0 < source.frames.nframes < 400
    assert not source.complete


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no frame"),
        ("hello\nworld\n", "number of atoms"),
        (GOOD.replace("Si ", "Xx "), "unknown element 'Xx'"),
        (GOOD.replace("species:S:1", "Z:I:1"), "unknown atomic number"),
        ("\0\1\2\n", "number of atoms"),
    ],
)
def test_file_that_cannot_be_read_at_all_is_named(tmp_path, text, message):
    with pytest.raises(SourceError, match=message) as error:
        written(tmp_path, text)
    assert "frames.extxyz" in str(error.value)


def test_blocks_do_not_change_the_frames(tmp_path, monkeypatch):
    text = GOOD + GOOD.replace("-1.5", "-2.5") + GOOD.replace("2\n", "3\n", 1) + GOOD
    whole = written(tmp_path, text)
    monkeypatch.setattr("dpbench.io.readers.extxyz.reader._BLOCK", 1)
    parts = written(tmp_path, text)
    assert parts.quarantine == whole.quarantine
    assert Quarantine.BAD_SHAPE in parts.quarantine
    np.testing.assert_array_equal(parts.frames.coord, whole.frames.coord)
    np.testing.assert_array_equal(parts.frames.energy, whole.frames.energy)
