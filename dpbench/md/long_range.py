"""Electrostatics of point charges beside a Deep Potential, by torch-admp.

Charges are fixed by element, or equilibrated for each structure (QEq). A model that
shall stand beside them is trained on what they leave of the labels
(``without_long_range``). torch-admp is imported when it is first needed.
"""

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.elements import SYMBOLS
from dpbench.errors import ModelError, SimulationError
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.md.skin import Geometry

ROOT_STEPS = 20
"""They double the digits from the fifth or so on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedCharges:
    """A charge for each element."""

    charge: Mapping[str, float]
    """Elementary charges by element, e.g. ``{"O": -0.84, "H": 0.42}``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EquilibratedCharges:
    """Charges that minimise chi q + hardness q^2 + Coulomb of Gaussians, per structure.

    Source:
        A. K. Rappe, W. A. Goddard, J. Phys. Chem. 95, 3358 (1991); torch-admp, module
        ``qeq``.
    """

    chi: Mapping[str, float]
    """Electronegativity by element, eV."""
    hardness: Mapping[str, float]
    """By element, eV; the energy is hardness q^2."""
    eta: Mapping[str, float]
    """Width of the charge by element, Å."""
    total: float = 0.0
    """Charge of the structure."""


Charges = FixedCharges | EquilibratedCharges


