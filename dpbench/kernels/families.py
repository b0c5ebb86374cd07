"""The families of kernels and their variants, and what the user wishes; no torch here.

``choice`` takes a variant by device and precision; the neighbour search, which must
work without torch, asks here itself.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from dpbench.errors import ConfigError

VARIABLE = "DPBENCH_KERNELS"
"""Environment variable that overrides the choice."""


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
    "neighbours": (
        Variant(
            name="numba", module="dpbench.kernels.neighbours.compiled", devices=("cpu",)
        ),
        Variant(
            name="reference",
            module="dpbench.kernels.neighbours.reference",
            devices=("cpu",),
        ),
    ),
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

IN_USE: dict[str, str] = {}
"""The variant of each family that was used so far; see ``choice.kernels_in_use``."""


@functools.cache
def wishes(text: str) -> dict[str, str]:
    """Read the environment variable: the wanted variant by family."""
    found: dict[str, str] = {}
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
        found |= dict.fromkeys(having, wanted)
    return found


def _names(family: str) -> Iterator[str]:
    return (variant.name for variant in FAMILIES[family])


def _unknown(text: str, found: str, expected: list[str]) -> str:
    return (
        f"{VARIABLE} = {text!r}: '{found}' is unknown; expected {', '.join(expected)}. "
        "Write auto, reference, or family=variant separated by commas."
    )
