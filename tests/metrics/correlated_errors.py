"""Errors with a known memory, for tests of intervals and verdicts."""

import numpy as np

from dpbench.metrics.blocks import Series


def forgetful(rng: np.random.Generator, shape: tuple[int, ...], time: float):
    """AR(1) series along the last axis, unit variance, correlation exp(-k/time)."""
    keep = np.exp(-1 / time)
    noise = rng.normal(size=shape) * np.sqrt(1 - keep**2)
    out = np.empty(shape)
    out[..., 0] = rng.normal(size=shape[:-1])
    for step in range(1, shape[-1]):
        out[..., step] = keep * out[..., step - 1] + noise[..., step]
    return out


def series_of(errors, *, frames: str = "same", root: bool = False) -> Series:
    """MAE or RMSE of errors, (trajectory, frame) or (frame)."""
    errors = np.atleast_2d(errors)
    flat = errors.ravel()
    return Series(
        numerator=flat**2 if root else np.abs(flat),
        denominator=np.ones(len(flat)),
        trajectory=np.repeat(np.arange(len(errors)), errors.shape[1]),
        root=root,
        signed=flat,
        frames=frames,
    )
