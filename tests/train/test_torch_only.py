"""The loop must run on a GPU machine that has numpy, torch, numba and h5py alone."""

import subprocess
import sys

CORE = [
    "engine",
    "history",
    "interrupt",
    "loader",
    "loop",
    "loss",
    "optimisers",
    "order",
    "schedule",
    "state",
    "validation",
    "config",
]

BLOCKED = [
    "alembic",
    "ase",
    "click",
    "dask",
    "distributed",
    "dpdata",
    "lxml",
    "matplotlib",
    "pandas",
    "rich",
    "sqlalchemy",
    "xarray",
    "zarr",
]

SCRIPT = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Block())
{imports}
"""


def test_core_imports_with_numpy_torch_numba_and_h5py_alone():
    imports = "\n".join(f"import dpbench.train.{name}" for name in CORE)
    script = SCRIPT.format(blocked=set(BLOCKED), imports=imports)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
