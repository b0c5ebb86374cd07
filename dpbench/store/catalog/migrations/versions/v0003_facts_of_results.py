"""What result records are asked for: suite, model, dataset, hardware, headline numbers.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORDS = (
    "suite",
    "suite_digest",
    "model",
    "model_digest",
    "dataset",
    "dataset_digest",
    "part",
    "backend",
    "precision",
    "mode",
    "hardware",
    "hardware_id",
    "tasks",
)
"""New columns of text."""

NUMBERS = ("force_rmse", "md_speed")
"""New columns of numbers."""

ASKED = ("suite", "model_digest", "dataset_digest", "hardware_id")
"""New columns that records are looked up by."""


def upgrade() -> None:
    """Apply this step."""
    for name in WORDS:
        op.add_column("result", sa.Column(name, sa.Text(), nullable=True))
    for name in NUMBERS:
        op.add_column("result", sa.Column(name, sa.Float(), nullable=True))
    for name in ASKED:
        op.create_index(op.f(f"ix_result_{name}"), "result", [name], unique=False)
    # What the new columns hold stands in the files: the rows are made again from them,
    # once the marks of their folders are gone.
    is_server = op.get_bind().dialect.name == "postgresql"
    if is_server:
        op.execute("ALTER TABLE result DISABLE TRIGGER USER")
        op.execute("DELETE FROM result")
        op.execute("ALTER TABLE result ENABLE TRIGGER USER")
    else:
        _delete_behind_the_guards()
    op.execute("DELETE FROM folder WHERE path LIKE 'result/%'")


def _delete_behind_the_guards() -> None:
    query = (
        "SELECT name, sql FROM sqlite_master "
        "WHERE type = 'trigger' AND tbl_name = 'result'"
    )
    triggers = op.get_bind().execute(sa.text(query)).all()
    for name, _ in triggers:
        op.execute(f'DROP TRIGGER "{name}"')
    op.execute("DELETE FROM result")
    for _, statement in triggers:
        op.get_bind().exec_driver_sql(statement)
