"""Which program a model file belongs to, told by content."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpbench.errors import ModelError
from dpbench.models.checkpoint import save_model, sealed_payload
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.recognise import DATA, HEAD, SUFFIXES, recognise
from tests.models import structures


class Hostile:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def node(name: bytes, operation: bytes = b"Const") -> bytes:
    """A node of a graph of TensorFlow."""
    inner = b"\n" + bytes([len(name)]) + name
    inner += b"\x12" + bytes([len(operation)]) + operation
    return b"\n" + bytes([len(inner)]) + inner


GRAPH = node(b"x", b"Placeholder") + node(b"descrpt_attr/rcut") + node(b"o_energy")


def zipped(path: Path, *names: str) -> None:
    """A zip archive with members as torch names them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"m/{name}", b"{}")


def make_yaml(path: Path) -> None:
    path.write_text("'@variables': {}\nmodel:\n  '@class': Model\n")


def make_hlo(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["json"] = json.dumps(
            {"model": {}, "@variables": {"stablehlo": "/variable_0000"}}
        )


def make_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["coord"] = np.zeros(3)


def make_savedmodel(path: Path, content: bytes) -> None:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(content)


def make_jax(path: Path) -> None:
    for name in ("state", "model_def_script"):
        (path / name).mkdir(parents=True)


def make_checkpoint(path: Path) -> None:
    state = {"_extra_state": {"model_params": {"type_map": ["O"]}}, "w": torch.ones(2)}
    torch.save({"model": state}, path)


def make_npy(path: Path) -> None:
    np.save(path, np.array([{1: 2}], dtype=object), allow_pickle=True)
    Path(f"{path}.npy").rename(path)


MADE = {
    "dpbench": lambda path: save_model(path, structures.model(), {}),
    "deepmd-dp": lambda path: write_deepmd(path, structures.model()),
    "deepmd-yaml": make_yaml,
    "deepmd-pb": lambda path: path.write_bytes(GRAPH),
    "deepmd-pth": lambda path: zipped(
        path, "constants.pkl", "code/__torch__/deepmd/pt/model.py"
    ),
    "deepmd-pt": make_checkpoint,
    "deepmd-pt2": lambda path: zipped(
        path, "data/aotinductor/model/a.so", "extra/metadata.json"
    ),
    "deepmd-pte": lambda path: zipped(path, "models/model.json", "extra/metadata.json"),
    "deepmd-hlo": make_hlo,
    "deepmd-jax": make_jax,
    "deepmd-savedmodel": lambda path: make_savedmodel(
        path, b"\x08\x01 get_model_def_script XlaCallModule"
    ),
    "deepmd-savedmodeltf": lambda path: make_savedmodel(
        path, b"\x08\x01 get_model_def_script"
    ),
    "deepmd-paddle": lambda path: path.write_text(
        '{"base_code":{"magic":"pir","trainable":true,"version":1},"program":{}}'
    ),
    "torchscript": lambda path: zipped(path, "constants.pkl", "code/__torch__/mace.py"),
    "torch-pickle": lambda path: torch.save({"model": torch.nn.Linear(1, 1)}, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": [1, 2]})),
    "text-potential": lambda path: path.write_text("# SNAP\n1 2\nTa 0.5 1\n0.1\n-2e-3"),
    "unknown": make_hdf5,
}


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_is_told_whatever_its_name(tmp_path, kind):
    MADE[kind](tmp_path / "m.pth")
    found = recognise(tmp_path / "m.pth")
    assert found.kind == kind
    assert found.suffix_expected == SUFFIXES[kind]
    assert found.is_program == (kind not in DATA)
    assert found.description


def test_kinds_without_a_file_here_are_known():
    assert {*SUFFIXES} - {*MADE} == {"dpbench-compressed"}


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_is_a_program_and_is_not_run(tmp_path, protocol):
    path, canary = tmp_path / "m.pth", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Hostile(canary), protocol))
    assert recognise(path).kind == "pickle"
    torch.save({"magic": "dpbench-model", "x": Hostile(canary)}, path)
    assert recognise(path).kind == "torch-pickle"
    np.savez(path, np.array([Hostile(canary)], dtype=object))
    assert recognise(tmp_path / "m.pth.npz").is_program
    make_npy(path)
    assert recognise(path).kind == "pickle"
    assert not canary.exists()


def test_a_program_beside_our_pickle_is_no_data(tmp_path):
    """Two members of one name: readers may take different ones."""
    path = tmp_path / "m.pth"
    save_model(path, structures.model(), {})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(match="Duplicate"):
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile(tmp_path / "x")))
    assert recognise(path).is_program


