"""The books of a running ingest: what came of every task so far."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import final

from dpbench.errors import DatasetError
from dpbench.io.ingest_plan import PlannedSource
from dpbench.io.ingest_pool import Numbered
from dpbench.io.ingest_report import (
    FailedSource,
    IngestProgress,
    IngestReport,
    TroubledSource,
)
from dpbench.io.ingest_task import SourceResult, TaskResult
from dpbench.io.parsed import Quarantine
from dpbench.store.theory.levels import notes_of
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.versions import NewContent, Outcome

MOST_CONTRADICTIONS = 3
"""Sources that a refusal of ``--theory`` names."""

REPEATED = str(Quarantine.REPEATED)
"""Frames that a reader found twice in its source: no fault, and counted apart."""


@final
class IngestRun:
    """Collects results of tasks, which come in any order."""

    def __init__(
        self, planned: Sequence[PlannedSource], *, failed: Sequence[tuple[str, str]]
    ) -> None:
        """Start the books.

        Args:
            planned: The sources to parse.
            failed: (path, reason) of those that cannot even be hashed.
        """
        self._started = time.monotonic()
        self._planned = planned
        self._failed = [FailedSource(path=path, reason=why) for path, why in failed]
        self._done: dict[tuple[int, ...], TaskResult] = {}
        self._n_done = self._n_failed = self._n_frames = self._done_bytes = 0

    def take(self, numbered: Numbered) -> None:
        """Enter one task's result."""
        number, result = numbered
        self._done[number] = result
        for source in result.sources:
            self._n_done += 1
            self._n_failed += source.error is not None
            self._n_frames += source.n_kept + sum(source.quarantined.values())
            self._done_bytes += source.n_bytes

    def progress(self) -> IngestProgress:
        """Say how far it is."""
        return IngestProgress(
            n_sources=len(self._planned),
            n_done=self._n_done,
            n_failed=self._n_failed + len(self._failed),
            n_frames=self._n_frames,
            total_bytes=sum(source.n_bytes for source in self._planned),
            done_bytes=self._done_bytes,
            seconds=time.monotonic() - self._started,
        )

    def refusal(self) -> str | None:
        """Say why ``--strict`` refuses; None if nothing is wrong."""
        failed, quarantined = self._failures(), sum(self._quarantined().values())
        if not failed and not quarantined:
            return None
        return (
            f"--strict: {quarantined} frames quarantined, {len(failed)} sources failed"
        )

    def refuse_contradictions(self, name: str) -> None:
        """Check that no source contradicts the level of theory declared for it.

        Raises:
            DatasetError: Naming such sources; the others would be declared wrongly.
        """
        reasons = [s.error for s in self._sources() if s.is_contradiction and s.error]
        if reasons:
            more = len(reasons) - MOST_CONTRADICTIONS
            text = " | ".join(reasons[:MOST_CONTRADICTIONS])
            text += f" | {more} more" if more > 0 else ""
            raise DatasetError(f"{name}: nothing was committed. {text}")

    @property
    def n_good(self) -> int:
        """Good frames read so far, repeated ones counted."""
        return sum(source.n_kept for source in self._sources())

    def reasons(self) -> list[str]:
        """Say of every source with a fault what it is."""
        lines = [failed.reason for failed in self._failures()]
        for source in self._sources():
            counts = ", ".join(f"{n} {why}" for why, n in _faults(source).items())
            lines += [f"{source.path}: {counts}"] if counts else []
        return lines

    def content(self, staging: Path) -> NewContent:
        """Return what is to be committed, in the order of the sources."""
        results = [self._done[number] for number in sorted(self._done)]
        theories = {fingerprint(t): t for r in results for t in r.theories}
        return NewContent(
            staging=staging,
            data=tuple(r.data for r in results if r.data is not None),
            quarantine=tuple(r.quarantine for r in results if r.quarantine is not None),
            theories=tuple(theories.values()),
        )

    def report(
        self, name: str, outcome: Outcome, *, refusal: str | None, found: dict[str, int]
    ) -> IngestReport:
        """Close the books.

        Args:
            name: The dataset.
            outcome: What the commit came to.
            refusal: Why nothing was committed, if so.
            found: ``n_files``, ``n_sources`` and ``n_already_in`` of the whole ingest.
        """
        version = outcome.version
        in_reader = sum(s.quarantined.get(REPEATED, 0) for s in self._sources())
        failed = self._failures()
        return IngestReport(
            dataset=name,
            label=version.label if version else None,
            digest=version.digest if version else None,
            is_new=outcome.is_new,
            n_kept=outcome.n_added,
            quarantined=dict(sorted(self._quarantined().items())),
            n_repeated=outcome.n_repeated + in_reader,
            failed=tuple(failed),
            troubled=tuple(
                TroubledSource(path=source.path, quarantined=faults)
                for source in self._sources()
                if (faults := _faults(source))
            ),
            notes=tuple(
                f"{source.path}: {note}"
                for source in self._sources()
                for note in source.notes
            ),
            n_bytes=self._done_bytes,
            seconds=time.monotonic() - self._started,
            refusal=refusal,
            undeclared=tuple(s.path for s in self._sources() if s.is_undeclared),
            theory_notes=() if version is None else notes_of(version),
            mixed_theory=() if version is None else version.mixed_theory,
            **found,
        )

    def _sources(self) -> list[SourceResult]:
        return [s for number in sorted(self._done) for s in self._done[number].sources]

    def _failures(self) -> list[FailedSource]:
        return self._failed + [
            FailedSource(path=source.path, reason=source.error)
            for source in self._sources()
            if source.error is not None
        ]

    def _quarantined(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for source in self._sources():
            total.update(_faults(source))
        return total


def _faults(source: SourceResult) -> dict[str, int]:
    """Frames kept out by reason, without those that merely repeat another."""
    return {r: n for r, n in sorted(source.quarantined.items()) if r != REPEATED}
