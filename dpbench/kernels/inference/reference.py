"""Inference in plain torch, edge by edge, for any device: what fast kernels must equal.

Memory is that of all edges times all channels; nothing is kept small.
"""

from typing import final

import numpy as np
import torch
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.batch import Batch
from dpbench.kernels.environment import environment
from dpbench.kernels.fitting.reference import infer
from dpbench.kernels.inference.packed import packed_columns
from dpbench.kernels.inference.state import (
    AbstractBatchEvaluator,
    AbstractEvaluator,
    Forces,
    HasState,
    PotentialState,
)
from dpbench.kernels.neighbours import find_neighbours
from dpbench.kernels.neighbours.cell import complete_box
from dpbench.kernels.neighbours.verlet import check_finite
from dpbench.kernels.tables import evaluate, locate
from dpbench.shapes import Bool, Float, Float64, Int, Int64


def make_batch_evaluator(state: PotentialState) -> "BatchEvaluator":
    """Make an evaluator for batches whose edges are known."""
    return BatchEvaluator(state)


def make_evaluator(
    potential: HasState,
    atype: Int[Tensor, " atom"],
    *,
    nreplicas: int = 1,
    skin: float = 1.0,
) -> "ReplicaEvaluator":
    """Make an evaluator for replicas of one system; see ``compiled``."""
    return ReplicaEvaluator(potential.state, atype, nreplicas=nreplicas, skin=skin)


def forces_of_edges(
    state: PotentialState,
    atype: Int64[Tensor, " atom"],
    edges: tuple[Int64[Tensor, " edge"], Int64[Tensor, " edge"]],
    vec: Float[Tensor, "edge 3"],
    frames: tuple[Int64[Tensor, " atom"], int],
) -> Forces:
    """Evaluate atoms whose edges are given; all within the cutoff.

    Args:
        state: The model.
        atype: Type of each atom.
        edges: Centre and neighbour of each edge.
        vec: Neighbour vectors, Å.
        frames: Frame of each atom, and the number of frames.
    """
    centre, other = edges
    frame, nframes = frames
    device, dtype = state.device, state.dtype
    davg, dstd = (torch.from_numpy(a).to(device) for a in (state.davg, state.dstd))
    env = environment(
        vec.double(),
        atype[centre],
        (davg, dstd),
        rcut=state.rcut,
        rcut_smth=state.rcut_smth,
        protection=state.protection,
    )
    mask = torch.from_numpy(state.is_seen).to(device)[atype[centre], atype[other]]
    rows = (env.rows * mask[:, None]).to(dtype)
    value, slope, extended = _features(state, env.rows[:, 0], atype, edges, mask)
    moment = torch.zeros(len(atype), 4, state.tables.width, device=device, dtype=dtype)
    moment.index_add_(0, centre, rows[:, :, None] * value[:, None, :])
    counts = _counts(state, atype, edges)
    moment += _padding(state, atype, counts)
    moment /= sum(state.sel)
    energy, grad = _fit(state, atype, moment)
    adjoint = _contract_adjoint(state, moment, grad)[centre]
    to_rows = torch.einsum("ekm,em->ek", adjoint, value)
    to_rows[:, 0] += torch.einsum("ek,ekm,em->e", rows, adjoint, slope)
    pull = env.pull_back(to_rows.double() * mask[:, None])
    force = torch.zeros(len(atype), 3, device=device, dtype=torch.float64)
    force.index_add_(0, centre, pull).index_add_(0, other, pull, alpha=-1)
    outer = vec.double()[:, :, None] * pull[:, None, :]
    virial = force.new_zeros(nframes, 3, 3).index_add_(0, frame[centre], -outer)
    return Forces(
        energy=force.new_zeros(nframes).index_add_(0, frame, energy),
        force=force,
        virial=virial,
        atom_energy=energy,
        extended=extended,
        crowded=int((counts > counts.new_tensor(state.sel)).any(dim=1).sum()),
    )


