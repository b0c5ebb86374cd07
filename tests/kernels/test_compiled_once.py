"""Compiled code that is the same in the run that compiles it and in all later ones.

numba compiles a function that another one calls on its own, too. In the process that
does so the caller may take that code; a process that finds the caller in the cache
takes the copy inside it, which was optimised for the call and rounds otherwise. Where
callees are inlined by force there is no second copy. The body of a parallel loop is
such a callee, and takes the mark from the function that it stands in.
"""

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dpbench

ROOT = Path(dpbench.__file__).parent

SCRIPT = """
import hashlib
import numpy as np
import torch
from dpbench.kernels.passes import compiled
from dpbench.kernels.passes.trial import make_trial, run_trial
from dpbench.kernels.tables import cpu

values = np.cumsum(np.cumsum(np.random.default_rng(0).normal(size=(60, 16)), 0), 0)
pieces, lines = np.zeros((19, 6, 16)), np.zeros((2, 6, 16))
cpu.tabulate(values, 20, pieces, lines)
to_values = np.empty_like(values)
cpu.tabulate_adjoint(pieces, lines, 20, to_values)
digest = hashlib.sha256(pieces.tobytes() + to_values.tobytes())
for result in run_trial(compiled, make_trial(torch.float32)).values():
    digest.update(result.numpy().tobytes())
print(digest.hexdigest())
"""


def compiled_functions() -> dict[tuple[str, str], tuple[ast.FunctionDef, set[str]]]:
    """Return all functions of numba's, and the names of the options of each."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                name = mark.func if isinstance(mark, ast.Call) else mark
                if isinstance(name, ast.Name) and name.id == "njit":
                    words = mark.keywords if isinstance(mark, ast.Call) else []
                    options = {word.arg or "" for word in words}
                    found[module_name(path), node.name] = (node, options)
    return found


def module_name(path: Path) -> str:
    return ".".join(("dpbench", *path.relative_to(ROOT).with_suffix("").parts))


def imported(module: str) -> dict[str, tuple[str, str]]:
    """Return what a module imports from others, by the name that it has there."""
    path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_what_compiled_code_calls_is_inlined_by_force():
    functions = compiled_functions()
    assert len(functions) > 50
    missing = set()
    for (module, _), (node, _) in functions.items():
        names = imported(module)
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                own = (module, call.func.id)
                callee = own if own in functions else names.get(call.func.id)
                if callee in functions and "forceinline" not in functions[callee][1]:
                    missing.add(callee)
    assert not missing, "give @njit of these forceinline=True"


def test_bodies_of_parallel_loops_are_inlined_by_force():
    functions = compiled_functions()
    parallel = {key for key, (_, options) in functions.items() if "parallel" in options}
    assert len(parallel) > 5
    missing = {key for key in parallel if "forceinline" not in functions[key][1]}
    assert not missing, "give @njit of these forceinline=True"


@pytest.mark.slow
def test_the_run_that_compiles_gives_the_bits_of_later_ones(tmp_path):
    digests = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout)
    assert len(digests[0].strip()) == hashlib.sha256().digest_size * 2
    assert digests[0] == digests[1]
