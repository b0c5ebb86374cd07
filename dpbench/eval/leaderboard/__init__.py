"""The leaderboard: a pure function of result records."""

from collections.abc import Mapping
from pathlib import Path

from dpbench.errors import EvaluationError
from dpbench.eval.filing import read_records
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.leaderboard.export import render_csv, render_json
from dpbench.eval.leaderboard.interchange import render_badge, render_eval_results
from dpbench.eval.leaderboard.markdown import render_markdown
from dpbench.eval.leaderboard.page import render_page
from dpbench.eval.leaderboard.suite_tables import suites_of
from dpbench.eval.record import Record
from dpbench.eval.shipped import shipped_records
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.workspace import Workspace

__all__ = ["build", "write_board"]


def build(
    workspace: Workspace,
    out: Path,
    *,
    suite: str | None = None,
    model: str | None = None,
    url: str | None = None,
    shipped: bool = False,
) -> tuple[Path, ...]:
    """Write the leaderboard of all records in a workspace.

    Args:
        workspace: Holds the records.
        out: Folder of the files; made if it is missing.
        suite: Only records of this suite.
        model: Badge and ``eval_results.yaml`` are of this model alone.
        url: Where the records can be had, for ``eval_results.yaml``.
        shipped: Also the records that ship with dpbench.

    Returns:
        index.html, leaderboard.md, .csv and .json, eval_results.yaml, badge.svg.

    Raises:
        EvaluationError: If there is no record, or no row of the model.
        WorkspaceError: If a file cannot be written.
    """
    records = read_records(workspace)
    if shipped:
        records = shipped_records() | records
    return write_board(records, out, suite=suite, model=model, url=url)


def write_board(
    records: Mapping[str, Record],
    out: Path,
    *,
    suite: str | None = None,
    model: str | None = None,
    url: str | None = None,
) -> tuple[Path, ...]:
    """Write the leaderboard of some records; the same records give the same bytes.

    Args:
        records: Digest -> record.
        out: Folder of the files; made if it is missing.
        suite: Only records of this suite.
        model: Badge and ``eval_results.yaml`` are of this model alone.
        url: Where the records can be had, for ``eval_results.yaml``.

    Returns:
        As ``build``.

    Raises:
        EvaluationError: If there is no record, or no row of the model.
        WorkspaceError: If a file cannot be written.
    """
    board = make_board(records, suite=suite, suites=suites_of(records))
    if not board.tables:
        of = "" if suite is None else f" of the suite '{suite}'"
        raise EvaluationError(
            f"there is no result record{of} yet; expected at least one. Measure a "
            "model first: dpbench evaluate --model m.pth"
        )
    texts = {
        "index.html": render_page(board),
        "leaderboard.md": render_markdown(board),
        "leaderboard.csv": render_csv(board),
        "leaderboard.json": render_json(board),
        "eval_results.yaml": render_eval_results(board, model=model, url=url),
        "badge.svg": render_badge(board, model=model),
    }
    with disk_errors(out):
        for name, text in texts.items():
            write_atomically(out / name, text.encode())
    return tuple(out / name for name in texts)
