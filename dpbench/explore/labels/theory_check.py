"""Labels and dataset at one level of theory: asked before, and after the first label.

Ingest would refuse a mixture too, when all labels are paid for. What the input tells
is compared before the first job, what the outputs tell after each.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dpbench.errors import DatasetError
from dpbench.explore.labels.driver import Driver
from dpbench.explore.labels.label_files import Labelled
from dpbench.store.dataset import DatasetVersion
from dpbench.store.theory.levels import levels_of_version
from dpbench.store.theory.mixture import Conflict, Level, conflicts, show

ESSENTIAL = ("code", "functional")
"""Keys that a level must tell; where a driver cannot foretell, the dataset's count."""


def refuse_foretold(
    driver: Driver, version: DatasetVersion | None, *, name: str
) -> None:
    """Check what is known of the labels' theory before the first is made.

    Args:
        driver: What will label.
        version: Newest version of the dataset; None = there is none yet.
        name: The dataset, for the message.

    Raises:
        DatasetError: If the labels would contradict the dataset.
    """
    told = driver.foretold()
    if version is None or not told:
        return
    levels = levels_of_version(version)
    for key in ESSENTIAL:
        known = {str(level.theory.get(key)) for level in levels}
        if key not in told and len(known) == 1 and levels[0].theory.get(key):
            told = {**told, key: levels[0].theory[key]}
    _refuse(told, levels, name=name, example=f"label.driver = '{driver.name}'")


def refuse_labelled(
    labels: Iterable[Labelled], version: DatasetVersion | None, *, name: str
) -> None:
    """Check the level of theory that the outputs of labels tell.

    Args:
        labels: Those that are done are looked at.
        version: Newest version of the dataset; None = there is none yet.
        name: The dataset, for the message.

    Raises:
        DatasetError: If one contradicts the dataset.
    """
    if version is None:
        return
    levels = levels_of_version(version)
    for label in labels:
        if label.status == "done":
            example = str(label.outputs[0])
            _refuse(label.theory, levels, name=name, example=example)


def _refuse(
    told: Mapping[str, Any], levels: tuple[Level, ...], *, name: str, example: str
) -> None:
    """Raise if the label's level is party to a contradiction."""
    new = Level(theory=told, example=example)
    found = [
        conflict
        for conflict in conflicts([*levels, new])
        if any(claim.example == example for claim in conflict.claims)
    ]
    if found:
        raise DatasetError(
            f"{name}: {example} is at another level of theory than the dataset: "
            f"{' | '.join(_in_words(one, example) for one in found)}. Expected labels "
            "like those that are there. Correct [label], or explore into a new dataset."
        )


def _in_words(conflict: Conflict, example: str) -> str:
    mine = [show(c.value) for c in conflict.claims if c.example == example]
    theirs = [show(c.value) for c in conflict.claims if c.example != example]
    return f"{conflict.key}: {mine[0]} but {' and '.join(theirs[:3])}"
