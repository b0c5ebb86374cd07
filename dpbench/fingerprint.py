"""Hardware and software of this process, taken by itself."""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dpbench
from dpbench.config import canonical_json
from dpbench.cores import available_cores

PACKAGES = ("numpy", "torch", "numba", "ase", "zarr", "dask", "h5py")
"""Packages whose versions can move a number."""

VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "CUDA_VISIBLE_DEVICES",
    "TF_INTRA_OP_PARALLELISM_THREADS",
    "TF_INTER_OP_PARALLELISM_THREADS",
)
"""Environment variables that can move a speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """The machine, as far as it can be read."""

    id: str
    """Digest of what defines a hardware class; rows of two ids are never compared
    in speed."""
    label: str
    """For people: processor, threads, accelerator."""
    cpu: str
    cores: int
    """Physical cores, where that is known, else logical ones."""
    logical: int
    """Logical cores this process may use."""
    threads: int
    """Threads that one parallel kernel may use."""
    memory_gib: float
    gpus: tuple[str, ...]
    """The accelerator that was used; empty on a CPU."""
    machine: str
    """Architecture, e.g. ``x86_64``."""
    os: str
    load: float | None
    """One-minute load average before the measurement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """What ran."""

    dpbench: str
    commit: str | None
    """Git commit, if this is a checkout."""
    dirty: bool | None
    """Whether the checkout had changes."""
    python: str
    packages: dict[str, str]
    environment: dict[str, str]
    """Variables that steer threads and devices, where set."""


def hardware_fingerprint(*, device: str = "cpu") -> Hardware:
    """Read the machine; ``device`` is the torch device that does the work."""
    import torch  # here: importing dpbench.fingerprint stays cheap

    cpu = _cpu_model()
    threads = torch.get_num_threads()
    gpus: tuple[str, ...] = ()
    if device.startswith("cuda"):
        gpus = (torch.cuda.get_device_name(device),)
    logical = available_cores()
    cores = _physical_cores() or logical
    system = f"{platform.system()} {platform.release()}"
    where = [f"{short_cpu_name(cpu)}, {threads} thread{'s' if threads > 1 else ''}"]
    return Hardware(
        id=hardware_id(
            cpu=cpu,
            logical=logical,
            threads=threads,
            gpus=gpus,
            machine=platform.machine(),
            system=platform.system(),
        ),
        label=" + ".join([*gpus, *where]),
        cpu=cpu,
        cores=cores,
        logical=logical,
        threads=threads,
        memory_gib=_memory_gib(),
        gpus=gpus,
        machine=platform.machine(),
        os=system,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def hardware_id(
    *,
    cpu: str,
    logical: int,
    threads: int,
    gpus: tuple[str, ...],
    machine: str,
    system: str,
) -> str:
    """Name a class of hardware by what defines it.

    Args:
        cpu: Model of the processor.
        logical: Logical cores that the process may use.
        threads: Threads of one parallel kernel.
        gpus: Accelerators that are used.
        machine: Architecture.
        system: Name of the operating system, without its release.
    """
    identity = {
        "cpu": cpu,
        "logical": logical,
        "threads": threads,
        "gpus": gpus,
        "machine": machine,
        "os": system,
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()[:12]


def short_cpu_name(model: str) -> str:
    """Take trade marks, clock and filling words off a processor's name."""
    plain = re.sub(r"\((R|TM|r|tm)\)|@.*$|\bCPU\b|\b\d+-Core Processor\b", " ", model)
    return " ".join(plain.split()) or model


def installed_packages() -> dict[str, str]:
    """List every package of this environment with its version."""
    found = importlib.metadata.distributions()
    named = {dist.metadata["Name"]: dist.version for dist in found}
    return {name: named[name] for name in sorted(named, key=str) if name}


def software_fingerprint() -> Software:
    """Read versions, the commit of a checkout and the variables that matter."""
    commit, dirty = git_state()
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Software(
        dpbench=dpbench.__version__,
        commit=commit,
        dirty=dirty,
        python=sys.version.split()[0],
        packages=packages,
        environment={n: os.environ[n] for n in VARIABLES if n in os.environ},
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return " ".join(line.split(":", 1)[1].split())
    if platform.system() == "Darwin":
        answer = _output(["sysctl", "-n", "machdep.cpu.brand_string"])
        if answer:
            return answer
    return platform.processor() or platform.machine()


def _physical_cores() -> int | None:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return None
    seen, package = set(), "0"
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "physical id":
            package = value.strip()
        if key.strip() == "core id":
            seen.add((package, value.strip()))
    return len(seen) or None


def _memory_gib() -> float:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return round(total / 2**30, 1)
    return 0.0


def git_state() -> tuple[str | None, bool | None]:
    """Return commit and whether there are changes; (None, None) without a checkout."""
    checkout = Path(dpbench.__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None, None
    commit = _output(["git", "-C", str(checkout), "rev-parse", "HEAD"])
    if commit is None:
        return None, None
    changes = _output(
        ["git", "-C", str(checkout), "status", "--porcelain", "--untracked-files=no"]
    )
    return commit, bool(changes) if changes is not None else None


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
