"""What the user of a speed measurement may choose."""

from dataclasses import dataclass
from typing import Any

from dpbench.errors import EvaluationError
from dpbench.eval.speed.families import FAMILIES

LEVELS: tuple[str, ...] = (
    "forward_us_per_atom_step",
    "forward_with_list_us_per_atom_step",
    "md_us_per_atom_step",
)
"""What is timed: on a list that is there, with the list, a step of dynamics."""

LEVEL_NAMES = {"forward": LEVELS[0], "with-list": LEVELS[1], "md": LEVELS[2]}
"""As users type them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedSettings:
    """How a ladder of sizes is climbed."""

    sizes: tuple[int, ...] = (128, 512, 2048)
    """Atoms, at least, from small to large; each is the next power of two of a
    family's cell."""
    families: tuple[str, ...] = FAMILIES
    """Kinds of structures."""
    levels: tuple[str, ...] = LEVELS
    """What is timed."""
    processes: int = 3
    """Independent processes of each case: the samples that intervals stand on."""
    windows: int = 3
    """Timed windows of each process and level."""
    window_s: float = 0.3
    """Target length of a window, s."""
    timeout_s: float = 300.0
    """A process that takes longer ends the ladder, s."""
    memory_gib: float | None = None
    """A process that holds more ends the ladder; None: four fifths of what is free."""
    threads: int = 1
    """Cores that each process is bound to."""
    temperature: float = 300.0
    """K, of the dynamics."""
    tdamp: float = 100.0
    """fs, relaxation time of the Langevin thermostat."""
    timestep: float | None = None
    """fs; None: 0.5 with hydrogen, else 1."""
    skin: float = 1.0
    """Å, of neighbour lists in the dynamics, in every engine that has them."""
    seed: int = 0
    """Of structures, velocities and noise."""

    def __post_init__(self) -> None:
        """Check every choice."""
        for name in ("families", "levels", "sizes"):
            if not getattr(self, name):
                raise EvaluationError(f"{name}: is empty; expected at least one.")
        known = (("family", self.families, FAMILIES), ("level", self.levels, LEVELS))
        for what, given, allowed in known:
            for value in given:
                if value not in allowed:
                    raise EvaluationError(
                        f"{what} '{value}': is unknown; expected one of "
                        f"{', '.join(allowed)}."
                    )
        if list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise EvaluationError(
                f"sizes {self.sizes}: expected positive counts of atoms, each once, "
                "from small to large."
            )
        for name in ("processes", "windows", "threads"):
            if getattr(self, name) < 1:
                raise EvaluationError(
                    f"{name} = {getattr(self, name)}; expected 1 or more."
                )
        positive = ("window_s", "timeout_s", "memory_gib", "temperature", "tdamp")
        for name in positive:
            number: Any = getattr(self, name)
            if number is not None and not number > 0:
                raise EvaluationError(f"{name} = {number}; expected a positive number.")


MODES: dict[str, SpeedSettings] = {
    "smoke": SpeedSettings(sizes=(64, 128), processes=1, windows=3, window_s=0.05),
    "standard": SpeedSettings(),
    "full": SpeedSettings(
        sizes=tuple(64 * 2**k for k in range(15)),
        processes=8,
        windows=3,
        window_s=1.0,
        timeout_s=3600.0,
    ),
}
"""Settings by mode; ``full`` climbs until memory or time runs out, in as many processes
as a test between two configurations needs."""


def reference_size(sizes: tuple[int, ...]) -> int:
    """Return the size whose speed stands for a ladder: the largest up to 4096.

    It follows from what was asked for alone, so that a model that gave out earlier
    has no number there rather than one of another size.
    """
    fitting = [size for size in sizes if size <= REFERENCE]
    return max(fitting) if fitting else min(sizes)


REFERENCE = 4096
"""Atoms; on most machines in the plateau of time per atom."""
