"""How far a compressed model is from the one it was made of, measured."""

from dataclasses import dataclass

import torch

from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.kernels.tables import table_error
from dpbench.models.batching import make_batch
from dpbench.models.compressed import CompressedPotential, tabulable
from dpbench.models.parameters import embedding_nets
from dpbench.models.potential import DeepPotential, Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanError:
    """Largest errors of the tables themselves, over their whole range."""

    value: float
    """Of G, which is of the order of one."""
    slope: float
    """Of dG/ds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameError:
    """Differences of predictions over some frames."""

    nframes: int
    natoms: int
    """Atoms of all frames."""
    energy_max_per_atom: float
    """eV, largest difference of a frame's energy divided by its atoms."""
    force_max: float
    """eV/Å, largest difference of a component."""
    force_rmse: float
    """eV/Å, root mean square over components."""
    virial_max_per_atom: float
    """eV, largest difference of a component divided by the frame's atoms."""


Evaluable = DeepPotential | CompressedPotential
"""What predicts batches."""


def scan_error(model: DeepPotential, compressed: CompressedPotential) -> ScanError:
    """Compare tables with the nets that they were made of, between all knots.

    Args:
        model: The exact model.
        compressed: What ``compress`` made of it, in any precision.
    """
    nets = [net.layers(model.parameters.views) for net in embedding_nets(model.config)]
    name = tabulable(model.config).activation_function
    found = table_error(nets, name, compressed.state.tables)
    return ScanError(value=float(found.value.max()), slope=float(found.slope.max()))


def frame_error(exact: Evaluable, other: Evaluable, frames: Frames) -> FrameError:
    """Compare the predictions of two models; that of ``exact`` counts as true.

    Args:
        exact: The one, best in float64.
        other: The other.
        frames: Any frames of elements that both know; at least one.
    """
    energy = virial = largest = squares = 0.0
    for index in range(frames.nframes):
        one = frames.select([index])
        true, found = (_predict(model, one) for model in (exact, other))
        natoms = len(one.z)
        energy = max(energy, float((true.energy - found.energy).abs().max()) / natoms)
        difference = true.virial - found.virial
        virial = max(virial, float(difference.abs().max()) / natoms)
        error = true.force - found.force
        largest = max(largest, float(error.abs().max()))
        squares += float((error**2).sum())
    return FrameError(
        nframes=frames.nframes,
        natoms=len(frames.z),
        energy_max_per_atom=energy,
        force_max=largest,
        force_rmse=(squares / (3 * len(frames.z))) ** 0.5,
        virial_max_per_atom=virial,
    )


def _predict(model: Evaluable, frames: Frames) -> Prediction:
    found = [find_neighbours(frames.coord, frames.box[0], frames.pbc[0], model.rcut)]
    batch = make_batch(frames, found, model.type_map, dtype=model.dtype)
    with torch.inference_mode():
        return model.energy_and_forces(batch)
