"""Work that is recorded once as a CUDA graph and replayed without the host."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

Held = TypeVar("Held")
"""What a shelf keeps."""

WARM_UPS = 3
"""Runs before the recording: programs compile, libraries make their workspaces."""

SIGHTS = 3
"""A shape is recorded when it comes for this time: a recording costs as much as some
hundred steps."""

MOST_GRAPHS = 32
"""Graphs that are kept at a time."""

STALE = 10_000
"""Only a graph that was not wanted for so many steps makes room for another: shapes
that take turns must not push each other out."""

MOST_COUNTED = 4096
"""Shapes whose sights are counted."""


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
        pool: Any = None,
    ) -> None:
        """Record nothing yet.

        Args:
            function: The work.
            device: Where its tensors lie.
            changed: Tensors that the function changes and must find as they were:
                they are put back after warming up.
            pool: Memory that the graph shares with others, of
                ``torch.cuda.graph_pool_handle``; None for its own. Nothing in it
                outlives a replay.
        """
        self._function = function
        self._device = device
        self._changed = list(changed)
        self._pool = pool
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
        # Another thread makes batches ready meanwhile: its work must not end this.
        with torch.cuda.graph(
            graph, pool=self._pool, capture_error_mode="thread_local"
        ):
            self._function()
        for tensor, value in zip(self._changed, kept, strict=True):
            tensor.copy_(value)
        return graph


@final
class Shelf(Generic[Held]):
    """What was recorded by shape: few at a time, and none for a shape that is rare."""

    def __init__(self) -> None:
        """Start empty."""
        self._held: OrderedDict[Hashable, tuple[Held, int]] = OrderedDict()
        self._sights: Counter[Hashable] = Counter()
        self._calls = 0

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._held)

    def get(self, shape: Hashable, make: Callable[[], Held]) -> Held | None:
        """Return what was made for a shape; None where it is not worth it, or yet.

        Args:
            shape: What the next step needs.
            make: Makes it, where there is room, and the shape has come often enough.
        """
        self._calls += 1
        found = self._held.get(shape)
        held = self._made(shape, make) if found is None else found[0]
        if held is not None:
            self._held[shape] = held, self._calls
            self._held.move_to_end(shape)
        return held

    def _made(self, shape: Hashable, make: Callable[[], Held]) -> Held | None:
        if len(self._sights) >= MOST_COUNTED:
            self._sights.clear()
        self._sights[shape] += 1
        if self._sights[shape] < SIGHTS:
            return None
        if len(self._held) >= MOST_GRAPHS:
            _, last = next(iter(self._held.values()))
            if self._calls - last < STALE:
                return None
            self._held.popitem(last=False)
        del self._sights[shape]
        return make()
