"""Forces of moving atoms: a neighbour list with skin in front of the kernels."""

import threading
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.inference.blocks import BlockRunner, Listed
from dpbench.kernels.inference.packed import pack
from dpbench.kernels.inference.state import AbstractEvaluator, Forces, HasState
from dpbench.kernels.neighbours.cell import complete_box
from dpbench.kernels.neighbours.verlet import VerletList, build_list, check_finite
from dpbench.kernels.threads import use_threads
from dpbench.shapes import Bool, Float64, Int

DEFAULT_SKIN = 1.0
"""Å; a list at room temperature lasts for some tens of steps."""

PARALLEL_ATOMS = 64
"""Atoms from which a step is spread over threads."""


@final
class ListedEvaluator(AbstractEvaluator):
    """Energies and forces of replicas of one system on the CPU."""

    def __init__(
        self,
        potential: HasState,
        atype: Int[Tensor, " atom"],
        *,
        nreplicas: int = 1,
        skin: float = DEFAULT_SKIN,
        nthreads: int | None = None,
    ) -> None:
        """Prepare the kernels; there is no list yet.

        Args:
            potential: The model, on the CPU.
            atype: Types of the atoms of one replica.
            nreplicas: Copies of the system, each with coordinates and a cell.
            skin: Extra radius of the list, Å; zero needs a list at every call.
            nthreads: Threads; None takes torch's number in the main thread, and one in
                others, where parallel loops must not run.
        """
        state = potential.state
        self.atype = np.ascontiguousarray(atype.numpy(), dtype=np.int64)
        self.nreplicas = nreplicas
        self.skin = skin
        self.builds = 0
        self._rcut = state.rcut
        self._ntypes = state.ntypes
        natoms = len(self.atype) * nreplicas
        if nthreads is None:
            is_main = threading.current_thread() is threading.main_thread()
            is_spread = is_main and natoms >= PARALLEL_ATOMS
            nthreads = use_threads() if is_spread else 1
        self._runner = BlockRunner(pack(state), nworkers=nthreads)
        self._list: VerletList | None = None
        self._frame = np.zeros(0, dtype=np.int32)
        self._pbc = np.ones(3, dtype=np.bool_)

    def build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        pbc: Bool[Tensor, "3"],
    ) -> None:
        """Make a new neighbour list."""
        self.builds += 1
        # The old list first: two of them would be the most memory of a run.
        self._list = None
        self._pbc = np.asarray(pbc, dtype=np.bool_)
        found = build_list(
            coord.numpy(),
            box.numpy(),
            self._pbc,
            self.atype,
            radius=self._rcut + self.skin,
            ntypes=self._ntypes,
            is_parallel=self._runner.nworkers > 1,
        )
        self._list = found
        self._frame = (found.order // max(len(self.atype), 1)).astype(np.int32)

    def needs_build(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"] | None = None,
    ) -> bool:
        """Say whether a pair within the cutoff may be missing from the list."""
        if self._list is None:
            return True
        cells = None if box is None else self._complete(box)
        return not self._list.serves(coord.numpy(), self._rcut, cells)

    def evaluate(
        self,
        coord: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
    ) -> Forces:
        """Evaluate all replicas with the present list."""
        # numba takes half a second to import: pay only where it works.
        from dpbench.kernels.inference import places_cpu

        found = self._list
        if found is None:
            raise ModelError("evaluate: there is no neighbour list; call build first.")
        natoms = len(self.atype)
        where = np.ascontiguousarray(coord.numpy())
        cells = self._complete(box)
        place = np.empty((len(found.order), 3))
        if places_cpu.place_atoms(where, found.order, found.wrap, cells, place):
            check_finite(where, natoms)
        view = Listed(
            place=place,
            start=found.start,
            neighbour=found.neighbour,
            image=found.image,
            shift=np.ascontiguousarray(found.images @ cells),
            stops=found.type_offset[1:],
            frame=self._frame,
            rcut2=self._rcut**2,
        )
        done = self._runner.listed(view, found.type_offset.tolist(), self.nreplicas)
        force = np.empty((len(place), 3))
        places_cpu.gather_forces(done.force, found.order, force)
        atom_energy = np.empty(len(place))
        atom_energy[found.order] = done.atom_energy
        energy = atom_energy.reshape(self.nreplicas, natoms).sum(axis=1)
        if not np.isfinite(energy).all():
            self._explain(view, found)
        return Forces(
            energy=torch.from_numpy(energy),
            force=torch.from_numpy(force),
            virial=torch.from_numpy(done.virial),
            atom_energy=torch.from_numpy(atom_energy),
            extended=done.extended,
            crowded=done.crowded,
        )

    def _complete(self, box: Tensor) -> NDArray[np.float64]:
        """Return cells whose open directions are completed."""
        cells = np.ascontiguousarray(box.numpy(), dtype=np.float64)
        if self._pbc.all():
            return cells
        return np.stack([complete_box(cell, self._pbc) for cell in cells])

    def _explain(self, view: Listed, found: VerletList) -> None:
        """Raise, naming two atoms at one place if there are such.

        Raises:
            ModelError: Always.
        """
        centre = np.repeat(np.arange(len(view.place)), np.diff(found.start))
        vector = view.place[found.neighbour] - view.place[centre]
        vector += view.shift[view.frame[centre], found.image]
        same = np.flatnonzero((vector**2).sum(axis=1) == 0)
        if len(same):
            e = int(same[0])
            i, j = (int(found.order[s]) for s in (centre[e], found.neighbour[e]))
            raise ModelError(
                f"coord: atoms {i} and {j} are at one place; expected distinct "
                "positions. Move one of them."
            )
        raise ModelError(
            "energy: is not finite though all positions are; expected a number. The "
            "model's weights may not be finite, or atoms are far too close."
        )
