"""Learning rate and loss prefactors as functions of the step; no state, no torch."""

from dataclasses import dataclass, replace
from math import cos, floor, isfinite, pi, sqrt
from typing import Any, Literal

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRateConfig:
    """How the learning rate falls. Names and rules are those of DeePMD-kit."""

    type: Literal["auto", "exp", "cosine", "wsd"] = "auto"
    """Exponential decay; half a cosine from ``start_lr`` to ``stop_lr``; or ``wsd``:
    warm-up, then stable, then a decay over the last steps. ``auto``: what suits the
    optimiser, with a warm-up over 2 % of the steps where it is not ``adam``."""

    start_lr: float | None = None
    """Learning rate after the warm-up; by default what suits the optimiser, and for
    ``soap`` the length of the run."""

    stop_lr: float | None = None
    """Learning rate at the last step; this or ``stop_lr_ratio``."""

    stop_lr_ratio: float | None = None
    """``stop_lr / start_lr``; by default what suits the optimiser."""

    decay_steps: int = 5000
    """``exp`` without ``smooth``: steps between two falls. Replaced when it does not
    fit into the run, see ``Schedule``."""

    smooth: bool = True
    """``exp``: fall at every step rather than every ``decay_steps``."""

    decay_phase_ratio: float = 0.1
    """``wsd``: share of all steps in which the rate falls."""

    decay_type: Literal["inverse_linear", "cosine", "linear"] = "inverse_linear"
    """``wsd``: how it falls: 1 / rate linear, half a cosine, or linear."""

    warmup_steps: int = 0
    """Steps of linear rise before the decay."""

    warmup_ratio: float | None = None
    """Warm-up as a share of all steps; instead of ``warmup_steps``."""

    warmup_start_factor: float = 0.0
    """The warm-up starts at this times ``start_lr``."""

    def __post_init__(self) -> None:
        """Check values and that no two of them contradict each other."""
        start = self.start_lr
        if start is not None and not (start > 0 and isfinite(start)):
            raise ConfigError(f"start_lr = {start} must be positive.")
        if self.stop_lr is not None and self.stop_lr_ratio is not None:
            raise ConfigError("give stop_lr or stop_lr_ratio, not both.")
        if start is not None and not 0 < self.final_lr <= start:
            raise ConfigError(
                f"the last learning rate {self.final_lr:g} must lie in "
                f"(0, start_lr = {start:g}]."
            )
        if self.decay_steps < 1:
            raise ConfigError(f"decay_steps = {self.decay_steps} must be at least 1.")
        if not 0 < self.decay_phase_ratio <= 1:
            raise ConfigError(
                f"decay_phase_ratio = {self.decay_phase_ratio} must lie in (0, 1]."
            )
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps = {self.warmup_steps} is negative.")
        if self.warmup_steps and self.warmup_ratio is not None:
            raise ConfigError("give warmup_steps or warmup_ratio, not both.")
        if self.warmup_ratio is not None and not 0 <= self.warmup_ratio < 1:
            raise ConfigError(f"warmup_ratio = {self.warmup_ratio} must lie in [0, 1).")
        if not 0 <= self.warmup_start_factor <= 1:
            raise ConfigError(
                f"warmup_start_factor = {self.warmup_start_factor} not in [0, 1]."
            )

    @property
    def first_lr(self) -> float:
        """Learning rate after the warm-up."""
        return _SUITS["adam"].start_lr if self.start_lr is None else self.start_lr

    @property
    def final_lr(self) -> float:
        """Learning rate that the decay aims at."""
        if self.stop_lr is not None:
            return self.stop_lr
        ratio = self.stop_lr_ratio
        return self.first_lr * (_SUITS["adam"].ratio if ratio is None else ratio)

    def suited(
        self, optimiser: str, *, is_fine_tuning: bool = False, steps: int | None = None
    ) -> "LearningRateConfig":
        """Return a schedule with nothing left open; what is stated stays.

        Args:
            optimiser: Name of the optimiser, ``optimiser.type``.
            is_fine_tuning: Whether the run starts from a model that is trained already.
            steps: Length of the run; None while it is not known, a short run's rate.
        """
        suits = _SUITS[optimiser]
        changes: dict[str, Any] = {}
        if self.start_lr is None:
            factor = FINE_TUNING if is_fine_tuning else 1.0
            changes["start_lr"] = factor * suits.rate(steps)
        if self.stop_lr is None and self.stop_lr_ratio is None:
            changes["stop_lr_ratio"] = suits.ratio
        if self.type == "auto":
            changes["type"] = suits.type
            if not self.warmup_steps and self.warmup_ratio is None and suits.warmup:
                changes["warmup_ratio"] = suits.warmup
        return replace(self, **changes)


