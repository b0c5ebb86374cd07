"""Which implementation of a kernel runs.

A family is one set of functions with one meaning; its variants are modules with the
same functions: a reference in plain torch or numpy, and fast ones beside it. The
fastest variant that serves the device and is at hand is taken, after it has agreed
once with the reference on a small problem. ``DPBENCH_KERNELS`` overrides the choice:
``reference`` or another variant's name for all families that have it, or
``family=variant`` for one, several separated by commas.
"""

import functools
import importlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import torch

from dpbench.errors import ConfigError

VARIABLE = "DPBENCH_KERNELS"
"""Environment variable that overrides the choice."""

LIMITS = {torch.float64: 1e-9, torch.float32: 2e-4}
"""Largest relative error against the reference that a variant may show."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One implementation of a family."""

    name: str
    """``reference``, ``numba`` or ``triton``."""
    module: str
    """Module with the family's functions and ``check(dtype) -> float``, the largest
    relative error against the reference that it found; the reference has no check."""
    devices: tuple[str, ...]
    """torch's names of the kinds of device that it serves."""


_BOTH = ("cpu", "cuda")

FAMILIES: dict[str, tuple[Variant, ...]] = {
    "tables": (
        Variant(
            name="numba", module="dpbench.kernels.tables.compiled", devices=("cpu",)
        ),
        Variant(name="triton", module="dpbench.kernels.gpu.tables", devices=("cuda",)),
        Variant(
            name="reference", module="dpbench.kernels.tables.reference", devices=_BOTH
        ),
    ),
    "fitting": (
        Variant(
            name="numba", module="dpbench.kernels.fitting.compiled", devices=("cpu",)
        ),
        Variant(name="triton", module="dpbench.kernels.gpu.fitting", devices=("cuda",)),
        Variant(
            name="reference", module="dpbench.kernels.fitting.reference", devices=_BOTH
        ),
    ),
    "inference": (
        Variant(
            name="numba", module="dpbench.kernels.inference.compiled", devices=("cpu",)
        ),
        Variant(
            name="triton", module="dpbench.kernels.gpu.inference", devices=("cuda",)
        ),
        Variant(
            name="reference",
            module="dpbench.kernels.inference.reference",
            devices=_BOTH,
        ),
    ),
    "motion": (
        Variant(
            name="numba", module="dpbench.kernels.motion.compiled", devices=("cpu",)
        ),
        Variant(
            name="reference", module="dpbench.kernels.motion.reference", devices=_BOTH
        ),
    ),
    "strip": (
        Variant(
            name="numba", module="dpbench.kernels.strip.compiled", devices=("cpu",)
        ),
        Variant(
            name="reference", module="dpbench.kernels.strip.reference", devices=_BOTH
        ),
    ),
    "passes": (
        Variant(
            name="numba", module="dpbench.kernels.passes.compiled", devices=("cpu",)
        ),
        Variant(name="triton", module="dpbench.kernels.gpu.passes", devices=("cuda",)),
        Variant(
            name="reference", module="dpbench.kernels.passes.reference", devices=_BOTH
        ),
    ),
}
"""The variants of each family, fastest first; the reference comes last."""

_in_use: dict[str, str] = {}


def choose(
    family: str, device: torch.device | str, dtype: torch.dtype = torch.float64
) -> ModuleType:
    """Return the module whose functions serve.

    Args:
        family: A key of ``FAMILIES``.
        device: Where the arrays lie.
        dtype: Precision of the arrays.

    Raises:
        ConfigError: If ``DPBENCH_KERNELS`` asks for what is not there.
    """
    kind = torch.device(device).type
    name, module = _choose(family, kind, dtype, os.environ.get(VARIABLE, "auto"))
    _in_use[family] = name
    return module


def kernels_in_use() -> dict[str, str]:
    """Return the variant of each family that was used so far, for records."""
    return dict(sorted(_in_use.items()))


@functools.cache
def _choose(
    family: str, kind: str, dtype: torch.dtype, wish: str
) -> tuple[str, ModuleType]:
    wanted = _wishes(wish).get(family)
    for variant in FAMILIES[family]:
        if wanted is not None and variant.name != wanted:
            continue
        if kind not in variant.devices:
            continue
        module = _load(family, variant, dtype)
        if module is not None:
            return variant.name, module
    at_hand = ", ".join(v.name for v in FAMILIES[family] if kind in v.devices)
    raise ConfigError(
        f"{VARIABLE} = {wish!r}: the variant '{wanted}' of '{family}' does not serve "
        f"here; on {kind} there are {at_hand}. Correct the variable or unset it."
    )


def _load(family: str, variant: Variant, dtype: torch.dtype) -> ModuleType | None:
    """Import a variant and compare it with the reference; None if it must not serve."""
    try:
        module = importlib.import_module(variant.module)
        error = 0.0 if variant.name == "reference" else float(module.check(dtype))
    except ImportError as reason:
        logger.warning(
            "kernels: %s of %s is not at hand (%s); the next slower one serves",
            *(variant.name, family, reason),
        )
        return None
    # A NaN is no agreement either.
    if not error <= LIMITS[dtype]:
        logger.warning(
            "kernels: %s of %s is off by %.2g from the reference in %s, more than "
            "%.2g; it is not used. Please report this machine and its versions.",
            *(variant.name, family, error, dtype, LIMITS[dtype]),
        )
        _in_use[f"{family} rejected"] = f"{variant.name}: off by {error:.2g}"
        return None
    return module


@functools.cache
def _wishes(text: str) -> dict[str, str]:
    """Read the environment variable: the wanted variant by family."""
    wishes: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, variant = item.partition("=")
        if item == "auto":
            continue
        if variant and name not in FAMILIES:
            raise ConfigError(_unknown(text, name, sorted(FAMILIES)))
        families = [name] if variant else list(FAMILIES)
        wanted = variant or name
        having = [f for f in families if wanted in set(_names(f))]
        if not having:
            known = sorted({n for f in families for n in _names(f)} | {"auto"})
            raise ConfigError(_unknown(text, wanted, known))
        wishes |= dict.fromkeys(having, wanted)
    return wishes


def _names(family: str) -> Iterator[str]:
    return (variant.name for variant in FAMILIES[family])


def _unknown(text: str, found: str, expected: list[str]) -> str:
    return (
        f"{VARIABLE} = {text!r}: '{found}' is unknown; expected {', '.join(expected)}. "
        "Write auto, reference, or family=variant separated by commas."
    )
