"""What our VASP reader trips over is read through dpdata, and said."""

import numpy as np
import pytest

from dpbench.errors import SourceError
from dpbench.io.ingest import ingest
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers import reader_of
from dpbench.io.readers.vasp import outcar as vasp_outcar
from dpbench.io.readers.vasp import reader as vasp
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.io.vasp_texts import made_up_steps, outcar


def trip(*_, **__):
    raise IndexError("a form that nobody thought of")


@pytest.fixture
def ch4(shared_data):
    return shared_data / "thirdparty" / "vasp_ch4" / "000000"


@pytest.mark.parametrize("name", ["OUTCAR", "vasprun.xml"])
def test_surprise_falls_back_to_dpdata(ch4, monkeypatch, name):
    files = SourceFiles(format="vasp", paths=(ch4 / name,))
    native = reader_of("vasp").read(files)
    monkeypatch.setattr(vasp, "_frames", trip)
    source = reader_of("vasp").read(files)
    assert "read through dpdata" in source.notes[0]
    assert "a form that nobody thought of" in source.notes[0]
    assert source.frames.nframes == native.frames.nframes == 10
    for key, tolerance in (("coord", 1e-6), ("force", 1e-6), ("virial", 1e-4)):
        np.testing.assert_allclose(
            getattr(source.frames, key), getattr(native.frames, key), atol=tolerance
        )
    np.testing.assert_allclose(source.frames.energy, native.frames.energy, atol=1e-7)


def test_fallback_is_told_in_the_summary(ch4, monkeypatch, tmp_path):
    monkeypatch.setattr(vasp_outcar, "_stresses", trip)
    workspace = Workspace.find(tmp_path, create=True)
    report = ingest(workspace, "vasp", [ch4 / "OUTCAR"], dataset="d", workers=0)
    assert "dpdata       1 source read through dpdata" in report.summary()
    assert report.n_kept == 10
    (source,) = open_dataset(workspace, "d").sources
    assert any("met something new (IndexError" in note for note in source.notes)


def test_gates_hold_in_the_fallback(shared_data, monkeypatch):
    path = shared_data / "thirdparty/dpdata_samples/poscars/OUTCAR.ch4.unconverged"
    files = SourceFiles(format="vasp", paths=(path,))
    native = reader_of("vasp").read(files)
    monkeypatch.setattr(vasp, "_frames", trip)
    source = reader_of("vasp").read(files)
    assert source.quarantine == native.quarantine
    assert Quarantine.UNCONVERGED in source.quarantine


def test_what_dpdata_cannot_read_either_is_one_error(tmp_path, monkeypatch):
    path = tmp_path / "OUTCAR"
    path.write_text(outcar(made_up_steps(1))[:900])
    monkeypatch.setattr(vasp, "_read_files", trip)
    with pytest.raises(SourceError, match=r"our reader failed .* and dpdata's too"):
        reader_of("vasp").read(SourceFiles(format="vasp", paths=(path,)))


def test_refusal_on_purpose_does_not_fall_back(tmp_path):
    path = tmp_path / "OUTCAR"
    path.write_text("vasp.5.4.4 nothing")
    with pytest.raises(SourceError, match="POTCAR titles"):
        reader_of("vasp").read(SourceFiles(format="vasp", paths=(path,)))
