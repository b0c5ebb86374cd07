"""A small exploration: copper by the potential that ships with ASE, in seconds."""

import os
from pathlib import Path
from typing import Any

from ase.calculators.emt import EMT

from dpbench.explore.config import ExploreConfig, config_from

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


class CountedEMT(EMT):
    """ASE's effective medium potential; writes a line for every calculation.

    The environment names the file: an argument would be part of the level of theory.
    """

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        """Count, and compute."""
        if LOG in os.environ:
            with Path(os.environ[LOG]).open("a") as file:
                file.write("label\n")
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
