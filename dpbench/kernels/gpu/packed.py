"""Many small arrays in one buffer, so that one copy moves all of them."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes; whole vectors for every type."""


@final
class Packed:
    """Named arrays whose bytes stand behind each other."""

    def __init__(
        self,
        fields: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        device: torch.device,
    ) -> None:
        """Lay out arrays of given shapes and types; their numbers are not set."""
        begins, size = {}, 0
        for name, (shape, dtype) in fields.items():
            begins[name] = size
            length = torch.Size(shape).numel() * dtype.itemsize
            size += -(-length // ALIGNMENT) * ALIGNMENT
        self.fields = dict(fields)
        self.bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self.views: dict[str, Tensor] = {}
        for name, (shape, dtype) in fields.items():
            length = torch.Size(shape).numel() * dtype.itemsize
            part = self.bytes[begins[name] : begins[name] + length]
            self.views[name] = part.view(dtype).view(shape)

    @classmethod
    def of(cls, arrays: Mapping[str, Tensor], device: torch.device) -> "Packed":
        """Copy arrays into one buffer on ``device``."""
        packed = cls(
            {name: (tuple(a.shape), a.dtype) for name, a in arrays.items()}, device
        )
        for name, array in arrays.items():
            packed.views[name].copy_(array)
        return packed

    def copy_from(self, other: "Packed") -> None:
        """Take over the numbers of a buffer of the same layout.

        Raises:
            ValueError: If the layouts differ.
        """
        if self.fields != other.fields:
            raise ValueError("buffers of different layout")
        self.bytes.copy_(other.bytes, non_blocking=True)
