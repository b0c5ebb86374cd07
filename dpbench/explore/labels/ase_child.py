"""One label by a calculator of ASE in a process of its own.

Run as ``python -m dpbench.explore.labels.ase_child`` in the folder of the attempt.
Needs numpy and ASE besides the calculator.
"""

import json
from pathlib import Path

from dpbench.explore.labels import in_process
from dpbench.explore.labels.ase_single_point import single_point

ASKED = "calculator.json"
"""Which calculator, and what it is called with."""


def main(folder: Path) -> None:
    """Label the frame in ``folder``."""
    asked = json.loads((folder / ASKED).read_text())
    frame, _ = in_process.read_frame(folder)
    found = single_point(
        frame, asked["calculator"], asked["arguments"], folder=folder, keep=False
    )
    in_process.keep(folder, found)


if __name__ == "__main__":
    main(Path())
