"""An engine for parts of a batch: of several ranks, or of a device too small."""

import logging
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise

import torch
from torch import Tensor

from dpbench.errors import TrainingError
from dpbench.kernels.assembly import select_frames
from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential
from dpbench.train.engine import Engine, LabelCounts, OutputWeights, StepResult
from dpbench.train.loss import Prefactors, label_counts
from dpbench.train.ranks import Ranks

ASK_EVERY = 20
"""Steps between two looks at the wish to stop on a device, which wait for it."""

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Agreement:
    """What the ranks know of each other, and how batches are cut."""

    wishes_to_stop: bool = False
    """Whether this rank was asked to stop."""
    stops: bool = False
    """Whether any rank was; the same on all of them after every step."""
    pieces: int = 1
    """Pieces that a batch is cut into because it does not fit into the device."""
    calls: int = 0
    """Batches so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedEngine(Engine):
    """The gradient of a batch that ranks share; loss and errors are of the whole.

    It overrides what ``Engine`` does for a whole batch, so that loop and optimisers
    need not know of parts. The sum over parts, each divided by the labels of the
    whole, is the gradient of the whole.
    """

    ranks: Ranks
    """Who shares a batch."""
    agreement: Agreement = field(default_factory=Agreement)
    """What changes from step to step."""

    def losses_and_gradients(
        self,
        model: DeepPotential,
        batch: Batch,
        prefactors: Prefactors,
        *,
        counts: LabelCounts | None = None,
    ) -> StepResult:
        """Evaluate this rank's part, and add up all parts.

        Args:
            model: The model; its parameters are read, never changed.
            batch: This rank's part.
            prefactors: Weights of the loss terms at this step.
            counts: Labels of the whole batch; by default asked from the ranks.

        Raises:
            TrainingError: If a single frame does not fit into the device, or another
                rank is gone.
        """
        if self.ranks.is_alone and self.agreement.pieces == 1:
            try:
                return Engine.losses_and_gradients(
                    self, model, batch, prefactors, counts=counts
                )
            except torch.cuda.OutOfMemoryError as error:
                self._cut_finer(batch, error)
        if counts is None:
            counts = self._counts_of_all(batch)
        return self._added_up(self._of_pieces(model, batch, prefactors, counts))

    def vector_jacobian(
        self, model: DeepPotential, batch: Batch, weights: OutputWeights
    ) -> Tensor:
        """Return the gradient of eps.E + v.F + T:Xi, added up over all parts."""
        own = Engine.vector_jacobian(self, model, batch, weights)
        return self.ranks.add_up(own)

    def worst(self, error: float) -> float:
        """Return the largest of all ranks' errors, so that they go on alike."""
        return max(self.ranks.gather(error))

    def _of_pieces(
        self,
        model: DeepPotential,
        batch: Batch,
        prefactors: Prefactors,
        counts: LabelCounts,
    ) -> StepResult:
        """Sum over the pieces of this rank's part; finer ones where memory ends."""
        while True:
            try:
                total: StepResult | None = None
                for piece in _pieces(batch, self.agreement.pieces):
                    found = Engine.losses_and_gradients(
                        self, model, piece, prefactors, counts=counts
                    )
                    total = found if total is None else _sum(total, found)
                if total is None:
                    raise TrainingError("a batch without frames cannot be trained on.")
                return total
            except torch.cuda.OutOfMemoryError as error:
                self._cut_finer(batch, error)

    def _cut_finer(self, batch: Batch, error: Exception) -> None:
        """Halve the pieces; say so.

        Raises:
            TrainingError: If they are single frames already.
        """
        pieces = self.agreement.pieces
        if pieces >= batch.nframes:
            raise TrainingError(
                f"CUDA ran out of memory with one frame of "
                f"{int(batch.natoms.max())} atoms and {len(batch.edge_i)} edges at a "
                "time. Take a smaller cutoff or model, --precision float32, a smaller "
                "--memory-budget, or --device cpu."
            ) from error
        self.agreement.pieces = min(2 * pieces, batch.nframes)
        torch.cuda.empty_cache()
        logger.warning(
            "CUDA ran out of memory with a batch of %d frames: it is evaluated in %d "
            "smaller ones from now on; the gradient stays the same",
            *(batch.nframes, self.agreement.pieces),
        )

    def _counts_of_all(self, batch: Batch) -> LabelCounts:
        own = label_counts(batch)
        total = self.ranks.add_up(torch.stack([own.energy, own.force, own.virial]))
        return LabelCounts(energy=total[0], force=total[1], virial=total[2])

    def _added_up(self, own: StepResult) -> StepResult:
        """Add up over ranks: one message for gradient, loss, errors and wishes."""
        if self.ranks.is_alone:
            return own
        numbers = torch.stack([own.loss, own.mse_energy, own.mse_force, own.mse_virial])
        size = len(own.gradient)
        wish = own.gradient.new_full((1,), float(self.agreement.wishes_to_stop))
        # In float32 a double travels as its leading part and the rest.
        lead = numbers.to(own.gradient.dtype)
        rest = (numbers - lead.double()).to(own.gradient.dtype)
        total = self.ranks.add_up(torch.cat([own.gradient, lead, rest, wish]))
        numbers = total[size : size + 4].double() + total[size + 4 : size + 8].double()
        self.agreement.calls += 1
        is_on_host = total.device.type == "cpu"
        if is_on_host or self.agreement.calls % ASK_EVERY == 0:
            self.agreement.stops = bool(total[-1] > 0)
        return StepResult(
            loss=numbers[0],
            mse_energy=numbers[1],
            mse_force=numbers[2],
            mse_virial=numbers[3],
            gradient=total[:size],
        )


def share(engine: Engine, ranks: Ranks) -> SharedEngine:
    """Return ``engine`` for batches that ``ranks`` share."""
    settings = {f.name: getattr(engine, f.name) for f in fields(Engine)}
    return SharedEngine(**settings, ranks=ranks)


def without_labels(batch: Batch) -> Batch:
    """Return a batch that adds nothing to any sum: for a rank without frames."""
    none = torch.zeros_like(batch.has_energy)
    return replace(batch, has_energy=none, has_force=none, has_virial=none)


def _pieces(batch: Batch, count: int) -> list[Batch]:
    """Cut a batch into ``count`` runs of frames, or as many as it has."""
    nframes = batch.nframes
    count = min(count, nframes)
    if count <= 1:
        return [batch]
    edges = [nframes * k // count for k in range(count + 1)]
    return [select_frames(batch, first, stop) for first, stop in pairwise(edges)]


def _sum(one: StepResult, two: StepResult) -> StepResult:
    """Add up two parts that were divided by the labels of the whole."""
    values = {
        f.name: getattr(one, f.name) + getattr(two, f.name) for f in fields(StepResult)
    }
    return StepResult(**values)
