"""DeePMD-kit's portable model file ``.dp`` for ``se_e2_a`` with energy fitting.

An HDF5 file whose root attribute ``json`` holds a nested dict; arrays below keys named
``@variables`` are datasets. dpbench writes the flavour that every DeePMD-kit from 3.0
on reads (layer version 1, fitting version 2), and reads the newer ones too.

Source:
    DeePMD-kit, ``deepmd/dpmodel/utils/serialization.py`` and the ``serialize`` methods
    of descriptor and fitting.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dpbench.errors import ModelError
from dpbench.models.checkpoint import write_whole
from dpbench.models.deepmd_dict import model_from_dict, model_to_dict
from dpbench.models.potential import DeepPotential

VARIABLES = "@variables"


def write_deepmd(
    path: Path, model: DeepPotential, *, min_distance: float | None = None
) -> None:
    """Write a model as DeePMD-kit's ``.dp`` file.

    Args:
        path: File to write or replace.
        model: The model.
        min_distance: Å, shortest distance in the training data; ``dp compress`` needs
            it.

    Raises:
        ModelError: If the file cannot be written.
    """
    data = model_to_dict(model, min_distance=min_distance)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        text = json.dumps(_store_arrays(data, file), separators=(",", ":"))
        file.attrs["json"] = text
    write_whole(path, buffer.getvalue())


def read_deepmd(path: Path) -> DeepPotential:
    """Read a ``.dp`` file that holds ``se_e2_a`` with energy fitting.

    Raises:
        ModelError: If the file is missing, damaged, or holds another kind of model.
    """
    try:
        with h5py.File(path, "r") as file:
            data = _load_arrays(json.loads(file.attrs["json"]), file)
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path}: is no .dp file of DeePMD-kit ({' '.join(str(error).split())})."
        ) from error
    return model_from_dict(data, where=str(path))


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


def _load_arrays(node: Any, file: h5py.File, *, is_variable: bool = False) -> Any:
    """Replace every dataset name below ``@variables`` by its array."""
    if isinstance(node, dict):
        return {
            key: _load_arrays(value, file, is_variable=is_variable or key == VARIABLES)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_load_arrays(value, file, is_variable=is_variable) for value in node]
    if is_variable and isinstance(node, str):
        return np.asarray(file[node][()])
    return node
