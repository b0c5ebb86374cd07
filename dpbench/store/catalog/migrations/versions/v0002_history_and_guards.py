"""Events, names of splits, mixtures, marks of folders; rows that cannot be changed.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

FROZEN = {
    "theory": ["id"],
    "source": ["id"],
    "segment": ["id"],
    "segment_source": ["segment_id", "source_id"],
    "dataset": ["name"],
    "version": ["id"],
    "version_segment": ["version_id", "role", "ordinal"],
    "split": ["id"],
    "model": ["id"],
    "run": ["id"],
    "result": ["id"],
    "event": ["object_type", "object_id", "verb"],
    "history": ["id"],
}
"""Tables whose rows stand for immutable files, and their keys."""

REFUSAL = (
    "rows stand for immutable files and are never changed; make a new version, or "
    "run dpbench registry rebuild"
)


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "history",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=True),
        sa.Column("dataset", sa.String(length=200), nullable=True),
        sa.Column("at", sa.String(length=40), nullable=True),
        sa.Column("payload", JSON_VALUE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history")),
    )
    op.create_index(op.f("ix_history_event"), "history", ["event"], unique=False)
    op.create_table(
        "folder",
        sa.Column("path", sa.String(length=220), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_folder")),
    )
    op.add_column("split", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("split", sa.Column("dataset", sa.Text(), nullable=True))
    op.add_column("version", sa.Column("mixed_theory", JSON_VALUE, nullable=True))
    # What the new columns hold stands in the files: the rows are made again from them.
    op.execute("DELETE FROM split")
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    for table, key in FROZEN.items():
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER guard_{table}_{verb} BEFORE {verb.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} {REFUSAL}'); END"
            )
        # INSERT OR REPLACE deletes the old row without asking the trigger above.
        same = " AND ".join(f"{name} = NEW.{name}" for name in key)
        if table == "version":
            same = f"({same}) OR (dataset = NEW.dataset AND number = NEW.number)"
        op.execute(
            f"CREATE TRIGGER guard_{table}_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same} OR rowid = NEW.rowid) "
            "BEGIN SELECT RAISE(IGNORE); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION dpbench_frozen() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' {REFUSAL}', "
        "ERRCODE = 'restrict_violation'; END $$"
    )
    for table in FROZEN:
        op.execute(
            f"CREATE TRIGGER guard_{table}_row BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION dpbench_frozen()"
        )
        op.execute(
            f"CREATE TRIGGER guard_{table}_all BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dpbench_frozen()"
        )
