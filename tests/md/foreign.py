"""Programs in environments of their own, below DPBENCH_BACKENDS_TEST."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, absent


def python_of(name: str) -> Path:
    """Interpreter of an environment; the test skips where there is none."""
    folder = os.environ.get("DPBENCH_BACKENDS_TEST", "")
    python = Path(folder) / name / "bin" / "python"
    if not folder or not python.is_file():
        absent("backends", f"no {name} below DPBENCH_BACKENDS_TEST = '{folder}'")
    return python


def run_beside(name: str, script: str, *words: object, timeout: float = 300) -> str:
    """Run a script by our interpreter, with the packages of an environment behind ours.

    Where both have a package, ours counts.
    """
    python = python_of(name)
    (packages,) = python.parent.parent.glob("lib/python3.*/site-packages")
    start = f"import sys; sys.path.append({str(packages)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + script, *map(str, words)],
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY),
            "OPENMM_CPU_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
