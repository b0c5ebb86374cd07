"""The engine ``table`` on a GPU, where a step is a copy and the replay of one graph.

A batch is packed when it first comes, which waits for the device. From then on its loss
and gradient come without the host: prefactors travel through pinned memory, results
stay on the device, and any optimiser follows. All batches are placed on one grid. Where
a batch has atoms closer than the grid reaches, it is made anew, and everything with it;
the distances belong to the state of a run, so that it can be gone on with.
"""

import logging
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dpbench.errors import DpbenchError
from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose, kernels_in_use
from dpbench.kernels.families import IN_USE
from dpbench.kernels.gpu.availability import why_not
from dpbench.kernels.gpu.frames import Bucket
from dpbench.kernels.gpu.packed import Packed
from dpbench.kernels.gpu.tables import is_served
from dpbench.kernels.gpu.training import DeviceStep
from dpbench.models.config import ModelConfig, SeE2AConfig
from dpbench.models.edge_features import DISTANCE_STEP, TableFeatures, reach_of
from dpbench.models.four_pass import FourPass
from dpbench.models.gpu_training import shortest_in, step_model
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential, Prediction
from dpbench.shapes import Float64
from dpbench.train.engine import Engine, LabelCounts, StepResult
from dpbench.train.loss import Prefactors
from dpbench.train.ranks import Ranks
from dpbench.train.shared_engine import SharedEngine, share

MARGIN = 0.9
"""A grid reaches down to this share of the shortest distance, so that few are made."""

KEPT_SHARE = 0.7
"""Packed batches are kept as long as no more of the device's memory is taken."""

logger = logging.getLogger(__name__)


class _Setting(NamedTuple):
    """What a recorded step is made for."""

    model: DeepPotential
    intervals: int
    with_virial: bool
    reach: tuple[float, ...]


@final
class Recorder:
    """Grid, graphs and packed batches of a run."""

    def __init__(self, reach: list[float] | None = None) -> None:
        """Record nothing yet.

        Args:
            reach: Distances by pair of types that tables reach, Å; written to.
        """
        self.reach = [] if reach is None else reach
        self.is_off = False
        """Whether the device refused."""
        self._setting: _Setting | None = None
        self._step: DeviceStep | None = None
        self._packs: WeakKeyDictionary[Batch, tuple[Bucket, Packed]] = (
            WeakKeyDictionary()
        )

    def evaluate(
        self,
        model: DeepPotential,
        batch: Batch,
        prefactors: Prefactors,
        *,
        intervals: int,
    ) -> StepResult | None:
        """Return loss and gradient of a batch; None where no table can reach it."""
        with_virial = prefactors.virial != 0
        setting = _Setting(model, intervals, with_virial, tuple(self.reach))
        step, packed = self._step, self._packs.get(batch)
        if step is None or packed is None or setting != self._setting:
            if not self._widen(shortest_in(model, batch)):
                return None
            step = self._step_for(setting._replace(reach=tuple(self.reach)))
            packed = step.pack(batch)
            if _has_room(model.device):
                self._packs[batch] = packed
        numbers = [0.0, prefactors.energy, prefactors.force, prefactors.virial]
        step.course.copy_(_on_host(numbers, model.device), non_blocking=True)
        if step.step(*packed):
            IN_USE["step"] = "graph"
        # Copies: the next step writes to the same places.
        loss, energy, force, virial = step.ring[0].clone().unbind()
        return StepResult(
            loss=loss,
            mse_energy=energy,
            mse_force=force,
            mse_virial=virial,
            gradient=step.model.gradient.clone(),
        )

    def distances(self, model: DeepPotential) -> Float64[Tensor, "type type"] | None:
        """Return the distances that tables reach, Å; None as long as there are none."""
        if self.is_off or not self.reach:
            return None
        ntypes = model.config.ntypes
        return torch.tensor(self.reach, dtype=torch.float64).view(ntypes, ntypes)

    def give_up(self, error: Exception) -> None:
        """Free everything; kernels are launched one by one from now on."""
        self.is_off = True
        self._setting, self._step = None, None
        self._packs.clear()
        torch.cuda.empty_cache()
        reason = " ".join(str(error).split())
        IN_USE.pop("step", None)
        IN_USE["step rejected"] = f"graph: {reason}"
        logger.warning(
            "steps are not recorded as graphs any more (%s); kernels are launched one "
            "by one from now on",
            reason,
        )

    def _widen(self, shortest: Float64[Tensor, "type type"]) -> bool:
        """Let the grid hold these distances; False if no grid does, or one is NaN."""
        found = shortest.flatten()
        if not bool((found >= DISTANCE_STEP).all()):
            return False
        held = torch.full_like(found, torch.inf)
        if self.reach:
            held = torch.tensor(self.reach, dtype=torch.float64)
        if not self.reach or bool((found < held).any()):
            self.reach[:] = torch.where(found < held, MARGIN * found, held).tolist()
        return True

    def _step_for(self, setting: _Setting) -> DeviceStep:
        """Return the step for a setting; another one's batches and graphs are freed."""
        if self._step is not None and setting == self._setting:
            return self._step
        self._step, self._setting = None, setting
        self._packs.clear()
        model = setting.model
        down_to = torch.tensor(setting.reach, dtype=torch.float64)
        ntypes = model.config.ntypes
        grid = reach_of(
            model, down_to.view(ntypes, ntypes), intervals=setting.intervals
        ).grid
        course = torch.zeros(1, 4, dtype=torch.float64, device=model.device)
        self._step = DeviceStep(
            step_model(model, grid),
            None,
            course,
            with_virial=setting.with_virial,
            remembered=1,
        )
        return self._step


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedEngine(SharedEngine):
    """Replays what can be replayed; the rest goes the way of ``SharedEngine``."""

    recorder: Recorder = field(default_factory=Recorder)
    """What changes from step to step; it stays when tables get finer."""

    def losses_and_gradients(
        self,
        model: DeepPotential,
        batch: Batch,
        prefactors: Prefactors,
        *,
        counts: LabelCounts | None = None,
    ) -> StepResult:
        """Evaluate a batch; see ``SharedEngine``."""
        is_whole = counts is None and self.ranks.is_alone and self.agreement.pieces == 1
        if is_whole and not self.recorder.is_off:
            try:
                with torch.no_grad():
                    found = self.recorder.evaluate(
                        model, batch, prefactors, intervals=self.intervals
                    )
                if found is not None:
                    return found
            except DpbenchError:
                raise
            except Exception as error:
                # Too little memory, a program that Triton cannot build for this card,
                # or a driver that records no such work: whatever it is, single kernels
                # serve, and raise what is wrong with the device.
                self.recorder.give_up(error)
        return SharedEngine.losses_and_gradients(
            self, model, batch, prefactors, counts=counts
        )

    def predict(self, model: DeepPotential, batch: Batch) -> Prediction:
        """Evaluate a batch with tables that reach as far as those of the steps."""
        down_to = self.recorder.distances(model)
        if down_to is not None:
            with torch.no_grad():
                features = TableFeatures(
                    model, batch, intervals=self.intervals, down_to=down_to
                )
                if not features.extended:
                    return FourPass(model, batch, features, with_virial=True).prediction
        return Engine.predict(self, model, batch)


