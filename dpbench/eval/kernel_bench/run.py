"""Time every kernel and its reference, and put them beside the machine's peak."""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dpbench.errors import ConfigError
from dpbench.eval.kernel_bench.cases import KernelCase, all_cases
from dpbench.eval.kernel_bench.water import Water, make_water
from dpbench.eval.timing import Case, Measurement, measure
from dpbench.kernels import choice
from dpbench.kernels.roofline import Peak, Work, measure_peak, total, training_step
from dpbench.models.parameters import DTYPES
from dpbench.train.engine import EngineName, choose_engine
from dpbench.train.loss import Prefactors
from dpbench.train.roofline import TABULATING, knot_units

Watch = Callable[[Sequence[Case]], list[Measurement]]
"""Times cases, turn by turn."""

TRAINING_STEP = "training step"
"""Name of the last line of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelTime:
    """One kernel's times and what they mean."""

    name: str
    """The kernel."""
    variant: str
    """The variant that serves."""
    seconds: float
    """Time of a call in the fastest window: the peak is the fastest, too."""
    reference_s: float | None
    """The same of the reference; None where that is what serves."""
    work: Work
    """What a call has to do at least."""
    fraction: float
    """Of the roof."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kernel": self.name,
            "variant": self.variant,
            "ms": 1e3 * self.seconds,
            "gflop": 1e-9 * self.work.flops,
            "gflop_s": 1e-9 * self.work.flops / self.seconds,
            "gb_s": 1e-9 * self.work.bytes / self.seconds,
            "fraction_of_peak": self.fraction,
            "reference_ms": None
            if self.reference_s is None
            else 1e3 * self.reference_s,
            "reference_ratio": None
            if self.reference_s is None
            else self.reference_s / self.seconds,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelReport:
    """The whole table of one precision."""

    precision: str
    clock: str
    """``wall`` or ``cpu``."""
    natoms: int
    threads: int
    peak: Peak
    times: tuple[KernelTime, ...]
    kernels: dict[str, str]
    """Variant of each family that was used."""
    wish: str
    """``DPBENCH_KERNELS``."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "precision": self.precision,
            "clock": self.clock,
            "atoms": self.natoms,
            "threads": self.threads,
            "peak": {
                "gflop_s": self.peak.gflop_s,
                "products": self.peak.products,
                "copy_gb_s": self.peak.copy_gb_s,
                "triad_gb_s": self.peak.triad_gb_s,
            },
            "times": [found.to_json() for found in self.times],
            "kernels": self.kernels,
            choice.VARIABLE: self.wish,
        }

    def summary(self) -> str:
        """Return the table for a person."""
        lines = [
            f"{self.precision}, {self.threads} threads, {self.natoms} atoms of water, "
            f"{self.clock} time; "
            f"peak {self.peak.gflop_s:.0f} GFLOP/s, {self.peak.gb_s or 0:.0f} GB/s",
            f"{'kernel':<24} {'variant':<15} {'ms':>8} {'GFLOP/s':>8} {'GB/s':>7} "
            f"{'of peak':>8} {'reference':>10} {'ratio':>7}",
        ]
        for found in self.times:
            plain = found.to_json()
            reference, ratio = plain["reference_ms"], plain["reference_ratio"]
            lines.append(
                f"{found.name:<24} {found.variant:<15} {plain['ms']:>8.3f} "
                f"{plain['gflop_s']:>8.2f} {plain['gb_s']:>7.2f} "
                f"{found.fraction:>8.1%} "
                + ("" if reference is None else f"{reference:>10.2f} {ratio:>7.1f}")
            )
        return "\n".join(line.rstrip() for line in lines)


