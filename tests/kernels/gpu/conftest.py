"""Triton programs run on a GPU where there is one, else in Triton's interpreter."""

import importlib.util
import os

import pytest
import torch

# Before any program is imported: Triton decides once, when it sees the program.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["test_*.py"]


@pytest.fixture
def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
