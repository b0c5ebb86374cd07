"""Putting batches together: sorting the edges of a frame, merging sorted frames.

``sort_frame`` (numba) makes what ``Batch`` holds of one frame. ``merge`` puts sorted
batches behind each other without sorting again: all edges between two types are one
slice of each, so that the merged batch is a list of slices. On the CPU numba copies
them in one pass (``cpu``); ``reference`` gathers them with torch, on any device.
"""

from dpbench.kernels.assembly.merging import keep_edges, merge, select_frames

__all__ = ["keep_edges", "merge", "select_frames"]
