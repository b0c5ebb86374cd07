"""A Deep Potential as a force of OpenMM, through its ``PythonForce`` (8.4 and later).

OpenMM is imported when a force is made, so that this module needs it only then.
"""

import importlib
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SimulationError
from dpbench.md.model_source import Precision, open_model
from dpbench.md.moving import MovingStructure
from dpbench.md.skin import Geometry
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, trained_overflow
from dpbench.units import ELEMENTARY_CHARGE

ANGSTROM = 0.1
"""nm."""

AVOGADRO = 6.02214076e23

EV = ELEMENTARY_CHARGE * AVOGADRO / 1000
"""kJ/mol."""

NAME = "DeepPotential"


def atomic_numbers(topology: Any) -> NDArray[np.int64]:
    """Return the atomic numbers (atom) of an ``openmm.app.Topology``.

    Raises:
        SimulationError: If a particle is no atom of an element.
    """
    found = []
    for atom in topology.atoms():
        if atom.element is None:
            raise SimulationError(
                f"particle {atom.index} ({atom.name}): has no element; expected atoms "
                "of elements, which are all a model knows. Leave it out by particles=."
            )
        found.append(atom.element.atomic_number)
    return np.array(found, dtype=np.int64)


def make_force(
    model: Potential | str | PathLike[str],
    z: Sequence[int] | NDArray[np.integer],
    *,
    is_periodic: bool,
    particles: Sequence[int] = (),
    skin: float = 1.0,
    is_exact: bool = False,
    sel_overflow: SelOverflow | None = None,
    precision: Precision | None = None,
    device: str = "cpu",
) -> Any:
    """Make the force; add it to a system with ``system.addForce``.

    OpenMM's barostats work by energies, so no virial is asked for.

    Args:
        model: The potential, or a file of one.
        z: Atomic numbers of the particles that the model moves.
        is_periodic: Use the periodic box of the context; else open space.
        particles: Their indices in the system; empty means all.
        skin: Extra radius of the neighbour list, Å.
        is_exact: Evaluate the embedding nets of a plain model exactly.
        sel_overflow: What to do with more neighbours than the model's ``sel``; None:
            what the training did.
        precision: Of the nets; None keeps the model's.
        device: Where a model of a file shall lie.

    Returns:
        An ``openmm.PythonForce``. It is not serialised with a system: it would be as
        a pickle, which is a program.

    Raises:
        SimulationError: If OpenMM is missing or older than 8.4, or numbers of atoms and
            particles differ.
        ModelError: If the model cannot be read or does not know an element.
    """
    openmm = _openmm()
    numbers = np.asarray(z, dtype=np.int64)
    if particles and len(particles) != len(numbers):
        raise SimulationError(
            f"particles: {len(particles)} indices for {len(numbers)} atomic numbers; "
            "expected one each."
        )
    potential, provenance = open_model(model, device=device, precision=precision)
    moving = MovingStructure(
        potential,
        skin=skin,
        is_exact=is_exact,
        sel_overflow=sel_overflow or trained_overflow(provenance),
    )
    compute = _computation(moving, numbers, np.full(3, is_periodic))
    force = openmm.PythonForce(compute)
    force.setUsesPeriodicBoundaryConditions(bool(is_periodic))
    force.setName(NAME)
    if particles:
        force.setParticles(list(particles))
    return force


def _computation(
    moving: MovingStructure, z: NDArray[np.int64], pbc: NDArray[np.bool_]
) -> Callable[[Any], tuple[float, NDArray[np.float64]]]:
    """Return what OpenMM calls: a closure, which cannot be pickled."""

    def compute(state: Any) -> tuple[float, NDArray[np.float64]]:
        found = moving.evaluate(
            Geometry(z=z, coord=_positions(state), box=_box(state, pbc), pbc=pbc)
        )
        force = found.force.cpu().numpy() * (EV / ANGSTROM)
        return float(found.energy[0]) * EV, force

    return compute


def _positions(state: Any) -> NDArray[np.float64]:
    quantity = state.getPositions(asNumpy=True)
    return np.asarray(quantity.value_in_unit(quantity.unit)) / ANGSTROM


def _box(state: Any, pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not pbc.any():
        return np.zeros((3, 3))
    quantity = state.getPeriodicBoxVectors(asNumpy=True)
    return np.asarray(quantity.value_in_unit(quantity.unit)) / ANGSTROM


def _openmm() -> Any:
    try:
        openmm = importlib.import_module("openmm")
    except ImportError as error:
        raise SimulationError(
            f"openmm: cannot be imported ({error}); expected OpenMM 8.4 or later. "
            "pip install openmm"
        ) from error
    if not hasattr(openmm, "PythonForce"):
        raise SimulationError(
            f"openmm: is version {openmm.__version__}, which has no PythonForce; "
            "expected 8.4 or later. pip install --upgrade openmm"
        )
    return openmm
