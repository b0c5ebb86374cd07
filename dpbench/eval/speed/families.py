"""Families of structures that speeds are measured on, made on the spot.

What a step costs hangs on how many neighbours an atom has, so one density is not
enough: liquid water, a dense solid, and a slab with empty space beside it. Each is a
cell that is doubled along its shortest side, so that sizes are powers of two of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.build import bulk, make_supercell
from ase.data import atomic_numbers, reference_states
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.eval.structures import displaced, supercell
from dpbench.frames import Frames, uniform

FAMILIES: tuple[str, ...] = ("water", "dense", "slab")
"""Every family, in the order of reports."""

TITLES = {
    "water": "liquid water, 1 g/cm^3",
    "dense": "dense metal, alloy or semiconductor",
    "slab": "slab between empty space",
}

SPACING = 3.106
"""Å between molecules: water at 1 g/cm^3."""

BOND, ANGLE = 0.97, 104.5
"""Å and degrees, of a molecule of water."""

VACUUM = 12.0
"""Å of empty space beside a slab."""

SHAKE = 0.05
"""Å, standard deviation by which atoms of a solid are moved from their sites."""

METALS, SEMICONDUCTORS = ("fcc", "bcc", "hcp"), ("diamond",)
"""Reference states of elements that make a dense solid; noble gases are left out."""

MOST_ELEMENTS = 2
"""Of an alloy: a model of half the periodic table gets a binary one."""

GASES = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")

Kind = Literal["water", "dense", "slab"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One structure of a family."""

    frame: Frames
    """One frame, atoms off their sites."""
    replicas: tuple[int, int, int]
    """Copies of the family's cell along its vectors."""
    volume: float
    """Å^3 that atoms fill; the empty space of a slab does not count."""


def elements_for(family: str, type_map: Sequence[str]) -> tuple[str, ...]:
    """Choose the elements of a family that a model knows; none where it knows none.

    Args:
        family: Of ``FAMILIES``.
        type_map: Elements of the model, or those that several models share.
    """
    is_wet = {"O", "H"} <= set(type_map)
    metals = [name for name in type_map if _state(name) in METALS]
    solids = metals or [name for name in type_map if _state(name) in SEMICONDUCTORS]
    chosen = tuple(sorted(solids)[:MOST_ELEMENTS])
    if family == "water":
        return ("O", "H") if is_wet else ()
    if family == "dense":
        return chosen
    if family == "slab":
        return chosen or (("O", "H") if is_wet else ())
    raise EvaluationError(
        f"family '{family}': is unknown; expected one of {', '.join(FAMILIES)}."
    )


