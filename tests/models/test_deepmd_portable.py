"""Portable files of other versions, and ones that were made to do harm."""

import json

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpbench.errors import ModelError
from dpbench.models.deepmd_dict import model_to_dict
from dpbench.models.deepmd_file import read_deepmd, read_portable, write_deepmd
from dpbench.models.deepmd_versions import READ, check_versions
from dpbench.models.deepmd_yaml import read_yaml, write_yaml
from tests.models import family, structures


def in_flavour_of_3_2(data):
    """The newest flavour: layers of version 2, fitting of version 4."""
    model = data["model"]

    def newer(node):
        if isinstance(node, dict):
            if node.get("@class") == "Layer":
                node |= {"@version": 2, "trainable": True}
            for value in node.values():
                newer(value)
        elif isinstance(node, list):
            for value in node:
                newer(value)

    newer(model)
    model["fitting"] |= {"@version": 4, "dim_case_embd": 0, "default_fparam": None}
    model["fitting"]["@variables"]["case_embd"] = None
    return data


@pytest.mark.parametrize("kind", ["radial", "strip", "atom_numbers", "hybrid"])
def test_the_newest_flavour_is_the_same_model(tmp_path, kind):
    model = family.model(kind)
    text = write_yaml(in_flavour_of_3_2(model_to_dict(model)))
    (tmp_path / "m.yaml").write_text(text)
    assert read_deepmd(tmp_path / "m.yaml").parameters.flat.equal(model.parameters.flat)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_a_descriptor_is_read(version):
    data = model_to_dict(structures.model())
    data["model"]["descriptor"]["@version"] = version
    check_versions(data, "m.dp")


@pytest.mark.parametrize(
    ("path", "version", "words"),
    [
        (("model",), 1, r"model \(Model\).* has version 1; this dpbench reads 2 to 2"),
        (("model",), 3, r"has version 3; this dpbench reads 2 to 2"),
        (
            ("model", "descriptor"),
            4,
            r"descriptor .*version 4; this dpbench reads 1 to 3",
        ),
        (("model", "fitting"), 5, r"fitting .*version 5; this dpbench reads 1 to 4"),
        (
            ("model", "fitting", "nets"),
            2,
            r"nets .*version 2; this dpbench reads 1 to 1",
        ),
        (("model", "fitting"), "new", r"version 'new'"),
        (("model", "descriptor"), 0, r"version 0"),
    ],
)
def test_unknown_versions_are_named_with_the_range(path, version, words):
    data = model_to_dict(structures.model()) | {"version": "9.9"}
    part = data
    for key in path:
        part = part[key]
    part["@version"] = version
    with pytest.raises(ModelError, match=words) as caught:
        check_versions(data, "m.dp")
    assert "written by dpbench 9.9" in str(caught.value)


def test_all_that_is_written_has_a_known_version():
    for kind in family.FAMILY:
        data = model_to_dict(family.model(kind))
        check_versions(data, kind)
    assert all(first <= last for first, last in READ.values())


def test_a_compressed_model_of_deepmd_kit_is_named(tmp_path):
    data = model_to_dict(structures.model())
    data["model"]["descriptor"] |= {"@version": 3, "compress": {"@variables": {}}}
    (tmp_path / "m.yaml").write_text(write_yaml(data))
    with pytest.raises(ModelError, match="give the model before `dp compress`"):
        read_deepmd(tmp_path / "m.yaml")


def test_our_yaml_is_what_pyyaml_reads():
    """DeePMD-kit reads it with ``yaml.safe_load``."""
    data = model_to_dict(family.model("hybrid_mixed"), min_distance=1e-7)
    data["text"] = "a: 'b' \U0001f600 \x85 #c"
    found = yaml.safe_load(write_yaml(data))
    assert found["text"] == data["text"]
    stored = found["@variables"]["min_nbor_dist"]
    assert (stored["value"], stored["dtype"]) == (1e-7, "float64")
    bias = found["model"]["@variables"]["out_bias"]
    assert bias["value"] == data["model"]["@variables"]["out_bias"].tolist()
    assert found["model"]["rcond"] is None
    assert found["model"]["descriptor"]["list"][0]["use_tebd_bias"] is False


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), PLAIN))
def test_yaml_comes_back_as_it_was(data):
    text = write_yaml(data | {"model": {}})
    assert read_yaml(text.encode()) == data | {"model": {}}
    assert yaml.safe_load(text) == data | {"model": {}}


