"""What ``dpbench doctor`` looks for."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dpbench
from dpbench.cli.context import Context
from dpbench.cores import available_cores
from dpbench.errors import DpbenchError, WorkspaceError

AMD_DEVICES = Path("/dev/kfd")
"""Device file of AMD's driver."""

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
    findings["ROCm"] = _rocm()
    findings["sandbox"] = _sandbox()
    findings["backends"] = _backends(workspace_dir)
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
        kind = "cuda" if torch.version.hip is None else "cuda, by ROCm"
        return f"{kind} ({torch.cuda.get_device_name()})"
    return "cpu"


def _rocm(devices: Path = AMD_DEVICES) -> str:
    """Say whether there is an AMD GPU that torch sees, and what to do about it."""
    import torch

    if torch.version.hip is not None:
        return (
            f"torch {torch.__version__} of ROCm {torch.version.hip}; untested: begin "
            "with DPBENCH_KERNELS=reference, and see 'ROCm' in docs/gpu.md"
        )
    if devices.exists():
        return (
            f"an AMD GPU ({devices}), and a torch without ROCm; untested: install "
            "torch's ROCm build, and see 'ROCm' in docs/gpu.md"
        )
    return "untested; no AMD GPU here; what to do on one: 'ROCm' in docs/gpu.md"


def _sandbox() -> str:
    from dpbench.backends.sandbox import sandbox_kind

    kind = sandbox_kind()
    if kind.startswith("none"):
        return f"{kind}; foreign models open only by --trust. Install bubblewrap"
    return kind


def _backends(workspace_dir: Path | None) -> str:
    """Name the environments that are installed; nothing of them is run."""
    from dpbench.backends.environments import backends_folder
    from dpbench.backends.listing import installed

    try:
        found = installed(Context(workspace_dir=workspace_dir).own_cards())
    except DpbenchError as error:
        return str(error)
    words = ", ".join(found) or "none; 'dpbench backends install NAME' brings one"
    return f"{words} ({backends_folder()})"


def _workspace(workspace_dir: Path | None) -> str:
    from dpbench.store.workspace import Workspace

    try:
        return str(Workspace.find(workspace_dir).root)
    except WorkspaceError as error:
        return str(error)