def _features(
    state: PotentialState,
    s: Float64[Tensor, " edge"],
    atype: Int64[Tensor, " atom"],
    edges: tuple[Tensor, Tensor],
    mask: Bool[Tensor, " edge"],
) -> tuple[Tensor, Tensor, int]:
    """Read G and dG/ds of all edges; count those above their table."""
    net = torch.from_numpy(state.net).to(s.device)[atype[edges[0]], atype[edges[1]]]
    value = s.new_zeros(len(s), state.tables.width, dtype=state.dtype)
    slope = torch.zeros_like(value)
    extended = 0
    for index in range(len(state.tables.lower)):
        chosen = torch.nonzero(torch.logical_and(net == index, mask))[:, 0]
        found = evaluate(state.tables, index, s[chosen])
        value[chosen], slope[chosen] = found.value, found.slope
        above = int(state.tables.first[-1]) + 2 * index + 1
        row = locate(state.tables.grid, index, s[chosen]).row
        extended += int((row == above).sum())
    return value, slope, extended


def _counts(
    state: PotentialState,
    atype: Int64[Tensor, " atom"],
    edges: tuple[Tensor, Tensor],
) -> Int64[Tensor, "atom type"]:
    """Count the neighbours of each type around each atom."""
    flat = edges[0] * state.ntypes + atype[edges[1]]
    found = torch.bincount(flat, minlength=len(atype) * state.ntypes)
    return found.view(len(atype), state.ntypes)


def _padding(
    state: PotentialState,
    atype: Int64[Tensor, " atom"],
    counts: Int64[Tensor, "atom type"],
) -> Float[Tensor, "atom 4 channel"]:
    """Return sum_t (sel_t - n_it) R0 (x) G_t(s0) of each atom."""
    rows = torch.from_numpy(state.empty_rows).to(state.device)
    missing = counts.new_tensor(state.sel) - counts
    shape = (len(atype), 4, state.tables.width)
    out = torch.zeros(shape, device=state.device, dtype=state.dtype)
    for c, row in enumerate(rows):
        atoms = torch.nonzero(atype == c)[:, 0]
        for t in range(state.ntypes):
            value = evaluate(state.tables, int(state.net[c, t]), row[:1]).value[0]
            empty = row.to(state.dtype)[:, None] * value
            out[atoms] += missing[atoms, t].to(state.dtype)[:, None, None] * empty
    return out


def _fit(
    state: PotentialState, atype: Tensor, moment: Tensor
) -> tuple[Float64[Tensor, " atom"], Float[Tensor, "atom component"]]:
    """Return atomic energies with their bias, and dE/dD of the packed descriptor."""
    columns = packed_columns(state.tables.width, state.axis).to(moment.device)
    axis = moment[:, :, : state.axis]
    descriptor = (moment.transpose(1, 2) @ axis).flatten(1)[:, columns]
    bias = torch.from_numpy(state.energy_bias).to(moment.device)
    energy = bias[atype]
    grad = torch.zeros_like(descriptor)
    for t, layers in enumerate(state.fitting):
        atoms = torch.nonzero(atype == t)[:, 0]
        share, slope = infer(descriptor[atoms], layers, state.activation)
        energy[atoms] += share.double()
        grad[atoms] = slope
    return energy, grad


def _contract_adjoint(
    state: PotentialState, moment: Tensor, grad: Tensor
) -> Float[Tensor, "atom 4 channel"]:
    """Turn the gradient by the packed descriptor into that by the edges' rows."""
    width, axis = state.tables.width, state.axis
    columns = packed_columns(width, axis).to(moment.device)
    full = grad.new_zeros(len(grad), width * axis)
    full[:, columns] = grad
    square = full.view(len(grad), width, axis)
    out = moment[:, :, :axis] @ square.transpose(1, 2)
    out[:, :, :axis] += moment @ square
    return out / sum(state.sel)


@final
class BatchEvaluator(AbstractBatchEvaluator):
    """Energies and forces of batches of any frames."""

    def __init__(self, state: PotentialState) -> None:
        """Take a model."""
        self.state = state

    def evaluate(self, batch: Batch) -> Forces:
        """Evaluate the frames of a batch; ``replica`` means frame here."""
        with torch.inference_mode():
            return forces_of_edges(
                self.state,
                batch.atype,
                (batch.edge_i.long(), batch.edge_j.long()),
                batch.edge_vec,
                (batch.frame_idx, batch.nframes),
            )


