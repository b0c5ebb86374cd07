"""What a row's frames have in common with its training frames, in few words."""

from dataclasses import dataclass

from dpbench.eval.leakage import MOST_TWINS, leakage_line
from dpbench.eval.record import LeakageFacts, Record
from dpbench.io.leakage.words import counted

HEAD = "Leakage"
"""Words in the head of the column."""

MEANING = "What the scored frames have in common with the frames that trained the model"
"""What the column tells."""

HELP = (
    "Leakage compares the scored frames with the training frames. A copy is the same "
    "structure, whatever its label; a twin is the same structure turned, mirrored, "
    "shifted, or written with its atoms in another order or in another cell; frames "
    "from the same run lie on a trajectory that training frames come from, the given "
    "number of steps away. Errors on such frames look better than errors on new ones: "
    f"a row with a copy takes no rank, nor does one with {MOST_TWINS:.0%} twins."
)
"""How to read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakageCell:
    """The column's cell of one row."""

    found: tuple[str, ...]
    """Copies and twins, in words; empty if there are none or it is not known."""
    rest: str
    """What is to be said where nothing is found."""
    note: str
    """Frames of the same run; "" where there are none."""
    title: str
    """The whole, in one line."""
    severity: float | None
    """By what the column sorts; None = not known."""

    @property
    def kind(self) -> str:
        """What the page filters by."""
        words = " ".join(self.found)
        if "cop" in words:
            return "copies"
        if "twin" in words:
            return "twins"
        if self.rest in ("same run", "none", "unknown"):
            return self.rest
        return "twins not checked"

    @property
    def text(self) -> str:
        """The whole cell on one line."""
        words = ", ".join(self.found) or self.rest
        return f"{words} ({self.note})" if self.note else words


def leakage_cell(record: Record) -> LeakageCell:
    """Word a record's leakage; a record of version 1 knows exact frames alone.

    Args:
        record: The record that the row's accuracy is from.
    """
    leakage = record.leakage
    if leakage is None:
        return _from_overlap(record)
    if leakage.same_trajectory is None:
        return _unknown(leakage_line(leakage))
    share = leakage.same_trajectory / record.nframes
    found: tuple[str, ...] = ()
    rest, severity = "twins not checked", None
    if leakage.exact:
        found, severity = _counted(leakage), leakage.exact / record.nframes
    if leakage.exact is not None and leakage.invariant is not None:
        found = _counted(leakage)
        rest = "same run" if share else "none"
        # Frames of the same run count a hundredth: they sort, but below any twin.
        severity = (leakage.exact + leakage.invariant) / record.nframes + share / 100
    note = ""
    if share:
        run = " same run" if found or severity is None else ""
        note = f"{share:.0%}{run}{'' if found else _steps(leakage.nearest_steps)}"
    return LeakageCell(
        found=found,
        rest=rest,
        note=note,
        title=leakage_line(leakage),
        severity=severity,
    )


def _counted(leakage: LeakageFacts) -> tuple[str, ...]:
    return tuple(
        counted(count, word, plural)
        for count, word, plural in (
            (leakage.exact, "copy", "copies"),
            (leakage.invariant, "twin", "twins"),
        )
        if count
    )


def _steps(steps: int | None) -> str:
    return "" if steps is None else f", {counted(steps, 'step', 'steps')} off"


def _from_overlap(record: Record) -> LeakageCell:
    seen = record.overlap.train
    if seen is None:
        return _unknown("the training data is not in the workspace that was evaluated")
    return LeakageCell(
        found=_counted(LeakageFacts(exact=seen)),
        rest="no copy",
        note="twins not checked",
        title="an older record: only frames with equal labels were looked for",
        severity=seen / record.nframes,
    )


def _unknown(why: str) -> LeakageCell:
    return LeakageCell(found=(), rest="unknown", note="", title=why, severity=None)