def record(
    engine: Engine,
    model: ModelConfig,
    *,
    ranks: Ranks,
    device: torch.device,
    reach: list[float] | None = None,
) -> SharedEngine:
    """Return ``engine`` with recorded steps, or as it is and why not.

    Args:
        engine: As chosen.
        model: What is trained.
        ranks: Who shares each batch.
        device: A CUDA device.
        reach: Of the run's state; see ``Recorder``.
    """
    if engine.name != "table":
        return share(engine, ranks)
    reason = why_not_recorded(model, ranks=ranks, device=device)
    if reason is not None:
        told = f"kernels are launched one by one, not as one graph: {reason}"
        return share(replace(engine, reason=told), ranks)
    return RecordedEngine(
        name=engine.name,
        reason=engine.reason,
        intervals=engine.intervals,
        ranks=ranks,
        recorder=Recorder(reach),
    )


def why_not_recorded(
    model: ModelConfig, *, ranks: Ranks, device: torch.device
) -> str | None:
    """Say why the steps of a model are not recorded; None where they are."""
    if not isinstance(model.descriptor, SeE2AConfig):
        return f"graphs serve se_e2_a alone, not {model.descriptor.type}"
    activation = model.descriptor.activation_function
    if not is_served(activation):
        return f"graphs tabulate tanh nets; the embedding is '{activation}'"
    if model.fitting.numb_fparam or model.fitting.numb_aparam:
        return "graphs know no numbers of frames and atoms (fparam, aparam)"
    if not ranks.is_alone:
        return "several processes share each batch"
    reason = why_not(device)
    if reason is not None:
        return reason
    for family in ("passes", "tables", "fitting"):
        choose(family, device, DTYPES[model.precision])
        variant = kernels_in_use()[family]
        if variant != "triton":
            return f"the kernels of {family} are the {variant}'s"
    return None


def _on_host(numbers: list[float], device: torch.device) -> Tensor:
    """Return a row on the host, from where a copy to the device is no wait."""
    row = torch.tensor([numbers], dtype=torch.float64)
    # Pinned anew: torch gives the place again only when the copy has been made.
    return row.pin_memory() if device.type == "cuda" else row


def _has_room(device: torch.device) -> bool:
    """Say whether one more packed batch may stay."""
    if device.type != "cuda":
        return True
    total = torch.cuda.get_device_properties(device).total_memory
    return torch.cuda.memory_allocated(device) < KEPT_SHARE * total
