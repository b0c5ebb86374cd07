"""Work that is recorded once as a CUDA graph and replayed without the host."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

WARM_UPS = 3
"""Runs before the recording: programs compile, libraries make their workspaces."""


@final
class Captured:
    """A function of nothing that works on tensors which stay where they are.

    On CUDA the second call on replays a graph; elsewhere the function simply runs. The
    function must take no number from the device and allocate nothing that outlives it
    except what it writes to its own tensors.
    """

    def __init__(
        self,
        function: Callable[[], None],
        *,
        device: torch.device,
        changed: Sequence[Tensor] = (),
    ) -> None:
        """Record nothing yet.

        Args:
            function: The work.
            device: Where its tensors lie.
            changed: Tensors that the function changes and must find as they were:
                they are put back after warming up.
        """
        self._function = function
        self._device = device
        self._changed = list(changed)
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def is_captured(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def __call__(self) -> None:
        """Do the work, or let the device replay it."""
        if self._device.type != "cuda":
            self._function()
            return
        if self._graph is None:
            self._graph = self._record()
        self._graph.replay()

    def _record(self) -> torch.cuda.CUDAGraph:
        kept = [tensor.clone() for tensor in self._changed]
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._function()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._function()
        for tensor, value in zip(self._changed, kept, strict=True):
            tensor.copy_(value)
        return graph
