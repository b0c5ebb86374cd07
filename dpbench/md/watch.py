"""Explosions: a run that has lost its physics is stopped, with the reason."""

from typing import final

import torch
from torch import Tensor

from dpbench.elements import SYMBOLS
from dpbench.errors import SimulationError
from dpbench.md.state import State
from dpbench.shapes import Float64

ENERGY_JUMP = 0.5
"""eV/atom, change of the conserved quantity between two log points."""

FARTHEST_STEP = 2.0
"""Å; an atom that moves further in one step is lost."""


class ExplosionError(SimulationError):
    """Why a run cannot go on; the step is added by the loop."""


@final
class Watch:
    """Looks at numbers, temperature and energy of a run."""

    def __init__(self, state: State, *, dof: int, max_temperature: float) -> None:
        """Watch a state whose temperature may reach ``max_temperature`` (K)."""
        self._state, self._dof = state, dof
        self._limit = max_temperature
        self._conserved: Tensor | None = None

    def look(self) -> None:
        """Check energies, forces and temperature.

        Raises:
            ExplosionError: If a number is none, or it is too hot.
        """
        state = self._state
        # A force that is not a number makes the kinetic energy so, too.
        temperature = state.temperature(self._dof)
        is_sound = torch.isfinite(state.energy) & (temperature <= self._limit)
        if bool(is_sound.all()):
            return
        replica = int(torch.nonzero(torch.logical_not(is_sound))[0])
        self._name_numbers(replica)
        hot = float(temperature[replica])
        raise ExplosionError(
            f"replica {replica} reached {hot:.4g} K, more than {self._limit:.4g} K"
        )

    def compare(self, conserved: Float64[Tensor, " replica"]) -> None:
        """Check the conserved quantity against that of the last log point.

        Raises:
            ExplosionError: If it jumped.
        """
        before, self._conserved = self._conserved, conserved.clone()
        if before is None:
            return
        jump = (conserved - before).abs() / self._state.natoms
        is_sound = jump <= ENERGY_JUMP
        if not bool(is_sound.all()):
            replica = int(torch.nonzero(torch.logical_not(is_sound))[0])
            raise ExplosionError(
                f"the conserved energy of replica {replica} jumped by "
                f"{float(jump[replica]):.3g} eV/atom"
            )

    def _name_numbers(self, replica: int) -> None:
        state = self._state
        for name in ("force", "velocity", "coord"):
            rows = torch.isfinite(getattr(state, name)[replica]).all(dim=1)
            if not bool(rows.all()):
                atom = int(torch.nonzero(torch.logical_not(rows))[0])
                raise ExplosionError(
                    f"{name} of {label(state, replica, atom)} is no number"
                )
        if not bool(torch.isfinite(state.energy[replica])):
            raise ExplosionError(f"the energy of replica {replica} is no number")


def label(state: State, replica: int, atom: int) -> str:
    """Word which atom is meant."""
    return f"atom {atom} ({SYMBOLS[int(state.z[atom])]}) of replica {replica}"


def check_moves(state: State, origin: Tensor, square: Tensor, skin: float) -> None:
    """Check how far atoms are from where the list was made.

    Args:
        state: The state.
        origin: (replica, atom, 3), where the list was made, Å.
        square: (replica), largest squared displacement since, Å^2.
        skin: Of the list, Å; half of it is served without a look.

    Raises:
        ExplosionError: If an atom is lost.
    """
    limit = FARTHEST_STEP + skin
    is_sound = square <= limit**2
    if bool(is_sound.all()):
        return
    replica = int(torch.nonzero(torch.logical_not(is_sound))[0])
    moved = (state.coord[replica] - origin[replica]).square().sum(dim=1)
    atom = int(torch.where(torch.isnan(moved), torch.inf, moved).argmax())
    if not bool(torch.isfinite(state.coord[replica, atom]).all()):
        raise ExplosionError(f"coord of {label(state, replica, atom)} is no number")
    raise ExplosionError(
        f"{label(state, replica, atom)} moved by {float(moved[atom]) ** 0.5:.3g} Å "
        "in one step"
    )
