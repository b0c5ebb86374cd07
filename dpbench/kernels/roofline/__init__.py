"""What a step costs, counted, and what the machine can do, measured.

``counts`` tells FLOPs and bytes of each kernel from sizes alone; ``machine`` measures
the peak of matrix products and of memory. Their quotient with a measured time is the
fraction of the roof that a kernel reaches.
"""

from dpbench.kernels.roofline.counts import (
    JET_UNITS,
    VALUE_UNITS,
    EmbeddingShape,
    StepShape,
    Work,
    fused_passes,
    md_step,
    total,
    training_step,
)
from dpbench.kernels.roofline.machine import Peak, measure_peak

__all__ = [
    "JET_UNITS",
    "VALUE_UNITS",
    "EmbeddingShape",
    "Peak",
    "StepShape",
    "Work",
    "fused_passes",
    "md_step",
    "measure_peak",
    "total",
    "training_step",
]
