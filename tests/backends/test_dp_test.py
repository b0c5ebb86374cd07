"""``dp test`` and ``dpbench evaluate`` say the same of a model trained here."""

import json
import os
import re
import subprocess

import pytest
from click.testing import CliRunner

from dpbench.backends.consistency import ONE_THREAD
from dpbench.cli.main import cli
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


CONFIG = """
[model]
type_map = ["Al", "Mg", "Si"]
[model.descriptor]
sel = [60, 60, 60]
rcut = 5.0
rcut_smth = 1.0
neuron = [4, 8, 16]
axis_neuron = 3
[model.fitting]
neuron = [10, 10, 10]
[training]
steps = 20
batch_size = 4
precision = "float64"
"""


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
    systems = tmp_path / "systems"
    systems.mkdir()
    for name in SYSTEMS:
        source = shared_data / "generated" / "npy" / name
        (systems / source.name).symlink_to(source)
    workspace = ("--workspace", tmp_path / "ws", "-q")
    folders = sorted(systems.iterdir())
    type_in("ingest", "deepmd", *folders, "--dataset", "mix", *workspace)
    (tmp_path / "small.toml").write_text(CONFIG)
    options = ("--config", tmp_path / "small.toml", "--out", tmp_path, "--seed", 3)
    type_in("train", "--dataset", "mix", *options, *workspace)
    type_in("convert", tmp_path / "m.pth", tmp_path / "m.dp", *workspace)

    dp(deepmd_python, tmp_path, "convert-backend", "m.dp", "frozen.pth")
    said = dp(
        deepmd_python, tmp_path, "--pt", "test", "-m", "frozen.pth", "-s", systems
    )
    theirs = their_numbers(said)

    options = ("--dataset", "mix:all", "--tasks", "accuracy", "--json")
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