@dataclass(frozen=True, kw_only=True, slots=True)
class LongRangeSettings:
    """Charges, and how exactly their energy is summed (particle mesh Ewald)."""

    charges: Charges
    rcut: float = 6.0
    """Where the sum in real space ends, Å."""
    tolerance: float = 1e-6
    """Relative error of the sums; it sets screening and mesh."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.rcut > 0 or not 0 < self.tolerance < 0.1:
            raise ModelError(
                f"rcut = {self.rcut} Å, tolerance = {self.tolerance}: expected rcut "
                "above 0 and tolerance between 0 and 0.1."
            )

    @property
    def kappa(self) -> float:
        """Inverse screening length, 1/Å, as OpenMM chooses it."""
        return math.sqrt(-math.log(2 * self.tolerance)) / self.rcut


@dataclass(frozen=True, kw_only=True, slots=True)
class LongRangeForces:
    """Energy of charges and what follows from it."""

    energy: float
    """eV."""
    force: NDArray[np.float64]
    """(atom, 3), eV/Å."""
    virial: NDArray[np.float64]
    """(3, 3), eV, -dE/dstrain."""
    charge: NDArray[np.float64]
    """(atom), elementary charges."""


@final
class LongRange:
    """Evaluates charges; derivatives are torch's, of torch-admp's energy.

    Charges of neutral structures sum to zero; others feel a uniform background where
    there is a cell.
    """

    UNITS: ClassVar[dict[str, str]] = {"energy": "eV", "length": "Ang"}

    def __init__(self, settings: LongRangeSettings) -> None:
        """Take settings.

        Raises:
            SimulationError: If torch-admp is missing.
        """
        self.settings = settings
        self._pme, self._qeq = _admp("pme"), _admp("qeq")

    def evaluate(self, geometry: Geometry) -> LongRangeForces:
        """Evaluate a structure, periodic in all directions or in none.

        Raises:
            ModelError: If an element has no parameters, or periodicity is mixed.
        """
        space = _Space(geometry, self.settings)
        charges = self.settings.charges
        if isinstance(charges, FixedCharges):
            charge = _by_element(geometry, charges.charge, "charge")
            energy = self._fixed(space, charge)
        else:
            energy, charge = self._equilibrated(space, charges)
        energy = energy.sum()
        # Without a pair nothing depends on where the atoms are.
        parts = torch.autograd.grad(
            energy + 0 * space.positions.sum() + 0 * space.strain.sum(),
            (space.coord, space.strain),
        )
        return LongRangeForces(
            energy=float(energy.detach()),
            force=-parts[0].numpy(),
            virial=-parts[1].numpy(),
            charge=charge.detach().numpy().copy(),
        )

    def _options(self, space: "_Space") -> dict[str, Any]:
        options: dict[str, Any] = {
            "rcut": self.settings.rcut,
            "ethresh": self.settings.tolerance,
            "units_dict": self.UNITS,
            "kspace": space.box is not None,
        }
        if space.box is not None:
            options |= {"kappa": self.settings.kappa, "kmesh": list(space.mesh)}
        return options

    def _fixed(self, space: "_Space", charge: Tensor) -> Tensor:
        module = self._pme.CoulombForceModule(**self._options(space))
        energy: Tensor = module(*space.arguments(), {"charge": charge})
        return energy

    def _equilibrated(
        self, space: "_Space", charges: EquilibratedCharges
    ) -> tuple[Tensor, Tensor]:
        """Solve for the charges; at the minimum their own derivatives drop out."""
        geometry = space.geometry
        module = self._qeq.QEqForceModule(**self._options(space))
        positions, box, pairs, ds, weight = space.arguments()
        count = len(geometry.z)
        chi, hardness, eta = (
            _by_element(geometry, getattr(charges, name), name)
            for name in ("chi", "hardness", "eta")
        )
        energy, charge = self._qeq.matinv_optimize(
            module,
            positions,
            box,
            chi,
            hardness,
            eta,
            pairs,
            ds,
            weight,
            torch.ones(1, count, dtype=torch.float64),
            torch.tensor([charges.total], dtype=torch.float64),
        )
        return energy, charge


class _Space:
    """Positions, cell and pairs as torch-admp takes them, differentiable."""

    def __init__(self, geometry: Geometry, settings: LongRangeSettings) -> None:
        if geometry.pbc.any() and not geometry.pbc.all():
            raise ModelError(
                f"long range: periodic along {geometry.pbc.tolist()}; expected all "
                "directions or none. Give the structure a cell, or take it away."
            )
        self.geometry = geometry
        is_periodic = bool(geometry.pbc.all())
        self.strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        self.coord = torch.tensor(
            geometry.coord, dtype=torch.float64, requires_grad=True
        )
        stretch = torch.eye(3, dtype=torch.float64) + self.strain
        # Open space ends nowhere: every pair counts.
        reach = settings.rcut if is_periodic else _span(geometry.coord)
        found = find_neighbours(geometry.coord, geometry.box, geometry.pbc, reach)
        edge_i, edge_j = (
            torch.from_numpy(e.astype(np.int64)) for e in (found.edge_i, found.edge_j)
        )
        box = torch.from_numpy(np.nan_to_num(geometry.box))
        shift = torch.from_numpy(found.shift.astype(np.float64))
        vector = self.coord[edge_j] - self.coord[edge_i] + shift @ box
        self.ds = torch.linalg.vector_norm(vector @ stretch, dim=1)
        self.pairs = torch.stack((edge_i, edge_j), dim=1)
        self.box: Tensor | None = None
        self.mesh = (0, 0, 0)
        self.positions = self.coord @ stretch
        if is_periodic:
            whole = self.coord @ torch.linalg.inv(box)
            # The mesh of torch-admp takes atoms that are near the cell only.
            fraction = whole - torch.floor(whole.detach())
            self.box = _symmetric(box @ stretch)
            self.positions = fraction @ self.box
            self.mesh = _mesh(box.numpy(), settings)

    def arguments(self) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
        """Return what every module of torch-admp takes before its parameters."""
        # Both directions of each pair are there, so that each counts by half.
        weight = torch.full_like(self.ds, 0.5).detach()
        return self.positions, self.box, self.pairs, self.ds, weight


def without_long_range(frames: Frames, long_range: LongRange) -> Frames:
    """Take charges out of labels: what a model beside them is trained on.

    Raises:
        ModelError: If an element has no parameters, or periodicity is mixed.
    """
    energy, force, virial = (
        np.array(labels, dtype=np.float64)
        for labels in (frames.energy, frames.force, frames.virial)
    )
    for index in range(frames.nframes):
        rows = frames.atoms_of(index)
        found = long_range.evaluate(
            Geometry(
                z=frames.z[rows],
                coord=np.asarray(frames.coord[rows], dtype=np.float64),
                box=frames.box[index],
                pbc=frames.pbc[index],
            )
        )
        energy[index] -= found.energy
        force[rows] -= found.force
        virial[index] -= found.virial
    return replace(frames, energy=energy, force=force, virial=virial)


def _by_element(geometry: Geometry, values: Mapping[str, float], name: str) -> Tensor:
    """Return a value for each atom."""
    symbols = [SYMBOLS[int(z)] for z in geometry.z]
    missing = sorted(set(symbols) - set(values))
    if missing:
        raise ModelError(
            f"long range: no {name} for {', '.join(missing)}; expected one for each "
            "element of the structure."
        )
    return torch.tensor([values[s] for s in symbols], dtype=torch.float64)


def _symmetric(box: Tensor) -> Tensor:
    """Turn a cell so that its matrix is symmetric and positive; differentiable.

    The root of box box^T, by the iteration of Denman and Beavers, which is smooth
    where edges are equal. torch-admp 1.1.5 builds its waves of rows of the inverse cell
    where columns are meant (``recip.setup_kpts``), which is right for such cells alone.
    """
    root, inverse = box @ box.T, torch.eye(3, dtype=box.dtype)
    for _ in range(ROOT_STEPS):
        halves = (torch.linalg.inv(inverse), torch.linalg.inv(root))
        root, inverse = (root + halves[0]) / 2, (inverse + halves[1]) / 2
    return (root + root.T) / 2


def _mesh(
    box: NDArray[np.float64], settings: LongRangeSettings
) -> tuple[int, int, int]:
    """Points of the mesh along each cell vector, as OpenMM chooses them; 6 at least."""
    edges = np.linalg.norm(box, axis=1)
    points = np.ceil(2 * settings.kappa * edges / (3 * settings.tolerance**0.2))
    a, b, c = (max(6, int(n)) for n in points)
    return a, b, c


def _span(coord: NDArray[np.float64]) -> float:
    """A distance that no pair exceeds, Å."""
    return float(np.linalg.norm(np.ptp(coord, axis=0))) + 1.0


def _admp(module: str) -> Any:
    try:
        return importlib.import_module(f"torch_admp.{module}")
    except ImportError as error:
        raise SimulationError(
            f"torch_admp: cannot be imported ({error}); expected torch-admp 1.1.5. See "
            "docs/engines.md: its pin of torch must be passed over."
        ) from error
