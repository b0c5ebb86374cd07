"""Lines of a table as readers see them: one training, with the rows of its seeds."""

from dataclasses import dataclass

from dpbench.eval.leaderboard.board import Row, Table
from dpbench.eval.leaderboard.columns import Column
from dpbench.eval.leaderboard.entries import Entry
from dpbench.eval.leaderboard.ranks import RANKED_BY
from dpbench.eval.record import Record
from dpbench.metrics.definitions import MetricValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One entry of a table and its rows."""

    entry: Entry
    rows: tuple[Row, ...]
    """One per seed, in the order of the entry."""

    @property
    def first(self) -> Row:
        """The row that stands for what the seeds have in common."""
        return self.rows[0]

    @property
    def record(self) -> Record:
        """Record of the first row."""
        return self.first.record

    @property
    def nblocks(self) -> int | None:
        """Independent blocks behind the ranked number."""
        metric = self.entry.metrics.get(RANKED_BY)
        return None if metric is None else metric.nblocks

    @property
    def rank_text(self) -> str:
        """The range of ranks, ``1–3``."""
        first, last = self.entry.rank, self.entry.rank_last
        if first is None:
            return "–"
        return str(first) if last in (None, first) else f"{first}–{last}"

    def metric(self, column: Column) -> MetricValue | None:
        """The number of a column; None where another code measured it, or nothing."""
        task = self.first.tasks.get(column.task)
        if column.code is not None and (task is None or task.code != column.code):
            return None
        return self.entry.metrics.get(column.metric)


def lines(table: Table) -> tuple[Line, ...]:
    """Lay out the entries of a table with their rows, in their order."""
    by_id = {row.id: row for row in table.rows}
    return tuple(
        Line(entry=entry, rows=tuple(by_id[name] for name in entry.rows))
        for entry in table.entries
    )


def trained_on(record: Record) -> str:
    """Name the training data."""
    training = record.provenance.training_dataset
    return "unknown" if training is None else training.label


def main_digest(row: Row) -> str:
    """Digest of the record that stands for a row: that of its accuracy."""
    return row.digests.get("accuracy") or min(row.digests.values())
