"""The comparison with the reference that the passes must pass before they serve."""

import itertools
from types import ModuleType

import torch

from dpbench.kernels.gpu.availability import is_interpreting, why_not
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import grid_for


def device_at_hand() -> torch.device:
    """Return where Triton programs run on this machine.

    Raises:
        ImportError: If they run nowhere; the message says why.
    """
    device = torch.device("cpu" if is_interpreting() else "cuda")
    reason = why_not(device)
    if reason is not None:
        raise ImportError(reason)
    return device


def largest_error(module: ModuleType, dtype: torch.dtype) -> float:
    """Return the largest error of the passes, relative to each result's size."""
    from dpbench.kernels.passes import reference
    from dpbench.kernels.passes.trial import make_trial, run_trial

    trial = make_trial(dtype, device=device_at_hand())
    found, expected = run_trial(module, trial), run_trial(reference, trial)
    errors = [
        (found[name] - value).abs().max() / value.abs().max()
        for name, value in expected.items()
    ]
    return float(torch.stack(errors).max())


def largest_fitting_error(dtype: torch.dtype) -> float:
    """Return the largest error of the passes through a fitting net."""
    from dpbench.kernels.fitting import reference
    from dpbench.kernels.fitting.trial import largest_error as compare
    from dpbench.kernels.gpu import fitting

    with torch.device(device_at_hand()):
        return compare(fitting, reference, dtype)


def largest_table_error(dtype: torch.dtype) -> float:
    """Return the largest error of tables and of their adjoint."""
    from dpbench.kernels.gpu import tables
    from dpbench.kernels.tables import reference

    generator = torch.Generator().manual_seed(5)
    device = device_at_hand()
    nets = [_draw_net((1, 3, 6, 6), generator, dtype, device) for _ in range(3)]
    ends = torch.tensor([[-0.4, 0.1, 1.0], [1.6, 0.9, 0.0]], dtype=torch.float64)
    grid = grid_for(ends[0].to(device), ends[1].to(device), 5)
    found = tables.make_tables(nets, "tanh", grid, dtype).coefficients
    expected = reference.make_tables(nets, "tanh", grid, dtype).coefficients
    weights = torch.randn(expected.shape, generator=generator).to(device, dtype)
    pairs = [(found, expected)]
    results = [
        module.tables_adjoint(nets, "tanh", grid, weights)
        for module in (tables, reference)
    ]
    layers = [[layer for net in nets for layer in net] for nets in results]
    flat = [[t for layer in every for t in layer if t is not None] for every in layers]
    pairs += [pair for pair in zip(*flat, strict=True) if pair[1].any()]
    errors = [(a - b).abs().max() / b.abs().max() for a, b in pairs]
    return float(torch.stack(errors).max())


def _draw_net(
    widths: tuple[int, ...],
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Layer]:
    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        has_step = n_out in (n_in, 2 * n_in)
        layers.append(
            Layer(draw(n_in, n_out), draw(n_out), draw(n_out) if has_step else None)
        )
    return layers