@final
class ReplicaEvaluator(AbstractEvaluator):
    """Replicas of one system; the list is searched on the CPU."""

    def __init__(
        self,
        state: PotentialState,
        atype: Int[Tensor, " atom"],
        *,
        nreplicas: int = 1,
        skin: float = 1.0,
    ) -> None:
        """Take a model and the types of one replica; there is no list yet."""
        self.state = state
        self.nreplicas = nreplicas
        self.skin = skin
        self.builds = 0
        natoms = len(atype)
        device = state.device
        self._atype = atype.to(device, torch.int64).repeat(nreplicas)
        self._frame = torch.arange(nreplicas, device=device).repeat_interleave(natoms)
        self._pbc = np.ones(3, dtype=np.bool_)
        self._then: tuple[Tensor, Tensor] | None = None
        none = torch.zeros(0, dtype=torch.int64, device=device)
        self._edges = none, none
        self._shift = torch.zeros(0, 3, dtype=torch.float64, device=device)

    def build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: Bool[Tensor, "3"],
    ) -> None:
        """Search all pairs within the cutoff and the skin; see ``compiled``."""
        self.builds += 1
        natoms = len(coord) // self.nreplicas
        where, cells = coord.cpu().numpy(), box.cpu().numpy()
        self._pbc = pbc.cpu().numpy()
        check_finite(where, natoms)
        parts = [
            find_neighbours(
                where[r * natoms : (r + 1) * natoms],
                cells[r],
                self._pbc,
                self.state.rcut + self.skin,
            )
            for r in range(self.nreplicas)
        ]
        starts = [r * natoms for r in range(self.nreplicas)]
        pairs = zip(parts, starts, strict=True)
        edges = [(p.edge_i + np.int64(s), p.edge_j + np.int64(s)) for p, s in pairs]
        device = self.state.device
        centre, other = (
            torch.from_numpy(np.concatenate(side)).to(device)
            for side in zip(*edges, strict=True)
        )
        self._edges = centre, other
        shift = np.concatenate([p.shift for p in parts]).astype(np.float64)
        self._shift = torch.from_numpy(shift).to(device)
        self._then = coord.clone(), self._complete(box)

    def needs_build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> bool:
        """Say whether a pair within the cutoff may be missing from the list."""
        if self._then is None:
            return True
        then, old = self._then
        new = old if box is None else self._complete(box)
        affine = torch.linalg.solve(old, new)
        moved = coord - (then[:, None, :] @ affine[self._frame])[:, 0]
        largest = torch.linalg.vector_norm(moved, dim=1).max() if len(moved) else 0.0
        stretch = torch.linalg.matrix_norm(torch.linalg.inv(affine), ord=2).max()
        farthest = stretch * (self.state.rcut + 2 * largest)
        return not bool(farthest <= self.state.rcut + self.skin)

    def evaluate(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
    ) -> Forces:
        """Evaluate all replicas with the present list."""
        if self._then is None:
            raise ModelError("evaluate: there is no neighbour list; call build first.")
        check_finite(coord.cpu().numpy(), len(coord) // self.nreplicas)
        centre, other = self._edges
        cells = self._complete(box)[self._frame[centre]]
        vec = coord[other] - coord[centre]
        vec = vec + (self._shift[:, None, :] @ cells)[:, 0]
        near = (vec * vec).sum(dim=1) < self.state.rcut**2
        with torch.inference_mode():
            return forces_of_edges(
                self.state,
                self._atype,
                (centre[near], other[near]),
                vec[near],
                (self._frame, self.nreplicas),
            )

    def _complete(self, box: Tensor) -> Float64[Tensor, "replica 3 3"]:
        """Return cells whose open directions are completed."""
        if self._pbc.all():
            return box.double()
        cells = [complete_box(cell, self._pbc) for cell in box.cpu().numpy()]
        return torch.from_numpy(np.stack(cells)).to(box.device)
