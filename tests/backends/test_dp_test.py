"""``dp test`` and ``dpbench evaluate`` print the same numbers for the same model."""

import json
import os
import re
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.backends.consistency import ONE_THREAD
from dpbench.cli.main import cli
from dpbench.models.checkpoint import save_model
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics
from dpbench.units import GPA

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]

SYSTEMS = (
    "almg_qe_lda/Al2Mg2_fcc_900K",
    "almg_qe_lda/Mg4_hcp_300K",
    "si8_qe_lda/si8_a525_900K",
)
"""Frames of different sizes and numbers, so that weights show."""

SHARED = {
    "energy_mae_per_atom_mev": ("Energy MAE/Natoms", 1e3),
    "energy_rmse_per_atom_mev": ("Energy RMSE/Natoms", 1e3),
    "force_mae_component_mev_per_ang": ("Force  MAE", 1e3),
    "force_rmse_component_mev_per_ang": ("Force  RMSE", 1e3),
    "virial_mae_per_atom_mev": ("Virial MAE/Natoms", 1e3),
    "virial_rmse_per_atom_mev": ("Virial RMSE/Natoms", 1e3),
    "stress_mae_component_gpa": ("Stress MAE", 1 / GPA),
    "stress_rmse_component_gpa": ("Stress RMSE", 1 / GPA),
}
"""Our name of each metric that both know: theirs, and ours for one of theirs."""

AGREEMENT = 1e-6
"""Relative; dp test prints seven digits."""


def small_model() -> DeepPotential:
    ntypes = 3
    config = ModelConfig(
        type_map=("Al", "Mg", "Si"),
        descriptor=SeE2AConfig(
            rcut=5.0,
            rcut_smth=1.0,
            sel=(60,) * ntypes,
            neuron=(4, 8, 16),
            axis_neuron=3,
        ),
        fitting=EnergyFittingConfig(neuron=(10, 10, 10)),
    )
    statistics = ModelStatistics(
        davg=np.tile([0.1, 0.0, 0.0, 0.0], (ntypes, 1)),
        dstd=np.tile([0.12, 0.08, 0.08, 0.08], (ntypes, 1)),
        energy_bias=np.array([-60.0, -28.0, -107.0]),
    )
    return DeepPotential.initialise(config, statistics, 3)


def dp(python, folder, *words) -> str:
    """Run DeePMD-kit; return what it says."""
    done = subprocess.run(
        [python, "-m", "deepmd", *(str(word) for word in words)],
        cwd=folder,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def type_in(*words) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def their_numbers(said: str) -> dict[str, dict[str, float]]:
    """Numbers of each system by the last part of its name, and of ``all``."""
    found: dict[str, dict[str, float]] = {}
    name = ""
    for line in said.splitlines():
        if system := re.search(r"# testing system : (\S+)", line):
            name = system.group(1).rpartition("/")[2]
        elif "weighted average" in line:
            name = "all"
        elif number := re.search(r"INFO\s+(\w.*?)\s*: (\S+) eV", line):
            found.setdefault(name, {})[number.group(1)] = float(number.group(2))
    return found


def test_dp_test_and_evaluate_agree_on_every_metric_they_share(
    deepmd_python, shared_data, tmp_path
):
    model, systems = small_model(), tmp_path / "systems"
    save_model(tmp_path / "m.pth", model, {})
    write_deepmd(tmp_path / "m.dp", model)
    systems.mkdir()
    for name in SYSTEMS:
        source = shared_data / "generated" / "npy" / name
        (systems / source.name).symlink_to(source)
    dp(deepmd_python, tmp_path, "convert-backend", "m.dp", "frozen.pth")
    said = dp(
        deepmd_python, tmp_path, "--pt", "test", "-m", "frozen.pth", "-s", systems
    )
    theirs = their_numbers(said)

    workspace = ("--workspace", tmp_path / "ws", "-q")
    folders = sorted(systems.iterdir())
    type_in("ingest", "deepmd", *folders, "--dataset", "mix", *workspace)
    options = ("--dataset", "mix", "--tasks", "accuracy", "--json")
    printed = type_in("evaluate", "--model", tmp_path / "m.pth", *options, *workspace)
    accuracy = json.loads(printed)[0]["record"]["accuracy"]

    ours = {"all": accuracy["metrics"]}
    for source in accuracy["by_source"]:
        ours[source["source"].rpartition("/")[2]] = source["metrics"]
    assert set(ours) == set(theirs)
    for where, metrics in ours.items():
        values = {metric["name"]: metric["value"] for metric in metrics}
        for name, (their_name, factor) in SHARED.items():
            expected = theirs[where][their_name] * factor
            assert values[name] == pytest.approx(expected, rel=AGREEMENT), (where, name)
