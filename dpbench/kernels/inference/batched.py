"""Predictions for batches whose edges are known, by the compiled kernels."""

from typing import final

import numpy as np
import torch

from dpbench.kernels.batch import Batch
from dpbench.kernels.inference.blocks import BlockRunner, Given
from dpbench.kernels.inference.packed import pack
from dpbench.kernels.inference.state import (
    AbstractBatchEvaluator,
    Forces,
    PotentialState,
)


@final
class BatchEvaluator(AbstractBatchEvaluator):
    """Energies and forces of batches of any frames, on the CPU."""

    def __init__(self, state: PotentialState) -> None:
        """Prepare the kernels for a model on the CPU."""
        self._model = pack(state)
        self._runner = BlockRunner(self._model)

    def evaluate(self, batch: Batch) -> Forces:
        """Evaluate the frames of a batch; ``replica`` means frame here."""
        # numba takes half a second to import: pay only where it works.
        from dpbench.kernels.inference import places_cpu

        order = batch.atom_order.numpy()
        row = np.empty(len(order), dtype=np.int32)
        row[order] = np.arange(len(order), dtype=np.int32)
        view = Given(
            edge_vec=batch.edge_vec.numpy(),
            neighbour=row[batch.edge_j.numpy()],
            row_offset=batch.row_offset.numpy(),
        )
        frame = batch.frame_idx.numpy()[order].astype(np.int32)
        nframes = batch.nframes
        done = self._runner.given(view, batch.atom_type_offset, frame, nframes)
        force = np.empty((len(order), 3))
        places_cpu.gather_forces(done.force, order, force)
        atom_energy = np.empty(len(order))
        atom_energy[order] = done.atom_energy
        energy = np.bincount(
            batch.frame_idx.numpy(), weights=atom_energy, minlength=nframes
        )
        return Forces(
            # Of no atoms at all bincount makes integers.
            energy=torch.from_numpy(energy.astype(np.float64, copy=False)),
            force=torch.from_numpy(force),
            virial=torch.from_numpy(done.virial),
            atom_energy=torch.from_numpy(atom_energy),
            extended=done.extended,
            crowded=done.crowded,
        )
