"""Energies and forces of one structure that moves, by the fastest way that serves."""

import logging
from dataclasses import replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.choice import choose, kernels_in_use
from dpbench.kernels.inference import AbstractEvaluator, make_evaluator
from dpbench.md.skin import Geometry, SkinList
from dpbench.models.atom_numbers import check_finite_numbers
from dpbench.models.compressed import CompressedPotential, compress, untabulable
from dpbench.models.files import Potential
from dpbench.models.geometry import atom_types
from dpbench.models.potential import Prediction
from dpbench.models.sel import SelOverflow, within_sel

EXACT = "exact embedding"
TABULATED = "tabulated embedding"

logger = logging.getLogger(__name__)


def fastest(model: Potential) -> Potential:
    """Tabulate a plain model where kernels for that serve; else return it as it is.

    Args:
        model: A model of either kind. A plain one is tabulated in memory, unless only
            the reference kernels serve its device or ``DPBENCH_KERNELS`` asks for them.
    """
    if isinstance(model, CompressedPotential):
        return model
    if untabulable(model.config) is not None:
        return model
    choose("inference", model.device, model.dtype)
    if kernels_in_use()["inference"] == "reference":
        return model
    return compress(model.to("cpu")).to(model.device)


def way_of(model: Potential) -> str:
    """Say how a model reads its embedding, for records."""
    if isinstance(model, CompressedPotential):
        return TABULATED
    return EXACT


@final
class MovingStructure:
    """One structure and a model; searches neighbours again only when it must.

    Positions must not be wrapped between calls, or a new search is due.
    """

    def __init__(
        self,
        model: Potential,
        *,
        skin: float,
        is_exact: bool = False,
        sel_overflow: SelOverflow = "error",
    ) -> None:
        """Take a model; there is no structure yet.

        Args:
            model: The potential, of either kind, on any device.
            skin: Extra radius of the neighbour list, Å; zero searches at every call.
            is_exact: Evaluate the embedding nets of a plain model exactly.
            sel_overflow: What to do with more neighbours than the model's ``sel``.
        """
        self.model = model if is_exact else fastest(model)
        self.skin = skin
        self.overflow = sel_overflow
        self._batches = SkinList(model.type_map, model.rcut, skin)
        self._kernels: AbstractEvaluator | None = None
        self._z = np.zeros(0, dtype=np.int64)
        self._pbc = np.zeros(3, dtype=np.bool_)
        self._searches = 0
        self._warned = False

    @property
    def searches(self) -> int:
        """Neighbour lists made so far."""
        own = 0 if self._kernels is None else self._kernels.builds
        return self._searches + own + self._batches.searches

    def evaluate(self, geometry: Geometry) -> Prediction:
        """Evaluate the structure as it is now; tensors lie where the model does.

        Raises:
            ModelError: If the model does not know an element, an atom has more
                neighbours than slots, or positions are not finite.
        """
        model = self.model
        if not isinstance(model, CompressedPotential) or self.overflow != "error":
            return self._by_batch(geometry)
        evaluator = self._evaluator(model, geometry)
        coord, box = (
            torch.from_numpy(np.array(a, dtype=np.float64)).to(model.device)
            for a in (geometry.coord, geometry.box[np.newaxis])
        )
        pbc = torch.from_numpy(np.array(geometry.pbc))
        is_same = np.array_equal(geometry.pbc, self._pbc)
        if not is_same or self.skin == 0 or evaluator.needs_build(coord, box):
            self._pbc = np.array(geometry.pbc)
            evaluator.build(coord, box, pbc)
        found = evaluator.evaluate(coord, box)
        if found.crowded:
            # A batch knows which atom it is, and words it.
            return self._by_batch(geometry)
        return self._told(
            Prediction(
                energy=found.energy,
                force=found.force,
                virial=found.virial,
                atom_energy=found.atom_energy,
                extended=found.extended,
            )
        )

    def _evaluator(
        self, model: CompressedPotential, geometry: Geometry
    ) -> AbstractEvaluator:
        """Return the kernels for these atoms; new ones if the atoms are others."""
        if self._kernels is None or not np.array_equal(self._z, geometry.z):
            self._searches += 0 if self._kernels is None else self._kernels.builds
            self._z = np.array(geometry.z)
            types: Tensor = torch.from_numpy(atom_types(self._z, model.type_map))
            self._kernels = make_evaluator(model, types, skin=self.skin)
        return self._kernels

    def _by_batch(self, geometry: Geometry) -> Prediction:
        """Evaluate by a batch of edges."""
        model = self.model
        batch = self._batches.batch(geometry, model.dtype)
        if model.device.type != "cpu":
            batch = batch.to(model.device, model.dtype)
        batch = within_sel(batch, model.config, overflow=self.overflow)
        if geometry.aparam is not None:
            check_finite_numbers(geometry.aparam, name="the structure")
            numbers = torch.tensor(geometry.aparam, dtype=torch.float64)
            batch = replace(batch, aparam=numbers.to(model.device))
        return self._told(model.energy_and_forces(batch))

    def _told(self, found: Prediction) -> Prediction:
        """Warn, once, of pairs that the tables do not reach."""
        if found.extended and not self._warned:
            self._warned = True
            logger.warning(
                "%d edges are shorter than the tables of the model reach; their "
                "embedding is continued straight. Said once.",
                found.extended,
            )
        return found
