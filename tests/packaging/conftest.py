"""The built wheel, installed where no clone is near."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run_outside(*command, cwd, timeout=600):
    """Run a command as a user would; its output is shown if it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, (
        f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done


@pytest.fixture(scope="session")
def run():
    """The function that runs a command."""
    return run_outside


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from what the repository holds."""
    source = tmp_path_factory.mktemp("source")  # a build folder of old would leak in
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "registry", source / "registry")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "dpbench", source / "dpbench", ignore=ignore)
    run_outside(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--wheel-dir", source / "dist", source),
        cwd=source,
    )
    return next((source / "dist").glob("dpbench-*.whl"))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """Folder of the commands of a fresh environment that holds the wheel alone."""
    folder = tmp_path_factory.mktemp("no clone here") / "an environment"
    venv.create(folder, with_pip=True)
    commands = folder / "bin"
    run_outside(
        *(commands / "python", "-m", "pip", "install", "--quiet"),
        *("-c", REPOSITORY / "constraints.txt", wheel),
        cwd=folder,
    )
    return commands
