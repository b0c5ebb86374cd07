"""Numbers of each atom (aparam) as a model takes them; torch is not needed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.frames import Frames


def atom_numbers(
    frames: Frames, index: int, numb_aparam: int, *, name: str
) -> NDArray[np.float64]:
    """Return the numbers of a frame's atoms (aparam), (atom, number).

    Args:
        frames: Any frames.
        index: Which of them.
        numb_aparam: Numbers of each atom that the model takes.
        name: The frame in messages.

    Raises:
        ModelError: If the frame has none, more or fewer, or one is not finite.
    """
    found = frames.aparam_of(index)
    count = 0 if found is None else found.shape[1]
    if found is None or count != numb_aparam:
        raise ModelError(
            f"{name}: has {count} numbers of each atom (aparam); the model takes "
            f"{numb_aparam}. Give them: aparam.npy of deepmd/npy, the column aparam of "
            "extxyz, atoms.arrays['aparam'] of the ASE calculator."
        )
    check_finite_numbers(found, name=name)
    return np.array(found, dtype=np.float64)


def check_finite_numbers(numbers: NDArray[np.float64], *, name: str) -> None:
    """Raise ModelError if a number of an atom (atom, number) is not finite."""
    bad = np.flatnonzero(np.logical_not(np.isfinite(numbers).all(axis=1)))
    if len(bad):
        raise ModelError(
            f"{name}: aparam of atom {bad[0]} is {numbers[bad[0]].tolist()}; expected "
            "finite numbers. Correct the source."
        )


def all_atom_numbers(
    frames: Frames, numb_aparam: int, *, names: Sequence[str]
) -> NDArray[np.float64]:
    """Return ``atom_numbers`` of all frames behind each other, (atom, number)."""
    found = [
        atom_numbers(frames, index, numb_aparam, name=name)
        for index, name in enumerate(names)
    ]
    return np.concatenate([np.zeros((0, numb_aparam)), *found])
