"""What the interpreter cannot see: types, layouts and registers of the real thing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("capability", [70, 90])
def test_every_program_compiles_and_float32_spills_no_register(capability):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.gpu.compile_all", str(capability)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    programs = {line["program"] for line in lines}
    assert {"moments", "edge_gradient", "adjoint_runs", "moving_moments"} <= programs
    spilled = [
        line
        for line in lines
        if "*fp32" in line["types"] and " 0 bytes spill stores" not in line["ptxas"]
    ]
    assert not spilled


def test_importing_the_gpu_kernels_needs_no_triton():
    script = """
import sys
sys.modules["triton"] = None
import dpbench.kernels.gpu.inference, dpbench.kernels.gpu.training
from dpbench.kernels.gpu import availability, fitting, passes, tables
import torch
try:
    passes.check(torch.float64)
except ImportError as reason:
    print(reason)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "pip install 'dpbench[gpu]'" in done.stdout
