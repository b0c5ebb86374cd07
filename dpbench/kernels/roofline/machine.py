"""What this machine can do: the peak of matrix products and of memory, measured.

The peak is the best of many runs, not their median: other work on the machine only ever
makes it slower. It holds for the number of threads that torch has at that time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

SQUARE = 768
"""Side of the square product: large enough for the peak, 4 ms at 200 GFLOP/s."""

STREAM_BYTES = 2**27
"""Size of one array of the stream test: far beyond any cache's share of a core."""

Clock = Callable[[], float]
"""Seconds since some moment."""

Product = tuple[int, int, int]
"""(rows, inner, columns) of a matrix product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """The roof of one machine, precision and number of threads."""

    device: str
    """``cpu``, or the index of a CUDA device."""
    dtype: str
    """Precision, e.g. ``float32``."""
    threads: int
    """Threads of torch on the CPU."""
    products: dict[str, float]
    """GFLOP/s by product, named ``rows x inner x columns``."""
    copy_gb_s: float | None
    """GB/s of b = a, read and written bytes; None where it was not measured."""
    triad_gb_s: float | None
    """GB/s of c = a + s b; None where it was not measured."""

    @property
    def gflop_s(self) -> float:
        """The best product, GFLOP/s."""
        return max(self.products.values())

    @property
    def gb_s(self) -> float | None:
        """The better of the two streams, GB/s."""
        if self.copy_gb_s is None or self.triad_gb_s is None:
            return None
        return max(self.copy_gb_s, self.triad_gb_s)

    def fraction(self, flops: float, bytes_: float, seconds: float) -> float:
        """Return which fraction of the roof a kernel reached in ``seconds``.

        The roof is the longer of the two times that the counted FLOPs and bytes would
        take at the peak; without a stream test it is that of the FLOPs.
        """
        least = flops / (1e9 * self.gflop_s)
        if self.gb_s is not None:
            least = max(least, bytes_ / (1e9 * self.gb_s))
        return least / seconds


def measure_peak(
    dtype: torch.dtype,
    *,
    device: torch.device | str = "cpu",
    products: Sequence[Product] = (),
    seconds: float = 0.1,
    with_streams: bool = True,
    clock: Clock = time.perf_counter,
) -> Peak:
    """Measure the peak of a device.

    Args:
        dtype: Precision of the products.
        device: Where to measure.
        products: Shapes to measure beside the square one, e.g. those of a net.
        seconds: Time for each measurement.
        with_streams: Whether memory is measured, too; takes 0.4 GB for a moment.
        clock: Source of time, s; ``time.process_time`` on a busy machine.
    """
    place = torch.device(device)
    best_of = partial(_best, wait=_waiter(place), seconds=seconds, clock=clock)
    shapes: dict[str, Product] = {
        f"{m} x {k} x {n}": (m, k, n)
        for m, k, n in [*products, (SQUARE, SQUARE, SQUARE)]
    }
    found = {}
    for name, (m, k, n) in shapes.items():
        a = torch.full((m, k), 0.5, dtype=dtype, device=place)
        b = torch.full((k, n), 0.5, dtype=dtype, device=place)
        out = torch.empty((m, n), dtype=dtype, device=place)
        best = best_of(partial(torch.mm, a, b, out=out))
        found[name] = 2e-9 * m * k * n / best
    copy, triad = _streams(dtype, place, best_of) if with_streams else (None, None)
    return Peak(
        device=str(place),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        products=found,
        copy_gb_s=copy,
        triad_gb_s=triad,
    )


def _streams(
    dtype: torch.dtype,
    place: torch.device,
    best_of: Callable[[Callable[[], Tensor]], float],
) -> tuple[float, float]:
    count = STREAM_BYTES // dtype.itemsize
    a, b, c = (torch.ones(count, dtype=dtype, device=place) for _ in range(3))
    copy = best_of(lambda: b.copy_(a))
    triad = best_of(lambda: torch.add(a, b, alpha=3, out=c))
    return 2e-9 * STREAM_BYTES / copy, 3e-9 * STREAM_BYTES / triad


def _best(
    work: Callable[[], Tensor],
    *,
    wait: Callable[[], None],
    seconds: float,
    clock: Clock,
) -> float:
    """Return the shortest time of one call, s; calls go on for ``seconds``."""
    work()
    wait()
    best, count, began = float("inf"), 0, clock()
    while count < 2 or clock() - began < seconds:
        started = clock()
        work()
        wait()
        best, count = min(best, clock() - started), count + 1
    return best


def _waiter(place: torch.device) -> Callable[[], None]:
    if place.type == "cuda":
        return lambda: torch.cuda.synchronize(place)
    return lambda: None
