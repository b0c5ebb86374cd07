"""A conversion is kept if the new file says what the old one says, and else not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends.client import Launch
from dpbench.backends.deepmd_convert import (
    check_structure,
    compress_by_deepmd,
    convert_by_deepmd,
)
from dpbench.backends.trust import Trust
from dpbench.elements import SYMBOLS
from dpbench.errors import BackendError, BackendRefused, ModelError
from dpbench.kernels.neighbours import find_neighbours

TEXT = "model:\n  '@class': springs\n  strength: 1.5\n"


def springs(does: str) -> Launch:
    """Start the backend that converts as it is told."""
    adapter = Path(__file__).with_name("converting_worker.py").resolve()
    env = {"CONVERTS": does}
    return Launch(
        name="springs",
        python=Path(sys.executable),
        adapter=adapter,
        env=env,
        takes_suffix=True,
    )


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(TEXT)
    return path


def converted(does: str, model: Path, target: str):
    return convert_by_deepmd(
        springs(does), model, model.with_name(target), trust=Trust()
    )


def test_a_faithful_conversion_is_kept_and_says_what_was_compared(model):
    found = converted("faithfully", model, "out.yaml")
    assert found.target.read_text() == model.read_text()
    assert (found.energy, found.force, found.seconds) == (0, 0, 0.25)
    assert "springs on model.yaml: energy within 0.0e+00 eV" in found.summary()
    assert found.versions["springs"] == "1.0"


def test_a_conversion_that_changes_the_model_is_not_kept(model):
    with pytest.raises(BackendError, match="another energy than springs on") as caught:
        converted("slightly wrong", model, "out.yaml")
    assert "\n" not in str(caught.value)
    assert not model.with_name("out.yaml").exists()


def test_a_refusal_is_passed_on_and_nothing_is_written(model):
    with pytest.raises(BackendRefused, match="smooth_type_embedding is inconsistent"):
        converted("refuses", model, "out.yaml")
    assert list(model.parent.iterdir()) == [model]


def test_a_conversion_that_writes_nothing_is_an_error(model):
    with pytest.raises(BackendError, match=r"wrote no out\.yaml"):
        converted("nothing", model, "out.yaml")


def test_all_files_of_a_model_are_kept(model):
    converted("several files", model, "out.v2.yaml")
    assert model.with_name("out.v2.pdiparams").read_text() == "weights\n"
    assert model.with_name("out.v2.yaml").exists()


def test_an_older_file_is_replaced_and_a_folder_is_not(model):
    model.with_name("out.yaml").write_text("old")
    converted("faithfully", model, "out.yaml")
    assert model.with_name("out.yaml").read_text() == TEXT
    model.with_name("out.savedmodel").mkdir()
    with pytest.raises(ModelError, match="is a folder that exists"):
        converted("faithfully", model, "out.savedmodel")


def test_a_file_is_not_converted_to_itself(model):
    with pytest.raises(ModelError, match="itself"):
        converted("faithfully", model, "model.yaml")
    assert model.read_text() == TEXT


def test_compression_writes_what_a_backend_reads_compressed(model):
    with pytest.raises(ModelError, match=r"writes \.pth, \.pb, \.hlo"):
        compress_by_deepmd(
            springs("faithfully"), model, model.with_name("c.json"), trust=Trust()
        )


def test_a_missing_source_is_said_before_anything_starts(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.yaml"):
        converted("faithfully", tmp_path / "gone.yaml", "out.yaml")


@pytest.mark.parametrize("count", [1, 2, 30])
def test_atoms_of_the_compared_structure_see_each_other_and_are_no_crowd(count):
    """Every atom has neighbours, and fewer than models of water or metals keep."""
    symbols = SYMBOLS[1 : count + 1]
    frames = check_structure(symbols, 6.0)
    for index in range(frames.nframes):
        found = find_neighbours(
            frames.coord[frames.atoms_of(index)], frames.box[index], frames.pbc[0], 6.0
        )
        counts = np.bincount(found.edge_i, minlength=frames.natoms[index])
        assert counts.min() >= 1
        assert counts.max() <= 50
    assert len(set(frames.z.tolist())) == min(count, 24)
