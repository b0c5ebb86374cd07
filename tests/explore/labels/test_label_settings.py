"""Section [label]: strict, with options of the driver that was chosen alone."""

from pathlib import Path
from typing import get_args

import pytest

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.explore.labels.settings import DriverName, LabelSettings
from dpbench.explore.labels.table import DRIVERS


def read(**keys: object) -> LabelSettings:
    return from_mapping(LabelSettings, keys, where="explore.toml: label")


def test_every_driver_of_the_configuration_is_in_the_table():
    assert set(DRIVERS) == set(get_args(DriverName))


def test_every_driver_has_a_table_of_its_name_in_the_settings():
    assert set(DRIVERS) <= set(LabelSettings.__slots__)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"attempts": 0}, "attempts = 0"),
        ({"timeout": 0}, "timeout = 0 s"),
        ({"timeout": float("inf")}, "timeout = inf s"),
        ({"ratio_failed": 1.5}, "ratio_failed = 1.5"),
        ({"max_force": -1.0}, "max_force = -1 eV/Å"),
        ({"driver": "qee"}, "driver = 'qee'"),
        ({"qe": {"kspacing": 0.3, "kmesh": [2, 2, 2]}}, "kspacing and kmesh"),
        ({"qe": {}}, "no k-points"),
        ({"qe": {"kmesh": [2, 2, 0]}}, "kmesh = [2, 2, 0]"),
        ({"qe": {"kspacing": 0.3, "ecut": 3}}, "unknown key 'ecut'"),
        (
            {"driver": "command", "qe": {"kspacing": 0.3}},
            "options of another driver",
        ),
        (
            {
                "driver": "command",
                "command": {"command": "x", "code": "qe", "outputs": ["../x"]},
            },
            "lies outside of a frame's folder",
        ),
        (
            {
                "driver": "command",
                "command": {"command": "x", "code": "qe", "outputs": ["a", "a"]},
            },
            "named twice",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(keys, words):
    with pytest.raises(ConfigError) as caught:
        read(**keys)
    assert words in str(caught.value)


def test_paths_begin_at_the_folder_of_the_configuration(tmp_path: Path):
    settings = read(qe={"template": "in/pw.in", "pseudo_dir": "upf"})
    found = settings.resolved(tmp_path).qe
    assert found is not None
    assert found.template == tmp_path / "in" / "pw.in"
    assert found.pseudo_dir == tmp_path / "upf"


def test_a_job_of_several_processes_counts_its_cores():
    assert read(driver="command", threads=2, processes=4).cores == 8