def shared_elements(
    family: str, type_maps: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """Choose elements for several models, the same ones for all where they share any.

    Args:
        family: Of ``FAMILIES``.
        type_maps: Elements of each model.

    Returns:
        Elements for each model; none where it knows none of the family.
    """
    own = [elements_for(family, known) for known in type_maps]
    able = [set(known) for known, chosen in zip(type_maps, own, strict=True) if chosen]
    common = elements_for(family, sorted(set.intersection(*able))) if able else ()
    return [common if common and elements else elements for elements in own]


def make_structure(
    family: str, elements: Sequence[str], *, natoms: int, seed: int = 0
) -> Made:
    """Make the smallest structure of a family with at least so many atoms.

    Args:
        family: Of ``FAMILIES``.
        elements: As ``elements_for`` chooses them.
        natoms: Atoms wanted.
        seed: Of orientations, of which element sits where, and of the shaking.

    Returns:
        The structure; its count of atoms is that of the cell times a power of two.

    Raises:
        EvaluationError: If the elements make no such structure.
    """
    if not elements:
        raise EvaluationError(
            f"family '{family}': has no element here; expected O and H, or a metal."
        )
    rng = np.random.default_rng(seed)
    cell = _water_cell() if "H" in elements else _solid_cell(elements[0])
    replicas = doubled(cell.box[0], len(cell.z), natoms)
    frame = supercell(cell, replicas)
    if "H" in elements:
        frame = _turned(frame, rng)
    else:
        frame = displaced(_mixed(frame, elements, rng), amplitude=SHAKE, seed=seed)
    volume = float(abs(np.linalg.det(frame.box[0])))
    if family == "slab":
        frame = _with_vacuum(frame)
    return Made(frame=frame, replicas=replicas, volume=volume)


def doubled(box: NDArray[np.float64], ncell: int, natoms: int) -> tuple[int, int, int]:
    """Double the shortest side of a cell until it has enough atoms.

    Args:
        box: (3, 3), Å, rows are cell vectors.
        ncell: Atoms of the cell.
        natoms: Atoms wanted.
    """
    lengths = np.linalg.norm(box, axis=1)
    replicas = np.ones(3, np.int64)
    while ncell * int(replicas.prod()) < natoms:
        replicas[int(np.argmin(np.round(lengths * replicas, 6)))] *= 2
    return (int(replicas[0]), int(replicas[1]), int(replicas[2]))


def _state(symbol: str) -> str | None:
    """Return the symmetry of an element's reference state; None of gases."""
    if symbol not in atomic_numbers or symbol in GASES:
        return None
    state: Any = reference_states[atomic_numbers[symbol]]
    return None if state is None else str(state["symmetry"])


def _water_cell() -> Frames:
    """Return eight molecules on a lattice, 24 atoms."""
    sites = np.indices((2, 2, 2)).reshape(3, -1).T * SPACING
    half = np.radians(ANGLE / 2)
    molecule = np.array(
        [
            [0.0, 0.0, 0.0],
            [BOND * np.sin(half), BOND * np.cos(half), 0.0],
            [-BOND * np.sin(half), BOND * np.cos(half), 0.0],
        ]
    )
    coord = (sites[:, None] + molecule[None]).reshape(1, -1, 3)
    return uniform(
        z=np.tile([8, 1, 1], 8), coord=coord, box=np.eye(3)[None] * 2 * SPACING
    )


def _turned(frame: Frames, rng: np.random.Generator) -> Frames:
    """Turn every molecule of water at random about its oxygen.

    Source:
        Uniform rotations by unit quaternions: K. Shoemake, Graphics Gems III (1992).
    """
    triples = frame.coord.reshape(-1, 3, 3)
    q = rng.normal(size=(len(triples), 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    turn = np.stack(
        [
            np.stack(
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]
            ),
            np.stack(
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]
            ),
            np.stack(
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]
            ),
        ]
    ).transpose(2, 0, 1)
    oxygen = triples[:, :1]
    coord = oxygen + np.einsum("mij,mkj->mki", turn, triples - oxygen)
    return uniform(z=frame.z, coord=coord.reshape(1, -1, 3), box=frame.box)


def _solid_cell(symbol: str) -> Frames:
    """Return the cell of an element in its reference state, as near to a cube as is."""
    atoms: Any = bulk(symbol)
    state: Any = reference_states[atomic_numbers[symbol]]
    if state["symmetry"] == "hcp":
        atoms = make_supercell(atoms, [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    else:
        atoms = bulk(symbol, cubic=True)
    return uniform(
        z=atoms.numbers, coord=atoms.positions[None], box=np.asarray(atoms.cell)[None]
    )


def _mixed(frame: Frames, elements: Sequence[str], rng: np.random.Generator) -> Frames:
    """Put equal shares of elements on the sites, in random order."""
    numbers = np.array([atomic_numbers[name] for name in elements])
    z = rng.permutation(np.resize(numbers, len(frame.z)))
    return uniform(z=z, coord=frame.coord[None], box=frame.box)


def _with_vacuum(frame: Frames) -> Frames:
    """Add empty space along the last cell vector."""
    box = frame.box.copy()
    length = float(np.linalg.norm(box[0, 2]))
    box[0, 2] *= (length + VACUUM) / length
    return uniform(z=frame.z, coord=frame.coord[None], box=box)
