"""What lies in the archives that torch writes, told without loading them.

A ``.pth``, ``.pt``, ``.pte`` or ``.pt2`` is a zip archive; its members tell them apart.
"""

import struct
import zipfile
import zlib
from pathlib import Path

from dpbench.errors import ModelError
from dpbench.models.pickle_scan import PickleFacts, scan_pickle

MOST_BYTES = 64 * 1024 * 1024
"""Most bytes of a pickle in an archive that are looked at."""

Found = tuple[str, str]
"""Kind and description of what was found."""

_OURS = {
    "dpbench-model": ("dpbench", "model of dpbench"),
    "dpbench-compressed": ("dpbench-compressed", "compressed model of dpbench"),
}


def archive_kind(path: Path) -> Found:
    """Tell the kind of a zip archive.

    Raises:
        ModelError: If the archive is cut off or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _kind_of(archive)
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,  # of a way of packing that Python does not have
        RuntimeError,  # of a password
        ValueError,
        OSError,
        OverflowError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"{path}: is a truncated or damaged archive ({reason}); expected a whole "
            "model file. Get a new copy of it."
        ) from error


def _kind_of(archive: zipfile.ZipFile) -> Found:
    names = archive.namelist()
    inner = [name.partition("/")[2] for name in names]
    if any(name.startswith("data/aotinductor/") for name in inner):
        return _exported(inner, "deepmd-pt2", "compiled PyTorch model (AOTInductor)")
    if any(_is_program_of_export(name) for name in inner):
        return _exported(inner, "deepmd-pte", "exported PyTorch program")
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        if any(name.startswith("code/__torch__/deepmd/") for name in inner):
            return "deepmd-pth", "model of DeePMD-kit, TorchScript"
        return "torchscript", "TorchScript module"
    if ".data/extern_modules" in inner:
        return "torch-pickle", "package of torch with code"
    pickles = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
    if not pickles:
        if any(name.endswith(".npy") for name in names):
            return "unknown", "arrays of NumPy"
        return "unknown", "zip archive that is no model"
    # Of two members of the same name, readers may take different ones.
    is_clear = len(pickles) == 1 and len(set(names)) == len(names)
    with archive.open(pickles[-1]) as file:
        facts = scan_pickle(file.read(MOST_BYTES))
    return torch_pickle_kind(facts, is_clear=is_clear)


def torch_pickle_kind(facts: PickleFacts, *, is_clear: bool) -> Found:
    """Tell the kind of what ``torch.save`` wrote by its pickle.

    Args:
        facts: What its opcodes say.
        is_clear: Whether every reader reads this pickle.
    """
    ours = _OURS.get(facts.magic or "")
    if ours is not None and facts.is_plain and is_clear:
        return ours
    if {"_extra_state", "model_params"} <= facts.texts:
        return "deepmd-pt", "checkpoint of DeePMD-kit, pickle of PyTorch"
    outside = sorted({name.split()[0].split(".")[0] for name in facts.names})
    told = [name for name in outside if name not in ("torch", "collections")][:5]
    of = f" that names {', '.join(told)}" if told else ""
    return "torch-pickle", f"pickle of PyTorch{of}"


def _is_program_of_export(inner: str) -> bool:
    """Say whether a member is the program of ``torch.export``, old or new layout."""
    return inner == "serialized_exported_program.json" or (
        inner.startswith("models/") and inner.endswith(".json")
    )


def _exported(inner: list[str], kind: str, words: str) -> Found:
    """Name an exported model; DeePMD-kit puts its facts beside the program."""
    facts = ("metadata.json", "model_def_script.json", "model.json")
    if any(name.rpartition("/")[2] in facts for name in inner if "extra" in name):
        return kind, f"model of DeePMD-kit, {words}"
    return "unknown", f"{words}, not of DeePMD-kit"
