"""Where the atoms are and how fast they move: the state that a step takes further."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.shapes import Float64
from dpbench.units import AMU, BAR, BOLTZMANN


@dataclass(kw_only=True, slots=True, eq=False)
class State:
    """Replicas of one structure on one device; a step writes into its tensors.

    Invariant between steps: force, energy, virial and kinetic are those of coord, box
    and velocity.
    """

    z: NDArray[np.int64]
    """(atom), atomic numbers."""
    pbc: NDArray[np.bool_]
    """(3), periodic along each cell vector."""
    mass: Float64[Tensor, " atom"]
    """eV ps^2/Å^2."""
    coord: Float64[Tensor, "replica atom 3"]
    """Å; never wrapped into the cell."""
    velocity: Float64[Tensor, "replica atom 3"]
    """Å/ps."""
    force: Float64[Tensor, "replica atom 3"]
    """eV/Å."""
    box: Float64[Tensor, "replica 3 3"]
    """Å, rows are cell vectors; zero without a cell."""
    energy: Float64[Tensor, " replica"]
    """eV, potential."""
    virial: Float64[Tensor, "replica 3 3"]
    """eV."""
    kinetic: Float64[Tensor, "replica 3 3"]
    """eV, sum m v (x) v; its trace is twice the kinetic energy."""
    heat: Float64[Tensor, " replica"]
    """eV, energy that thermostat and barostat have brought in."""
    bath: dict[str, Tensor] = field(default_factory=dict)
    """What a thermostat remembers."""
    step: int = 0
    """Steps made."""

    @property
    def nreplicas(self) -> int:
        """Number of replicas."""
        return len(self.box)

    @property
    def natoms(self) -> int:
        """Atoms of each replica."""
        return len(self.z)

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.coord.device

    def twice_kinetic(self) -> Float64[Tensor, " replica"]:
        """Twice the kinetic energy, eV."""
        twice: Tensor = self.kinetic.diagonal(dim1=1, dim2=2).sum(dim=1)
        return twice

    def volume(self) -> Float64[Tensor, " replica"]:
        """Volume, Å^3; NaN where a direction is open."""
        if not self.pbc.all():
            return torch.full_like(self.energy, torch.nan)
        volume: Tensor = torch.linalg.det(self.box).abs()
        return volume

    def temperature(self, dof: int) -> Float64[Tensor, " replica"]:
        """Temperature by ``dof`` degrees of freedom, K."""
        return self.twice_kinetic() / (max(dof, 1) * BOLTZMANN)

    def pressure(self) -> Float64[Tensor, " replica"]:
        """Pressure, bar; NaN without a volume."""
        trace = (self.kinetic + self.virial).diagonal(dim1=1, dim2=2).sum(dim=1)
        return trace / (3 * self.volume() * BAR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """The atoms that a run starts from."""

    where: str
    """File or dataset, for messages and the record."""
    z: NDArray[np.int64]
    """(atom), atomic numbers."""
    coord: NDArray[np.float64]
    """(atom, 3), Å."""
    box: NDArray[np.float64]
    """(3, 3), Å, rows are cell vectors; zero rows along open directions."""
    pbc: NDArray[np.bool_]
    """(3), periodic along each cell vector."""
    velocity: NDArray[np.float64] | None = None
    """(atom, 3), Å/ps, where the file has them."""

    @property
    def natoms(self) -> int:
        """Number of atoms."""
        return len(self.z)


def masses_of(z: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return standard atomic weights as masses, (atom), eV ps^2/Å^2.

    Source:
        ``ase.data.atomic_masses`` (IUPAC 2016).
    """
    from ase.data import atomic_masses  # half a second; only runs need it

    masses: NDArray[np.float64] = atomic_masses[z] * AMU
    return masses


def start_state(
    structure: Structure,
    *,
    nreplicas: int = 1,
    device: torch.device | str = "cpu",
    mass: NDArray[np.float64] | None = None,
) -> State:
    """Put replicas of a structure on a device, at rest or with the file's velocities.

    Args:
        structure: The atoms.
        nreplicas: How many copies.
        device: Where they shall lie.
        mass: (atom), eV ps^2/Å^2; None for standard atomic weights.
    """
    natoms = structure.natoms

    def tensor(array: NDArray[np.float64]) -> Tensor:
        return torch.tensor(array, dtype=torch.float64, device=device)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=device)

    coord = tensor(structure.coord).repeat(nreplicas, 1, 1)
    velocity = zeros(nreplicas, natoms, 3)
    if structure.velocity is not None:
        velocity += tensor(structure.velocity)
    return State(
        z=np.asarray(structure.z, dtype=np.int64),
        pbc=np.asarray(structure.pbc, dtype=np.bool_),
        mass=tensor(masses_of(structure.z) if mass is None else mass),
        coord=coord,
        velocity=velocity,
        force=zeros(nreplicas, natoms, 3),
        box=tensor(np.nan_to_num(structure.box)).repeat(nreplicas, 1, 1),
        energy=zeros(nreplicas),
        virial=zeros(nreplicas, 3, 3),
        kinetic=zeros(nreplicas, 3, 3),
        heat=zeros(nreplicas),
    )
