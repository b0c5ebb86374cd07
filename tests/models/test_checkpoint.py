"""Model files: bitwise round trips, and one clear line for what is none."""

import pickle
import stat

import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.models.checkpoint import (
    MAGIC,
    load_model,
    model_digest,
    save_model,
)
from tests.models import structures


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_round_trip_is_bitwise(tmp_path, potential, precision):
    potential = potential.to("cpu", getattr(torch, precision))
    save_model(tmp_path / "m.pth", potential, {"seed": 3, "split": None})
    loaded, provenance = load_model(tmp_path / "m.pth")
    assert torch.equal(loaded.parameters.flat, potential.parameters.flat)
    assert loaded.config == potential.config
    for name in ("davg", "dstd", "energy_bias"):
        before, after = (getattr(m.statistics, name) for m in (potential, loaded))
        np.testing.assert_array_equal(before, after)
    assert provenance == {"seed": 3, "split": None}
    assert model_digest(loaded) == model_digest(potential)
    frames = structures.mixed()
    first, second = (structures.predict(frames, m) for m in (potential, loaded))
    assert torch.equal(first.force, second.force)


def test_same_model_gives_same_bytes(tmp_path):
    for name in ("a.pth", "b.pth"):
        save_model(tmp_path / name, structures.model(), {"x": 1})
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_digest_tells_models_apart():
    digests = {model_digest(structures.model(seed)) for seed in (1, 2)}
    digests.add(model_digest(structures.model(1, axis_neuron=4)))
    assert len(digests) == 3


def test_precision_can_be_changed_on_loading(tmp_path):
    save_model(tmp_path / "m.pth", structures.model(), {})
    loaded, _ = load_model(tmp_path / "m.pth", dtype=torch.float32)
    assert loaded.dtype == torch.float32
    assert loaded.config.precision == "float32"


def test_file_is_readable_by_others(tmp_path):
    save_model(tmp_path / "m.pth", structures.model(), {})
    assert stat.S_IMODE((tmp_path / "m.pth").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code of a model file was run')",))


def damage(path, kind):
    whole = path.read_bytes()
    payload = torch.load(path, weights_only=True)  # of a sound file
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a model\n")
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 40)
    elif kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "bomb":
        torch.save({"magic": MAGIC, "config": Bomb()}, path)
    elif kind == "foreign":
        torch.save({"weights": torch.ones(3)}, path)
    elif kind == "tensor":
        torch.save(torch.ones(3), path)
    elif kind == "newer":
        torch.save(payload | {"format": 99}, path)
    elif kind == "short":
        torch.save(payload | {"parameters": payload["parameters"][:-1]}, path)
    elif kind == "config":
        torch.save(payload | {"config": '{"type_map": ["O"]}'}, path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "text",
        "binary",
        "truncated",
        "pickle",
        "bomb",
        "foreign",
        "tensor",
        "newer",
        "short",
        "config",
        "folder",
        "missing",
    ],
)
def test_what_is_no_model_is_one_clear_line(tmp_path, kind):
    path = tmp_path / "m.pth"
    save_model(path, structures.model(), {})
    damage(path, kind)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_a_flipped_bit_is_noticed(tmp_path):
    """Inside a tensor only the checksum of the archive can tell."""
    path = tmp_path / "m.pth"
    save_model(path, structures.model(), {})
    damage(path, "flipped")
    with pytest.raises(ModelError):
        load_model(path)


def test_unwritable_folder_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(tmp_path / "file" / "m.pth", structures.model(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
