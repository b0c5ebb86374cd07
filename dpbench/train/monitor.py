"""Watches during a run that tabulated embedding nets stay true to the exact ones."""

import logging
from typing import final

from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential
from dpbench.train.engine import Engine

FORCE_LIMIT = 1e-5
"""eV/Å; a larger difference of any force component is told."""

LOOKS = 10
"""Comparisons in a run, evenly spread."""

logger = logging.getLogger(__name__)


@final
class TableMonitor:
    """Compares forces by tables with those of the exact nets, now and then."""

    def __init__(self, engine: Engine, *, steps: int) -> None:
        """Plan the comparisons of a run of ``steps``; none for other engines."""
        self._engine = engine
        self._every = max(1, steps // LOOKS)
        self._was_told = False

    def is_due(self, done: int, steps: int) -> bool:
        """Say whether to compare after ``done`` steps."""
        if not self._engine.name.endswith("table"):
            return False
        return done == 1 or done % self._every == 0 or done == steps

    def look(self, model: DeepPotential, batch: Batch, *, step: int) -> float:
        """Return the largest difference of a force component of a batch, eV/Å."""
        by_table = self._engine.predict(model, batch).force
        exact = model.energy_and_forces(batch).force
        if not len(exact):
            return 0.0
        error = float((by_table - exact).abs().max())
        if not error <= FORCE_LIMIT and not self._was_told:
            self._was_told = True
            logger.warning(
                "step %d: forces by tables are off by %.2g eV/Å from those of the "
                "exact embedding net, more than %.0g; raise training.table_intervals "
                "(now %d) or train with --engine exact.",
                *(step, error, FORCE_LIMIT, self._engine.intervals),
            )
        return error
