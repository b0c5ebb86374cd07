"""Inference on CPUs by numba: the variant of ``reference`` that runs there."""

import functools
import threading

import numpy as np
import torch
from torch import Tensor

from dpbench.kernels.inference.batched import BatchEvaluator
from dpbench.kernels.inference.listed import DEFAULT_SKIN, ListedEvaluator
from dpbench.kernels.inference.state import HasState, PotentialState
from dpbench.kernels.inference.trial import largest_error
from dpbench.shapes import Int


def make_batch_evaluator(state: PotentialState) -> BatchEvaluator:
    """Make an evaluator for batches whose edges are known."""
    return BatchEvaluator(state)


def make_evaluator(
    potential: HasState,
    atype: Int[Tensor, " atom"],
    *,
    nreplicas: int = 1,
    skin: float = DEFAULT_SKIN,
) -> ListedEvaluator:
    """Make an evaluator for replicas of one system; see ``ListedEvaluator``."""
    return ListedEvaluator(potential, atype, nreplicas=nreplicas, skin=skin)


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    # Larger systems are shared among threads, where there are several; only the main
    # thread may start them.
    is_main = threading.current_thread() is threading.main_thread()
    is_spread = is_main and torch.get_num_threads() > 1
    errors = [
        largest_error(functools.partial(ListedEvaluator, nthreads=n), dtype)
        for n in ((1, 2) if is_spread else (1,))
    ]
    return float(np.max(errors))