def test_our_payload_in_the_old_layout_of_torch_is_a_program(tmp_path):
    payload = sealed_payload(structures.model(), {})
    torch.save(payload, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
    assert recognise(tmp_path / "m.pth").kind == "torch-pickle"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [x]", "!<tag:yaml.org,2002:python/none> a"]
)
def test_yaml_that_names_programs_is_no_data(tmp_path, tag):
    make_yaml(tmp_path / "m.yaml")
    with (tmp_path / "m.yaml").open("a") as file:
        file.write(f"late: {tag}\n")
    assert recognise(tmp_path / "m.yaml").is_program


@pytest.mark.parametrize("kind", ["dpbench", "deepmd-dp", "deepmd-pb", "pickle"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_named(tmp_path, kind, share):
    path = tmp_path / "m"
    MADE[kind](path)
    if kind == "deepmd-pb":
        path.write_bytes(GRAPH * 7)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(list(range(999))))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match="truncated") as caught:
        recognise(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_one_line(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("empty", "folder", "pipe", "missing"):
        with pytest.raises(ModelError, match=name) as caught:
            recognise(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model_is_unknown(tmp_path):
    (tmp_path / "a").touch()
    assert recognise(tmp_path).kind == "unknown"


def outcome(path: Path) -> str:
    """A kind; ``unknown`` for one clear line."""
    try:
        return recognise(path).kind
    except ModelError as error:
        return "unknown" if "\n" not in str(error) else str(error)


HEADS = [
    b"",
    b"PK\x03\x04",
    b"\x89HDF\r\n\x1a\n",
    b"\x93NUMPY",
    b"\x80\x04",
    b"\x80\x02",
]
HEADS += [b"cos\nsystem\n(", b"\n\x05\n\x01x\x12", b"{", b"model:\n", b"nep4 2 Te\n"]
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=300))
def test_any_bytes_have_a_kind_or_one_error(tmp_path, head, tail):
    path = tmp_path / "m"
    path.write_bytes(head + tail)
    assert outcome(path) in SUFFIXES


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file of every kind that is one file, as bytes."""
    folder = tmp_path_factory.mktemp("whole")
    for kind, make in MADE.items():
        make(folder / kind)
    found = [p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()]
    return [content for content in found if content]


@FUZZ
@given(data=st.data())
def test_any_damage_leaves_a_kind_or_one_error(tmp_path, whole, data):
    content = io.BytesIO(data.draw(st.sampled_from(whole)))
    size = len(content.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content.seek(data.draw(st.integers(0, size - 1)))
        content.write(data.draw(st.binary(min_size=1, max_size=8)))
    path = tmp_path / "m"
    path.write_bytes(content.getvalue())
    assert outcome(path) in SUFFIXES


DISGUISED = [
    b"V1 1 1 1 1 1 1 1\n0I0x10\n0cbuiltins\nexec\n(S'raise SystemError'\ntR.",
    b"V1 1 1 1 1 1 1 1\n0L0x10L\n0(S'x'\nios\nmkdir\n.",
    b"V" + b"1 " * (HEAD // 2 + 1) + b"\n0cbuiltins\nexec\n(S'x'\ntR.",
    b"1 2 3\n" * (HEAD // 6 + 1) + b"\x80\x04",
]


@pytest.mark.parametrize("content", DISGUISED)
def test_a_program_in_the_shape_of_a_table_is_no_data(tmp_path, content):
    (tmp_path / "m.txt").write_bytes(content)
    assert recognise(tmp_path / "m.txt").is_program


def test_a_long_table_is_data(tmp_path):
    (tmp_path / "m.txt").write_bytes(b"# reviewed\nRe Co\n" + b"1.5 -2e-3\n" * HEAD)
    assert recognise(tmp_path / "m.txt").kind == "text-potential"


@pytest.mark.parametrize(
    "text",
    [
        '"\\u006coader" = "mace"\nweights = { file = "1 2 3 4", sha256 = "5" }\n# 6',
        '{"\\u006coader": "mace", "weights": {"file": "m", "sha256": "0"}}',
        '"\\u0070air_style" = "python 1 2 3 4"\ntype_map = ["1"]\npair_coeff = ["5 6"]',
    ],
)
def test_keys_spelt_with_escapes_are_the_same_keys(tmp_path, text):
    (tmp_path / "m.ase.toml").write_text(text)
    found = recognise(tmp_path / "m.ase.toml")
    assert found.is_program
    assert "description" in found.description
