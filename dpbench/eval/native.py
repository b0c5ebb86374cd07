"""dpbench's own backend: a Deep Potential in this process."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.frames import Frames
from dpbench.kernels.choice import kernels_in_use
from dpbench.kernels.neighbours import find_neighbours
from dpbench.md.ase_calculator import DEFAULT_SKIN, DPCalculator
from dpbench.md.moving import EXACT, MovingStructure, fastest, way_of
from dpbench.md.skin import Geometry
from dpbench.metrics.frame_errors import Predictions
from dpbench.models.batching import make_batch
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, within_sel

ATOMS_PER_BATCH = 512
"""Atoms of one forward pass over a dataset: about half a gigabyte at 100 neighbours."""

logger = logging.getLogger(__name__)


class NativeEvaluator(AbstractEvaluator):
    """A model of either kind on one device, by the fastest kernels that serve."""

    backend = "dpbench"

    def __init__(
        self,
        model: Potential,
        *,
        device: str = "cpu",
        is_exact: bool = False,
        sel_overflow: SelOverflow = "error",
    ) -> None:
        """Take a model that lies on ``device`` already.

        Args:
            model: The model. A plain one is tabulated where kernels for that serve.
            device: Where it lies.
            is_exact: Evaluate the embedding nets of a plain model exactly.
            sel_overflow: What to do with more neighbours than the model's ``sel``.
        """
        self.model = model if is_exact else fastest(model)
        # A frame with atoms closer than its tables reach is not left to them.
        self._plain = model if self.model is not model else None
        self._beyond = _Beyond()
        self.is_exact = is_exact
        self.overflow = sel_overflow
        self.device = device
        self.precision = model.config.precision
        self.type_map = tuple(model.type_map)
        self.rcut = float(model.rcut)
        self.fitting = model.config.fitting

    def predict(
        self, frames: Frames, *, fparam: NDArray[np.float64] | None = None
    ) -> Predictions:
        """Energy, force and virial of some frames, in batches of bounded size."""
        parts = []
        for rows in _batches(frames):
            own = None if fparam is None else fparam[rows.start : rows.stop]
            names = [f"frame {index}" for index in rows]
            parts.append(self._predict(frames.select(rows), own, names))
        return _joined(parts)

    def prepare(self, frame: Frames) -> Callable[[], object]:
        """Search the neighbours of one frame; return the forward pass on it."""
        structure = self._structure(DEFAULT_SKIN)
        geometry = _geometry(frame)
        structure.evaluate(geometry)
        return lambda: structure.evaluate(geometry)

    def forward(self, frame: Frames) -> object:
        """Search neighbours and run the forward pass."""
        return self._structure(0.0).evaluate(_geometry(frame))

    def calculator(self) -> Any:
        """Make a new ASE calculator."""
        # The exact answer of a compressed model is that of its own tables.
        is_exact = self.is_exact and way_of(self.model) == EXACT
        return DPCalculator(self.model, is_exact=is_exact, sel_overflow=self.overflow)

    def kernels(self) -> dict[str, str]:
        """Name what reads the embedding, what kernels ran, what was dropped."""
        found = {"embedding": way_of(self.model)} | kernels_in_use()
        if self.overflow != "error":
            found["sel_overflow"] = self.overflow
        beyond = self._beyond
        if beyond.frames:
            served = "exact embedding" if self._plain else "tables continued straight"
            found["closer_than_tables"] = (
                f"frames {beyond.frames}, edges {beyond.edges}: {served}"
            )
        return found

    def list_builds(self, calculator: Any) -> int | None:
        """Neighbour lists that a calculator has built."""
        count: int = calculator.neighbours.searches
        return count

    def synchronise(self) -> None:
        """Wait for the GPU, where there is one."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def _structure(self, skin: float) -> MovingStructure:
        return MovingStructure(
            self.model,
            skin=skin,
            is_exact=self.is_exact,
            sel_overflow=self.overflow,
        )

    def _too_close(self, frames: Frames, edges: int) -> None:
        """Count a frame with edges shorter than the tables reach; warn of the first."""
        if not self._beyond.frames:
            served = "is evaluated exactly" if self._plain else "is continued straight"
            logger.warning(
                "a frame of %d atoms has %d edges shorter than the tables of the model "
                "reach; it %s. Said once; the record counts them.",
                len(frames.z),
                edges,
                served,
            )
        self._beyond.frames += 1
        self._beyond.edges += edges

    def _batch(self, frames: Frames, names: Sequence[str]) -> Any:
        neighbours = [
            find_neighbours(
                frames.coord[frames.atoms_of(i)],
                frames.box[i],
                frames.pbc[i],
                float(self.model.rcut),
            )
            for i in range(frames.nframes)
        ]
        batch = make_batch(
            frames,
            neighbours,
            self.type_map,
            device=self.device,
            dtype=self.model.dtype,
            numb_aparam=self.model.config.fitting.numb_aparam,
            names=names,
        )
        return within_sel(batch, self.model.config, overflow=self.overflow, names=names)

    def _predict(
        self,
        frames: Frames,
        fparam: NDArray[np.float64] | None,
        names: Sequence[str],
    ) -> Predictions:
        batch = self._batch(frames, names)
        if fparam is not None:
            batch = replace(batch, fparam=torch.from_numpy(fparam).to(self.device))
        answer = self.model.energy_and_forces(batch)
        if answer.extended and frames.nframes > 1:
            # Which of them it is; the others stay with the tables.
            return _joined(
                self._predict(
                    frames.select([i]),
                    None if fparam is None else fparam[i : i + 1],
                    names[i : i + 1],
                )
                for i in range(frames.nframes)
            )
        if answer.extended:
            self._too_close(frames, answer.extended)
            if self._plain is not None:
                answer = self._plain.energy_and_forces(batch)

        def as_numpy(tensor: torch.Tensor) -> Any:
            return tensor.detach().to("cpu", torch.float64).numpy()

        return Predictions(
            energy=as_numpy(answer.energy),
            force=as_numpy(answer.force),
            virial=as_numpy(answer.virial),
        )


@dataclass(slots=True)
class _Beyond:
    """What the tables did not reach, so far."""

    frames: int = 0
    edges: int = 0
    """Each stands for one end of a pair."""


def _joined(parts: Iterable[Predictions]) -> Predictions:
    """Return the predictions of some frames one after the other."""
    kept = list(parts)
    return Predictions(
        energy=np.concatenate([part.energy for part in kept]),
        force=np.concatenate([part.force for part in kept]),
        virial=np.concatenate([part.virial for part in kept]),
    )


def _geometry(frame: Frames) -> Geometry:
    return Geometry(
        z=np.asarray(frame.z),
        coord=np.asarray(frame.coord, dtype=np.float64),
        box=np.asarray(frame.box[0], dtype=np.float64),
        pbc=np.asarray(frame.pbc[0]),
        aparam=frame.aparam_of(0),
    )


def _batches(frames: Frames) -> list[range]:
    """Cut frames into runs of at most ``ATOMS_PER_BATCH`` atoms, one frame at least."""
    runs, first, atoms = [], 0, 0
    for index, natoms in enumerate(frames.natoms.tolist()):
        if index > first and atoms + natoms > ATOMS_PER_BATCH:
            runs.append(range(first, index))
            first, atoms = index, 0
        atoms += natoms
    if first < frames.nframes:
        runs.append(range(first, frames.nframes))
    return runs
