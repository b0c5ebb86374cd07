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
from types import ModuleType

import torch

from dpbench.errors import ConfigError
from dpbench.kernels.families import FAMILIES, IN_USE, VARIABLE, Variant, wishes

__all__ = ["FAMILIES", "VARIABLE", "Variant", "choose", "kernels_in_use"]

LIMITS = {torch.float64: 1e-9, torch.float32: 2e-4}
"""Largest relative error against the reference that a variant may show."""

logger = logging.getLogger(__name__)


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
    IN_USE[family] = name
    return module


def kernels_in_use() -> dict[str, str]:
    """Return the variant of each family that was used so far, for records."""
    return dict(sorted(IN_USE.items()))


@functools.cache
def _choose(
    family: str, kind: str, dtype: torch.dtype, wish: str
) -> tuple[str, ModuleType]:
    wanted = wishes(wish).get(family)
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
    except Exception as reason:
        # A missing package, or a compiler that finds no folder for its cache: whatever
        # it is, the next variant serves. The reference alone must work.
        if variant.name == "reference":
            raise
        logger.warning(
            "kernels: %s of %s is not at hand (%s); the next slower one serves",
            *(variant.name, family, " ".join(str(reason).split())),
        )
        return None
    # A NaN is no agreement either.
    if not error <= LIMITS[dtype]:
        logger.warning(
            "kernels: %s of %s is off by %.2g from the reference in %s, more than "
            "%.2g; it is not used. Please report this machine and its versions.",
            *(variant.name, family, error, dtype, LIMITS[dtype]),
        )
        IN_USE[f"{family} rejected"] = f"{variant.name}: off by {error:.2g}"
        return None
    return module
