"""The driver table: which module labels by which program.

A driver module has one entry, ``build(settings: LabelSettings) -> Driver``. Modules
are imported when their driver is first asked for.
"""

from importlib import import_module
from typing import cast

from dpbench.explore.labels.driver import Driver
from dpbench.explore.labels.settings import DriverName, LabelSettings

DRIVERS: dict[DriverName, str] = {
    "qe": "dpbench.explore.labels.qe",
    "cp2k": "dpbench.explore.labels.cp2k",
    "vasp": "dpbench.explore.labels.vasp",
    "abacus": "dpbench.explore.labels.abacus",
    "ase": "dpbench.explore.labels.ase_driver",
    "tblite": "dpbench.explore.labels.tblite",
    "command": "dpbench.explore.labels.command",
}
"""Modules by the name of the driver."""


def driver_of(settings: LabelSettings) -> Driver:
    """Return the driver that the settings name.

    Args:
        settings: With absolute paths (``LabelSettings.resolved``).

    Raises:
        ConfigError: If its options do not fit, or a file of it is missing.
    """
    module = import_module(DRIVERS[settings.driver])
    return cast(Driver, module.build(settings))
