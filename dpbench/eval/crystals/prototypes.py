"""Cells and supercells of crystals."""

from typing import Any

import numpy as np
from ase.build import bulk
from ase.data import atomic_numbers, reference_states
from numpy.typing import NDArray

from dpbench.eval.structures import from_atoms
from dpbench.frames import Frames, uniform

_CUBES = ("fcc", "bcc", "diamond")


def prototypes(symbols: tuple[str, ...], *, is_cubic: bool = True) -> dict[str, Frames]:
    """Return the cells of those elements that are cubic at room temperature.

    Args:
        symbols: Elements.
        is_cubic: Return the whole cube, not the primitive cell.

    Returns:
        Name, e.g. ``Si-diamond`` -> one frame at the measured lattice constant.
    """
    out = {}
    for symbol in symbols:
        state: Any = reference_states[atomic_numbers[symbol]]
        if state is None or state.get("symmetry") not in _CUBES:
            continue
        kind = state["symmetry"]
        cell = bulk(symbol, kind, a=state["a"], cubic=is_cubic)
        out[f"{symbol}-{kind}"] = from_atoms(cell)
    return out


def strained(frame: Frames, strain: NDArray[np.float64]) -> Frames:
    """Strain a cell with its atoms: r -> r (1 + strain).

    Args:
        frame: One periodic frame.
        strain: (case, 3, 3), symmetric.

    Returns:
        One frame per case, without labels.
    """
    change = np.eye(3) + strain
    return uniform(
        z=frame.z,
        coord=np.asarray(frame.coord, np.float64)[None] @ change,
        box=frame.box[0][None] @ change,
    )


def scaled(frame: Frames, volumes: NDArray[np.float64]) -> Frames:
    """Scale a cell with its atoms to parts of its volume, (case)."""
    edge = volumes ** (1 / 3) - 1
    return strained(frame, edge[:, None, None] * np.eye(3))


def volume_per_atom(frames: Frames) -> NDArray[np.float64]:
    """(frame), Å^3/atom."""
    volume: NDArray[np.float64] = np.abs(np.linalg.det(frames.box)) / frames.natoms
    return volume
