"""When a neighbour list has to be made anew."""

from typing import final

import torch
from torch import Tensor

from dpbench.kernels.motion import Moves
from dpbench.md.forces import ForceField
from dpbench.md.state import State
from dpbench.md.watch import check_moves


@final
class ListWatch:
    """Rebuilds the list of a force field before any pair within the cutoff is missed.

    With F the change of the cell since the last build and u the largest displacement
    that F does not explain, a pair within rcut now was within
    |F^-1| (rcut + 2 u) then, which must be less than rcut + skin.
    """

    def __init__(self, field: ForceField, moves: Moves, *, is_cell_fixed: bool) -> None:
        """Watch over ``field``; nothing is built yet."""
        self._field, self._moves = field, moves
        self._is_cell_fixed = is_cell_fixed
        self._unit: Tensor | None = None
        self.origin: Tensor | None = None
        self.origin_box: Tensor | None = None
        self.builds = 0

    def refresh(self, state: State) -> None:
        """Build the list if it no longer serves."""
        if self.origin is None or not self._serves(state):
            self.build(state, state.coord, state.box)

    def build(self, state: State, coord: Tensor, box: Tensor) -> None:
        """Build the list for given places: those of now, or of a restart file."""
        self.origin, self.origin_box = coord.clone(), box.clone()
        self._field.build(self.origin.reshape(-1, 3), self.origin_box, state.pbc)
        self.builds += 1

    def _serves(self, state: State) -> bool:
        change, shrink = self._change(state)
        square = torch.empty_like(state.energy)
        self._moves.farthest(state.coord, self.origin, change, square)  # type: ignore[arg-type]
        check_moves(state, self.origin, square, self._field.skin)  # type: ignore[arg-type]
        rcut = self._field.rcut
        reach = shrink * (rcut + 2 * square.sqrt())
        return bool((reach < rcut + self._field.skin).all())

    def _change(self, state: State) -> tuple[Tensor, Tensor | float]:
        """Return F of each replica, and the norm of its inverse."""
        if self._is_cell_fixed:
            if self._unit is None:
                unit = torch.eye(3, dtype=torch.float64, device=state.device)
                self._unit = unit.repeat(state.nreplicas, 1, 1)
            return self._unit, 1.0
        if self.origin_box is None:
            raise RuntimeError("there is no list yet")
        # The barostat stretches x, y and z, so F is diagonal: columns tell it.
        now, then = (
            torch.linalg.vector_norm(box, dim=1) for box in (state.box, self.origin_box)
        )
        stretch = now / then
        return torch.diag_embed(stretch), 1 / stretch.amin(dim=1)
