"""LAMMPS as a backend: what is decided before LAMMPS is asked."""

import hashlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import dpbench.backends
from dpbench.models.lammps_description import PROGRAMS
from dpbench.models.recognise import recognise

ADAPTER = Path(dpbench.backends.__file__).parent / "workers" / "lammps_pair.py"

ARGON = 'type_map = ["Ar"]\npair_style = "lj/cut 8.5"\npair_coeff = ["1 1 0.01 3.4"]\n'


class Refused(Exception):  # noqa: N818 -- as serve.py names it
    """Stands for the one of serve.py."""


@pytest.fixture
def adapter(monkeypatch):
    """The worker's script, without LAMMPS."""
    serve = types.ModuleType("serve")
    serve.Refused = Refused
    monkeypatch.setitem(sys.modules, "serve", serve)
    spec = importlib.util.spec_from_file_location("lammps_pair_for_tests", ADAPTER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(folder: Path, text: str) -> Path:
    path = folder / "m.lammps.toml"
    path.write_text(text)
    return path


def distances(coord, box, pbc, reach=3):
    """Sorted distances of all pairs and images, the slow way."""
    counts = [range(-reach, reach + 1) if p else (0,) for p in pbc]
    shifts = np.array(
        [(i, j, k) for i in counts[0] for j in counts[1] for k in counts[2]]
    )
    moved = coord[None] + (shifts @ box)[:, None]
    found = np.linalg.norm(moved[None] - coord[:, None, None], axis=-1).ravel()
    return np.sort(found[found < 4.0])


BOXES = {
    "orthorhombic": np.diag([5.0, 6.0, 7.0]),
    "triclinic": np.array([[5.0, 1.0, 0.5], [-3.0, 5.0, 1.0], [2.0, 3.0, 6.0]]),
    "left-handed": np.array([[0.0, 5.0, 0.0], [5.0, 0.5, 0.0], [0.3, 0.0, 6.0]]),
    "very skewed": np.array([[5.0, 0.0, 0.0], [8.0, 5.0, 0.0], [-4.0, 7.0, 6.0]]),
}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0, 0, 1)])
def test_the_box_of_lammps_has_the_same_distances(adapter, name, pbc):
    rng = np.random.default_rng(3)
    box, pbc = BOXES[name], np.array(pbc, bool)
    coord = rng.uniform(-5, 5, (6, 3))
    cell = adapter.Cell(coord, box, pbc)
    count = int(pbc.sum())
    periodic = np.arange(3) < count
    ours = distances(coord, box, pbc, reach=14)
    theirs = distances(cell.place, cell.matrix, periodic)
    np.testing.assert_allclose(theirs, ours, atol=1e-12)
    assert cell.boundary.split().count("p") == count
    assert (cell.matrix == np.tril(cell.matrix)).all()
    tilts = np.abs(np.tril(cell.matrix, -1)).max(axis=0)
    assert (tilts <= 0.5 * np.diagonal(cell.matrix) + 1e-12).all()
    assert (cell.place >= cell.low - 1e-9)[:, ~periodic].all()
    assert (cell.place <= cell.high + 1e-9)[:, ~periodic].all()


def test_forces_turn_back_with_the_cell(adapter):
    rng = np.random.default_rng(4)
    coord = rng.uniform(0, 5, (4, 3))
    cell = adapter.Cell(coord, BOXES["triclinic"], np.ones(3, bool))
    np.testing.assert_allclose(cell.turn @ cell.turn.T, np.eye(3), atol=1e-14)
    turned = BOXES["triclinic"] @ cell.turn
    np.testing.assert_allclose(np.triu(turned, 1), 0, atol=1e-14)


def test_a_cell_without_volume_is_refused(adapter):
    box = np.array([[3.0, 0.0, 0.0], [6.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    with pytest.raises(Refused, match="span no volume"):
        adapter.Cell(np.zeros((1, 3)), box, np.ones(3, bool))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type_map = [", "is no TOML"),
        (ARGON + "cutoff = 3", "unknown key 'cutoff'"),
        (ARGON.replace("pair_style", "style"), "unknown key 'style'"),
        ('type_map = ["Ar"]\npair_style = "lj/cut 8"\n', "no key 'pair_coeff'"),
        (ARGON + 'units = "lj"', "units must be metal or real"),
        (ARGON + 'atom_style = "full"', "atom_style must be"),
        (ARGON + "[charges]\nNe = 1.0", "charges: Ne"),
        (ARGON.replace('["Ar"]', '"Ar"'), "type_map must be a list"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line(adapter, tmp_path, text, says):
    with pytest.raises(Refused, match=says) as caught:
        adapter.read_description(described(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", ["1 1 1.0\nshell ls", "1 1 ${x}", "* * 'a b'", "1 1 #"])
def test_words_cannot_end_a_command(adapter, bad):
    known = {"pair_style": "lj/cut 8.5", "pair_coeff": [bad]}
    with pytest.raises(Refused, match="is no word of a LAMMPS command"):
        adapter.check_words(known, may_run=True)


@pytest.mark.parametrize(
    "style",
    ["deepmd m.pth", "hybrid lj/cut 8 python 5.0", "mliap model x descriptor y"],
)
def test_styles_that_run_programs_must_be_allowed(adapter, style):
    known = {"pair_style": style, "pair_coeff": ["* * Ar"]}
    with pytest.raises(Refused, match="runs a program"):
        adapter.check_words(known, may_run=False)
    adapter.check_words(known, may_run=True)


def test_worker_and_recogniser_know_the_same_programs(adapter, tmp_path):
    assert adapter.PROGRAMS == PROGRAMS
    assert not recognise(described(tmp_path, ARGON)).is_program
    runs = ARGON.replace("lj/cut 8.5", "deepmd m.pth")
    assert recognise(described(tmp_path, runs)).is_program


def test_files_must_be_those_that_were_described(adapter, tmp_path):
    (tmp_path / "a.eam").write_text("one")
    digest = hashlib.sha256(b"one").hexdigest()
    known = {"pair_style": "eam", "pair_coeff": ["* * a.eam"]}
    assert adapter.locate(known | {"files": {"a.eam": digest}}, [tmp_path]) == {
        "a.eam": tmp_path / "a.eam"
    }
    with pytest.raises(Refused, match=r"a\.eam is a file, but not among"):
        adapter.locate(known, [tmp_path])
    with pytest.raises(Refused, match=r"there is no b\.eam"):
        adapter.locate(known | {"files": {"b.eam": digest}}, [tmp_path])
    (tmp_path / "a.eam").write_text("two")
    with pytest.raises(Refused, match=r"a\.eam has the sha256"):
        adapter.locate(known | {"files": {"a.eam": digest}}, [tmp_path])
    outside = {"pair_style": "eam", "pair_coeff": ["* * /etc/hosts"]}
    with pytest.raises(Refused, match="is a file, but not among"):
        adapter.locate(outside, [tmp_path])
