"""Model files of dpbench and DeePMD-kit's portable ones, from one to the other."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.models.compressed import compress
from dpbench.models.compressed_file import save_compressed
from dpbench.models.deepmd_file import read_portable, write_deepmd
from dpbench.models.files import load_potential
from dpbench.models.formats import FORMATS
from tests.models import family, structures
from tests.models.conftest import KINDS

PROVENANCE = {
    "run_id": "r",
    "seed": 3,
    "curve": [0.1, None],
    "who": "É \U0001f600 \x85",
}


def make(kind: str):
    return structures.model(**KINDS[kind]) if kind in KINDS else family.model(kind)


def convert(*arguments: object, code: int = 0) -> str:
    """Run ``dpbench convert``; return what it printed."""
    found = CliRunner().invoke(cli, ["convert", *map(str, arguments)])
    assert found.exit_code == code, found.output
    return found.output


@pytest.fixture(autouse=True)
def _no_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPBENCH_WORKSPACE", raising=False)


@pytest.mark.parametrize("kind", [*KINDS, *family.FAMILY])
@pytest.mark.parametrize("suffix", [".dp", ".yaml"])
def test_every_kind_comes_back_with_every_bit(tmp_path, kind, suffix):
    """The file itself is the same again: weights, options, seeds and provenance."""
    save_model(tmp_path / "m.pth", make(kind), PROVENANCE)
    convert("m.pth", f"m{suffix}")
    convert(f"m{suffix}", "again.pth")
    first, again = (tmp_path / n for n in ("m.pth", "again.pth"))
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("kind", ["one_side", "strip", "pair_table", "frame_numbers"])
def test_single_precision_comes_back(tmp_path, kind):
    model = make(kind).to("cpu", torch.float32)
    save_model(tmp_path / "m.pth", model, {})
    convert("m.pth", "m.yml")
    convert("m.yml", "n.dp")
    convert("n.dp", "again.pth")
    assert model_digest(load_model(tmp_path / "again.pth")[0]) == model_digest(model)


def test_yaml_and_hdf5_hold_the_same(tmp_path):
    model = family.model("hybrid_mixed")
    for name in ("m.dp", "m.yaml"):
        write_deepmd(tmp_path / name, model, min_distance=0.75, provenance=PROVENANCE)
    one, two = (read_portable(tmp_path / n) for n in ("m.dp", "m.yaml"))
    assert model_digest(one.model) == model_digest(two.model) == model_digest(model)
    assert one.provenance == two.provenance == PROVENANCE
    assert one.min_distance == two.min_distance == 0.75


def test_shortest_distance_goes_both_ways(tmp_path):
    write_deepmd(tmp_path / "m.dp", structures.model(), min_distance=0.75)
    convert("m.dp", "m.pth")
    convert("m.pth", "n.yaml")
    assert read_portable(tmp_path / "n.yaml").min_distance == 0.75


def test_a_model_changed_elsewhere_loses_its_provenance_and_says_so(tmp_path):
    import h5py

    write_deepmd(tmp_path / "m.dp", structures.model(), provenance=PROVENANCE)
    with h5py.File(tmp_path / "m.dp", "a") as file:
        data = json.loads(file.attrs["json"])
        name = data["model"]["@variables"]["out_bias"]
        file[name][...] = file[name][()] + 1
    assert "was changed since" in convert("m.dp", "m.pth")
    model, provenance = load_model(tmp_path / "m.pth")
    assert "run_id" not in provenance
    assert model.statistics.energy_bias.tolist() == [-2.0, 0.0]


def test_json_says_what_was_done(tmp_path):
    save_model(tmp_path / "m.pth", structures.model(), {})
    told = json.loads(convert("m.pth", "m.dp", "--json"))
    assert told["model"] == model_digest(structures.model())
    whole = (tmp_path / "m.dp").read_bytes()
    assert told["file_sha256"] == hashlib.sha256(whole).hexdigest()
    said = convert("m.dp", "again.dp.yaml").splitlines()
    assert f"model        {told['model']}" in said
    assert any(line.startswith("file sha256  ") for line in said)
    assert (told["source_kind"], told["target_kind"]) == ("dpbench", "deepmd-dp")
    assert told["compared"]["digest"] is True


def test_targets_that_cannot_be_meant_are_refused(tmp_path):
    save_model(tmp_path / "m.pth", structures.model(), {})
    (tmp_path / "link.pth").symlink_to(tmp_path / "m.pth")
    (tmp_path / "there.dp").touch()
    before = (tmp_path / "m.pth").read_bytes()
    assert "is the source itself" in convert("m.pth", "./m.pth", code=1)
    assert "is the source itself" in convert("m.pth", "link.pth", "--force", code=1)
    assert "is there already" in convert("m.pth", "there.dp", code=1)
    unknown = convert("m.pth", "m.onnx", code=1)
    assert all(known.suffix in unknown for known in FORMATS)
    assert "no format of deepmd-tf" in convert(
        "m.pth", "m.dp", "--backend", "deepmd-tf", code=1
    )
    assert "writes no model files" in convert(
        "m.pth", "m.dp", "--backend", "mace", code=1
    )
    assert (tmp_path / "m.pth").read_bytes() == before
    convert("m.pth", "there.dp", "--force")
    assert load_potential(tmp_path / "there.dp")


def test_a_target_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    save_model(tmp_path / "m.pth", structures.model(), {})
    monkeypatch.setattr(
        "dpbench.backends.interchange.model_digest",
        lambda model, made=[]: made.append(0) or str(len(made)),
    )
    assert "Nothing is written" in convert("m.pth", "m.dp", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


def test_a_compressed_model_names_the_plain_one(tmp_path):
    model = structures.model()
    save_compressed(tmp_path / "m.pth", compress(model), {}, {})
    for target in ("m.dp", "m.yaml", "m.pb"):
        assert "the plain m.pth that it was made of" in convert("m.pth", target, code=1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 and no more", "truncated"),
        (b"\x89HDF\r\n\x1a\n junk", "truncated"),
        (b"no model at all, just text", "no model"),
        (os.urandom(400), "no model"),
    ],
)
def test_what_is_no_model_is_one_line(tmp_path, content, words):
    (tmp_path / "m.pth").write_bytes(content)
    said = convert("m.pth", "m.dp", code=1)
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "m.dp").exists()


def test_portable_files_are_evaluated_as_they_are(tmp_path):
    """Whatever command reads a model reads these too."""
    model = family.model("strip")
    frames = structures.water()
    batch = structures.batch_of(frames, model)
    expected = model.energy_and_forces(batch).energy
    for name in ("m.dp", "m.yaml"):
        write_deepmd(tmp_path / name, model)
        loaded, _ = load_potential(tmp_path / name)
        np.testing.assert_array_equal(loaded.energy_and_forces(batch).energy, expected)
