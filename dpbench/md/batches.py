"""Many structures in one call, in batches of bounded size."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.frames import Frames, join_aparam, offsets
from dpbench.kernels.neighbours import find_neighbours
from dpbench.md.skin import Geometry
from dpbench.models.batching import make_batch
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, within_sel

logger = logging.getLogger(__name__)

ATOMS_PER_BATCH = 512
"""Atoms of one forward pass: about half a gigabyte at 100 neighbours of exact nets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What a model says of one structure; float64 whatever the model's precision."""

    energy: float
    """eV."""
    force: NDArray[np.float64]
    """(atom, 3), eV/Å."""
    virial: NDArray[np.float64]
    """(3, 3), eV, -dE/dstrain."""
    atom_energy: NDArray[np.float64]
    """(atom), eV."""


def evaluate_many(
    model: Potential,
    structures: Sequence[Geometry],
    *,
    sel_overflow: SelOverflow = "error",
    atoms_per_batch: int = ATOMS_PER_BATCH,
) -> Iterator[Evaluated]:
    """Evaluate structures that may differ in everything.

    Args:
        model: The potential, of either kind, on any device.
        structures: In the order of the answers.
        sel_overflow: What to do with more neighbours than the model's ``sel``.
        atoms_per_batch: Most atoms of one forward pass; one structure at least.

    Raises:
        ModelError: If the model does not know an element, or an atom has more
            neighbours than slots; names the structure.
    """
    is_warned = False
    for rows in _runs([len(one.z) for one in structures], atoms_per_batch):
        chosen = [structures[index] for index in rows]
        names = tuple(f"structure {index}" for index in rows)
        batch = make_batch(
            _frames(chosen),
            [find_neighbours(s.coord, s.box, s.pbc, model.rcut) for s in chosen],
            model.type_map,
            device=model.device,
            dtype=model.dtype,
            numb_aparam=model.config.fitting.numb_aparam,
            names=names,
        )
        batch = within_sel(batch, model.config, overflow=sel_overflow, names=names)
        found = model.energy_and_forces(batch)
        if found.extended and not is_warned:
            is_warned = True
            logger.warning(
                "structures %d to %d have %d edges shorter than the tables of the "
                "model reach; their embedding is continued straight. Said once.",
                rows.start,
                rows.stop - 1,
                found.extended,
            )
        energy, force, virial, share = map(
            _as_numpy, (found.energy, found.force, found.virial, found.atom_energy)
        )
        ends = np.cumsum([len(one.z) for one in chosen])[:-1]
        parts = zip(
            energy, np.split(force, ends), virial, np.split(share, ends), strict=True
        )
        for one, forces, strain, shares in parts:
            yield Evaluated(
                energy=float(one),
                force=forces,
                virial=strain,
                atom_energy=shares,
            )


def _frames(structures: Sequence[Geometry]) -> Frames:
    """Put structures behind each other, without labels."""
    counts = [len(one.z) for one in structures]
    total, count = sum(counts), len(structures)
    return Frames(
        atom_offset=offsets(counts),
        z=np.concatenate([one.z for one in structures]).astype(np.uint8),
        coord=np.concatenate([one.coord for one in structures]),
        force=np.full((total, 3), np.nan),
        box=np.stack([one.box for one in structures]),
        pbc=np.stack([one.pbc for one in structures]),
        energy=np.full(count, np.nan),
        virial=np.full((count, 3, 3), np.nan),
        aparam=join_aparam([one.aparam for one in structures], counts),
    )


def _runs(natoms: Sequence[int], most: int) -> Iterator[range]:
    """Cut structures into runs of at most ``most`` atoms, one structure at least."""
    first, atoms = 0, 0
    for index, count in enumerate(natoms):
        if index > first and atoms + count > most:
            yield range(first, index)
            first, atoms = index, 0
        atoms += count
    if first < len(natoms):
        yield range(first, len(natoms))


def _as_numpy(tensor: torch.Tensor) -> NDArray[np.float64]:
    # Tensors of inference mode are read-only; a caller may write into a copy.
    array: NDArray[np.float64] = tensor.to("cpu", torch.float64).numpy().copy()
    return array
