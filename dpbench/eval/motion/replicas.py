"""Replicas of one structure that run side by side, and fail each by itself."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import (
    BackendCrashed,
    BackendRefused,
    BackendTimeout,
    DpbenchError,
)
from dpbench.eval.motion.watching import Failure, Kind, RunWatch
from dpbench.md.dynamics import Dynamics
from dpbench.md.forces import ForceField
from dpbench.md.settings import Baths
from dpbench.md.state import State, Structure, start_state
from dpbench.md.velocities import draw_velocities, remove_momentum, scale_to
from dpbench.md.watch import ExplosionError

FieldMaker = Callable[[int], ForceField]
"""Makes the force field of so many replicas."""

Told = tuple[Kind, str]
"""How a replica failed, in a word and in a sentence."""


@final
class Replicas:
    """Runs that share a structure; one that fails is taken out, the others go on."""

    def __init__(
        self,
        make_field: FieldMaker,
        structure: Structure,
        baths: Baths,
        *,
        seeds: tuple[int, ...],
        watch: RunWatch,
        device: str = "cpu",
    ) -> None:
        """Draw velocities of exactly the temperature; evaluate nothing yet.

        Args:
            make_field: Of the model.
            structure: Where all start.
            baths: Ensemble and its targets.
            seeds: Of the velocities, one replica each; the first also that of the
                thermostat's noise.
            watch: Says who has failed.
            device: Where the model lies.
        """
        self._make_field, self._watch = make_field, watch
        self.live = np.arange(len(seeds))
        """Numbers of the replicas that still run."""
        self.failures: dict[int, Failure] = {}
        """Number of a replica -> how it failed."""
        self._generator = torch.Generator(device=device).manual_seed(seeds[0])
        state = start_state(structure, nreplicas=len(seeds), device=device)
        drawn = np.concatenate(
            [
                draw_velocities(
                    state.mass.cpu().numpy(), baths.temperature, seed=seed, nreplicas=1
                )
                for seed in seeds
            ]
        )
        state.velocity.copy_(torch.from_numpy(drawn))
        self.dynamics = self._compose(state, baths)
        if not baths.is_momentum_free:
            remove_momentum(state)
        scale_to(state, baths.temperature, self.dynamics.dof)

    @property
    def state(self) -> State:
        """Of the replicas that still run."""
        return self.dynamics.state

    def start(self) -> None:
        """Evaluate forces where the replicas are; who cannot be evaluated has failed.

        Raises:
            BackendError: If the backend fails, which says nothing of the model.
        """
        try:
            self.dynamics.start()
        except (BackendCrashed, BackendTimeout, BackendRefused):
            raise
        except DpbenchError as error:  # all start from one structure
            self._fail({row: _told(error) for row in range(len(self.live))}, 0)
            return
        self._look()

    def step(self) -> None:
        """Take all replicas one step further; those that fail are taken out.

        Raises:
            BackendError: If the backend fails, which says nothing of the model.
        """
        if not len(self.live):
            return
        step = self.state.step + 1
        before, noise = _rows(self.state, None), self._generator.get_state()
        try:
            self.dynamics.step()
        except (BackendCrashed, BackendTimeout, BackendRefused):
            raise
        except DpbenchError as error:
            self._generator.set_state(noise)
            self.dynamics = self._compose(before, self.dynamics.baths)
            self._fail(self._guilty(before, error), step)
            self.step()
            return
        self._look()

    def sample(self) -> None:
        """Look at distances as well; costs a neighbour search of each replica."""
        coord, box = (t.cpu().numpy() for t in (self.state.coord, self.state.box))
        found = {
            row: wrong
            for row in range(len(self.live))
            if (wrong := self._watch.sampled(coord[row], box[row])) is not None
        }
        self._fail(found, self.state.step)

    def fail(self, found: Mapping[int, Told]) -> None:
        """Take replicas out, named by their rows among the living, now."""
        self._fail(found, self.state.step)

    def _look(self) -> None:
        """Take out whose numbers are beyond the limits."""
        found = self._watch.every_step(self.dynamics, self.live)
        self._fail(
            {row: ("exploded", reason) for row, reason in found.items()},
            self.state.step,
        )

    def _fail(self, found: Mapping[int, Told], step: int) -> None:
        """Note who has failed and how; go on with the others."""
        for row, (kind, reason) in found.items():
            self.failures[int(self.live[row])] = Failure(
                kind=kind, step=step, reason=reason
            )
        self._keep(found)

    def _keep(self, lost: Mapping[int, object]) -> None:
        """Go on with all replicas but those at these rows."""
        if not lost:
            return
        rows = [row for row in range(len(self.live)) if row not in lost]
        state = _rows(self.state, rows)
        self.live = self.live[rows]
        if rows:
            self.dynamics = self._compose(state, self.dynamics.baths)
            # From where they are, so that who is lost in the next step is seen.
            self.dynamics.neighbours.refresh(state)

    def _compose(self, state: State, baths: Baths) -> Dynamics:
        """Make the dynamics of a state whose forces, if any, are known."""
        return Dynamics(
            self._make_field(state.nreplicas),
            state,
            baths,
            generator=self._generator,
        )

    def _guilty(self, before: State, error: DpbenchError) -> dict[int, Told]:
        """Find out who it was by moving each replica alone.

        With a noisy thermostat the fault may not come back; then all have failed.
        """
        found = {}
        for row in range(before.nreplicas):
            alone = self._compose(_rows(before, [row]), self.dynamics.baths)
            noise = self._generator.get_state()
            try:
                # From where it is, so that how far it moves is seen.
                alone.neighbours.refresh(alone.state)
                alone.step()
            except (BackendCrashed, BackendTimeout, BackendRefused):
                raise
            except DpbenchError as own:
                found[row] = _told(own)
            self._generator.set_state(noise)
        return found or {row: _told(error) for row in range(before.nreplicas)}


def structure_of(
    z: NDArray[np.integer],
    coord: NDArray[np.floating],
    box: NDArray[np.floating] | None,
) -> Structure:
    """Return one start structure; a box of None is a molecule in the open."""
    return Structure(
        where="start",
        z=np.asarray(z, np.int64),
        coord=np.asarray(coord, np.float64),
        box=np.zeros((3, 3)) if box is None else np.asarray(box, np.float64),
        pbc=np.full(3, box is not None),
    )


def _rows(state: State, rows: list[int] | None) -> State:
    """Copy the replicas at some rows; None copies all."""
    shared = ("z", "pbc", "mass", "bath", "step")

    def chosen(tensor: Tensor) -> Tensor:
        return tensor.clone() if rows is None else tensor[rows].clone()

    own: dict[str, Any] = {
        field.name: chosen(getattr(state, field.name))
        for field in fields(state)
        if field.name not in shared
    }
    bath = {name: chosen(tensor) for name, tensor in state.bath.items()}
    return replace(state, **own, bath=bath)


def _told(error: DpbenchError) -> Told:
    """Say what went wrong without the number that a replica had when alone."""
    text = " ".join(str(error).split())
    words = re.sub(r"(of |in )?replica \d+[:,]? ?", "", text).strip()
    return "exploded" if isinstance(error, ExplosionError) else "refused", words
