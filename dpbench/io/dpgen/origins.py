"""Where a label of DP-GEN comes from: which walk, which step, how uncertain it was."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from dpbench.io.dpgen.layout import WALKS, Labels, read_json, system_of

WORKFLOW = "dp-gen"
"""Value of ``workflow`` in the origin of what is read here."""

_CONFIGURATIONS = ("conf.dump", "POSCAR")
"""Links from a task to the frame of the walk it was made from."""
_STATE = {
    "temps": "temperature",
    "press": "pressure",
    "ele_temp": "electron_temperature",
}
"""Keys of ``job.json`` and what they are called in an origin; K, bar and K."""
_DEVIATIONS = "model_devi.out"
_MAX_DEVI_F = 4
"""Column of the largest deviation of a force, eV/Å; column 0 is the step."""

Origin = tuple[tuple[str, Any], ...]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """Looks up origins; each file of deviations is read once."""

    _deviations: dict[Path, dict[int, float]] = field(default_factory=dict)

    def of_task(self, labels: Labels, task: Path) -> Origin:
        """Say what is known of one task.

        Trajectories are often removed after a run (``model_devi_clean_traj``), and
        links may have been lost in a copy: what cannot be told is left out.

        Args:
            labels: The ``02.fp`` it lies in.
            task: Its folder.
        """
        origin: dict[str, Any] = {
            "workflow": WORKFLOW,
            "iteration": labels.iteration,
            "system": system_of(task),
            "task": task.name,
        }
        frame = _walked_frame(task)
        if frame is not None:
            walk, step = frame
            origin |= {"walk": walk, "step": step}
            folder = labels.folder.parent / WALKS / walk
            origin["max_devi_f"] = self._max_devi_f(folder, step)
        job = read_json(task / "job.json")
        if isinstance(job, dict):
            origin |= {
                name: job[key]
                for key, name in _STATE.items()
                if isinstance(job.get(key), int | float)
            }
        return tuple((k, v) for k, v in origin.items() if v is not None)

    def _max_devi_f(self, walk: Path, step: int) -> float | None:
        if walk not in self._deviations:
            self._deviations[walk] = _read_deviations(walk / _DEVIATIONS)
        return self._deviations[walk].get(step)


def of_collected(labels: Labels, folder: Path) -> Origin:
    """Say what is known of a collection ``data.SSS`` whose tasks are gone."""
    origin = {
        "workflow": WORKFLOW,
        "iteration": labels.iteration,
        "system": system_of(folder),
        "collected": folder.name,
    }
    return tuple((k, v) for k, v in origin.items() if v is not None)


def of_init(told_by: str) -> Origin:
    """Say what is known of the data that a run started from."""
    return (("workflow", WORKFLOW), ("init", told_by))


def _walked_frame(task: Path) -> tuple[str, int] | None:
    """Return (task of 01.model_devi, step) that the link to a frame names."""
    for name in _CONFIGURATIONS:
        try:
            target = (task / name).readlink()  # it dangles where walks were removed
        except OSError:
            continue
        step = target.name.partition(".")[0]
        if target.parent.name == "traj" and step.isdecimal():
            return target.parent.parent.name, int(step)
    return None


def _read_deviations(path: Path) -> dict[int, float]:
    """Return the largest deviation of a force by step; empty if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    found = {}
    for line in lines:
        words = line.split()
        try:
            found[int(float(words[0]))] = float(words[_MAX_DEVI_F])
        except (IndexError, ValueError, OverflowError):
            continue
    return found
