"""The loop of a run: step, look, write; stop when asked or when it explodes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final, runtime_checkable

from dpbench.errors import DpbenchError
from dpbench.md.dynamics import Dynamics
from dpbench.md.observables import Digest, Sample, observe
from dpbench.md.output.sink import LogSink, TrajectorySink
from dpbench.md.settings import MDConfig
from dpbench.md.watch import ExplosionError, Watch

LOOK_EVERY = {"cpu": 1}
"""Steps between looks at the numbers; looking makes an accelerator wait."""

LOOK_EVERY_ELSEWHERE = 20

Status = Literal["completed", "interrupted", "exploded", "failed"]


@runtime_checkable
class Progress(Protocol):
    """Told by the loop how far it is."""

    def sample(self, sample: Sample, seconds_per_step: float) -> None:
        """A log point was taken."""

    def close(self) -> None:
        """The loop has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended."""

    status: Status
    step: int
    """The last step made."""
    reason: str | None = None
    """Why it exploded or failed."""
    seconds: float = 0.0
    """Wall time of this session's steps."""
    seconds_per_step: float = 0.0
    """Wall time of a step, the first left out; zero if there was but one."""
    error: DpbenchError | None = None
    """What rose, if it failed."""


@final
class Simulation:
    """A started run with its outputs."""

    def __init__(
        self,
        dynamics: Dynamics,
        config: MDConfig,
        digest: Digest,
        *,
        log: LogSink,
        trajectory: TrajectorySink | None,
        save: Callable[[], None],
        progress: Progress | None = None,
    ) -> None:
        """Put a run together.

        Args:
            dynamics: Started, or brought back from a restart file.
            config: How long, and what to write how often.
            digest: Takes every log point.
            log: Takes them, too.
            trajectory: Takes frames.
            save: Writes a restart file.
            progress: Is told how far the run is.
        """
        self.dynamics, self.config, self.digest = dynamics, config, digest
        self._log, self._trajectory, self._save = log, trajectory, save
        self._progress = progress
        self._watch = Watch(
            dynamics.state, dof=dynamics.dof, max_temperature=config.limit
        )
        kind = dynamics.state.device.type
        self._look_every = LOOK_EVERY.get(kind, LOOK_EVERY_ELSEWHERE)

    def run(self, should_stop: Callable[[], bool]) -> Outcome:
        """Make the steps that are left."""
        state, clock = self.dynamics.state, _Clock()
        status: Status = "completed"
        try:
            if state.step == 0:
                self._watch.look()
                self._write(clock)
            else:
                self._watch.compare(self.dynamics.conserved())
            while state.step < self.config.steps:
                self.dynamics.step()
                clock.tick(state.step)
                self._after_step(clock)
                if should_stop():
                    status = "interrupted"
                    break
        except ExplosionError as error:
            return self._ended("exploded", clock, error)
        except DpbenchError as error:
            return self._ended("failed", clock, error)
        self._save()
        if state.step == self.config.steps and state.step % self.config.log_every:
            # Not in the restart file: a run that goes on has no row here.
            self._row(observe(self.dynamics), clock)
        return self._ended(status, clock, None)

    def _after_step(self, clock: "_Clock") -> None:
        step, config = self.dynamics.state.step, self.config
        is_last = step == config.steps
        if step % self._look_every == 0 or step % config.log_every == 0 or is_last:
            self._watch.look()
        is_frame = config.traj_every and step % config.traj_every == 0
        if step % config.log_every == 0 or is_frame or is_last:
            self._write(clock)
        if step % config.restart_every == 0 and not is_last:
            self._save()

    def _write(self, clock: "_Clock") -> None:
        """Write what is due at this step."""
        config, state = self.config, self.dynamics.state
        sample = observe(self.dynamics)
        if state.step % config.log_every == 0:
            self._row(sample, clock)
        if (
            self._trajectory is not None
            and config.traj_every
            and state.step % config.traj_every == 0
        ):
            self._trajectory.write(state, sample)
        self._watch.compare(self.dynamics.conserved())

    def _row(self, sample: Sample, clock: "_Clock") -> None:
        """Write a row of observables."""
        self._log.write(sample)
        self.digest.add(sample)
        if self._progress is not None:
            self._progress.sample(sample, clock.per_step())

    def _ended(
        self, status: Status, clock: "_Clock", error: DpbenchError | None
    ) -> Outcome:
        return Outcome(
            status=status,
            step=self.dynamics.state.step,
            reason=None if error is None else str(error),
            seconds=clock.seconds(),
            seconds_per_step=clock.per_step(),
            error=error,
        )


class _Clock:
    """Wall time of the steps; the first, which may compile, is not counted."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None

    def tick(self, step: int) -> None:
        self._last = step, time.perf_counter()
        if self._first is None:
            self._first = self._last

    def per_step(self) -> float:
        if self._first is None or self._last is None:
            return 0.0
        steps = self._last[0] - self._first[0]
        return (self._last[1] - self._first[1]) / steps if steps else 0.0

    def seconds(self) -> float:
        return time.perf_counter() - self._began


def positions(sinks: Sequence[LogSink | TrajectorySink | None]) -> list[Any]:
    """Flush the outputs; return where each ends."""
    return [None if sink is None else sink.position() for sink in sinks]
