"""All that only a GPU can show, in one go: right numbers, and how fast.

Runs with torch, triton, numpy, numba and h5py alone, and needs no data: water is made
here, with a net of the standard size and random weights. ``--model`` takes a trained
one, without which the energy drift says little.

checks   every family against its reference in both precisions; bitwise repetition; a
         captured training step against the same steps without a graph, and its gradient
         against the engine on the CPU
train    steps a second at batch 1, one graph a step, and kernel by kernel
md       microseconds an atom and step, list included, for sizes up to --most atoms
nve      drift of the total energy: float64, float32, and float32 with tf32x3 products
sweep    P1, P2 and P4 for several sizes of blocks and numbers of warps

Examples:
    python -m benchmarks.gpu --out gpu.json
    python -m benchmarks.gpu --interpret          # tiny, on the CPU: does it run?
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpbench.models.edge_features import INTERVALS

PARTS = ("checks", "train", "md", "nve", "sweep")
PER_MASS = 9648.533212  # Å/ps^2 for 1 eV/Å and 1 u
MASS = {8: 15.999, 1: 1.008}
SPACING = 3.104  # Å between molecules: 1 g/cm^3
DTYPES = (torch.float64, torch.float32)


def main() -> None:
    args = arguments()
    if args.interpret:
        os.environ["TRITON_INTERPRET"] = "1"
    setting = Setting(args)
    record: dict[str, Any] = {"benchmark": "gpu", "machine": machine(setting.device)}
    for part in args.parts:
        began = time.perf_counter()
        os.environ.pop("DPBENCH_KERNELS", None)
        try:
            record[part] = globals()[part](setting)
        except Exception as reason:
            # A part that fails must not cost the other parts their GPU time.
            record[part] = {"failed": f"{type(reason).__name__}: {reason}"}
        record[part] |= {"seconds": round(time.perf_counter() - began, 1)}
        print(json.dumps({part: record[part]}), flush=True)
        if args.out:
            Path(args.out).write_text(json.dumps(record, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="JSON file to write")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", help="m.pth of water (O, H); default: random")
    parser.add_argument(
        "--most", type=int, default=200_000, help="atoms of the md part"
    )
    parser.add_argument("--steps", type=int, default=300, help="timed steps")
    parser.add_argument("--nve-steps", type=int, default=20_000)
    parser.add_argument("--interpret", action="store_true", help="tiny, on the CPU")
    return parser.parse_args()


class Setting:
    """Sizes and device of this run."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Take sizes from the arguments."""
        self.args = args
        self.is_tiny = args.interpret
        self.device = torch.device("cpu" if args.interpret else "cuda")
        self.side = 1 if self.is_tiny else 4  # molecules along the cell of a frame
        self.steps = 2 if self.is_tiny else args.steps
        self.intervals = 16 if self.is_tiny else INTERVALS
        # Hermite's pieces and the CPU's splines agree on a fine grid only.
        self.fine = 16 if self.is_tiny else 1024

    def water(
        self, side: int, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return coord (Å), atomic numbers and cell of side^3 molecules."""
        rng = np.random.default_rng(seed)
        site = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), -1)
        oxygen = SPACING * (site.reshape(-1, 3) + 0.5)
        oxygen += rng.normal(0, 0.05, oxygen.shape)
        axis = rng.normal(size=oxygen.shape)
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        other = np.cross(axis, rng.normal(size=oxygen.shape))
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        half = np.radians(104.5 / 2)
        coord = [oxygen]
        for sign in (1, -1):
            bond = np.cos(half) * axis + sign * np.sin(half) * other
            coord.append(oxygen + 0.96 * bond)
        atoms = np.stack(coord, axis=1).reshape(-1, 3)
        cell = SPACING * side * np.eye(3)
        return atoms, np.tile([8, 1, 1], len(oxygen)), cell

    def frames(self, seed: int = 0) -> Any:
        """Return one labelled frame."""
        from dpbench.frames import uniform

        coord, z, cell = self.water(self.side, seed)
        rng = np.random.default_rng(seed + 100)
        return uniform(
            z=z,
            coord=coord[None],
            box=cell[None],
            energy=rng.normal(0, 1, 1),
            force=rng.normal(0, 1, (1, *coord.shape)),
            virial=rng.normal(0, 1, (1, 3, 3)),
        )

    def neighbours(self, frames: Any) -> list:
        """Return the frame's neighbours."""
        from dpbench.kernels.neighbours import find_neighbours

        rcut = self.config().descriptor.rcut
        return [find_neighbours(frames.coord, frames.box[0], frames.pbc[0], rcut)]

    def config(self) -> Any:
        """Return a model of the standard size."""
        from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig

        big = {"neuron": (25, 50, 100), "axis_neuron": 16, "rcut": 6.0}
        tiny = {"neuron": (4, 8), "axis_neuron": 3, "rcut": 1.9}
        width = 8 if self.is_tiny else 240
        return ModelConfig(
            type_map=("O", "H"),
            descriptor=SeE2AConfig(
                rcut_smth=0.5, sel=(46, 92), **(tiny if self.is_tiny else big)
            ),
            fitting=EnergyFittingConfig(neuron=(width, width, width)),
        )

    def potential(self, dtype: torch.dtype, *, exact: bool = True) -> Any:
        """Return the model on the CPU, trained or random."""
        from dpbench.models.files import load_potential
        from dpbench.models.potential import DeepPotential
        from dpbench.models.statistics import ModelStatistics, environment_moments

        if self.args.model and not exact:
            return load_potential(Path(self.args.model), dtype=dtype)[0]
        config, frames = self.config(), self.frames()
        moments = environment_moments(frames, self.neighbours(frames), config)
        davg, dstd = moments.finish()
        bias = np.array([-3.0, -1.0])
        known = ModelStatistics(davg=davg, dstd=dstd, energy_bias=bias)
        return DeepPotential.initialise(config, known, 3).to("cpu", dtype)

    def batch(self, dtype: torch.dtype, seed: int = 0, where: str | None = None) -> Any:
        """Return one frame as a batch, on the device or elsewhere."""
        from dpbench.models.batching import make_batch

        frames = self.frames(seed)
        found = self.neighbours(frames)
        device = self.device if where is None else where
        return make_batch(frames, found, ("O", "H"), device=device, dtype=dtype)

    def evaluator(self, dtype: torch.dtype, side: int, **options: str) -> Any:
        """Return an evaluator with its system: coord, box, pbc, z."""
        from dpbench.kernels.gpu.inference import DeviceEvaluator
        from dpbench.models.compressed import CompressedPotential, compress

        model = self.potential(dtype, exact=False)
        if not isinstance(model, CompressedPotential):
            model = compress(model)
        state = model.to(self.device, dtype).state
        coord, z, cell = self.water(side)
        atype = torch.tensor([model.type_map.index("O" if k == 8 else "H") for k in z])
        made = DeviceEvaluator(state, atype.to(self.device), **options)
        arrays = (torch.from_numpy(a).to(self.device) for a in (coord, cell[None]))
        pbc = torch.tensor([True, True, True], device=self.device)
        return made, (*arrays, pbc, z)

    def step(
        self, dtype: torch.dtype, batches: list, steps: int, *, is_fine: bool = False
    ) -> Any:
        """Return training steps of a new model."""
        from dpbench.kernels.gpu.optimiser import DeviceAdam
        from dpbench.kernels.gpu.training import DeviceStep
        from dpbench.models.gpu_training import grid_for_batches, step_model

        model = self.potential(dtype).to(self.device)
        intervals = self.fine if is_fine else self.intervals
        grid = grid_for_batches(model, batches, intervals=intervals)
        course = torch.tensor([[1e-3, 0.02, 1000.0, 0.0]], dtype=torch.float64)
        course = course.repeat(steps, 1).to(self.device)
        adam = DeviceAdam(model.parameters.flat)
        return DeviceStep(step_model(model, grid), adam, course)


def machine(device: torch.device) -> dict[str, Any]:
    import triton

    found = {"torch": torch.__version__, "triton": triton.__version__}
    found |= {"python": platform.python_version(), "device": "Triton's interpreter"}
    if device.type == "cuda":
        found["device"] = torch.cuda.get_device_name()
        found["capability"] = torch.cuda.get_device_capability()
    return found


def timed(function: Callable[[], Any], setting: Setting, repeats: int) -> list[float]:
    """Return seconds of each of ``repeats`` calls; the device is awaited for each."""
    samples = []
    function()
    for _ in range(repeats):
        synchronise(setting)
        began = time.perf_counter()
        function()
        synchronise(setting)
        samples.append(time.perf_counter() - began)
    return samples


def synchronise(setting: Setting) -> None:
    if setting.device.type == "cuda":
        torch.cuda.synchronize()


def spread(samples: list[float]) -> dict[str, float]:
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75]).tolist()
    return {"median": middle, "quartiles": [low, high], "samples": len(samples)}


