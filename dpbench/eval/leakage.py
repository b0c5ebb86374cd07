"""What evaluated frames have in common with the frames that trained the model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dpbench.errors import DatasetError
from dpbench.eval.parts import Part, Training
from dpbench.eval.record import LeakageFacts
from dpbench.io.leakage.compare import leakage
from dpbench.io.leakage.split import MOST_UNASKED
from dpbench.io.leakage.trace import compare_with_trace
from dpbench.io.leakage.words import copies_and_twins, steps_words

NO_TRAINING = "the training data is not in the workspace that was evaluated"

MOST_TWINS = 0.5
"""Share of copies and twins from which on a row takes no rank: a few twins in a test
set that everybody uses are told, but do not make all rows of its table worthless."""


def find_leakage(
    part: Part, training: Training | None, provenance: Mapping[str, Any]
) -> LeakageFacts:
    """Compare the frames of a part with the frames that the model was trained on.

    What was measured when the split was made is taken from there; else the frames of
    both sides are read, unless their prints are kept.

    Args:
        part: The frames to evaluate.
        training: What the model was trained on; None = not here.
        provenance: As the model file has it: it lists the files and steps that the
            model was trained on, so that their trajectories are known anywhere.
    """
    if training is None:
        return _from_trace(part, provenance.get("training_frames"))
    known = _filed(part, training)
    if known is not None:
        return leakage_facts(known)
    train = training.split.parts.get("train", np.zeros(0, dtype=np.int64))
    try:
        found = leakage(
            training.version, train, part.version, part.indices, most=MOST_UNASKED
        )
    except DatasetError as error:  # not even the facts of the training frames are here
        return LeakageFacts(why_not=str(error))
    return leakage_facts(found.facts())


def leakage_facts(found: Mapping[str, Any]) -> LeakageFacts:
    """Write counts as a record keeps them.

    Args:
        found: As ``Leakage.facts`` gives it.
    """
    return LeakageFacts(
        n_train=found["n_a"],
        exact=found["exact"],
        equal_labels=found["equal_labels"],
        invariant=found["invariant"],
        same_trajectory=found["same_trajectory"],
        nearest_steps=found["nearest_steps"],
        why_not=found["why_not"],
    )


def leakage_marks(part: Part, found: LeakageFacts) -> tuple[str, ...]:
    """Say why a row on these frames takes no rank; nothing if ``part`` says it.

    Args:
        part: The evaluated frames.
        found: What they share with the training frames.
    """
    if part.marks:
        return ()
    if found.exact:
        return (f"{found.exact} of {len(part.indices)} frames are training structures",)
    if found.invariant is not None and found.invariant >= MOST_TWINS * len(
        part.indices
    ):
        return (
            f"{found.invariant} of {len(part.indices)} frames are twins of training "
            "frames",
        )
    return ()


def leakage_line(found: LeakageFacts) -> str:
    """Word what was found, in one line."""
    if found.same_trajectory is None:
        return f"shared with the training frames: unknown; {found.why_not}"
    words = copies_and_twins(found.exact, found.invariant)
    steps = found.nearest_steps
    near = "" if steps is None else f", the nearest {steps_words(steps)}"
    return (
        f"shared with {found.n_train} training frames: {words}, "
        f"{found.same_trajectory} from their trajectories{near}"
    )


def _from_trace(part: Part, trace: Mapping[str, Any] | None) -> LeakageFacts:
    if trace is None:
        return LeakageFacts(why_not=NO_TRAINING)
    count, nearest = compare_with_trace(trace, part.version, part.indices)
    return LeakageFacts(
        n_train=trace["n_frames"],
        same_trajectory=count,
        nearest_steps=nearest,
        why_not=NO_TRAINING,
    )


def _filed(part: Part, training: Training) -> Mapping[str, Any] | None:
    """What the split says, if the part is one of the training's own split."""
    split = part.split
    if split is None or split.digest != training.split.digest:
        return None
    for told in (split.leakage, training.split.leakage):
        found: Mapping[str, Any] | None = (told or {}).get(part.name)
        if found is not None and found["exact"] is not None:
            return found
    return None
