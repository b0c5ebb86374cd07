"""Newton's equations on the device: a step is one graph, the host looks now and then.

For constant energy only: it measures what the kernels can do, and their drift. Runs
with a thermostat or a barostat are those of ``dpbench.md``.
"""

from typing import final

import torch
from torch import Tensor

from dpbench.errors import ModelError
from dpbench.kernels.gpu.graph import Captured
from dpbench.kernels.gpu.inference import DeviceEvaluator
from dpbench.kernels.gpu.neighbours import complete_cells
from dpbench.shapes import Bool, Float64

EARLY = 0.7
"""Share of the skin after which a new list is asked for: the host may be late."""


@final
class DeviceVerlet:
    """Velocity Verlet whose positions, velocities and forces stay on the device."""

    def __init__(
        self,
        evaluator: DeviceEvaluator,
        coord: Float64[Tensor, "atom 3"],
        velocity: Float64[Tensor, "atom 3"],
        box: Float64[Tensor, "replica 3 3"],
        *,
        pbc: Bool[Tensor, "3"],
        acceleration: Float64[Tensor, " atom"],
        step: float,
    ) -> None:
        """Make a list and the first forces.

        Args:
            evaluator: Forces.
            coord: Å; copied.
            velocity: Å/ps; copied.
            box: Å, cell vectors; constant.
            pbc: Periodic along each cell vector.
            acceleration: 1 / mass of each atom, in Å/ps^2 for a force of 1 eV/Å.
            step: ps.
        """
        self.evaluator = evaluator
        self.coord, self.velocity = coord.clone(), velocity.clone()
        self._box, self._pbc, self._step = box, pbc, step
        self._cells = complete_cells(box, pbc.cpu().numpy())
        self._acceleration = acceleration[:, None]
        device = coord.device
        self.force = torch.zeros_like(self.coord)
        self.energy = torch.zeros(len(box), dtype=torch.float64, device=device)
        """Potential energy of each replica after the last step, eV."""
        self._late = torch.zeros(2, dtype=torch.bool, device=device)
        self._graph: Captured | None = None
        self._layout = -1
        self._build()
        self._evaluate()

    def kinetic(self) -> Float64[Tensor, ""]:
        """Return the kinetic energy of all replicas, eV."""
        return (self.velocity**2 / self._acceleration).sum() / 2

    def run(self, steps: int, *, look_every: int = 10) -> None:
        """Move on.

        Args:
            steps: How many.
            look_every: Steps between two looks at whether the list still serves.

        Raises:
            ModelError: If the list was used up between two looks.
        """
        for done in range(steps):
            if done % look_every == 0:
                self._look()
            if self._graph is None or self._layout != self.evaluator.layouts:
                self._layout = self.evaluator.layouts
                changed = [self.coord, self.velocity, self.force, self.energy]
                self._graph = Captured(
                    self._move, device=self.coord.device, changed=[*changed, self._late]
                )
            self._graph()
        self._look()

    def _look(self) -> None:
        """Make a new list where the old one is nearly used up."""
        near, over = self._late.tolist()
        if over:
            raise ModelError(
                "dynamics: atoms used up the neighbour list's skin between two looks; "
                "expected slower atoms. Look more often (look_every), take a wider "
                "skin or a shorter step."
            )
        if near:
            self._build()

    def _build(self) -> None:
        self.evaluator.build(self.coord, self._box, self._pbc)
        self._late.zero_()

    def _move(self) -> None:
        """Take one step; no look at the host."""
        half = self._step / 2
        self.velocity.addcmul_(self.force, self._acceleration, value=half)
        self.coord.add_(self.velocity, alpha=self._step)
        self._evaluate()
        self.velocity.addcmul_(self.force, self._acceleration, value=half)
        near = self.evaluator.outdated(self.coord, share=EARLY)
        self._late |= torch.stack([near, self.evaluator.outdated(self.coord)])

    def _evaluate(self) -> None:
        found = self.evaluator.evaluate_on_device(
            self.coord, self._box, cells=self._cells
        )
        self.force.copy_(found.force)
        self.energy.copy_(found.energy)
