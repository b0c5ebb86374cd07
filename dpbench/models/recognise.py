"""Which program a model file belongs to, told by its content and not by its name.

Nothing in a file is executed or unpickled: archives are listed, opcodes read, names of
nodes compared. What is not known for data counts as a program.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import h5py

from dpbench.errors import ModelError
from dpbench.models.archive_kinds import archive_kind
from dpbench.models.ase_description import ase_description_kind
from dpbench.models.graph_kinds import graph_kind
from dpbench.models.lammps_description import description_kind
from dpbench.models.pickle_scan import scan_pickle, text_may_call

Kind = Literal[
    "dpbench",
    "dpbench-compressed",
    "deepmd-dp",
    "deepmd-yaml",
    "deepmd-pb",
    "deepmd-pth",
    "deepmd-pt",
    "deepmd-pt2",
    "deepmd-pte",
    "deepmd-hlo",
    "deepmd-jax",
    "deepmd-savedmodel",
    "deepmd-savedmodeltf",
    "deepmd-paddle",
    "torchscript",
    "torch-pickle",
    "pickle",
    "text-potential",
    "unknown",
]

SUFFIXES: dict[str, str] = {
    "dpbench": ".pth",
    "dpbench-compressed": ".pth",
    "deepmd-dp": ".dp",
    "deepmd-yaml": ".yaml",
    "deepmd-pb": ".pb",
    "deepmd-pth": ".pth",
    "deepmd-pt": ".pt",
    "deepmd-pt2": ".pt2",
    "deepmd-pte": ".pte",
    "deepmd-hlo": ".hlo",
    "deepmd-jax": ".jax",
    "deepmd-savedmodel": ".savedmodel",
    "deepmd-savedmodeltf": ".savedmodeltf",
    "deepmd-paddle": ".json",
    "torchscript": ".pth",
    "torch-pickle": ".pt",
    "pickle": ".pkl",
    "text-potential": "",
    "unknown": "",
}
"""Suffix by which the program that made a kind knows it; empty where there is none."""

OWN_KINDS = ("dpbench", "dpbench-compressed", "deepmd-dp", "deepmd-yaml")
"""Kinds of files that dpbench's own kernels evaluate, see ``models.files``."""

DATA = frozenset({*OWN_KINDS, "text-potential"})
"""Kinds that are data; all others are programs to who opens them."""

HEAD = 1024 * 1024
"""Bytes by which text is told."""

MOST_TEXT = 256 * 1024**2
"""Largest text that may be data: it is looked through as a whole."""

MOST = 2 * 1024**3
"""Largest file that is looked through as a graph."""

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_NUMPY, _TORCH_OLD = b"\x93NUMPY", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f": "zstd",
}

