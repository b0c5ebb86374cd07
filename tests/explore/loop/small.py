"""A small exploration: copper by the potential that ships with ASE, in seconds."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT

from dpbench.explore.announce import Announce, silent
from dpbench.explore.config import ExploreConfig, config_from
from dpbench.explore.journal import exploration_folder
from dpbench.explore.session import Session
from dpbench.explore.spread import hired
from dpbench.store.workspace import Workspace

TRAIN = """\
[model.descriptor]
type = "se_e2_a"
rcut = 4.0
rcut_smth = 3.0
neuron = [2, 4]
axis_neuron = 2
[model.fitting]
neuron = [4]
"""
"""Nets that train in a second."""

LOG = "DPBENCH_TEST_LABEL_LOG"
"""Environment variable: file that counts calculations."""

FAILS = "DPBENCH_TEST_LABEL_FAILS"
"""Environment variable: where it is set, no calculation succeeds."""


class CountedEMT(EMT):
    """ASE's effective medium potential; writes a line for every calculation.

    The environment names the file: an argument would be part of the level of theory.
    """

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """Count, and compute."""
        if LOG in os.environ:
            with Path(os.environ[LOG]).open("a") as file:
                file.write("label\n")
        if FAILS in os.environ:
            raise CalculationFailed("it did not converge")
        super().calculate(*args, **kwargs)


def write_train_file(base: Path) -> None:
    """Write the file that ``[train] config`` names."""
    base.mkdir(parents=True, exist_ok=True)
    (base / "train.toml").write_text(TRAIN)


def plain_config(base: Path, **changes: Any) -> dict[str, Any]:
    """Return the configuration in plain values.

    Args:
        base: Takes the files beside it.
        **changes: Keys by section, e.g. ``stop={"iterations": 3}``.
    """
    write_train_file(base)
    plain: dict[str, Any] = {
        "dataset": "cu",
        "seed": 3,
        "start": {"structures": ["fcc"], "count": 4},
        "train": {
            "models": 2,
            "steps": 8,
            "config": "train.toml",
            "validation": 0.0,
        },
        "explore": {
            "structures": [
                {
                    "name": "fcc",
                    "kind": "prototype",
                    "prototype": "fcc",
                    "elements": ["Cu"],
                    "lattice": 3.6,
                    "rattle": 0.1,
                    "strain": 0.03,
                }
            ],
            "stages": [
                {
                    "structures": ["fcc"],
                    "temperatures": [300, 900],
                    "steps": 20,
                    "every": 5,
                }
            ],
        },
        "select": {"force": [0.0, 1e9], "most": 2},
        "stop": {"iterations": 2},
        "label": {
            "driver": "ase",
            "ase": {"calculator": "tests.explore.loop.small:CountedEMT"},
        },
        "resources": {"workers": 0},
    }
    for section, keys in changes.items():
        if isinstance(keys, dict):
            plain[section] = {**plain[section], **keys}
        else:
            plain[section] = keys
    return plain


def small_config(base: Path, **changes: Any) -> ExploreConfig:
    """Build the configuration."""
    return config_from(plain_config(base, **changes), where="explore.toml")


def labels_paid(log: Path) -> int:
    """Count the calculations that were made."""
    return len(log.read_text().splitlines()) if log.exists() else 0


class StretchedFails(CountedEMT):
    """The same, but raises where the cell is larger than the perfect crystal's."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """Compute, or give up."""
        if args[0].get_volume() / len(args[0]) > 3.6**3 / 4:
            raise CalculationFailed("the cell is stretched")
        super().calculate(*args, **kwargs)


class NeverConverges(CountedEMT):
    """The same, but no calculation comes to an end."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """Give up."""
        super().calculate(*args, **kwargs)
        raise CalculationFailed("it did not converge")


class Deadly(CountedEMT):
    """The same, but takes its process with it where the cell is stretched."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """Compute, or die."""
        super().calculate(*args, **kwargs)
        if args[0].get_volume() / len(args[0]) > 3.6**3 / 4:
            os.kill(os.getpid(), signal.SIGKILL)


def calculator(name: str) -> dict[str, Any]:
    """Return the section ``[label]`` for one of the calculators of this module."""
    return {"driver": "ase", "ase": {"calculator": f"tests.explore.loop.small:{name}"}}


@contextmanager
def session_of(base: Path, announce: Announce = silent, **changes: Any):
    """Open an exploration at work in ``base/workspace``."""
    config = small_config(base, **changes)
    workspace = Workspace.find(base / "workspace", create=True)
    root = exploration_folder(workspace, config.dataset)
    root.mkdir(parents=True, exist_ok=True)
    with hired(config.resources) as crew:
        yield Session(
            workspace=workspace, config=config, base=base, crew=crew, announce=announce
        )
