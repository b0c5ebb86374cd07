"""What pw.x is told otherwise after an attempt that failed."""

from collections.abc import Mapping, Sequence

from dpbench.explore.labels.driver import Trouble
from dpbench.explore.labels.remedies import Remedy

_SCF = frozenset({Trouble.UNCONVERGED, Trouble.TIMED_OUT})
_BROKEN = frozenset({Trouble.BROKEN})

LADDER = (
    Remedy(
        name="smaller_mixing",
        helps=_SCF,
        words="mixing_beta at most 0.3, twice the iterations (200 at least)",
    ),
    Remedy(
        name="local_tf",
        helps=_SCF,
        words="mixing_mode = 'local-TF', mixing_beta at most 0.2, mixing_ndim = 12",
    ),
    Remedy(
        name="conjugate_gradient",
        helps=_SCF | _BROKEN,
        words="diagonalization = 'cg'",
    ),
    Remedy(
        name="random_start",
        helps=_SCF | _BROKEN,
        words="startingwfc = 'random'",
    ),
)
"""Tried in this order; none of them moves the converged result."""

SMEARING = Remedy(
    name="smearing",
    helps=_SCF | _BROKEN,
    words="occupations = 'smearing', 'mv', 0.01 Ry where the input has none",
)
"""Tried only where the configuration names it: it changes the level of theory, which
the dataset may refuse."""

KNOWN = (*LADDER, SMEARING)
"""What a configuration may name."""

DEFAULT_STEPS = 100
"""electron_maxstep of pw.x."""

DEFAULT_MIXING = 0.7
"""mixing_beta of pw.x."""


def electrons_with(
    electrons: Mapping[str, str], remedies: Sequence[str]
) -> dict[str, str]:
    """Return &electrons as the remedies want it."""
    changed = dict(electrons)
    beta = _number(electrons.get("mixing_beta"), DEFAULT_MIXING)
    steps = int(_number(electrons.get("electron_maxstep"), DEFAULT_STEPS))
    for name in remedies:
        if name == "smaller_mixing":
            changed["mixing_beta"] = repr(min(0.3, beta / 2))
            changed["electron_maxstep"] = str(max(200, 2 * steps))
        elif name == "local_tf":
            changed["mixing_mode"] = "'local-TF'"
            changed["mixing_beta"] = repr(min(0.2, beta / 2))
            changed["mixing_ndim"] = "12"
        elif name == "conjugate_gradient":
            changed["diagonalization"] = "'cg'"
        elif name == "random_start":
            changed["startingwfc"] = "'random'"
    return changed


def system_with(system: Mapping[str, str], remedies: Sequence[str]) -> dict[str, str]:
    """Return &system as the remedies want it."""
    changed = dict(system)
    if SMEARING.name in remedies and "occupations" not in changed:
        changed |= {
            "occupations": "'smearing'",
            "smearing": "'mv'",
            "degauss": "0.01",
        }
    return changed


def _number(text: str | None, default: float) -> float:
    try:
        return default if text is None else float(text.lower().replace("d", "e"))
    except ValueError:
        return default
