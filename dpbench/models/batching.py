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
from dpbench.models.atom_numbers import all_atom_numbers
from dpbench.models.geometry import atom_types, edge_vectors, frame_geometry


def make_batch(
    frames: Frames,
    neighbours: Sequence[Neighbours],
    type_map: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    numb_aparam: int = 0,
    names: Sequence[str] | None = None,
) -> Batch:
    """Put frames behind each other, with their edges sorted for the kernels.

    Args:
        frames: Any compositions; labels that are NaN count as missing.
        neighbours: One per frame, found with the model's cutoff.
        type_map: The model's elements.
        device: Where the batch shall lie.
        dtype: Precision of the edge vectors, that of the model.
        numb_aparam: Numbers of each atom that the model takes.
        names: Of the frames in messages; None counts them.

    Raises:
        ModelError: If an element is not in ``type_map``, or a frame has another number
            of numbers of each atom.
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
    if numb_aparam:
        names = names or [f"frame {index}" for index in range(frames.nframes)]
        numbers = all_atom_numbers(frames, numb_aparam, names=names)
        tensors["aparam"] = torch.from_numpy(numbers)
    batch = Batch(
        frame_offset=torch.from_numpy(frames.atom_offset.astype(np.int64)),
        frame_idx=torch.from_numpy(frame_idx.astype(np.int64)),
        atype=torch.from_numpy(atype),
        edge_vec=edge_vec,
        **tensors,
    )
    return batch if torch.device(device).type == "cpu" else batch.to(device, dtype)


def make_frame(
    frames: Frames,
    index: int,
    neighbours: Neighbours,
    type_map: Sequence[str],
    *,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """Make the batch of one frame, sorted by compiled code; equals ``make_batch``.

    Such batches are what ``kernels.assembly.merge`` puts together. The first call
    loads numba.

    Args:
        frames: Any frames; labels that are NaN count as missing.
        index: Which of them.
        neighbours: Of that frame, found with the model's cutoff.
        type_map: The model's elements.
        dtype: Precision of the edge vectors, that of the model.

    Raises:
        ModelError: If an element is not in ``type_map``.
    """
    from dpbench.kernels.assembly.cpu import sort_frame

    rows = frames.atoms_of(index)
    atype = atom_types(frames.z[rows], type_map)
    natoms, ntypes, nedges = len(atype), len(type_map), len(neighbours.edge_i)
    atom_order = np.empty(natoms, dtype=np.int64)
    row_offset = np.empty((ntypes, natoms + 1), dtype=np.int64)
    index_arrays = [np.empty(nedges, dtype=np.int32) for _ in range(3)]
    edge_vec = torch.empty(nedges, 3, dtype=dtype)
    sort_frame(
        atype,
        (neighbours.edge_i, neighbours.edge_j, neighbours.shift),
        frame_geometry(frames, index),
        (atom_order, row_offset),
        (*index_arrays, edge_vec.numpy()),
    )
    edge_i, edge_j, edge_row = map(torch.from_numpy, index_arrays)
    type_offset = (0, *np.cumsum(np.bincount(atype, minlength=ntypes)).tolist())
    most = np.diff(row_offset, axis=1).max(axis=1, initial=0)
    return Batch(
        frame_offset=torch.tensor([0, natoms]),
        frame_idx=torch.zeros(natoms, dtype=torch.int64),
        atype=torch.from_numpy(atype),
        atom_order=torch.from_numpy(atom_order),
        atom_type_offset=type_offset,
        edge_i=edge_i,
        edge_j=edge_j,
        edge_row=edge_row,
        edge_vec=edge_vec,
        row_offset=torch.from_numpy(row_offset),
        pair_offset=tuple(map(tuple, row_offset[:, list(type_offset)].tolist())),
        most_neighbours=tuple(most.tolist()),
        **_labels_of(frames, index),
    )


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


def _labels_of(frames: Frames, index: int) -> dict[str, Any]:
    """Return the labels of one frame, as ``_labels`` does of all."""
    force = frames.force[frames.atoms_of(index)].astype(np.float64)
    energy = float(frames.energy[index])
    virial = frames.virial[index : index + 1].astype(np.float64)
    missing = energy != energy, np.isnan(force).any(), np.isnan(virial).any()
    has = torch.logical_not(torch.tensor(missing, dtype=torch.bool))
    return {
        "energy": torch.tensor([0.0 if missing[0] else energy], dtype=torch.float64),
        "force": torch.from_numpy(np.nan_to_num(force)),
        "virial": torch.from_numpy(np.nan_to_num(virial)),
        "has_energy": has[0:1],
        "has_force": has[1:2],
        "has_virial": has[2:3],
    }