@settings(deadline=None)
@given(st.dictionaries(st.text("abc ", min_size=1), PLAIN, min_size=1))
def test_yaml_of_others_is_read_as_pyyaml_does(data):
    text = yaml.safe_dump(data)
    assert read_yaml(text.encode()) == yaml.safe_load(text)


BOMB = "a: &a [1, 1]\n" + "\n".join(
    f"{chr(97 + n)}: &{chr(97 + n)} [{', '.join([f'*{chr(96 + n)}'] * 9)}]"
    for n in range(1, 20)
)

HARMFUL = {
    "tag": ("model: !!python/object/apply:os.getcwd []", "has the tag"),
    "own tag": ("model: !x {}", "has the tag"),
    "deep": ("[" * 100_000, "nested deeper"),
    "deep mappings": ("{a: " * 100_000, "nested deeper"),
    "bomb": (BOMB, "stands for more than"),
    "recursive": ("model: &a [*a]", "inside itself"),
    "nothing": ("model: *b", "to nothing|undefined alias"),
    "several": ("model: {}\n---\nmodel: {}", "2 documents"),
    "twice": ("model: {}\nmodel: {}", "twice"),
    "no mapping": ("- 1\n", "no mapping"),
    "cut": ("model: {a: [1, 2", "expected"),
    "object array": (
        "model: {'@class': np.ndarray, dtype: object, value: [1]}",
        "array of object",
    ),
    "ragged": (
        "model: {'@class': np.ndarray, dtype: float64, value: [[1], [1, 2]]}",
        "inhomogeneous",
    ),
    "control": ("model: \x00", "special characters|control characters"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_yaml_is_one_clear_line(tmp_path, kind):
    text, words = HARMFUL[kind]
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ModelError, match=words) as caught:
        read_deepmd(tmp_path / "m.yaml")
    assert "\n" not in str(caught.value)


def planted(path, change):
    """Write a model, and change the dataset of its energy bias."""
    write_deepmd(path, structures.model())
    with h5py.File(path, "a") as file:
        data = json.loads(file.attrs["json"])
        name = data["model"]["@variables"]["out_bias"]
        del file[name]
        change(file, name)


def test_arrays_outside_of_the_file_are_not_read(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.array([[[1.0], [2.0]]])
    shape, secret = (1, 2, 1), tmp_path / "secret.bin"
    np.ones(shape).tofile(secret)
    layout = h5py.VirtualLayout(shape, np.float64)
    layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", shape)
    for change in (
        lambda file, name: file.__setitem__(
            name, h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
        ),
        lambda file, name: file.__setitem__(name, h5py.SoftLink("/variable_0001")),
        lambda file, name: file.create_virtual_dataset(name, layout),
        lambda file, name: file.create_dataset(
            name, shape, np.float64, external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        ),
    ):
        planted(tmp_path / "m.dp", change)
        with pytest.raises(ModelError, match="no array of the file itself"):
            read_deepmd(tmp_path / "m.dp")


def test_a_small_file_cannot_claim_more_than_memory_holds(tmp_path):
    planted(
        tmp_path / "m.dp",
        lambda file, name: file.create_dataset(
            name, (10**6, 10**6), np.float64, chunks=(1000, 1000)
        ),
    )
    with pytest.raises(ModelError, match="claims more values"):
        read_deepmd(tmp_path / "m.dp")


def test_numbers_that_are_none_are_refused(tmp_path):
    for suffix in (".dp", ".yaml"):
        model = structures.model()
        model.parameters.flat[3] = float("nan")
        write_deepmd(tmp_path / f"m{suffix}", model)
        with pytest.raises(ModelError, match="no finite number"):
            read_deepmd(tmp_path / f"m{suffix}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A portable file of each flavour, as bytes."""
    folder = tmp_path_factory.mktemp("whole")
    found = []
    for name in ("m.dp", "m.yaml"):
        write_deepmd(folder / name, family.model("strip"), provenance={})
        found.append((folder / name).read_bytes())
    return found


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_gives_a_model_or_one_error(tmp_path, whole, data):
    content = bytearray(data.draw(st.sampled_from(whole)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 4] = data.draw(st.binary(min_size=0, max_size=8))
    (tmp_path / "m").write_bytes(content)
    said = ""
    try:
        read_portable(tmp_path / "m")
    except ModelError as error:
        said = str(error)
    assert "\n" not in said
