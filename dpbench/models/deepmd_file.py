"""DeePMD-kit's portable model file, ``.dp`` (HDF5) or ``.yaml``.

A ``.dp`` is an HDF5 file whose root attribute ``json`` holds a nested dict; arrays
below keys named ``@variables`` are datasets. A ``.yaml`` holds the same dict with its
arrays as lists. dpbench writes the flavour that every DeePMD-kit from 3.0 on reads
(layer version 1, fitting version 2), and reads the newer ones too.

Source:
    DeePMD-kit, ``deepmd/dpmodel/utils/serialization.py`` and the ``serialize`` methods
    of descriptor and fitting.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dpbench.errors import DpbenchError, ModelError
from dpbench.models.checkpoint import write_whole
from dpbench.models.deepmd_dict import model_from_dict, model_to_dict
from dpbench.models.deepmd_seal import is_changed, sealed, unsealed
from dpbench.models.deepmd_versions import check_versions
from dpbench.models.deepmd_yaml import read_yaml, write_yaml
from dpbench.models.potential import DeepPotential

VARIABLES = "@variables"

YAML_SUFFIXES = (".yaml", ".yml")

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_INFLATION = 1100
"""Most bytes of arrays per byte of the file; gzip makes a thousand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortableModel:
    """A model as its portable file has it."""

    model: DeepPotential
    """The model."""
    provenance: dict[str, Any]
    """As dpbench wrote it, or what the file says of itself."""
    min_distance: float | None
    """Å, shortest distance in the training data, where it is told."""
    notes: tuple[str, ...]
    """What the user should know."""


def write_deepmd(
    path: Path,
    model: DeepPotential,
    *,
    min_distance: float | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as DeePMD-kit's portable file.

    Args:
        path: File to write or replace; ``.yaml`` and ``.yml`` make text, any other
            name HDF5.
        model: The model.
        min_distance: Å, shortest distance in the training data; ``dp compress`` needs
            it.
        provenance: Of the model, kept where DeePMD-kit does not look.

    Raises:
        ModelError: If the file cannot be written.
    """
    data = model_to_dict(model, min_distance=min_distance)
    if provenance is not None:
        data = sealed(data, model, provenance)
    if Path(path).suffix in YAML_SUFFIXES:
        write_whole(path, write_yaml(data).encode())
        return
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        text = json.dumps(_store_arrays(data, file), separators=(",", ":"))
        file.attrs["json"] = text
    write_whole(path, buffer.getvalue())


def read_deepmd(path: Path) -> DeepPotential:
    """Read the model of a portable file; see ``read_portable``."""
    return read_portable(path).model


def read_portable(path: Path) -> PortableModel:
    """Read a portable file of DeePMD-kit 3.x, HDF5 or YAML by its content.

    Raises:
        ModelError: If the file is missing, damaged, of an unknown version, or holds
            another kind of model.
    """
    data = _read_dict(Path(path))
    where = str(path)
    try:
        check_versions(data, where)
        model = model_from_dict(data, where=where)
        known = unsealed(data, model)
        notes: tuple[str, ...] = ()
        if known is None and is_changed(data):
            notes = (
                f"{path}: was changed since dpbench wrote it; what it says of its "
                "training is left out",
            )
        model, provenance = known or (model, _own_words(data))
        return PortableModel(
            model=model,
            provenance=provenance,
            min_distance=_min_distance(data),
            notes=notes,
        )
    except ModelError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        DpbenchError,
    ) as error:
        raise _damaged(Path(path), error) from error


def _read_dict(path: Path) -> dict[str, Any]:
    """Return the nested dict of a file of either flavour."""
    try:
        with path.open("rb") as file:
            head = file.read(len(HDF5_MAGIC))
            if head != HDF5_MAGIC:
                return _checked(read_yaml(head + file.read()))
        with h5py.File(path, "r") as file:
            limit = _INFLATION * path.stat().st_size
            return _checked(_Arrays(file, limit).loaded(json.loads(file.attrs["json"])))
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        MemoryError,
        RuntimeError,  # RecursionError too
    ) as error:
        raise _damaged(Path(path), error) from error


def _checked(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError("holds no model")
    return data


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split()) or type(error).__name__
    flavour = path.suffix if path.suffix in YAML_SUFFIXES else ".dp"
    return ModelError(f"{path}: is no {flavour} file of DeePMD-kit ({reason}).")


def _min_distance(data: Mapping[str, Any]) -> float | None:
    found = data.get(VARIABLES, {}).get("min_nbor_dist")
    return None if found is None else float(found)


def _own_words(data: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a file of another program says of itself."""
    names = ("software", "version", "time", "backend")
    return {"deepmd_file": {k: str(data[k]) for k in names if k in data}}


def _store_arrays(node: Any, file: h5py.File) -> Any:
    """Replace every array of a nested dict by the name of a new dataset."""
    if isinstance(node, Mapping):
        return {key: _store_arrays(value, file) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_store_arrays(value, file) for value in node]
    if isinstance(node, np.ndarray):
        name = f"/variable_{len(file):04d}"
        file.create_dataset(name, data=node)
        return name
    return node


class _Arrays:
    """Reads the datasets of a file that its JSON names."""

    def __init__(self, file: h5py.File, limit: int) -> None:
        self._file, self._left = file, limit

    def loaded(self, node: Any, *, is_variable: bool = False) -> Any:
        """Replace every dataset name below ``@variables`` by its array."""
        if isinstance(node, dict):
            return {
                key: self.loaded(value, is_variable=is_variable or key == VARIABLES)
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [self.loaded(value, is_variable=is_variable) for value in node]
        if is_variable and isinstance(node, str):
            return self._array(node)
        return node

    def _array(self, name: str) -> Any:
        """Read a dataset that lies in the file itself, whole."""
        link = self._file.get(name, getlink=True)
        found = self._file[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            raise ValueError(f"{name} is no array of the file itself")
        if found.dtype.kind == "V":
            return np.zeros(0)  # a program beside the weights, which is not read
        if found.dtype.kind not in "fiub":
            raise ValueError(f"{name} holds {found.dtype}; expected numbers")
        # A few bytes can stand for an array larger than any memory.
        self._left -= found.nbytes
        if self._left < 0:
            raise ValueError(f"{name} claims more values than the file can hold")
        return np.asarray(found[()])
