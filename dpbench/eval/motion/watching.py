"""When a run has failed: limits, and who of many replicas has crossed which."""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.eval.stability import LIMITS
from dpbench.kernels.neighbours import find_neighbours
from dpbench.md.dynamics import Dynamics

Array = NDArray[np.float64]
Kind = Literal["exploded", "refused", "detached"]

REACH = 5.0
"""Å; an atom that starts with no neighbour within it cannot be detached."""

FARTHEST = 10.0
"""Å; no atom needs to be farther from all others to be detached."""

BOND = 1.3
"""Å; a hydrogen that starts as near to another element is bonded to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What ends a run as failed."""

    energy_ev_per_atom: float = LIMITS["energy_ev_per_atom"]
    """Change of the total energy since the start; only where it should not change."""
    min_distance_ang: float = LIMITS["min_distance_ang"]
    """Two atoms closer than this."""
    temperature_factor: float = LIMITS["temperature_factor"]
    """Hotter than this times the target, and than the floor."""
    temperature_floor_k: float = LIMITS["temperature_floor_k"]
    """See ``temperature_factor``."""
    detached_factor: float = 2.0
    """An atom whose nearest neighbour is farther than this times that of the start, and
    than ``detached_ang``, is detached; 0 = none ever is."""
    detached_ang: float = 2.5
    """See ``detached_factor``."""
    partner_ang: float = 0.0
    """A hydrogen this far from the atom that it was bonded to is detached; 0 = it may
    change its partner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """How a run ended early."""

    kind: Kind
    """``exploded``: numbers; ``refused``: by the model; ``detached``: an atom left."""
    step: int
    """At which it was seen."""
    reason: str


@final
class RunWatch:
    """Looks at the replicas of one structure."""

    def __init__(
        self,
        limits: Limits,
        *,
        z: NDArray[np.integer],
        coord: Array,
        box: Array,
        pbc: NDArray[np.bool_],
        is_conserving: bool,
    ) -> None:
        """Take the start structure: (atom), (atom, 3) Å, (3, 3) Å, (3)."""
        self._limits, self._z, self._pbc = limits, np.asarray(z), pbc
        self._is_conserving = is_conserving
        self._energy: Array | None = None
        start = self.nearest(coord, box, REACH)
        limit = np.maximum(limits.detached_factor * start, limits.detached_ang)
        is_watched = np.isfinite(start) & (limits.detached_factor > 0)
        self._limit = np.where(is_watched, np.minimum(limit, FARTHEST), np.inf)
        finite = self._limit[np.isfinite(self._limit)]
        self._reach = max(float(finite.max(initial=0.0)), limits.min_distance_ang)
        self._bonds = self._hydrogens(coord, box) if limits.partner_ang else None

    def every_step(self, dynamics: Dynamics, live: NDArray[np.int64]) -> dict[int, str]:
        """Look at energies, forces and temperatures.

        Args:
            dynamics: Of the replicas that live.
            live: Their numbers among all.

        Returns:
            Row among the living -> what is wrong.
        """
        state, limits = dynamics.state, self._limits
        energy = state.energy.cpu().numpy() + 0.5 * state.twice_kinetic().cpu().numpy()
        temperature = state.temperature(dynamics.dof).cpu().numpy()
        hottest = max(
            limits.temperature_factor * dynamics.baths.temperature,
            limits.temperature_floor_k,
        )
        if self._energy is None:
            self._energy = np.full(int(live.max(initial=-1)) + 1, np.nan)
            self._energy[live] = energy
        moved = np.abs(energy - self._energy[live]) / len(self._z)
        found = {}
        for row in range(len(live)):
            if not (math.isfinite(energy[row]) and math.isfinite(temperature[row])):
                found[row] = "energy or force is not a number"
            elif self._is_conserving and moved[row] > limits.energy_ev_per_atom:
                found[row] = f"total energy {moved[row]:.3g} eV/atom off the start"
            elif temperature[row] > hottest:
                found[row] = f"temperature {temperature[row]:.0f} K"
        return found

    def sampled(self, coord: Array, box: Array) -> tuple[Kind, str] | None:
        """Look at the distances of one replica.

        Args:
            coord: (atom, 3), Å, never wrapped since the start.
            box: (3, 3), Å.

        Returns:
            What is wrong; None if nothing is.
        """
        nearest = self.nearest(coord, box, self._reach)
        closest = float(nearest.min(initial=np.inf))
        if closest < self._limits.min_distance_ang:
            return "exploded", f"two atoms {closest:.3f} Å apart"
        gone = np.flatnonzero(nearest > self._limit)
        if len(gone):
            atom = int(gone[0])
            return "detached", (
                f"atom {atom} ({SYMBOLS[int(self._z[atom])]}) has no neighbour within "
                f"{self._limit[atom]:.2f} Å"
            )
        return self._partners(coord)

    def nearest(self, coord: Array, box: Array, reach: float) -> Array:
        """Distance of each atom's nearest neighbour, (atom), Å; infinity beyond."""
        pairs = find_neighbours(coord, box, self._pbc, reach)
        vector = coord[pairs.edge_j] - coord[pairs.edge_i] + pairs.shift @ box
        nearest = np.full(len(coord), np.inf)
        np.minimum.at(nearest, pairs.edge_i, np.linalg.norm(vector, axis=1))
        return nearest

    def _hydrogens(
        self, coord: Array, box: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """Hydrogens, their partners, and the shift of the cell between them, Å."""
        pairs = find_neighbours(coord, box, self._pbc, BOND)
        is_bond = (self._z[pairs.edge_i] == 1) & (self._z[pairs.edge_j] != 1)
        first, second = pairs.edge_i[is_bond], pairs.edge_j[is_bond]
        shift = pairs.shift[is_bond] @ box
        order = np.argsort(np.linalg.norm(coord[second] - coord[first] + shift, axis=1))
        hydrogen, chosen = np.unique(first[order], return_index=True)
        return hydrogen, second[order][chosen], shift[order][chosen]

    def _partners(self, coord: Array) -> tuple[Kind, str] | None:
        if self._bonds is None or not len(self._bonds[0]):
            return None
        hydrogen, partner, shift = self._bonds
        apart = np.linalg.norm(coord[partner] - coord[hydrogen] + shift, axis=1)
        if apart.max() <= self._limits.partner_ang:
            return None
        worst = int(apart.argmax())
        return "detached", (
            f"atom {int(hydrogen[worst])} (H) is {apart[worst]:.2f} Å from the atom "
            "that it was bonded to"
        )
