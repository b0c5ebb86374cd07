"""Formats of model files that dpbench converts to, chosen by the suffix of a name."""

from dataclasses import dataclass
from pathlib import Path

from dpbench.errors import ConfigError

OURS = "dpbench"
"""Name of dpbench itself among the backends that read a format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One format of model files."""

    suffix: str
    """End of its file names."""
    backend: str
    """Who reads it: ``dpbench``, or the card of a backend."""
    kind: str
    """As ``recognise`` names it."""
    is_native: bool = False
    """Whether dpbench writes it itself."""


FORMATS = (
    Format(suffix=".pth", backend=OURS, kind="dpbench", is_native=True),
    Format(suffix=".dp", backend="deepmd", kind="deepmd-dp", is_native=True),
    Format(suffix=".yaml", backend="deepmd", kind="deepmd-yaml", is_native=True),
    Format(suffix=".yml", backend="deepmd", kind="deepmd-yaml", is_native=True),
    Format(suffix=".pth", backend="deepmd-pt", kind="deepmd-pth"),
    Format(suffix=".pb", backend="deepmd-tf", kind="deepmd-pb"),
    Format(suffix=".pt2", backend="deepmd-ptexpt", kind="deepmd-pt2"),
    Format(suffix=".pte", backend="deepmd-ptexpt", kind="deepmd-pte"),
    Format(suffix=".hlo", backend="deepmd-jax", kind="deepmd-hlo"),
    Format(suffix=".jax", backend="deepmd-jax", kind="deepmd-jax"),
    Format(suffix=".savedmodel", backend="deepmd-jax", kind="deepmd-savedmodel"),
    Format(suffix=".savedmodeltf", backend="deepmd-tf2", kind="deepmd-savedmodeltf"),
    Format(suffix=".json", backend="deepmd-paddle", kind="deepmd-paddle"),
)
"""Every format, the first of a suffix being what it means by itself."""

BACKENDS = tuple(dict.fromkeys(known.backend for known in FORMATS))
"""Who reads any of them."""


def format_of(path: Path, backend: str | None = None) -> Format:
    """Return the format that a file name asks for.

    Args:
        path: The name.
        backend: Who shall read the file; None = who reads the suffix by itself.

    Raises:
        ConfigError: If the suffix is unknown, or not one of that backend.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(
            f"--backend {backend}: writes no model files here; expected one of "
            f"{', '.join(BACKENDS)}."
        )
    found = [known for known in FORMATS if known.suffix == path.suffix]
    if not found:
        suffixes = dict.fromkeys(known.suffix for known in FORMATS)
        raise ConfigError(
            f"{path}: the suffix '{path.suffix}' is no format of model files; expected "
            f"one of {', '.join(suffixes)}. Rename the target."
        )
    for known in found:
        if backend is None or known.backend == backend:
            return known
    own = ", ".join(known.suffix for known in FORMATS if known.backend == backend)
    raise ConfigError(
        f"{path}: '{path.suffix}' is no format of {backend}; expected {own}. Rename "
        "the target, or leave --backend out."
    )
