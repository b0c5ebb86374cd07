"""Surfaces: slabs cut from a crystal, with vacuum above."""

from typing import Any

from dpbench.errors import ConfigError
from dpbench.eval.structures import from_atoms, to_atoms
from dpbench.frames import Frames


def slab(
    crystal: Frames, *, miller: tuple[int, int, int], layers: int, vacuum: float
) -> Frames:
    """Cut a slab; it is periodic along its normal, too, with vacuum in between.

    Args:
        crystal: One periodic frame.
        miller: Indices of the surface in the cell of ``crystal``.
        layers: Repeats of the surface's cell along the normal.
        vacuum: Å between the slab and its image.

    Raises:
        ConfigError: If ASE cannot cut it.
    """
    from ase.build import surface

    try:
        cut: Any = surface(
            to_atoms(crystal), miller, layers, vacuum=vacuum / 2, periodic=True
        )
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(
            f"miller = {list(miller)}: no slab can be cut ({error}). Choose other "
            "indices."
        ) from error
    return from_atoms(cut)