def checks(setting: Setting) -> dict[str, Any]:
    from dpbench.kernels.gpu import fitting, inference, passes, tables
    from dpbench.train.engine import Engine, Prefactors

    # Other variants of the tables interpolate otherwise: alike on fine grids only.
    os.environ["DPBENCH_KERNELS"] = "tables=reference"
    found: dict[str, Any] = {}
    for dtype in DTYPES:
        errors = {
            module.__name__.rpartition(".")[2]: module.check(dtype)
            for module in (fitting, tables, passes, inference)
        }
        found[str(dtype)] = errors
    batches = [setting.batch(torch.float32, seed) for seed in (0, 1)]
    ends = []
    for is_eager in (False, False, True):
        step = setting.step(torch.float32, batches, 8)
        packs = [step.pack(batch) for batch in batches]
        for k in range(2 if setting.is_tiny else 8):
            bucket, packed = packs[k % 2]
            if is_eager:
                step.evaluate(bucket, packed)
                step.optimiser.step(step.model.gradient, step.course)
            else:
                step.step(bucket, packed)
        ends.append(step.model.flat.clone())
    found["graph_repeats_bitwise"] = bool(torch.equal(ends[0], ends[1]))
    found["graph_equals_eager_bitwise"] = bool(torch.equal(ends[0], ends[2]))
    for dtype in DTYPES:
        step = setting.step(dtype, [setting.batch(dtype)], 2, is_fine=True)
        step.evaluate(*step.pack(setting.batch(dtype)))
        model, weights = (
            setting.potential(torch.float64),
            Prefactors(energy=0.02, force=1000.0, virial=0.0),
        )
        engine = Engine(name="table", intervals=setting.fine)
        batch = setting.batch(torch.float64, where="cpu")
        right = engine.losses_and_gradients(model, batch, weights).gradient
        off = (step.model.gradient.cpu().double() - right).abs().max()
        found[f"gradient_off_{dtype}"] = float(off / right.abs().max())
    return found


