"""The core runs where numpy, torch, numba and h5py are all there is."""

import subprocess
import sys

CODE = """
import importlib.abc
import sys

blocked = {"ase", "dask", "distributed", "zarr", "sqlalchemy", "alembic", "pandas",
           "xarray", "click", "rich", "matplotlib", "dpdata", "lxml", "jaxtyping",
           "beartype", "scipy", "monty"}

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            # numba and torch look for some of these, and go on without them.
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
        return None

sys.meta_path.insert(0, Blocker())
import numpy as np
import torch
import dpbench.models.deepmd_file
from dpbench.frames import uniform
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import make_batch
from dpbench.models.checkpoint import load_model, save_model
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics, energy_normal
from dpbench.models.statistics import environment_moments
from dpbench.train.engine import Prefactors, losses_and_gradients
import dpbench.train.loop

rng = np.random.default_rng(0)
frames = uniform(z=[8, 1] * 10, coord=6 * rng.random((1, 20, 3)),
                 box=6 * np.eye(3)[None], energy=np.array([-3.0]),
                 force=rng.normal(size=(1, 20, 3)))
config = ModelConfig(type_map=("O", "H"), descriptor=SeE2AConfig(
    rcut=4.0, sel=(20, 20), neuron=(4, 8), axis_neuron=2),
    fitting=EnergyFittingConfig(neuron=(8, 8)))
found = [find_neighbours(frames.coord, frames.box[0], frames.pbc[0], 4.0)]
davg, dstd = environment_moments(frames, found, config).finish()
bias, _, _ = energy_normal(frames, config.type_map).solve()
model = DeepPotential.initialise(
    config, ModelStatistics(davg=davg, dstd=dstd, energy_bias=bias), 1)
batch = make_batch(frames, found, config.type_map)
step = losses_and_gradients(model, batch, Prefactors(energy=1, force=1, virial=1))
save_model(sys.argv[1], model, {})
load_model(sys.argv[1])
print(bool(torch.isfinite(step.gradient).all()))
"""


def test_the_core_needs_no_more_than_numpy_torch_numba_and_h5py(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "m.pth")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
