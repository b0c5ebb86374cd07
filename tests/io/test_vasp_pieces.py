"""Streaming gives the same numbers wherever the text is cut into pieces."""

import gzip

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.readers.fixed_point import parse_rows, parse_table, parse_texts
from dpbench.io.readers.vasp import pieces as vasp_pieces
from dpbench.io.readers.vasp import xml_parts as vasp_xml_parts
from dpbench.io.readers.vasp.outcar import read_outcar
from dpbench.io.readers.vasp.xml import read_vasprun
from tests.io.vasp_texts import made_up_steps, outcar, vasprun

LARGE = (
    "<eigenvalues><array><set><r> 1.0 </r></set></array></eigenvalues>"
    "<dos><i name='efermi'> 1.0 </i></dos>"
)
FIELDS = ("coord", "box", "energy", "force", "stress", "n_scf", "step")


def same(one, other):
    assert one.verdict == other.verdict
    assert one.complete == other.complete
    assert one.settings == other.settings
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.fixture
def files(tmp_path):
    steps = made_up_steps(7)
    (tmp_path / "OUTCAR").write_text(outcar(steps))
    text = vasprun(steps).replace("</calculation>", f"{LARGE}</calculation>")
    (tmp_path / "vasprun.xml").write_text(text)
    for name in ("OUTCAR", "vasprun.xml"):
        packed = gzip.compress((tmp_path / name).read_bytes())
        (tmp_path / f"{name}.gz").write_bytes(packed)
    return tmp_path


@pytest.mark.parametrize("size", [1, 17, 100, 1000, 4321])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_outcar_in_pieces_is_the_outcar(files, monkeypatch, size, ending):
    whole = read_outcar(files / "OUTCAR")
    assert whole.nframes == 7
    monkeypatch.setattr(vasp_pieces, "PIECE", size)
    same(read_outcar(files / f"OUTCAR{ending}"), whole)


@pytest.mark.parametrize("size", [1, 17, 100, 1000, 4321])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_vasprun_in_pieces_is_the_vasprun(files, monkeypatch, size, ending):
    whole = read_vasprun(files / "vasprun.xml")
    assert whole.nframes == 7
    assert set(whole.verdict) == {""}
    monkeypatch.setattr(vasp_xml_parts, "CHUNK", size)
    same(read_vasprun(files / f"vasprun.xml{ending}"), whole)


@pytest.mark.parametrize("size", [300, 4321])
def test_real_files_in_pieces_are_the_same(shared_data, monkeypatch, size):
    folder = shared_data / "thirdparty" / "vasp_ch4" / "000003"
    outcar_whole = read_outcar(folder / "OUTCAR")
    xml_whole = read_vasprun(folder / "vasprun.xml")
    monkeypatch.setattr(vasp_pieces, "PIECE", size)
    monkeypatch.setattr(vasp_xml_parts, "CHUNK", size)
    same(read_outcar(folder / "OUTCAR"), outcar_whole)
    same(read_vasprun(folder / "vasprun.xml"), xml_whole)


def test_large_part_without_its_end_tears_the_step(files):
    path = files / "vasprun.xml"
    path.write_text(path.read_text().replace("</dos>", "", 1))
    run = read_vasprun(path)
    assert run.verdict.count("truncated") == 1
    assert 5 <= run.nframes <= 7


def test_empty_outcar_is_a_clear_error(tmp_path):
    (tmp_path / "OUTCAR").write_text("")
    with pytest.raises(SourceError, match="OUTCAR"):
        read_outcar(tmp_path / "OUTCAR")


@pytest.mark.parametrize("digits", range(1, 16))
def test_columns_of_any_width_are_read_to_the_last_bit(digits):
    rng = np.random.default_rng(digits)
    decimals = min(digits, 6)
    numbers = rng.integers(0, 10**digits, 200) / 10.0**decimals
    numbers *= rng.choice([-1, 1], 200)
    texts = [f"{x:20.{decimals}f}\n".encode() for x in numbers]
    parsed = parse_rows(texts, [(3, 20, decimals)], width=21)
    assert parsed[:, 0].tolist() == [float(text) for text in texts]


def test_wide_numbers_keep_sign_and_digits():
    texts = [f"{x:20.8f} eV".encode() for x in (-123456.12345678, 1.5, 12345678901.25)]
    values = parse_texts([*texts, *texts[:1] * 4], 1)[:, 0]
    assert values.tolist()[:3] == [-123456.12345678, 1.5, 12345678901.25]
    assert parse_rows([b"-1234.5\n"], [(1, 7, 1)], width=8) is None


def test_text_of_another_width_is_not_a_number():
    texts = [b"  -1.25 eV", b" 100.50 eV", b"   1.2 eV", b"", b"****** eV"]
    values = parse_texts(texts, 1)[:, 0]
    assert values[:2].tolist() == [-1.25, 100.5]
    assert np.isnan(values[2:]).all()


@pytest.mark.parametrize(
    "table", [b"1.0 2.0\n1.0\n", b"1.0 2.0\n1.0 22.0\n", b"1.0 2.0\n1.0 2,0\n"]
)
def test_table_of_uneven_rows_is_none(table):
    assert parse_table(table, 2) is None
    assert parse_table(b"1.0 2.0\n*** 2.0\n", 2)[0].tolist() == [1.0, 2.0]
