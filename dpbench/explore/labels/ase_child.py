"""One label by a calculator of ASE in a process of its own.

Run as ``python -m dpbench.explore.labels.ase_child`` in the folder of the attempt, by
the interpreter of any environment that has numpy, ASE and the calculator: what is
imported here must need no more. Numbers in JSON keep all their digits.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.errors import ConfigError
from dpbench.explore.labels.ase_single_point import single_point
from dpbench.explore.labels.driver import Trouble
from dpbench.explore.labels.failure import Failure
from dpbench.frames import Frames, uniform

ASKED, ANSWER = "asked.json", "answer.json"


def ask(
    folder: Path, frame: Frames, *, calculator: str, arguments: dict[str, Any]
) -> None:
    """Write what ``main`` is to compute."""
    asked = {"calculator": calculator, "arguments": arguments, **_plain(frame)}
    (folder / ASKED).write_text(json.dumps(asked))


def main(folder: Path) -> None:
    """Label the frame in ``folder``."""
    asked = json.loads((folder / ASKED).read_text())
    found: Frames | Failure
    try:
        found = single_point(
            _frame(asked),
            asked["calculator"],
            asked["arguments"],
            folder=folder,
            keep=False,
        )
    except ConfigError as error:
        found = Failure(trouble=Trouble.REFUSED, reason=str(error))
    if isinstance(found, Failure):
        told = {"trouble": found.trouble.value, "reason": found.reason}
    else:
        told = _plain(found)
    temporary = folder / f"{ANSWER}.{os.getpid()}"
    temporary.write_text(json.dumps(told))
    temporary.replace(folder / ANSWER)


def answer(folder: Path) -> Frames | Failure | None:
    """Return what ``main`` found; None if it did not end."""
    try:
        told = json.loads((folder / ANSWER).read_text())
    except FileNotFoundError:
        return None
    if "trouble" in told:
        return Failure(trouble=Trouble(told["trouble"]), reason=told["reason"])
    return _frame(told)


def _plain(frame: Frames) -> dict[str, Any]:
    """Return one frame as lists; what is not labelled as null."""

    def listed(array: Any) -> Any:
        return None if np.isnan(array).any() else array.tolist()

    return {
        "z": frame.z.tolist(),
        "coord": frame.coord.astype(np.float64).tolist(),
        "pbc": frame.pbc[0].tolist(),
        "box": listed(frame.box),
        "energy": listed(frame.energy),
        "force": listed(frame.force.astype(np.float64)),
        "virial": listed(frame.virial),
    }


def _frame(plain: dict[str, Any]) -> Frames:
    """Return one frame from its lists."""

    def array(name: str) -> Any:
        return None if plain[name] is None else np.array(plain[name], np.float64)

    frame = uniform(
        z=plain["z"],
        coord=np.array([plain["coord"]], np.float64),
        box=array("box"),
        energy=array("energy"),
        force=array("force"),
        virial=array("virial"),
    )
    frame.pbc[:] = plain["pbc"]
    return frame


if __name__ == "__main__":
    main(Path())