FINE_TUNING = 0.1
"""The rate of a new model, times this, keeps what a trained one has learned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Suits:
    """A schedule that suits an optimiser."""

    type: Literal["exp", "cosine"] = "cosine"
    start_lr: float
    """Of runs of at most ``steps``."""
    ratio: float = 1e-3
    warmup: float = 0.02
    steps: int | None = None
    """Longer runs start lower, by the root of how much longer; None = as the others."""

    def rate(self, steps: int | None) -> float:
        """Learning rate after the warm-up of a run of ``steps``."""
        if steps is None or self.steps is None:
            return self.start_lr
        return self.start_lr * sqrt(self.steps / max(self.steps, steps))


_SUITS = {
    "adam": _Suits(type="exp", start_lr=2e-3, ratio=5e-3, warmup=0.0),
    "soap": _Suits(start_lr=1e-2, steps=2500),
    "muon": _Suits(start_lr=2e-3),
    "schedule-free": _Suits(start_lr=2e-3, ratio=1.0),
    "kalman": _Suits(start_lr=1.0, ratio=1.0),  # has no rate: prefactors may follow it
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Prefactors of the loss; each moves from start to limit as the rate falls.

    rate       p(t) = limit + (start - limit) * lr(t) / start_lr
    held       the same, but p(t) = start while the rate warms up
    geometric  p(t) = start * (limit / start)^(t / steps)
    """

    course: Literal["auto", "rate", "held", "geometric"] = "auto"
    """How they move. ``rate``: with the learning rate as in DeePMD-kit, where a warm-up
    begins with the prefactors of the end. ``held``: with the rate after the warm-up.
    ``geometric``: by the same factor at each step whatever the rate does. ``auto``:
    ``geometric``, but ``held`` where the rate falls and a prefactor starts or ends at
    zero."""

    start_pref_e: float = 1.0
    """Energy, at the start."""
    limit_pref_e: float = 1000.0
    """Energy, as the learning rate goes to zero."""
    start_pref_f: float = 1000.0
    """Force, at the start."""
    limit_pref_f: float = 100.0
    """Force, as the learning rate goes to zero."""
    start_pref_v: float = 1.0
    """Virial, at the start; frames without the label do not count."""
    limit_pref_v: float = 3.0
    """Virial, as the learning rate goes to zero."""

    def __post_init__(self) -> None:
        """Check that no prefactor is negative, and that there is a loss at all."""
        pairs = {
            "e": (self.start_pref_e, self.limit_pref_e),
            "f": (self.start_pref_f, self.limit_pref_f),
            "v": (self.start_pref_v, self.limit_pref_v),
        }
        for letter, pair in pairs.items():
            if min(pair) < 0 or not all(map(isfinite, pair)):
                raise ConfigError(
                    f"start_pref_{letter}, limit_pref_{letter} = {pair}: a prefactor "
                    "must be finite and not negative."
                )
            if self.course == "geometric" and min(pair) == 0 < max(pair):
                raise ConfigError(
                    f"start_pref_{letter}, limit_pref_{letter} = {pair}: a geometric "
                    "course cannot start or end at zero. Use a small number, both 0, "
                    "or course = 'held'."
                )
        if not any(max(pair) > 0 for pair in pairs.values()):
            raise ConfigError("all prefactors are zero; nothing would be trained.")

    def suited(self, learning_rate: LearningRateConfig) -> "LossConfig":
        """Return prefactors whose course is not left open; a stated one stays.

        Args:
            learning_rate: The schedule, with nothing left open.

        Raises:
            ConfigError: If the rate stays, and a prefactor starts or ends at zero.
        """
        if self.course != "auto":
            return self
        stays = learning_rate.final_lr == learning_rate.first_lr
        pairs = (
            (self.start_pref_e, self.limit_pref_e),
            (self.start_pref_f, self.limit_pref_f),
            (self.start_pref_v, self.limit_pref_v),
        )
        has_zero = any(min(pair) == 0 < max(pair) for pair in pairs)
        is_held = has_zero and not stays
        return replace(self, course="held" if is_held else "geometric")


