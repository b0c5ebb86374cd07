"""What a reader must know of a row beside its numbers, in few words."""

from dpbench.eval.leaderboard.board import Row, was_busy
from dpbench.eval.record import Record
from dpbench.eval.web.numbers import number

NOT_COMPARED = "not compared with float64"
"""Said of a fast mode whose answers nobody held against float64."""


EXACT = 0.001
"""Mean difference of force components that nobody need see in digits, meV/Å."""

OTHER_THEORY = "other level of theory"
"""Said of a row whose errors are partly those between two levels of theory."""


def cautions(row: Row) -> list[tuple[str, str]]:
    """Badges that warn without costing the rank: (words, what they mean)."""
    found = []
    if row.record.mode == "smoke":
        found.append(("smoke", "Short runs: rough speed numbers"))
    if was_busy(row):
        why = "Other work ran beside the timings: their spread tells how much"
        found.append(("busy machine", why))
    if keys := row.leakage_record.provenance.theory_conflicts:
        why = (
            "The training frames and these are labelled at levels of theory that do "
            f"not go together: {', '.join(keys)}"
        )
        found.append((OTHER_THEORY, why))
    return found


def is_fast_mode(record: Record) -> bool:
    """Whether the row stands beside exact arithmetic of the same weights.

    Another program's own model has no such reference here, unless it says that it
    calculates in less than float64.
    """
    if record.model.kind == "foreign":
        return "32" in record.precision or "16" in record.precision
    exact = record.backend == "dpbench" and record.precision == "float64"
    return not exact or record.model.kind == "compressed"


def fidelity(row: Row) -> float | None:
    """Mean difference of force components from float64 of the same weights, meV/Å."""
    accuracy = row.accuracy
    if accuracy is None or accuracy.fidelity is None:
        return None
    return accuracy.fidelity.force_mae_component_mev_per_ang


def fidelity_words(row: Row) -> str | None:
    """Say how far a fast mode is from float64; None where the row is float64 itself."""
    off = fidelity(row)
    if off is not None and off < EXACT:
        return f"< {EXACT} meV/Å off float64"
    if off is not None:
        return f"{number(off)} meV/Å off float64"
    return NOT_COMPARED if is_fast_mode(row.record) else None
