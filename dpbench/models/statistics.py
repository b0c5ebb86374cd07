"""Statistics of the data that become part of a model; numpy only, and mergeable.

Each class holds partial sums of a shard: add them up in any order, then finish. They
follow DeePMD-kit to the letter, because they change the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.frames import Frames
from dpbench.kernels.neighbours import Neighbours
from dpbench.models.config import ModelConfig, part_configs
from dpbench.models.geometry import atom_types, frame_geometry

SMALLEST_STD = 1e-2
"""Standard deviations below this are raised to it."""

ABSENT_STD = 0.1
"""Standard deviation of a type that does not occur."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStatistics:
    """What the data contribute to a model beside its trained parameters."""

    davg: NDArray[np.float64]
    """(type, 4), mean of the environment rows around a centre type; (part, type, 4)
    where the descriptor is a hybrid."""
    dstd: NDArray[np.float64]
    """Their standard deviation, of the same shape."""
    energy_bias: NDArray[np.float64]
    """(type), eV, energy per atom of each type, added to the fitting net's output."""
    fparam: NDArray[np.float64] | None = None
    """(2, number), mean and standard deviation of the numbers of a frame."""
    aparam: NDArray[np.float64] | None = None
    """(2, number), mean and standard deviation of the numbers of an atom."""
    pair_table: NDArray[np.float64] | None = None
    """(row, 1 + pair), Å and eV, the table that is mixed in; see ``PairTable``."""

    def __post_init__(self) -> None:
        """Check shapes and deviations."""
        ntypes = len(self.energy_bias)
        for name, array in (("davg", self.davg), ("dstd", self.dstd)):
            if array.shape[-2:] != (ntypes, 4) or array.ndim > 3:
                raise ModelError(
                    f"{name} has shape {array.shape}; expected ({ntypes}, 4), or one "
                    "such array for each part of the descriptor."
                )
        if not (self.dstd > 0).all():
            raise ModelError("dstd holds a value that is not positive.")

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what there is, by name; the order is that of files and digests."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if array is not None}

    def check(self, config: ModelConfig) -> None:
        """Raise ModelError unless all that ``config`` needs is there and fits."""
        parts = len(config.descriptor.parts)
        is_hybrid = config.descriptor.type == "hybrid"
        shape = (parts, config.ntypes, 4) if is_hybrid else (config.ntypes, 4)
        fitting, pairs = config.fitting, config.ntypes * (config.ntypes + 1) // 2
        wanted: dict[str, tuple[int, ...]] = {"davg": shape, "dstd": shape}
        if fitting.numb_fparam:
            wanted["fparam"] = (2, fitting.numb_fparam)
        if fitting.numb_aparam:
            wanted["aparam"] = (2, fitting.numb_aparam)
        found = self.arrays()
        if config.pair_table is not None:
            rows = len(found.get("pair_table", ()))
            wanted["pair_table"] = (max(rows, 2), 1 + pairs)
        for name, expected in wanted.items():
            if name not in found or found[name].shape != expected:
                has = found[name].shape if name in found else "nothing"
                raise ModelError(f"{name}: found {has}; expected shape {expected}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentMoments:
    """Partial sums over environment rows, per centre type."""

    count: NDArray[np.int64]
    """(type), slots: atoms of the type times sum(sel), empty ones included; as all
    here (part, type) where the descriptor is a hybrid."""
    total: NDArray[np.float64]
    """(type, 2), sums of the radial column and of the three angular columns."""
    squares: NDArray[np.float64]
    """(type, 2), sums of squares of the same."""

    def __add__(self, other: "EnvironmentMoments") -> "EnvironmentMoments":
        """Merge two shards."""
        return EnvironmentMoments(
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )

    def finish(
        self, *, set_davg_zero: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return davg and dstd, each (type, 4).

        Source:
            DeePMD-kit, ``deepmd/utils/env_mat_stat.py``.
        """
        # Three angular columns are pooled, hence three times as many numbers.
        number = np.maximum(self.count[..., np.newaxis] * np.array([1, 3]), 1)
        mean = self.total / number
        variance = np.maximum(self.squares / number - mean**2, 0)
        std = np.maximum(np.sqrt(variance), SMALLEST_STD)
        std[self.count == 0] = ABSENT_STD
        davg = np.zeros((*mean.shape[:-1], 4))
        if not set_davg_zero:
            davg[..., 0] = mean[..., 0]
        return davg, std[..., [0, 1, 1, 1]]


def descriptor_statistics(
    moments: EnvironmentMoments, config: ModelConfig, *, counts_atoms: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return davg and dstd of a model, as its descriptor wants them.

    Args:
        moments: Of all frames.
        config: The model.
        counts_atoms: Whether ``moments`` counted atoms, because the slots of each were
            not known yet.
    """
    parts = config.descriptor.parts
    if counts_atoms:
        slots = np.array([part.slots for part in parts])
        count = moments.count * (slots[:, np.newaxis] if len(parts) > 1 else slots[0])
        moments = replace(moments, count=count)
    shape = moments.total.shape[:-1]
    davg, dstd = (array.reshape(-1, *shape[-1:], 4) for array in moments.finish())
    for index, part in enumerate(parts):
        if part.set_davg_zero:
            davg[index] = 0
        if part.type == "se_e2_r":
            dstd[index, :, 1:] = 1
    return davg.reshape(*shape, 4), dstd.reshape(*shape, 4)


def environment_moments(
    frames: Frames, neighbours: Sequence[Neighbours], config: ModelConfig
) -> EnvironmentMoments:
    """Sum up the environment rows of all atoms of ``frames``.

    Every atom has sum(sel) slots; empty ones and excluded pairs count as zeros. Where
    an atom has more neighbours than slots all of them are summed.

    Args:
        frames: Frames of any composition.
        neighbours: One per frame, found with the model's cutoff.
        config: The model.
    """
    if config.descriptor.type == "hybrid":
        parts = [
            environment_moments(frames, neighbours, part)
            for _, part in part_configs(config)
        ]
        stacked = {
            field.name: np.stack([getattr(part, field.name) for part in parts])
            for field in fields(EnvironmentMoments)
        }
        return EnvironmentMoments(**stacked)
    # numba takes half a second to import: only who measures data pays for it.
    from dpbench.kernels.assembly.sums import sum_rows

    (descriptor,) = config.descriptor.parts
    ntypes = config.ntypes
    types = atom_types(frames.z, config.type_map)
    total, squares = np.zeros((ntypes, 2)), np.zeros((ntypes, 2))
    switch = (descriptor.rcut, descriptor.rcut_smth, descriptor.env_protection)
    mask = pair_mask(config)
    for index, found in enumerate(neighbours):
        sum_rows(
            types[frames.atoms_of(index)],
            (found.edge_i, found.edge_j, found.shift),
            frame_geometry(frames, index),
            tuple(map(float, switch)),
            mask,
            (total, squares),
        )
    atoms = np.bincount(types, minlength=ntypes)
    return EnvironmentMoments(
        count=atoms * descriptor.slots, total=total, squares=squares
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyNormal:
    """Energies by composition: all that the least squares of the bias needs."""

    compositions: NDArray[np.int64]
    """(composition, type), atoms of each type; rows are unique and sorted."""
    count: NDArray[np.int64]
    """(composition), frames."""
    mean: NDArray[np.float64]
    """(composition), eV, mean energy."""
    spread: NDArray[np.float64]
    """(composition), eV^2, sum of squared deviations from the mean."""

    def __add__(self, other: "EnergyNormal") -> "EnergyNormal":
        """Merge two shards."""
        return _merge_compositions(
            np.concatenate([self.compositions, other.compositions]),
            np.concatenate([self.count, other.count]),
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.spread, other.spread]),
        )

    def solve(
        self, *, rcond: float | None = None
    ) -> tuple[NDArray[np.float64], int, float]:
        """Fit E = sum_types natoms * bias by least squares.

        Args:
            rcond: Singular values below rcond times the largest count as zero; None
                takes numpy's default for as many rows as there are frames.

        Returns:
            The bias per type (eV; the solution of least norm), the rank, and the
            root mean square residual per atom (eV).

        Source:
            DeePMD-kit, ``deepmd/utils/out_stat.py``.
        """
        ntypes = self.compositions.shape[1]
        nframes = int(self.count.sum())
        if not nframes:
            return np.zeros(ntypes), 0, float("nan")
        if rcond is None:
            rcond = float(np.finfo(np.float64).eps) * max(nframes, ntypes)
        weight = np.sqrt(self.count)
        matrix = self.compositions * weight[:, np.newaxis]
        solution = np.linalg.lstsq(matrix, self.mean * weight, rcond=rcond)
        bias, rank = solution[0].astype(np.float64), solution[2]
        offset = self.mean - self.compositions @ bias
        natoms = self.compositions.sum(axis=1)
        squares = (self.spread + self.count * offset**2) / natoms**2
        return bias, int(rank), float(np.sqrt(squares.sum() / nframes))


def energy_normal(frames: Frames, type_map: Sequence[str]) -> EnergyNormal:
    """Sum up the energies of all labelled frames by composition."""
    atype = atom_types(frames.z, type_map)
    counts = np.zeros((frames.nframes, len(type_map)), dtype=np.int64)
    frame_idx = np.repeat(np.arange(frames.nframes), frames.natoms)
    np.add.at(counts, (frame_idx, atype), 1)
    labelled = frames.has_energy
    energy = frames.energy[labelled]
    return _merge_compositions(
        counts[labelled],
        np.ones(len(energy), dtype=np.int64),
        energy,
        np.zeros(len(energy)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberMoments:
    """Sums over the numbers of frames or atoms that a fitting net takes."""

    count: int
    """Frames, or atoms."""
    total: NDArray[np.float64]
    """(number), sums."""
    squares: NDArray[np.float64]
    """(number), sums of squares."""

    def __add__(self, other: "NumberMoments") -> "NumberMoments":
        """Merge two shards."""
        return NumberMoments(
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )

    def scale(self) -> NDArray[np.float64]:
        """Return mean and deviation.

        Returns:
            (2, number); deviations below ``SMALLEST_STD`` are raised to it.

        Source:
            DeePMD-kit, ``deepmd/dpmodel/fitting/general_fitting.py``.
        """
        mean = self.total / self.count
        variance = np.maximum(self.squares / self.count - mean**2, 0)
        return np.stack([mean, np.maximum(np.sqrt(variance), SMALLEST_STD)])


def number_moments(values: NDArray[np.float64]) -> NumberMoments:
    """Sum up the numbers of some frames or atoms, (item, number)."""
    return NumberMoments(
        count=len(values), total=values.sum(axis=0), squares=(values**2).sum(axis=0)
    )


def pair_mask(config: ModelConfig) -> NDArray[np.float64]:
    """Return (centre type, neighbour type): zero for excluded pairs, else one."""
    (descriptor,) = config.descriptor.parts
    mask = np.ones((config.ntypes, config.ntypes))
    for a, b in descriptor.exclude_types:
        mask[a, b] = mask[b, a] = 0
    return mask


def _merge_compositions(
    compositions: NDArray[np.int64],
    count: NDArray[np.int64],
    mean: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> EnergyNormal:
    """Merge rows of equal composition; deviations are kept about the joint mean."""
    unique, inverse = np.unique(compositions, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    joint_count = np.bincount(inverse, count, minlength=len(unique)).astype(np.int64)
    total = np.bincount(inverse, mean * count, minlength=len(unique))
    joint_mean = total.astype(np.float64) / joint_count
    between = count * (mean - joint_mean[inverse]) ** 2
    squares = np.bincount(inverse, spread + between, minlength=len(unique))
    return EnergyNormal(
        compositions=unique,
        count=joint_count,
        mean=joint_mean,
        spread=squares.astype(np.float64),
    )
