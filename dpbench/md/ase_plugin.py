"""How ASE finds the calculator by the name ``dpbench``.

ASE looks for calculators of other packages in the entry points of group
``ase.plugins`` (``ase info --plugins``; named experimental by ASE). What chooses
calculators by name, ``get_calculator_class`` and ``ase run``, does not read them as of
ASE 3.29: there ``register`` does it, or ``python -m dpbench.md.ase_plugin run ...``.
"""

import importlib
from typing import Any

NAME = "dpbench"

IMPLEMENTATION = "dpbench.md.ase_calculator.DPCalculator"


def register() -> None:
    """Make ``get_calculator_class("dpbench")`` work; a second call does nothing."""
    from ase.calculators import calculator

    from dpbench.md.ase_calculator import DPCalculator

    if NAME not in calculator.external_calculators:
        calculator.register_calculator_class(NAME, DPCalculator)


def __getattr__(name: str) -> Any:
    """Make ``__ase_plugins__`` when ASE asks for it; older ASE has no plugins."""
    if name != "__ase_plugins__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    plugin = importlib.import_module("ase._4.plugins.plugin")
    return (
        plugin.CalculatorPlugin(
            NAME,
            citation="dpbench",
            implementation=IMPLEMENTATION,
        ),
    )


def main() -> None:
    """Run ASE's command line with the calculator registered."""
    from ase.cli.main import main as ase

    register()
    ase()


if __name__ == "__main__":
    main()
