"""Energies and forces of moving atoms on the device, by Triton.

Signatures of ``kernels.inference``. Batches whose edges are known go through the
reference: they are for evaluation, where speed is not needed.
"""

from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.gpu import launch, passes
from dpbench.kernels.gpu.forces import MovingEdges, lay_out, through_nets
from dpbench.kernels.gpu.neighbours import (
    DeviceList,
    build_list,
    complete_cells,
    keep_list,
    with_room,
    wrapped,
)
from dpbench.kernels.gpu.product import Products
from dpbench.kernels.inference import reference
from dpbench.kernels.inference.state import (
    AbstractEvaluator,
    Forces,
    HasState,
    PotentialState,
)
from dpbench.kernels.neighbours.verlet import check_finite
from dpbench.shapes import Bool, Float64, Int, Int64

make_batch_evaluator = reference.make_batch_evaluator
"""Evaluators for batches whose edges are known, in plain torch."""


def make_evaluator(
    potential: HasState,
    atype: Int[Tensor, " atom"],
    *,
    nreplicas: int = 1,
    skin: float = 1.0,
) -> "DeviceEvaluator":
    """Make an evaluator for replicas of one system; see ``DeviceEvaluator``."""
    return DeviceEvaluator(potential.state, atype, nreplicas=nreplicas, skin=skin)


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem.

    Raises:
        ImportError: If Triton programs cannot run here; the message says why.
    """
    from dpbench.kernels.gpu.trial import device_at_hand
    from dpbench.kernels.inference.trial import largest_error

    return largest_error(make_evaluator, dtype, device_at_hand())


class DeviceForces(NamedTuple):
    """What ``Forces`` holds, all of it on the device."""

    energy: Float64[Tensor, " replica"]
    force: Float64[Tensor, "atom 3"]
    virial: Float64[Tensor, "replica 3 3"]
    atom_energy: Float64[Tensor, " atom"]
    extended: Int64[Tensor, ""]
    crowded: Int64[Tensor, ""]


@final
class DeviceEvaluator(AbstractEvaluator):
    """Energies and forces of replicas of one system, all on the device."""

    def __init__(
        self,
        state: PotentialState,
        atype: Int[Tensor, " atom"],
        *,
        nreplicas: int = 1,
        skin: float = 1.0,
        products: Products = "torch",
    ) -> None:
        """Lay the model out; there is no list yet.

        Args:
            state: The model, on the device.
            atype: Types of the atoms of one replica.
            nreplicas: Copies of the system, each with coordinates and a cell.
            skin: Extra radius of the neighbour list, Å.
            products: Who multiplies the fitting nets' matrices in float32.
        """
        self.products = products
        self.state, self.nreplicas, self.skin = state, nreplicas, skin
        self.builds = 0
        self.layouts = 0
        """How often the list moved to other memory: a graph holds for one layout."""
        device, natoms = state.device, len(atype)
        self._atype = atype.to(device, torch.int64).repeat(nreplicas)
        frame = torch.arange(nreplicas, device=device).repeat_interleave(natoms)
        self._frame = frame
        self._offset = torch.arange(nreplicas + 1, device=device) * natoms
        self._model = lay_out(state)
        self._pbc = np.ones(3, dtype=np.bool_)
        self._list: DeviceList | None = None
        self._old = torch.zeros(nreplicas, 3, 3, dtype=torch.float64, device=device)
        self._then = self._old.new_zeros(natoms * nreplicas, 3)

    def build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: Bool[Tensor, "3"],
    ) -> None:
        """Make a new neighbour list."""
        if not bool(torch.isfinite(coord).all()):
            check_finite(coord.cpu().numpy(), len(coord) // self.nreplicas)
        self.builds += 1
        self._pbc = pbc.cpu().numpy()
        cells = complete_cells(box, self._pbc)
        found = build_list(
            coord.contiguous(),
            cells,
            self._pbc,
            self._atype,
            radius=self.state.rcut + self.skin,
            ntypes=self.state.ntypes,
        )
        if self._list is None or not keep_list(self._list, found):
            self._list = with_room(found)
            self.layouts += 1
        self._then.copy_(coord)
        self._old.copy_(cells)

    def needs_build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> bool:
        """Say whether a pair within the cutoff may be missing; waits for the device."""
        if self._list is None:
            return True
        return bool(self.outdated(coord, box))

    def outdated(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
        *,
        share: float = 1.0,
    ) -> Bool[Tensor, ""]:
        """As ``needs_build``, but leave the answer on the device.

        Args:
            coord: Å, the atoms now.
            box: Å, the cells now; None if they are those of ``build``.
            share: Part of the skin that may be used.
        """
        from dpbench.kernels.gpu.programs import neighbours

        then, stretch = self._then, torch.ones((), device=coord.device)
        if box is not None:
            affine = torch.linalg.solve(self._old, complete_cells(box, self._pbc))
            then = (then[:, None, :] @ affine[self._frame])[:, 0]
            stretch = torch.linalg.matrix_norm(torch.linalg.inv(affine), ord=2).amax()
        natoms, block = len(coord), launch.flat_block()
        blocks = -(-natoms // block)
        square = torch.zeros(max(blocks, 1), dtype=torch.float64, device=coord.device)
        if natoms:
            neighbours.farthest[(blocks,)](
                *(coord.contiguous(), then.contiguous(), square, natoms), BLOCK=block
            )
        reach = stretch * (self.state.rcut + 2 * square.amax().sqrt())
        return torch.logical_not(reach <= self.state.rcut + share * self.skin)

    def evaluate(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
    ) -> Forces:
        """Evaluate all replicas with the present list; waits for the device once."""
        found = self.evaluate_on_device(coord, box)
        finite = torch.isfinite(found.energy).all()
        summary = torch.stack([found.extended, found.crowded, finite.long()]).tolist()
        if not summary[2]:
            self._explain(coord)
        return Forces(
            energy=found.energy,
            force=found.force,
            virial=found.virial,
            atom_energy=found.atom_energy,
            extended=summary[0],
            crowded=summary[1],
        )

    def evaluate_on_device(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        *,
        cells: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> DeviceForces:
        """Evaluate without a look at the host, so that a graph can hold it.

        Positions that are not finite show as energies that are not.

        Args:
            coord: Å, as in ``build``, and not wrapped since.
            box: Å, as in ``build``, or a little changed.
            cells: ``complete_cells(box, pbc)``, which looks at the host where a
                direction is open; None makes them here.

        Raises:
            ModelError: If there is no list yet.
        """
        listed, model = self._list, self._model
        if listed is None:
            raise ModelError("evaluate: there is no neighbour list; call build first.")
        if cells is None:
            cells = complete_cells(box, self._pbc)
        with torch.no_grad():
            inside = wrapped(listed, coord.contiguous(), cells)
            edges = MovingEdges(model, listed, inside, cells, self._frame)
            x, empty, extended = edges.moments()
            by_row = through_nets(model, listed, x, empty, self.products)
            force, by_atom = edges.gather(edges.gradient(x))
            atom_energy = torch.empty_like(by_row)
            atom_energy[listed.atom_of] = by_row
            crowded = (empty < 0).any(dim=1).sum()
            sums = passes.segment_sums(
                torch.cat([atom_energy[:, None], by_atom], dim=1), self._offset
            )
        return DeviceForces(
            energy=sums[:, 0],
            force=force,
            virial=sums[:, 1:].view(-1, 3, 3),
            atom_energy=atom_energy,
            extended=extended.sum(),
            crowded=crowded,
        )

    def _explain(self, coord: Tensor) -> None:
        """Raise, naming the atom whose position is no number, if there is one.

        Raises:
            ModelError: Always.
        """
        check_finite(coord.cpu().numpy(), len(coord) // self.nreplicas)
        raise ModelError(
            "energy: is not finite though all positions are; expected a number. Two "
            "atoms may be at one place, or the model's weights may not be finite."
        )
