"""The compiled moves as functions of tensors of the CPU; see ``reference``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.motion import cpu, reference


def _plain(value: Any) -> Any:
    """Return tensors as numpy arrays that share their memory."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value


def _taking_tensors(function: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        function(*map(_plain, arguments))

    return call


kick_drift = _taking_tensors(cpu.kick_drift)
kick_measure = _taking_tensors(cpu.kick_measure)
ornstein = _taking_tensors(cpu.ornstein)
scale_drift = _taking_tensors(cpu.scale_drift)
drift = _taking_tensors(cpu.drift)
rescale = _taking_tensors(cpu.rescale)
farthest = _taking_tensors(cpu.farthest)
chain_half = _taking_tensors(cpu.chain_half)


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error of any move against the reference.

    Args:
        dtype: Not used: atoms move in float64 always.
    """
    errors = []
    for name, arguments, outputs in _problems():
        plain, fast = ([_copy(a) for a in arguments] for _ in range(2))
        getattr(reference, name)(*plain)
        globals()[name](*fast)
        for index in outputs:
            for a, b in zip(_flat(plain[index]), _flat(fast[index]), strict=True):
                scale = float(a.abs().max())
                errors.append(float((a - b).abs().max()) / scale)
    # max() would drop a NaN, and a NaN is no agreement.
    return float(np.max(errors))


def _problems() -> list[tuple[str, tuple[Any, ...], tuple[int, ...]]]:
    """Return moves, small arguments, and which of these are written to."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1

    atoms, mass, replica = (2, 5, 3), draw(5), draw(2)
    coord, velocity, force = draw(*atoms), draw(*atoms), draw(*atoms)
    chain = draw(2, 3), draw(2, 3)
    return [
        ("kick_drift", (coord, velocity, force, mass, 0.3), (0, 1)),
        ("kick_measure", (velocity, force, mass, draw(5), draw(2, 3, 3)), (0, 4)),
        ("ornstein", (velocity, force, mass, (0.7, 0.4), replica), (0, 4)),
        ("scale_drift", (coord, velocity, draw(2, 3), 0.3), (0, 1)),
        ("drift", (coord, velocity, 0.3), (0,)),
        ("rescale", (velocity, replica), (0,)),
        ("farthest", (coord, velocity, draw(2, 3, 3), draw(2)), (3,)),
        (
            "chain_half",
            (replica, chain, (draw(3), 0.4, 2.0), (0.2, 0.3), draw(2)),
            (1, 4),
        ),
    ]


def _copy(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_copy, value))
    return value.clone() if isinstance(value, Tensor) else value


def _flat(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)
