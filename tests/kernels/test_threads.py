"""How many threads a kernel may use."""

import threading

import numba
import pytest
import torch
from numba.core import config

from dpbench.kernels.threads import use_threads


def test_the_main_thread_takes_torchs_number():
    expected = min(torch.get_num_threads(), config.NUMBA_NUM_THREADS)
    assert use_threads() == expected
    assert numba.get_num_threads() == expected


def test_any_other_thread_takes_one(monkeypatch):
    if config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba was given one thread")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert use_threads() == 2
    found = []

    def ask() -> None:
        found.extend([use_threads(), numba.get_num_threads()])

    other = threading.Thread(target=ask)
    other.start()
    other.join()
    assert found == [1, 1]
    assert numba.get_num_threads() == 2  # the main thread's own number stays
    monkeypatch.undo()
    use_threads()
