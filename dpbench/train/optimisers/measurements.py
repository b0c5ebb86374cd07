"""What a Kalman filter measures in a batch: energies, and forces of groups of atoms."""

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.models.four_pass import OutputWeights
from dpbench.models.potential import DeepPotential
from dpbench.train.engine import Engine
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.kalman import KalmanFilter


def take_measurements(
    kalman: KalmanFilter,
    model: DeepPotential,
    batch: Batch,
    *,
    engine: Engine,
    config: OptimiserConfig,
) -> None:
    """Update the filter by the energies of a batch, then by groups of forces.

    A measurement is the mean error without sign: of the energies per atom, of all
    force components of a group. The groups are drawn from the number of measurements
    so far, so that a run can be gone on with. Virials are not used.

    Args:
        kalman: The filter over the model's parameters.
        model: Changed in place, through the filter.
        batch: Frames on the model's device; those without a label are left out.
        engine: Evaluates the model and its Jacobian.
        config: Number and size of the groups.

    Source:
        DeePMD-kit, ``KFOptimizerWrapper``.
    """
    if bool(batch.has_energy.any()):
        _by_energy(kalman, model, batch, engine)
    labelled = torch.nonzero(batch.has_force[batch.frame_idx]).flatten()
    if not len(labelled):
        return
    generator = np.random.default_rng([kalman.count, len(labelled)])
    wanted = config.kalman_force_groups * config.kalman_group_atoms
    order = generator.permutation(len(labelled))[:wanted]
    for group in np.array_split(order, config.kalman_force_groups):
        if len(group):
            _by_force(kalman, model, batch, engine, labelled[torch.from_numpy(group)])


def _by_energy(
    kalman: KalmanFilter, model: DeepPotential, batch: Batch, engine: Engine
) -> None:
    """Update by the energies per atom of all labelled frames."""
    left = batch.energy - engine.predict(model, batch).energy
    left = torch.where(batch.has_energy, left / batch.natoms, 0.0)
    count = int(batch.has_energy.sum())
    weights = OutputWeights(
        energy=left.sign() / batch.natoms / count,
        force=torch.zeros_like(batch.force),
        virial=None,
    )
    jacobian = engine.vector_jacobian(model, batch, weights)
    kalman.update(jacobian, float(left.abs().sum()) / count * count**0.5)


def _by_force(
    kalman: KalmanFilter,
    model: DeepPotential,
    batch: Batch,
    engine: Engine,
    atoms: Tensor,
) -> None:
    """Update by all force components of some atoms."""
    left = (batch.force - engine.predict(model, batch).force)[atoms]
    force = torch.zeros_like(batch.force)
    total = len(batch.atype)
    force[atoms] = left.sign() / total
    weights = OutputWeights(
        energy=torch.zeros_like(batch.energy), force=force, virial=None
    )
    jacobian = engine.vector_jacobian(model, batch, weights)
    kalman.update(jacobian, float(left.abs().mean()) / total * batch.nframes**0.5)
