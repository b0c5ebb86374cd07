"""From frames and neighbours to the batch that a model takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.frames import Frames
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import Neighbours
from dpbench.models.geometry import atom_types, edge_vectors


def make_batch(
    frames: Frames,
    neighbours: Sequence[Neighbours],
    type_map: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """Put frames behind each other, with their edges sorted for the kernels.

    Args:
        frames: Any compositions; labels that are NaN count as missing.
        neighbours: One per frame, found with the model's cutoff.
        type_map: The model's elements.
        device: Where the batch shall lie.
        dtype: Precision of the edge vectors, that of the model.

    Raises:
        ModelError: If an element is not in ``type_map``.
    """
    atype = atom_types(frames.z, type_map)
    vectors, centres, others = _edges(frames, neighbours)
    arrays = sort_edges(atype, centres, others, ntypes=len(type_map))
    edge_vec = torch.from_numpy(vectors[arrays.pop("edge_order")]).to(dtype)
    tensors: dict[str, Any] = {
        name: torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        for name, array in (arrays | _labels(frames)).items()
    }
    frame_idx = np.repeat(np.arange(frames.nframes), frames.natoms)
    batch = Batch(
        frame_offset=torch.from_numpy(frames.atom_offset.astype(np.int64)),
        frame_idx=torch.from_numpy(frame_idx.astype(np.int64)),
        atype=torch.from_numpy(atype),
        edge_vec=edge_vec,
        **tensors,
    )
    return batch if torch.device(device).type == "cpu" else batch.to(device, dtype)


def sort_edges(
    atype: NDArray[np.int64],
    edge_i: NDArray[np.integer],
    edge_j: NDArray[np.integer],
    *,
    ntypes: int,
) -> dict[str, Any]:
    """Group edges by neighbour type, then by centre in order of the centres' types.

    Args:
        atype: Type of each atom.
        edge_i: Centre of each edge.
        edge_j: Neighbour of each edge.
        ntypes: Number of types of the model.

    Returns:
        The index fields of ``Batch``, and ``edge_order`` (edge), the permutation that
        sorts per-edge arrays.
    """
    natoms = len(atype)
    atom_order = np.argsort(atype, kind="stable")
    row = np.empty(natoms, dtype=np.int64)
    row[atom_order] = np.arange(natoms)
    bucket = atype[edge_j] * natoms + row[edge_i]
    edge_order = np.argsort(bucket, kind="stable")
    counts = np.bincount(bucket, minlength=ntypes * natoms).reshape(ntypes, natoms)
    start = np.zeros(ntypes * natoms + 1, dtype=np.int64)
    np.cumsum(counts.ravel(), out=start[1:])
    columns = np.arange(ntypes)[:, np.newaxis] * natoms + np.arange(natoms + 1)
    row_offset = start[columns]
    atom_type_offset = np.searchsorted(atype[atom_order], np.arange(ntypes + 1))
    centre = np.asarray(edge_i, dtype=np.int32)[edge_order]
    most = counts.max(axis=1) if natoms else np.zeros(ntypes, dtype=np.int64)
    return {
        "atom_order": atom_order,
        "atom_type_offset": tuple(atom_type_offset.tolist()),
        "edge_i": centre,
        "edge_j": np.asarray(edge_j, dtype=np.int32)[edge_order],
        "edge_row": row[centre].astype(np.int32),
        "row_offset": row_offset,
        "pair_offset": tuple(map(tuple, row_offset[:, atom_type_offset].tolist())),
        "most_neighbours": tuple(most.tolist()),
        "edge_order": edge_order,
    }


def _edges(
    frames: Frames, neighbours: Sequence[Neighbours]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Collect vectors, centres and neighbours of all edges of all frames."""
    if len(neighbours) != frames.nframes:
        raise ValueError(
            f"{len(neighbours)} neighbour lists for {frames.nframes} frames"
        )
    vectors, centres, others = [np.zeros((0, 3))], [], []
    for index, found in enumerate(neighbours):
        rows = frames.atoms_of(index)
        vectors.append(edge_vectors(frames.coord[rows], frames.box[index], found))
        centres.append(found.edge_i.astype(np.int64) + rows.start)
        others.append(found.edge_j.astype(np.int64) + rows.start)
    none = [np.zeros(0, dtype=np.int64)]
    return (
        np.concatenate(vectors),
        np.concatenate(none + centres),
        np.concatenate(none + others),
    )


def _labels(frames: Frames) -> dict[str, Tensor | NDArray[Any]]:
    """Return labels with zeros for what is missing, and what is there."""
    return {
        "energy": np.nan_to_num(frames.energy.astype(np.float64)),
        "force": np.nan_to_num(frames.force.astype(np.float64)),
        "virial": np.nan_to_num(frames.virial.astype(np.float64)),
        "has_energy": frames.has_energy,
        "has_force": frames.has_force,
        "has_virial": frames.has_virial,
    }
