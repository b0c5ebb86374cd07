"""A training step of dpbench against DeePMD-kit's, interleaved on one core.

Each side is a process of its own with one thread that takes a few steps when told to;
sides take turns, so that whatever else the machine does hits all of them alike. The
same frame, net, precision and loss on each side: 192 atoms of water, batch 1,
se_e2_a [25, 50, 100] x 16 with sel [46, 92], fitting 240-240-240. A side does what a
step of its trainer does: DeePMD-kit builds the neighbour list in it, dpbench has it
cached; both take an Adam step. On a busy machine trust the CPU time: wall time counts
waiting too.

Example:
    python benchmarks/train_step.py --data deepmd_water/data/data_0 \
        --deepmd-python .cache/deepmd/bin/python --out step.json
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RCUT, RCUT_SMTH, SEL = 6.0, 0.5, (46, 92)
NEURON, AXIS, FITTING = (25, 50, 100), 16, (240, 240, 240)


def main() -> None:
    """Time all sides and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a deepmd/npy system")
    parser.add_argument("--deepmd-python", help="interpreter that has DeePMD-kit")
    parser.add_argument("--precision", choices=["float64", "float32"], nargs="+")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="steps a round")
    parser.add_argument("--core", type=int, help="core to pin all sides to")
    parser.add_argument("--out", type=Path, help="JSON record to write")
    parser.add_argument("--side", choices=["dpbench", "deepmd-pt"])
    args = parser.parse_args()
    if args.side:
        serve(args)
        return
    precisions = args.precision or ["float64", "float32"]
    record = {
        "benchmark": "train_step",
        "system": "water, 192 atoms, batch 1",
        "model": "se_e2_a [25, 50, 100] x 16, sel [46, 92], rcut 6; fitting 240 x 3",
        "threads": 1,
        "load_average_before": os.getloadavg()[0],
        "hardware": {"cpu": cpu_name(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "precisions": {p: compare(args, p) for p in precisions},
    }
    record["load_average_after"] = os.getloadavg()[0]
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def compare(args: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Let the sides take turns; return medians, spread and ratios."""
    pythons = {"dpbench": sys.executable}
    if args.deepmd_python:
        pythons["deepmd-pt"] = args.deepmd_python
    sides = {name: start(args, name, exe, precision) for name, exe in pythons.items()}
    versions = {
        name: json.loads(side.stdout.readline()) for name, side in sides.items()
    }
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, side in sides.items():
            side.stdin.write("go\n")
            side.stdin.flush()
            samples[name] += json.loads(side.stdout.readline())
    for side in sides.values():
        side.stdin.close()
        side.wait()
    result: dict[str, Any] = {
        name: versions[name]
        | {"wall": spread([w for w, _ in times]), "cpu": spread([c for _, c in times])}
        for name, times in samples.items()
    }
    for name in list(result):
        if name != "dpbench":
            result[f"{name} / dpbench"] = {
                clock: result[name][clock]["median_ms"]
                / result["dpbench"][clock]["median_ms"]
                for clock in ("wall", "cpu")
            }
    return result


def spread(times: list[float]) -> dict[str, Any]:
    """Return median, quartiles, fastest and all samples, ms."""
    return {
        "median_ms": statistics.median(times),
        "quartiles_ms": statistics.quantiles(times, n=4)[::2],
        "fastest_ms": min(times),
        "samples_ms": [round(t, 2) for t in times],
    }


def start(args: argparse.Namespace, name: str, python: str, precision: str) -> Any:
    """Start one side; it prints its versions when it is ready."""
    command = [python, __file__, "--side", name, "--data", str(args.data)]
    command += ["--precision", precision, "--steps", str(args.steps)]
    if args.core is not None:
        command = ["taskset", "-c", str(args.core), *command]
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        command,
        env=os.environ | threads,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def serve(args: argparse.Namespace) -> None:
    """Be one side: step when told to; print wall and CPU milliseconds."""
    import torch

    torch.set_num_threads(1)
    makers = {"dpbench": dpbench_step, "deepmd-pt": deepmd_step}
    versions, step = makers[args.side](load(args.data), args.precision[0])
    for _ in range(3):
        step()
    print(json.dumps(versions), flush=True)
    for _ in sys.stdin:
        times = []
        for _ in range(args.steps):
            started, used = time.perf_counter(), time.process_time()
            step()
            wall, cpu = time.perf_counter() - started, time.process_time() - used
            times.append((1e3 * wall, 1e3 * cpu))
        print(json.dumps(times), flush=True)


def load(system: Path) -> dict[str, np.ndarray]:
    """Read the first frame of a system."""
    arrays = {
        name: np.load(system / "set.000" / f"{name}.npy")[:1].astype(np.float64)
        for name in ("coord", "box", "energy", "force")
    }
    return arrays | {"atype": np.loadtxt(system / "type.raw", dtype=int)}


def dpbench_step(frame: dict[str, np.ndarray], precision: str) -> tuple[Any, Any]:
    """Return versions and a step of dpbench, neighbours cached."""
    import torch

    import dpbench
    from dpbench.frames import uniform
    from dpbench.kernels.neighbours import find_neighbours
    from dpbench.models.batching import make_batch
    from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
    from dpbench.models.potential import DeepPotential
    from dpbench.models.statistics import (
        ModelStatistics,
        energy_normal,
        environment_moments,
    )
    from dpbench.train.config import OptimiserConfig
    from dpbench.train.engine import ENGINE, Prefactors, losses_and_gradients
    from dpbench.train.optimiser import Adam

    frames = uniform(
        z=np.array([8, 1])[frame["atype"]],
        coord=frame["coord"].reshape(1, -1, 3),
        box=frame["box"].reshape(1, 3, 3),
        energy=frame["energy"].ravel(),
        force=frame["force"].reshape(1, -1, 3),
    )
    config = ModelConfig(
        type_map=("O", "H"),
        descriptor=SeE2AConfig(
            rcut=RCUT, rcut_smth=RCUT_SMTH, sel=SEL, neuron=NEURON, axis_neuron=AXIS
        ),
        fitting=EnergyFittingConfig(neuron=FITTING),
        precision=precision,
    )
    found = [find_neighbours(frames.coord, frames.box[0], frames.pbc[0], RCUT)]
    davg, dstd = environment_moments(frames, found, config).finish()
    bias, _, _ = energy_normal(frames, config.type_map).solve()
    known = ModelStatistics(davg=davg, dstd=dstd, energy_bias=bias)
    model = DeepPotential.initialise(config, known, 1)
    adam = Adam(model.parameters.flat, OptimiserConfig())
    weights = Prefactors(energy=0.02, force=1000, virial=0)

    def step() -> None:
        batch = make_batch(frames, found, config.type_map, dtype=model.dtype)
        result = losses_and_gradients(model, batch, weights)
        adam.step(result.gradient, learning_rate=1e-6)

    versions = {"dpbench": dpbench.__version__, "torch": torch.__version__}
    return versions | {"engine": ENGINE}, step


def deepmd_step(frame: dict[str, np.ndarray], precision: str) -> tuple[Any, Any]:
    """Return versions and a step of DeePMD-kit's PyTorch trainer, taken apart."""
    import deepmd
    import torch
    from deepmd.pt.loss.ener import EnergyStdLoss
    from deepmd.pt.model.model import get_model

    descriptor = {
        "type": "se_e2_a",
        "rcut": RCUT,
        "rcut_smth": RCUT_SMTH,
        "sel": list(SEL),
        "neuron": list(NEURON),
        "axis_neuron": AXIS,
        "type_one_side": True,
        "precision": precision,
    }
    fitting = {"neuron": list(FITTING), "resnet_dt": True, "precision": precision}
    model = get_model(
        {"type_map": ["O", "H"], "descriptor": descriptor, "fitting_net": fitting}
    )
    loss_function = EnergyStdLoss(
        starter_learning_rate=1e-3,
        start_pref_e=0.02,
        limit_pref_e=1,
        start_pref_f=1000,
        limit_pref_f=1,
    )
    adam = torch.optim.Adam(model.parameters(), lr=1e-6)
    natoms = len(frame["atype"])
    inputs = {
        "coord": torch.tensor(frame["coord"]).view(1, natoms, 3),
        "atype": torch.tensor(frame["atype"]).view(1, natoms),
        "box": torch.tensor(frame["box"]).view(1, 9),
    }
    labels = {
        "energy": torch.tensor(frame["energy"]).view(1, 1),
        "force": torch.tensor(frame["force"]).view(1, natoms, 3),
        "find_energy": 1.0,
        "find_force": 1.0,
    }

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        _, loss, _ = loss_function(
            inputs, model, labels, natoms=natoms, learning_rate=1e-3
        )
        loss.backward()
        adam.step()

    return {"deepmd-kit": deepmd.__version__, "torch": torch.__version__}, step


def cpu_name() -> str:
    """Return the processor's name as the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