def train(setting: Setting) -> dict[str, Any]:
    found: dict[str, Any] = {
        "atoms": len(setting.frames().z),
        "table_intervals": setting.intervals,
    }
    for dtype in DTYPES:
        batches = [setting.batch(dtype, seed) for seed in range(2)]
        step = setting.step(dtype, batches, 100_000)
        packs = [step.pack(batch) for batch in batches]
        turn = iter(range(10**9))

        def one(step=step, packs=packs, turn=turn) -> None:
            step.step(*packs[next(turn) % len(packs)])

        def many(one=one) -> None:
            for _ in range(setting.steps):
                one()

        one()
        one()
        samples = timed(many, setting, 1 if setting.is_tiny else 5)
        a_step = spread([s / setting.steps for s in samples])
        found[str(dtype)] = a_step | {"steps_per_second": 1 / a_step["median"]}
        if setting.device.type == "cuda":
            found[str(dtype)]["kernels"] = profile(one)
    return found


def profile(function: Callable[[], Any], calls: int = 20) -> list[tuple[str, float]]:
    """Return the kernels of a call with their microseconds, longest first."""
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as seen:
        for _ in range(calls):
            function()
        torch.cuda.synchronize()
    rows = [(e.key[:80], e.self_device_time_total / calls) for e in seen.key_averages()]
    return sorted(rows, key=lambda row: -row[1])[:40]


