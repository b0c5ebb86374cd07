"""Compile all Triton programs for a GPU that is not there; prints one JSON line each.

``python -m tests.kernels.gpu.compile_all CAPABILITY``; without TRITON_INTERPRET.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import torch

from tests.kernels.gpu.dry_compile import compile_launches, resources

WIDTH = 112  # of a hundred channels, padded to whole vectors


def passes(dtype):
    from dpbench.kernels.gpu import passes
    from dpbench.kernels.passes.trial import make_trial, run_trial

    trial = make_trial(dtype)
    rows = len(trial.tables.coefficients)
    tables = replace(
        trial.tables, coefficients=torch.zeros(rows, 6, WIDTH, dtype=dtype)
    )
    grad = torch.zeros(5, 4, WIDTH, dtype=dtype)
    trial = trial._replace(tables=tables, grad_x=grad, grad_dot=grad)
    for mask in (None, torch.ones(2, 2, dtype=dtype)):
        run_trial(passes, trial._replace(normal=replace(trial.normal, mask=mask)))


def training(dtype):
    from dpbench.kernels.gpu.optimiser import DeviceAdam
    from dpbench.kernels.gpu.training import DeviceStep
    from dpbench.models.gpu_training import grid_for_batches, step_model
    from tests.models.structures import batch_of, model, water

    precision = "float64" if dtype == torch.float64 else "float32"
    potential = model(precision=precision, neuron=(25, 50, 100), axis_neuron=16)
    batch = batch_of(water(1, natoms=4), potential)
    grid = grid_for_batches(potential, [batch], intervals=8)
    adam = DeviceAdam(potential.parameters.flat, max_norm=1.0)
    course = torch.ones(4, 4, dtype=torch.float64)
    for with_virial in (False, True):
        step = DeviceStep(
            step_model(potential, grid), adam, course, with_virial=with_virial
        )
        step.step(*step.pack(batch))


def moving(dtype):
    from dpbench.kernels.gpu import inference, neighbours
    from dpbench.kernels.inference.trial import move_state, trial_state

    class Holder:
        state = move_state(trial_state(dtype, torch.Generator()), "cpu", dtype)

    rows = len(Holder.state.tables.coefficients)
    coefficients = torch.zeros(rows, 6, WIDTH, dtype=dtype)
    tables = replace(Holder.state.tables, coefficients=coefficients)
    Holder.state = replace(Holder.state, tables=tables)
    atype = torch.tensor([0, 1, 1, 0, 1])
    made = inference.make_evaluator(Holder, atype)
    coord = torch.rand(5, 3, dtype=torch.float64)
    box = 5 * torch.eye(3, dtype=torch.float64)[None]
    pbc = np.ones(3, dtype=np.bool_)
    listed = neighbours.build_list(
        coord, box, pbc, atype, radius=3.0, ntypes=2
    )  # nothing ran, so it is empty
    some = torch.zeros(8, dtype=torch.int32)
    made._list = replace(listed, neighbour=some, image=some, incoming=some)
    made._then = coord
    made.evaluate_on_device(coord, box)
    made.outdated(coord)


def main():
    capability = int(sys.argv[1])
    found = compile_launches(capability)
    for dtype in (torch.float32, torch.float64):
        for part in (passes, training, moving):
            part(dtype)
    for name, signature, built in found:
        pointers = [kind for kind in signature.values() if kind.startswith("*")]
        line = {"program": name, "types": pointers}
        line["ptxas"] = resources(built, capability)
        print(json.dumps(line))


if __name__ == "__main__":
    main()
