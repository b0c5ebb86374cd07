"""When a stage has converged, and when to stop altogether.

Source: dpgen2 (exploration/report: accurate share; change of adaptive levels;
exploration/scheduler: no candidate, most iterations). DP-GEN itself goes through its
list of jobs to the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from dpbench.errors import ConfigError
from dpbench.explore.select.settings import TrustLevels

Kind = Literal["accurate", "levels", "error", "flat", "stuck", "iterations"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StopSettings:
    """Section ``[stop]``; whichever comes first ends a stage.

    Raises:
        ConfigError: If a value makes no sense.
    """

    iterations: int = 6
    """Most iterations, of all stages together."""
    stage_iterations: int | None = None
    """Most iterations of a stage; None = no limit of its own."""
    accurate: float | Literal[False] | None = 0.95
    """A stage has converged when this share of the frames that it was to give is
    accurate, or more (dpgen2's ``conv_accuracy``); False or None = not looked at. With
    the adaptive rule False unless it is given: that rule takes the same number of
    candidates however far the models disagree, so ``level_change`` is what tells."""
    times: int = 1
    """In so many iterations one after the other."""
    level_change: float | None = None
    """eV/Å: a stage has converged when the lower trust level of the adaptive rule
    changes by less from one iteration to the next (dpgen2's ``conv_tolerance``)."""
    levels_checked: int = 2
    """Over so many iterations (dpgen2's ``n_checked_steps``)."""
    force_error: float | None = None
    """eV/Å: stop when the force RMSE on the validation frames is this or less."""
    energy_error: float | None = None
    """eV/atom: and the energy RMSE, where this is given."""
    least_gain: float | None = None
    """Stop when the force RMSE on the validation frames has fallen by less than this
    fraction over ``patience`` iterations."""
    patience: int = 2
    """Iterations over which ``least_gain`` is measured."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, least in (
            ("iterations", 1),
            ("stage_iterations", 1),
            ("times", 1),
            ("levels_checked", 2),
            ("patience", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} = {value}; expected {least} or more.")
        for name in ("accurate", "least_gain"):
            value = getattr(self, name)
            if value not in (None, False) and not 0 <= value <= 1:
                raise ConfigError(f"{name} = {value}; expected 0 to 1.")
        for name in ("level_change", "force_error", "energy_error"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value}; expected a positive number.")

    @property
    def watches_errors(self) -> tuple[str, ...]:
        """Criteria given that need errors on validation frames."""
        names = ("force_error", "energy_error", "least_gain")
        return tuple(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Iterated:
    """What one iteration found: what is asked whether to stop."""

    stage: int
    """Number of the stage, from 0."""
    counts: Mapping[str, int]
    """Frames that are accurate, candidates, failed."""
    levels: Mapping[str, TrustLevels]
    """Levels used, by structure."""
    chosen: int
    """Frames that are labelled next."""
    force_error: float | None = None
    """eV/Å, force RMSE of this iteration's models on the validation frames."""
    energy_error: float | None = None
    """eV/atom, energy RMSE of this iteration's models on the validation frames."""
    planned: int = 0
    """Frames that the walks were to give; 0 = as many as they gave."""
    given: int = 0
    """Frames that they gave."""
    empty: int = 0
    """Walks that gave no frame: about what they were to see, nothing is known."""
    lost: str = ""
    """What is missing, in words."""

    @property
    def accurate(self) -> float:
        """Share of accurate frames; 0 if nothing was explored.

        Frames that were planned and are not there have not been found accurate.
        """
        accurate, judged = self.counts.get("accurate", 0), sum(self.counts.values())
        if self.planned:
            accurate, judged = accurate * self.given, judged * self.planned
        return accurate / max(judged, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """The end of a stage, or of all."""

    kind: Kind
    """Which criterion."""
    ends: Literal["stage", "all"]
    """What is over: the next stage begins, or there is no more iteration."""
    reason: str
    """For a person, with the numbers."""

    @property
    def is_converged(self) -> bool:
        """Whether the aim was reached: not stuck, nor out of iterations."""
        return self.kind in ("accurate", "levels", "error")


def converged(history: Sequence[Iterated], settings: StopSettings) -> Stop | None:
    """Tell whether a stage, or all, is over after the last iteration of ``history``.

    Args:
        history: All iterations so far, of all stages, in their order.
        settings: The criteria.

    Returns:
        The first criterion that is met, convergence before want of candidates or of
        iterations; None to go on.
    """
    if not history:
        return None
    now = history[-1]
    stage = [one for one in history if one.stage == now.stage]
    for found in (
        _by_error(now, settings),
        _by_accuracy(stage, settings),
        _by_levels(stage, settings),
        _by_gain(history, settings),
        _by_want(now, settings),
        _by_number(history, stage, settings),
    ):
        if found is not None:
            return found
    return None


def _by_error(now: Iterated, settings: StopSettings) -> Stop | None:
    wanted = [
        (name, unit, found, most)
        for name, unit, found, most in (
            ("force", "eV/Å", now.force_error, settings.force_error),
            ("energy", "eV/atom", now.energy_error, settings.energy_error),
        )
        if most is not None
    ]
    if not wanted or not all(e is not None and e <= most for _, _, e, most in wanted):
        return None
    told = ", ".join(f"{n} {e:.4g} {unit} <= {most:g}" for n, unit, e, most in wanted)
    return Stop(kind="error", ends="all", reason=f"validation error: {told}")


def _by_accuracy(stage: Sequence[Iterated], settings: StopSettings) -> Stop | None:
    last = stage[-settings.times :]
    wanted = settings.accurate
    if wanted is None or wanted is False or len(last) < settings.times:
        return None
    least = float(wanted)
    if any(one.empty for one in last):
        return None
    if not all(one.accurate >= least and sum(one.counts.values()) for one in last):
        return None
    told = ", ".join(f"{one.accurate:.1%}" for one in last)
    return Stop(
        kind="accurate",
        ends="stage",
        reason=f"{told} of the frames are accurate; {least:.1%} wanted",
    )


def _by_levels(stage: Sequence[Iterated], settings: StopSettings) -> Stop | None:
    last = stage[-settings.levels_checked :]
    if settings.level_change is None or len(last) < settings.levels_checked:
        return None
    change = max(_change(a, b) for a, b in pairwise(last))
    if any(one.empty for one in last) or not change < settings.level_change:
        return None
    return Stop(
        kind="levels",
        ends="stage",
        reason=f"the lower trust levels changed by {change:.4g} at most over "
        f"{settings.levels_checked} iterations; less than {settings.level_change:g} "
        "wanted",
    )


def _change(a: Iterated, b: Iterated) -> float:
    """Return the largest change of any lower level; infinite if they do not compare."""
    if a.levels.keys() != b.levels.keys() or not a.levels:
        return float("inf")
    changes = []
    for name, one in a.levels.items():
        other = b.levels[name]
        changes.append(abs(one.force[0] - other.force[0]))
        if one.virial is not None and other.virial is not None:
            changes.append(abs(one.virial[0] - other.virial[0]))
    return max(changes)


def _by_gain(history: Sequence[Iterated], settings: StopSettings) -> Stop | None:
    errors = [one.force_error for one in history[-settings.patience - 1 :]]
    told = [error for error in errors if error is not None]
    if settings.least_gain is None or len(told) <= settings.patience:
        return None
    gain = 1 - min(told[1:]) / told[0] if told[0] > 0 else 0.0
    if gain >= settings.least_gain:
        return None
    return Stop(
        kind="flat",
        ends="all",
        reason=f"the force RMSE on the validation frames fell by {gain:.1%} over "
        f"{settings.patience} iterations; {settings.least_gain:.1%} wanted",
    )


def _by_want(now: Iterated, settings: StopSettings) -> Stop | None:
    """Say so where nothing is left to learn from, though the stage is not accurate."""
    if now.chosen:
        return None
    if now.accurate == 1 and not now.empty and settings.accurate in (None, False):
        reason = "all frames are accurate, and none is a candidate"
        return Stop(kind="accurate", ends="stage", reason=reason)
    counts = ", ".join(f"{number} {name}" for name, number in now.counts.items())
    if now.counts.get("candidate"):
        return Stop(
            kind="stuck",
            ends="stage",
            reason=f"of the candidates none is new or within the budget ({counts})",
        )
    advice = ""
    if now.counts.get("failed"):
        advice = ": raise the upper trust level, explore more gently, train longer, "
        advice += "or set rescue"
    lost = f"; {now.lost}" if now.lost else ""
    return Stop(
        kind="stuck",
        ends="stage",
        reason=f"no frame is a candidate ({counts}){advice}{lost}",
    )


def _by_number(
    history: Sequence[Iterated], stage: Sequence[Iterated], settings: StopSettings
) -> Stop | None:
    if len(history) >= settings.iterations:
        return Stop(
            kind="iterations",
            ends="all",
            reason=f"{len(history)} iterations are done, as many as there may be",
        )
    most = settings.stage_iterations
    if most is not None and len(stage) >= most:
        return Stop(
            kind="iterations",
            ends="stage",
            reason=f"{len(stage)} iterations of the stage are done, as many as there "
            "may be",
        )
    return None
