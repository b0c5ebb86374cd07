"""What an ingest tells at its end, and while it runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dpbench.store.theory.mixture import mixture_words

MOST_NOTES = 4
"""Notes of readers that the summary prints."""

ROUTINE = "agrees with the output"
"""In notes that tell of nothing unusual; the summary prints them last."""

FALLBACK = "read through dpdata"
"""In the note of a source that our own reader tripped over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestProgress:
    """How far an ingest is; handed to the progress callback after every task."""

    n_sources: int
    """Sources to parse."""
    n_done: int
    """Sources parsed or failed."""
    n_failed: int
    """Sources failed."""
    n_frames: int
    """Frames read, quarantined ones counted."""
    total_bytes: int
    """Size of the files to parse."""
    done_bytes: int
    """Size of those parsed."""
    seconds: float
    """Since parsing began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedSource:
    """A source that gave no frame."""

    path: str
    """Where it is."""
    reason: str
    """Why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TroubledSource:
    """A source some of whose frames are in quarantine."""

    path: str
    """Where it is."""
    quarantined: dict[str, int]
    """Frames by reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport:
    """The closing summary of an ingest."""

    dataset: str
    """Name of the dataset."""
    label: str | None
    """Its newest version, e.g. ``water-v2``; None if nothing was ever committed."""
    digest: str | None
    """Digest of that version."""
    is_new: bool
    """Whether this ingest made that version."""
    n_files: int
    """Files found."""
    n_sources: int
    """Calculations found."""
    n_kept: int
    """Frames added to the dataset."""
    quarantined: dict[str, int]
    """Frames kept out, by reason."""
    n_repeated: int
    """Frames left out because the dataset has them already, labels and all."""
    n_already_in: int
    """Sources that were in the dataset already and were not read again."""
    failed: tuple[FailedSource, ...]
    """Sources that gave no frame."""
    troubled: tuple[TroubledSource, ...]
    """Sources with frames in quarantine."""
    notes: tuple[str, ...]
    """What readers had to say, source by source."""
    n_bytes: int
    """Size of the files that were parsed."""
    seconds: float
    """Wall time."""
    undeclared: tuple[str, ...] = ()
    """Sources that tell nothing of their level of theory."""
    theory_notes: tuple[str, ...] = ()
    """What differs between the version's levels of theory without a contradiction."""
    mixed_theory: tuple[Mapping[str, Any], ...] = ()
    """What contradicts in them, as the version records it; empty if nothing does."""
    refusal: str | None = None
    """Why nothing was committed although there was something; None if nothing stood
    against it."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        plain = asdict(self)
        plain |= {k: list(v) for k, v in plain.items() if isinstance(v, tuple)}
        return plain

    def summary(self) -> str:
        """Write the report as a user reads it."""
        lines = [
            self._headline(),
            f"  files        {self.n_files} in {_count(self.n_sources, 'source')}, "
            f"{self.n_bytes / 1e6:.1f} MB read in {self.seconds:.1f} s",
            f"  frames       {self._frames()}",
        ]
        if self.n_already_in:
            lines.append(f"  already in   {_count(self.n_already_in, 'source')}")
        if self.troubled:
            n_troubled = _count(len(self.troubled), "source")
            lines.append(f"  quarantined  frames of {n_troubled}")
            lines += [f"    {t.path}: {_reasons(t.quarantined)}" for t in self.troubled]
        if self.failed:
            lines.append(f"  failed       {_count(len(self.failed), 'source')}")
            lines += [f"    {failed.reason}" for failed in self.failed]
        if self.undeclared:
            n_bare = _count(len(self.undeclared), "source")
            lines.append(
                f"  theory       undeclared for {n_bare}; --theory FILE says it"
            )
        lines += [f"  theory       {line}" for line in mixture_words(self.mixed_theory)]
        lines += [f"  theory       {note}" for note in self.theory_notes]
        fallen = [note for note in self.notes if FALLBACK in note]
        if fallen:
            lines.append(f"  dpdata       {_count(len(fallen), 'source')} {FALLBACK}")
            lines += [f"    {note}" for note in fallen]
        if self.notes:
            more = len(self.notes) - MOST_NOTES
            tail = f", the first {MOST_NOTES}; --json has all" if more > 0 else ""
            lines.append(f"  notes        {len(self.notes)}{tail}")
            telling_first = sorted(self.notes, key=lambda note: ROUTINE in note)
            lines += [f"    {note}" for note in telling_first[:MOST_NOTES]]
        return "\n".join(lines)

    def _headline(self) -> str:
        if self.refusal is not None:
            return f"{self.dataset}: nothing was committed ({self.refusal})"
        if self.is_new:
            return f"{self.label}  {self.digest}"
        return f"{self.label}  {self.digest}  nothing new"

    def _frames(self) -> str:
        parts = [f"{self.n_kept} kept"]
        n_out = sum(self.quarantined.values())
        parts.append(
            f"{n_out} quarantined ({_reasons(self.quarantined)})"
            if n_out
            else "0 quarantined"
        )
        if self.n_repeated:
            equal = "a frame" if self.n_repeated == 1 else "frames"
            parts.append(f"{self.n_repeated} equal to {equal} already here, left out")
        return ", ".join(parts)


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
