"""What ``dpbench doctor`` looks for."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dpbench
from dpbench.cores import available_cores
from dpbench.errors import WorkspaceError

PACKAGES = ("numpy", "torch", "numba", "zarr", "dask", "sqlalchemy", "ase", "dpdata")


def find_all(workspace_dir: Path | None) -> dict[str, str | None]:
    """Collect the findings, name -> what was found; None where there is nothing."""
    findings: dict[str, str | None] = {
        "dpbench": dpbench.__version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": str(available_cores()),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "wait policy": os.environ.get("OMP_WAIT_POLICY"),
    }
    findings |= {name: _version(name) for name in PACKAGES}
    findings["torch device"] = _torch_device()
    findings["chromium"] = shutil.which("chromium") or shutil.which("google-chrome")
    findings["workspace"] = _workspace(workspace_dir)
    return findings


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch_device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "cpu"


def _workspace(workspace_dir: Path | None) -> str:
    from dpbench.store.workspace import Workspace

    try:
        return str(Workspace.find(workspace_dir).root)
    except WorkspaceError as error:
        return str(error)
