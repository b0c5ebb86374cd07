"""Which accelerators a foreign program gets to see."""

import re
from collections.abc import Mapping

from dpbench.errors import ConfigError

GPU = re.compile(r"(?:cuda|gpu|hip|rocm)(?::(?P<index>\d+))?")
"""Devices as ``--device`` names them; without an index the first one is meant."""


def visible_devices(device: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables under which a program sees one device alone.

    A program that takes the first device that it sees then takes that one, as its
    number 0. Numbers count within what ``environ`` leaves visible. HIP's numbers count
    within what ROCR_VISIBLE_DEVICES leaves, so that one is kept for a GPU.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``; ``gpu``, ``hip``, ``rocm`` likewise.
        environ: Environment of the process that starts the program.

    Returns:
        Variables to set; those that are not named stay as they are.

    Raises:
        ConfigError: If the device is none of these, or is not among the visible ones.

    Source:
        https://docs.nvidia.com/cuda/cuda-c-programming-guide, section "CUDA environment
        variables"; https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html.
    """
    if device == "cpu":
        # An empty HIP_VISIBLE_DEVICES counts as none set; -1 is no device.
        return {
            "CUDA_VISIBLE_DEVICES": "",
            "HIP_VISIBLE_DEVICES": "-1",
            "ROCR_VISIBLE_DEVICES": "",
        }
    named = GPU.fullmatch(device)
    if named is None:
        raise ConfigError(
            f"device {device!r}: is unknown; expected cpu, cuda or cuda:INDEX."
        )
    index = int(named["index"] or 0)
    cuda = environ.get("CUDA_VISIBLE_DEVICES")
    hip = environ.get("HIP_VISIBLE_DEVICES") or cuda  # HIP reads CUDA's as well
    rocr = environ.get("ROCR_VISIBLE_DEVICES")
    if rocr is not None:
        _pick(device, index, "ROCR_VISIBLE_DEVICES", rocr)
    return {
        "CUDA_VISIBLE_DEVICES": _pick(device, index, "CUDA_VISIBLE_DEVICES", cuda),
        "HIP_VISIBLE_DEVICES": _pick(device, index, "HIP_VISIBLE_DEVICES", hip),
    }


def _pick(device: str, index: int, name: str, visible: str | None) -> str:
    """Return the entry of a list of visible devices; the index where there is none."""
    if visible is None:
        return str(index)
    entries: list[str] = []
    for entry in visible.split(","):
        if entry.strip() in {"", "-1"}:  # what stands behind is not visible
            break
        entries.append(entry.strip())
    if index >= len(entries):
        raise ConfigError(
            f"device {device!r}: {name} is {visible!r}, which leaves "
            f"{len(entries)} visible; expected an index below that. Change --device or "
            f"{name}."
        )
    return entries[index]