def md(setting: Setting) -> dict[str, Any]:
    from dpbench.kernels.gpu.graph import Captured

    found: dict[str, Any] = {}
    sides = [1] if setting.is_tiny else [7, 15, 33, 41, 70]
    for dtype in DTYPES:
        for side in sides:
            if 3 * side**3 > setting.args.most:
                continue
            if setting.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            made, (coord, box, pbc, z) = setting.evaluator(dtype, side)
            repeats = 1 if setting.is_tiny else 5
            build = timed(partial(made.build, coord, box, pbc), setting, repeats)
            work = partial(made.evaluate_on_device, coord, box)
            graph = Captured(work, device=setting.device)
            graph()
            steps = timed(graph, setting, min(setting.steps, 50))
            row = {
                "atoms": len(z),
                "edges_per_atom": len(made._list.neighbour) / len(z),
            }
            row["us_per_atom_step"] = 1e6 * statistics.median(steps) / len(z)
            row["us_per_atom_build"] = 1e6 * statistics.median(build) / len(z)
            if setting.device.type == "cuda":
                row["bytes_per_atom"] = torch.cuda.max_memory_allocated() / len(z)
                row["kernels"] = profile(graph, 3)
            found[f"{dtype} {len(z)}"] = row
    return found


def nve(setting: Setting) -> dict[str, Any]:
    from dpbench.kernels.gpu.dynamics import DeviceVerlet

    found: dict[str, Any] = {"trained": bool(setting.args.model)}
    side, step = (1, 1e-4) if setting.is_tiny else (7, 5e-4)
    total = 2 if setting.is_tiny else setting.args.nve_steps
    cases = [(torch.float64, "torch"), (torch.float32, "torch")]
    cases += [(torch.float32, "ieee"), (torch.float32, "tf32x3")]
    for dtype, products in cases:
        made, (coord, box, pbc, z) = setting.evaluator(dtype, side, products=products)
        mass = torch.tensor([MASS[int(k)] for k in z], dtype=torch.float64)
        mass = mass.to(setting.device)
        generator = torch.Generator().manual_seed(5)
        draw = torch.randn(len(z), 3, generator=generator, dtype=torch.float64)
        # 300 K: k T = 0.02585 eV.
        speed = (0.02585 * PER_MASS / mass).sqrt()[:, None]
        velocity = draw.to(setting.device) * speed
        run = DeviceVerlet(
            *(made, coord, velocity, box),
            pbc=pbc,
            acceleration=PER_MASS / mass,
            step=step,
        )
        rows, chunk = [], max(total // 100, 1)
        began = time.perf_counter()
        for done in range(0, total, chunk):
            run.run(chunk)
            energy = float(run.energy.sum() + run.kinetic())
            rows.append(((done + chunk) * step, energy / len(z)))
        seconds = time.perf_counter() - began
        ps, energies = np.array(rows).T
        drift = np.polyfit(ps, energies, 1)[0] if len(ps) > 1 else np.nan
        found[f"{dtype} {products}"] = {
            "atoms": len(z),
            "ps": float(ps[-1]),
            "drift_mev_per_atom_ns": float(1e6 * drift),
            "lists": made.builds,
            "us_per_atom_step": 1e6 * seconds / total / len(z),
        }
    return found


def sweep(setting: Setting) -> dict[str, Any]:
    from dpbench.kernels.gpu import frames, launch
    from dpbench.kernels.gpu.passes import adjoint_along, edge_gradient, moments

    found: dict[str, Any] = {}
    choices = (
        [(4, 4)]
        if setting.is_tiny
        else [(b, w) for b in (2, 4, 8, 16) for w in (2, 4, 8)]
    )
    kept = launch.EDGE_BLOCK, launch.EDGE_WARPS
    batch = setting.batch(torch.float32)
    for block, warps in choices:
        launch.EDGE_BLOCK, launch.EDGE_WARPS = block, warps
        step = setting.step(torch.float32, [batch], 2)
        bucket, packed = step.pack(batch)
        first = step._forward(bucket, packed)
        layout = frames.layout_of(packed, step.model.net, 1)
        edges, runs = frames.edges_of(packed), frames.runs_of(packed)
        grads = (first.grad_x, first.grad_x)
        normal, tables = step.model.normal, first.tables
        works = {
            "P1": partial(moments, edges, layout, tables),
            "P2": partial(edge_gradient, first.grad_x, edges, layout, normal, tables),
            "P4": partial(adjoint_along, grads, edges.rows, edges, layout, runs),
        }
        found[f"{block} edges, {warps} warps"] = {
            name: 1e6 * statistics.median(timed(work, setting, setting.steps))
            for name, work in works.items()
        }
    launch.EDGE_BLOCK, launch.EDGE_WARPS = kept
    return found


if __name__ == "__main__":
    main()