class Schedule:
    """Learning rate and prefactors of each step of a run of known length.

    With d = steps - warm-up and s = decay_steps, after the warm-up w:

    exp      lr(t) = start * r^floor((t - w) / s),  r = (stop / start)^(s / d);
             ``smooth`` leaves the floor out
    cosine   lr(t) = stop + (start - stop) / 2 * (1 + cos(pi (t - w) / d))
    wsd      lr(t) = start, but over the last decay_phase_ratio * steps, with u from 0
             to 1: 1 / (u / stop + (1 - u) / start), a cosine, or a straight line

    Where s >= d, s becomes 100 if d // 10 > 100, else d // 100 + 1. The rate never
    falls below ``stop``.

    Source:
        DeePMD-kit 3.2 documentation, "Learning rate", and its replacement rule.
    """

    def __init__(
        self, learning_rate: LearningRateConfig, loss: LossConfig, *, steps: int
    ) -> None:
        """Fix the schedule for a run of ``steps``; ConfigError if it has no decay."""
        config = learning_rate.suited("adam")  # where nothing else has suited it
        self.config, self.loss, self.steps = config, loss.suited(config), steps
        ratio = config.warmup_ratio
        self.warmup = config.warmup_steps if ratio is None else int(ratio * steps)
        self.decay_total = steps - self.warmup
        if self.decay_total < 1:
            raise ConfigError(
                f"learning_rate: warm-up of {self.warmup} steps does not fit into "
                f"{steps} steps. Lower warmup_steps or raise steps."
            )
        self.decay_steps = config.decay_steps
        if self.decay_steps >= self.decay_total:
            fits_hundred = self.decay_total // 10 > 100
            self.decay_steps = 100 if fits_hundred else self.decay_total // 100 + 1

    def learning_rate(self, step: int) -> float:
        """Learning rate of ``step``, which counts from 0."""
        config = self.config
        if step < self.warmup:
            first = config.warmup_start_factor * config.first_lr
            return first + (config.first_lr - first) * step / self.warmup
        done = step - self.warmup
        start, stop = config.first_lr, config.final_lr
        if config.type == "cosine":
            return _cosine(start, stop, done / self.decay_total)
        if config.type == "wsd":
            falling = int(config.decay_phase_ratio * self.steps)
            falling = max(1, min(falling, self.decay_total))
            share = (done - (self.decay_total - falling)) / falling
            return _decayed(config.decay_type, start, stop, share)
        falls = done / self.decay_steps
        rate = (stop / start) ** (self.decay_steps / self.decay_total)
        lr: float = start * rate ** (falls if config.smooth else floor(falls))
        return max(lr, stop)

    def prefactors(self, step: int) -> tuple[float, float, float]:
        """Prefactors of energy, force and virial at ``step``."""
        loss = self.loss
        pairs = (
            (loss.start_pref_e, loss.limit_pref_e),
            (loss.start_pref_f, loss.limit_pref_f),
            (loss.start_pref_v, loss.limit_pref_v),
        )
        if loss.course == "geometric":
            done = min(step / self.steps, 1.0)
            energy, force, virial = (
                start * (limit / start) ** done if start else 0.0
                for start, limit in pairs
            )
        else:
            is_held = loss.course == "held" and step < self.warmup
            rate = self.config.first_lr if is_held else self.learning_rate(step)
            share = rate / self.config.first_lr
            energy, force, virial = (
                limit + (start - limit) * share for start, limit in pairs
            )
        return energy, force, virial


def _cosine(start: float, stop: float, done: float) -> float:
    """Half a cosine from start to stop, while ``done`` goes from 0 to 1."""
    return stop + (start - stop) / 2 * (1 + cos(pi * min(done, 1.0)))


def _decayed(kind: str, start: float, stop: float, share: float) -> float:
    """Rate of a decay phase at ``share`` of it; before it, ``start``."""
    share = min(max(share, 0.0), 1.0)
    if kind == "cosine":
        return _cosine(start, stop, share)
    if kind == "linear":
        return start + (stop - start) * share
    return 1 / (share / stop + (1 - share) / start)
