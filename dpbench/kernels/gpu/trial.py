"""The comparison with the reference that the passes must pass before they serve."""

from types import ModuleType

import torch

from dpbench.kernels.gpu.availability import is_interpreting, why_not


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