_TAGS = (b"!!python", b"!<", b"%TAG", b"yaml.org,2002:python")
_YAML_MODEL = re.compile(r"""^["']?model["']?\s*:""", re.MULTILINE)
_YAML_CLASS = re.compile(r"""["']?@class["']?\s*:""")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_BETWEEN = re.compile(r"[\s=,()']+")
_NEP = re.compile(r"nep\d+\w*\s+\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """What a model file is."""

    kind: Kind
    """Which program's, and which of its formats."""
    suffix_expected: str
    """Suffix by which that program knows it; empty where there is none."""
    is_program: bool
    """Whether opening it with its program may run what its author wrote."""
    description: str
    """In words, for messages."""


def recognise(path: Path) -> ModelFile:
    """Tell what a model file is by its content; nothing of it is executed.

    Args:
        path: A file, or a folder (SavedModel, Orbax).

    Raises:
        ModelError: If it is missing, empty, truncated or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            kind, words = _folder_kind(path)
        else:
            kind, words = _file_kind(path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise ModelError(
            f"{path}: cannot be read ({reason}); expected a model file."
        ) from error
    if kind not in get_args(Kind):
        raise TypeError(f"{kind} is no kind of model file")
    return ModelFile(
        kind=kind,  # type: ignore[arg-type]
        suffix_expected=SUFFIXES[kind],
        is_program=kind not in DATA,
        description=words,
    )


def _folder_kind(path: Path) -> tuple[str, str]:
    """Tell the kind of a folder."""
    saved = path / "saved_model.pb"
    if saved.is_file():
        return _saved_model_kind(saved)
    names = {entry.name for entry in path.iterdir()}
    if not names:
        raise ModelError(f"{path}: is an empty folder; expected a model.")
    if "_CHECKPOINT_METADATA" in names or {"state", "model_def_script"} <= names:
        if "model_def_script" in names:
            return "deepmd-jax", "checkpoint of DeePMD-kit's JAX backend"
        return "unknown", "checkpoint of Orbax, not of DeePMD-kit"
    return "unknown", "folder that is no model"


def _saved_model_kind(saved: Path) -> tuple[str, str]:
    with saved.open("rb") as file:
        content = file.read(MOST)
    if not content:
        raise ModelError(f"{saved}: is empty; expected the graph of a SavedModel.")
    if b"get_model_def_script" not in content and b"model_attr/" not in content:
        return "unknown", "SavedModel of TensorFlow, not of DeePMD-kit"
    if b"XlaCallModule" in content:
        return "deepmd-savedmodel", "SavedModel of DeePMD-kit's JAX backend"
    return "deepmd-savedmodeltf", "SavedModel of DeePMD-kit's TensorFlow 2 backend"


def _file_kind(path: Path) -> tuple[str, str]:
    """Tell the kind of a file by its first bytes, then by what they announce."""
    if path.exists() and not path.is_file():
        raise ModelError(f"{path}: is neither file nor folder; expected a model file.")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise ModelError(f"{path}: is empty; expected a model file.")
    if head.startswith(_ZIP):
        return archive_kind(path)
    if head.startswith(_HDF5):
        return _hdf5_kind(path)
    if head.startswith(_NUMPY):
        return _numpy_kind(head)
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            return "unknown", f"file packed by {name}"
    if head[257:262] == b"ustar":
        return "unknown", "tar archive"
    return _bare_kind(path, head)


def _hdf5_kind(path: Path) -> tuple[str, str]:
    """Tell the kind of an HDF5 file by the JSON of its root."""
    try:
        with h5py.File(path, "r") as file:
            if "json" not in file.attrs:
                return "unknown", "HDF5 file that is no model"
            told = json.loads(str(file.attrs["json"]))
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        MemoryError,
        RuntimeError,  # RecursionError too
    ) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{path}: is a truncated or damaged HDF5 file ({reason}); expected a "
            "whole model file. Get a new copy of it."
        ) from error
    if not isinstance(told, dict) or "model" not in told:
        return "unknown", "HDF5 file that is no model"
    variables = told.get("@variables")
    if isinstance(variables, dict) and "stablehlo" in variables:
        return "deepmd-hlo", "StableHLO program of DeePMD-kit's JAX backend"
    return "deepmd-dp", "portable model of DeePMD-kit"


def _numpy_kind(head: bytes) -> tuple[str, str]:
    """Tell an array of numbers from one of objects, which is a pickle."""
    header = head[: 64 * 1024].split(b"}", 1)[0]
    if b"|O" in header:
        return "pickle", "array of objects of NumPy, a pickle"
    return "unknown", "array of NumPy"


def _bare_kind(path: Path, head: bytes) -> tuple[str, str]:
    """Tell the kind of what has no container: pickles, text, graphs."""
    facts = scan_pickle(head)
    is_whole = len(head) < HEAD
    if head.startswith(_TORCH_OLD):
        return "torch-pickle", "pickle of PyTorch, old layout"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and facts.steps > 1:
        if is_whole and not facts.ended:
            raise ModelError(
                f"{path}: is a truncated pickle; expected a whole model file. Get a "
                "new copy of it."
            )
        return "pickle", "pickle of Python"
    # The oldest pickles are text; what calls something is one, whatever it looks like.
    if facts.calls:
        return "pickle", "pickle of Python, old layout"
    if _text(head, is_whole=is_whole) is not None:
        return _whole_text_kind(path)
    if path.stat().st_size <= MOST:
        return graph_kind(path, path.read_bytes()) or _NO_MODEL
    return _NO_MODEL


_NO_MODEL = ("unknown", "file of a kind that dpbench does not know")


def _whole_text_kind(path: Path) -> tuple[str, str]:
    """Tell the kind of a file that begins as text; what is behind counts too."""
    if path.stat().st_size > MOST_TEXT:
        return "unknown", "text too long to be looked through"
    content = path.read_bytes()
    text = _text(content, is_whole=True)
    if text is None:
        return "unknown", "file that begins as text"
    if any(tag in content for tag in _TAGS):  # what some readers of YAML call
        return "unknown", "text with tags of YAML that name programs"
    found = _text_kind(text)
    if found[0] in DATA and (scan_pickle(content).calls or text_may_call(content)):
        return "pickle", "pickle of Python, old layout"
    return found


def _text(head: bytes, *, is_whole: bool) -> str | None:
    """Return the beginning of a text, or None where it is none."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if is_whole or error.start < len(head) - 4:
            return None
        text = head[: error.start].decode("utf-8")
    plain = text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return text if plain.isprintable() else None


def _text_kind(text: str) -> tuple[str, str]:
    """Tell the kind of a text."""
    start = text.lstrip()
    described = description_kind(text) or ase_description_kind(text)
    if described is not None:
        return described
    if start.startswith("{") and '"magic"' in text and '"pir"' in text:
        return "deepmd-paddle", "program of Paddle"
    if _YAML_CLASS.search(text) and (_YAML_MODEL.search(text) or start[:1] == "{"):
        return "deepmd-yaml", "portable model of DeePMD-kit, YAML"
    if start[:1] in "{[<" or start.startswith(("#!", "%YAML", "---")):
        return "unknown", "text that is no model"
    if _NEP.match(start):
        return "text-potential", "neuroevolution potential of GPUMD"
    lines = [line.partition("#")[0] for line in text.splitlines()]
    words = [word for line in lines for word in _BETWEEN.split(line) if word]
    numbers = sum(_NUMBER.fullmatch(word) is not None for word in words)
    if numbers >= 3 and 5 * numbers >= 2 * len(words):
        return "text-potential", "table of coefficients, such as LAMMPS reads"
    return "unknown", "text that is no model"
