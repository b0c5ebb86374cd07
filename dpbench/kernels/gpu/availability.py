"""Whether Triton programs can run, and if not, why."""

import functools
import importlib.util
import os

import torch

LEAST_CAPABILITY = (7, 0)
"""Oldest compute capability that Triton compiles for (Volta)."""


def is_interpreting() -> bool:
    """Say whether Triton runs its programs on the CPU, in its interpreter."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def why_not(device: torch.device | str) -> str | None:
    """Return why Triton programs cannot run on a device, in one line; None if they can.

    Args:
        device: Where the tensors lie.
    """
    found = torch.device(device)
    if importlib.util.find_spec("triton") is None:
        return (
            "triton is not installed, so plain torch serves on the GPU. "
            "Install it: pip install 'dpbench[gpu]'"
        )
    if is_interpreting():
        return None
    if found.type != "cuda":
        return f"Triton programs run on CUDA devices; these tensors lie on {found.type}"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device; see torch.cuda.is_available()"
    return _too_old(found.index if found.index is not None else 0)


@functools.cache
def _too_old(index: int) -> str | None:
    capability = torch.cuda.get_device_capability(index)
    if capability >= LEAST_CAPABILITY:
        return None
    name = torch.cuda.get_device_name(index)
    least = ".".join(map(str, LEAST_CAPABILITY))
    return (
        f"{name} has compute capability {capability[0]}.{capability[1]}; Triton needs "
        f"{least}, so plain torch serves on this GPU"
    )