def bench_kernels(
    precision: str,
    *,
    molecules_per_side: int = 4,
    seconds: float = 0.05,
    repeats: int = 5,
    only: Sequence[str] = (),
    is_cpu_time: bool = False,
) -> KernelReport:
    """Time all kernels in one precision.

    Args:
        precision: ``float32`` or ``float64``.
        molecules_per_side: Size of the box of water; 4 gives 192 atoms.
        seconds: Length of a window of calls, s.
        repeats: Windows of each kernel.
        is_cpu_time: Whether CPU time counts instead of wall time, for a busy machine.
        only: Names, or parts of names, of the kernels to time; all without.

    Raises:
        ConfigError: If no kernel is called so.
    """
    dtype = DTYPES[precision]
    water = make_water(dtype, molecules_per_side=molecules_per_side)
    shape = water.shape()
    inner, columns = shape.fitting_layers[0]
    rows = water.natoms // shape.fittings
    products = [
        (rows, inner, columns),
        *((rows, *n) for n in shape.fitting_layers[1:-1]),
    ]
    clock = time.process_time if is_cpu_time else time.perf_counter
    peak = measure_peak(dtype, products=products, seconds=seconds, clock=clock)
    watch = partial(measure, window_s=seconds, repeats=repeats, clock=clock)
    cases = [case for case in all_cases(water) if _wanted(case.name, only)]
    times = [_time(case, dtype, peak, watch) for case in cases]
    if _wanted(TRAINING_STEP, only):
        times.append(_time_step(water, peak, watch))
    if not times:
        raise ConfigError(
            f"kernel {', '.join(only)}: there is none of that name. Leave it out to "
            "see all."
        )
    return KernelReport(
        precision=precision,
        clock="cpu" if is_cpu_time else "wall",
        natoms=water.natoms,
        threads=torch.get_num_threads(),
        peak=peak,
        times=tuple(times),
        kernels=choice.kernels_in_use(),
        wish=os.environ.get(choice.VARIABLE, "auto"),
    )


def _wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(part in name for part in only)


def _time(case: KernelCase, dtype: torch.dtype, peak: Peak, watch: Watch) -> KernelTime:
    """Time one kernel and its reference, turn by turn."""
    served = choice.choose(case.family, "cpu", dtype)
    variant = choice.kernels_in_use()[case.family]
    modules = {variant: served}
    if variant != "reference":
        last = choice.FAMILIES[case.family][-1]
        modules["reference"] = importlib.import_module(last.module)
    calls = [Case(name=name, step=case.make(m)) for name, m in modules.items()]
    found = {m.name: min(m.samples) for m in watch(calls)}
    return _judged(case.name, variant, found, case.work, peak)


def _time_step(water: Water, peak: Peak, watch: Watch) -> KernelTime:
    """Time loss and gradient of a batch by the engine that serves and by autograd."""
    config = water.model.config
    weights = Prefactors(energy=0.02, force=1000.0, virial=0.0)
    names: dict[str, EngineName] = {}
    served = choose_engine(config).name
    names[served] = "auto"
    names["reference"] = "autograd"
    calls = [
        Case(
            name=name,
            step=partial(
                choose_engine(config, engine).losses_and_gradients,
                water.model,
                water.batch,
                weights,
            ),
        )
        for name, engine in names.items()
    ]
    found = {m.name: min(m.samples) for m in watch(calls)}
    is_tabulated = served in TABULATING
    works = training_step(
        water.shape(with_knots=is_tabulated),
        tabulated=is_tabulated,
        knot_units=knot_units(),
    )
    work = total([w for w in works if w.kernel != "optimiser"])
    return _judged(TRAINING_STEP, f"engine {served}", found, work, peak)


def _judged(
    name: str, variant: str, found: dict[str, float], work: Work, peak: Peak
) -> KernelTime:
    seconds = next(iter(found.values()))
    return KernelTime(
        name=name,
        variant=variant,
        seconds=seconds,
        reference_s=found["reference"] if len(found) > 1 else None,
        work=work,
        fraction=peak.fraction(work.flops, work.bytes, seconds),
    )
