"""The first twelve tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Apply this step."""
    _create_theory()
    _create_source()
    _create_segment()
    _create_segment_source()
    _create_dataset()
    _create_version()
    _create_version_segment()
    _create_split()
    _create_model()
    _create_run()
    _create_result()
    _create_event()


def _create_theory() -> None:
    op.create_table(
        "theory",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("functional", sa.Text(), nullable=True),
        sa.Column("payload", JSON_VALUE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_theory")),
    )


def _create_source() -> None:
    op.create_table(
        "source",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("reader_version", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=True),
        sa.Column("theory_id", sa.String(length=64), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("n_read", sa.Integer(), nullable=False),
        sa.Column("n_kept", sa.Integer(), nullable=False),
        sa.Column("quarantined", JSON_VALUE, nullable=False),
        sa.ForeignKeyConstraint(
            ["theory_id"], ["theory.id"], name=op.f("fk_source_theory_id_theory")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
    )
    op.create_index(op.f("ix_source_sha256"), "source", ["sha256"], unique=False)


def _create_segment() -> None:
    op.create_table(
        "segment",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("n_frames", sa.BigInteger(), nullable=False),
        sa.Column("n_atoms", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("storage_digest", sa.String(length=80), nullable=False),
        sa.Column("format", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment")),
    )


def _create_segment_source() -> None:
    op.create_table(
        "segment_source",
        sa.Column("segment_id", sa.String(length=64), nullable=False),
        sa.Column("source_id", sa.String(length=64), nullable=False),
        sa.Column("frame_start", sa.BigInteger(), nullable=False),
        sa.Column("frame_stop", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"],
            ["segment.id"],
            name=op.f("fk_segment_source_segment_id_segment"),
        ),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["source.id"],
            name=op.f("fk_segment_source_source_id_source"),
        ),
        sa.PrimaryKeyConstraint(
            "segment_id", "source_id", name=op.f("pk_segment_source")
        ),
    )


def _create_dataset() -> None:
    op.create_table(
        "dataset",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_dataset")),
    )


def _create_version() -> None:
    op.create_table(
        "version",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("n_frames", sa.BigInteger(), nullable=False),
        sa.Column("n_atoms", sa.BigInteger(), nullable=False),
        sa.Column("n_quarantined", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"], ["dataset.name"], name=op.f("fk_version_dataset_dataset")
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["version.id"], name=op.f("fk_version_parent_id_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version")),
        sa.UniqueConstraint("dataset", "number", name=op.f("uq_version_dataset")),
    )
    op.create_index(op.f("ix_version_digest"), "version", ["digest"], unique=False)


def _create_version_segment() -> None:
    op.create_table(
        "version_segment",
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("segment_id", sa.String(length=64), nullable=False),
        sa.Column("n_excluded", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"],
            ["segment.id"],
            name=op.f("fk_version_segment_segment_id_segment"),
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["version.id"],
            name=op.f("fk_version_segment_version_id_version"),
        ),
        sa.PrimaryKeyConstraint(
            "version_id", "role", "ordinal", name=op.f("pk_version_segment")
        ),
    )


def _create_split() -> None:
    op.create_table(
        "split",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("dataset_digest", sa.String(length=80), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("sizes", JSON_VALUE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_split")),
    )
    op.create_index(
        op.f("ix_split_dataset_digest"), "split", ["dataset_digest"], unique=False
    )
    op.create_index(op.f("ix_split_digest"), "split", ["digest"], unique=False)


def _create_model() -> None:
    op.create_table(
        "model",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=40), nullable=True),
        sa.Column("payload", JSON_VALUE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
    )
    op.create_index(op.f("ix_model_digest"), "model", ["digest"], unique=False)


def _create_run() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=40), nullable=True),
        sa.Column("payload", JSON_VALUE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_run_id"), "run", ["run_id"], unique=False)


def _create_result() -> None:
    op.create_table(
        "result",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=True),
        sa.Column("payload", JSON_VALUE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
    )


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("object_type", sa.String(length=16), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("verb", sa.String(length=16), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint(
            "object_type", "object_id", "verb", name=op.f("pk_event")
        ),
    )
