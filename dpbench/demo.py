"""The whole way on real data that ships with dpbench: DFT output to a leaderboard.

Six molecular-dynamics runs of Si8 by Quantum ESPRESSO become a dataset. Two of them are
held out whole: 900 K at a = 5.40 Å, amid the conditions that are trained on, and 3000 K
at a = 5.35 Å, far outside them. What the model does on the two is told apart.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from math import inf
from pathlib import Path
from typing import Literal

from dpbench.errors import WorkspaceError
from dpbench.eval.record import record_from_payload
from dpbench.store.catalog import results
from dpbench.store.workspace import Workspace

Mode = Literal["smoke", "standard"]

REPORT = "demo.json"
"""In the demo's folder from the first moment: marks what may be made anew."""

SMOKE_STEPS = "60"
"""Training steps in smoke mode: enough to try every link of the chain."""

FORCE = "force_rmse_relative_percent"
ENERGY = "energy_mae_per_atom_mev"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command of the demo."""

    title: str
    """What it is for, as told to the user."""
    arguments: tuple[str, ...]
    """What stands after ``dpbench``; paths are relative to the demo's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A run that no training sees, and the worst that the demo may do on it."""

    part: str
    """Its part of the split."""
    run: str
    """Name of its files."""
    title: str
    """The run, in words."""
    force_percent: float
    """Force RMSE in percent of the RMS force, at most."""
    energy_mae: float | None
    """meV/atom, at most; None: not held against a number."""


HELD_OUT = (
    HeldOut(
        part="test",
        run="si8_a540_900K",
        title="900 K, a run of its own amid the conditions that were trained on",
        force_percent=6.0,
        energy_mae=4.0,
    ),
    HeldOut(
        part="ood",
        run="si8_a535_3000K",
        title="3000 K, out of distribution: far hotter than anything trained on",
        force_percent=25.0,
        energy_mae=None,
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was measured on one held-out run."""

    part: str
    """Part of the split."""
    force_percent: float
    """Force RMSE in percent of the RMS force."""
    energy_mae: float
    """meV/atom."""
    is_met: bool
    """Whether the run's targets are met."""


def steps(mode: Mode) -> tuple[Step, ...]:
    """Name the commands of the demo, in order."""
    smoke = mode == "smoke"
    hold_out = [
        word
        for held in HELD_OUT
        for word in ("--hold-out", f"{held.part}=*{held.run}*")
    ]
    score = ["evaluate", "--model", "m.pth", "--name", "si8-demo", "--mode", mode]
    train = ["train", "--dataset", "si8", "--config", "train.toml"]
    return (
        Step(
            title="Read six runs of Quantum ESPRESSO into a dataset.",
            arguments=("ingest", "qe", "data", "--dataset", "si8"),
        ),
        Step(
            title="Hold two whole runs out; neither training nor validation sees them.",
            arguments=("dataset", "split", "si8", "--strategy", "block", *hold_out),
        ),
        Step(
            title="Train a Deep Potential model.",
            arguments=(*train, *(("--steps", SMOKE_STEPS) if smoke else ())),
        ),
        Step(
            title="Measure it on both held-out runs: accuracy, stability and speed.",
            arguments=tuple(score),
        ),
        Step(
            title="Measure it in double precision, too: accuracy and speed.",
            arguments=(
                *score,
                *("--precision", "float64", "--tasks", "accuracy,throughput"),
            ),
        ),
        Step(
            title="Write the leaderboard.",
            arguments=("leaderboard", "--out", "leaderboard"),
        ),
    )


def prepare(folder: Path) -> None:
    """Lay data and configuration into ``folder``; an earlier demo there goes away.

    Raises:
        WorkspaceError: If ``folder`` holds something that is not a demo.
    """
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not _is_demo(folder)):
            raise WorkspaceError(
                f"{folder}: exists and was not made by 'dpbench demo'; expected a new "
                "folder. Name another one with --out."
            )
        shutil.rmtree(folder)
    (folder / "data").mkdir(parents=True)
    (folder / REPORT).write_text("{}\n", encoding="utf-8")
    with as_file(files("dpbench") / "_demo") as shipped:
        for path in sorted(shipped.iterdir()):
            into = folder if path.suffix == ".toml" else folder / "data"
            shutil.copyfile(path, into / path.name)


def _is_demo(folder: Path) -> bool:
    return (folder / REPORT).is_file()


def find_outcomes(workspace: Workspace) -> tuple[Outcome, ...]:
    """Find the two results among the records that the demo's evaluation filed.

    The model is judged in the precision that it was trained in: by its first records.
    """
    records = [record_from_payload(p, where="result") for p in results(workspace)]
    by_part = {record.part: record for record in reversed(records)}
    found = []
    for held in HELD_OUT:
        accuracy = by_part[held.part].accuracy
        values = {m.name: m.value for m in accuracy.metrics} if accuracy else {}
        found.append(
            judge(held, force_percent=values.get(FORCE), energy_mae=values.get(ENERGY))
        )
    return tuple(found)


def judge(
    held: HeldOut, *, force_percent: float | None, energy_mae: float | None
) -> Outcome:
    """Hold the errors on one run against its targets; no number meets none."""
    force = inf if force_percent is None else force_percent
    energy = inf if energy_mae is None else energy_mae
    is_met = force <= held.force_percent and (
        held.energy_mae is None or energy <= held.energy_mae
    )
    return Outcome(
        part=held.part, force_percent=force, energy_mae=energy, is_met=is_met
    )


def describe(found: Iterable[Outcome], *, mode: Mode) -> str:
    """Word the results, the two apart; only a standard run is held to the targets."""
    lines = []
    for held, outcome in zip(HELD_OUT, found, strict=True):
        force = f"force RMSE {outcome.force_percent:.1f} % of the RMS force"
        energy = f"energy MAE {outcome.energy_mae:.2f} meV/atom"
        if mode == "standard":
            force += f" (target: at most {held.force_percent:g} %)"
            if held.energy_mae is not None:
                energy += f" (target: at most {held.energy_mae:g})"
            energy += " - met" if outcome.is_met else " - MISSED"
        lines += [held.title, f"    {force}", f"    {energy}"]
    if mode == "smoke":
        lines.append("Smoke mode trains for seconds: these numbers are no result.")
    return "\n".join(lines)


def write_report(
    folder: Path, found: Iterable[Outcome], *, mode: Mode, seconds: float
) -> None:
    """Keep the outcomes as JSON beside the leaderboard."""
    report = {
        "mode": mode,
        "seconds": round(seconds, 1),
        "outcomes": [asdict(outcome) for outcome in found],
        "targets": [asdict(held) for held in HELD_OUT],
    }
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
