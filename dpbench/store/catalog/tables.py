"""The tables of the registry. Alembic alone makes them; this is what it must reach.

Every row is taken from an immutable object or a segment's manifest, and its key is
that object's digest: the registry can be thrown away and made again from the files.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

DIGEST = String(64)


class JsonValue(TypeDecorator[Any]):
    """JSON; on PostgreSQL JSONB, whose module is slow to import and so comes late."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that a database has for it."""
        if dialect.name != "postgresql":
            return dialect.type_descriptor(JSON())
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB())


JSON_VALUE = JsonValue()

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

theory = Table(
    "theory",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("code", Text),
    Column("functional", Text),
    Column("payload", JSON_VALUE, nullable=False),
)

source = Table(
    "source",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("sha256", DIGEST, nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("reader_version", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("code_version", Text),
    Column("theory_id", DIGEST, ForeignKey("theory.id")),
    Column("complete", Boolean, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("n_read", Integer, nullable=False),
    Column("n_kept", Integer, nullable=False),
    Column("quarantined", JSON_VALUE, nullable=False),
)

segment = Table(
    "segment",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("n_frames", BigInteger, nullable=False),
    Column("n_atoms", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("storage_digest", String(80), nullable=False),
    Column("format", Integer, nullable=False),
)

segment_source = Table(
    "segment_source",
    metadata,
    Column("segment_id", DIGEST, ForeignKey("segment.id"), primary_key=True),
    Column("source_id", DIGEST, ForeignKey("source.id"), primary_key=True),
    Column("frame_start", BigInteger, nullable=False),
    Column("frame_stop", BigInteger, nullable=False),
)

dataset = Table(
    "dataset",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("created_at", String(40), nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("dataset", String(200), ForeignKey("dataset.name"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(80), nullable=False, index=True),
    Column("parent_id", DIGEST, ForeignKey("version.id")),
    Column("n_frames", BigInteger, nullable=False),
    Column("n_atoms", BigInteger, nullable=False),
    Column("n_quarantined", BigInteger, nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("note", Text, nullable=False),
    Column("mixed_theory", JSON_VALUE),
    UniqueConstraint("dataset", "number"),
)

version_segment = Table(
    "version_segment",
    metadata,
    Column("version_id", DIGEST, ForeignKey("version.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("segment_id", DIGEST, ForeignKey("segment.id"), nullable=False),
    Column("n_excluded", BigInteger, nullable=False),
)

split = Table(
    "split",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("digest", String(80), nullable=False, index=True),
    Column("dataset_digest", String(80), nullable=False, index=True),
    Column("strategy", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("sizes", JSON_VALUE, nullable=False),
    Column("name", Text),
    Column("dataset", Text),
)

model = Table(
    "model",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("digest", Text, index=True),
    Column("created_at", String(40)),
    Column("payload", JSON_VALUE, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("run_id", Text, index=True),
    Column("kind", Text),
    Column("created_at", String(40)),
    Column("payload", JSON_VALUE, nullable=False),
)

result = Table(
    "result",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("created_at", String(40)),
    Column("payload", JSON_VALUE, nullable=False),
    Column("suite", Text, index=True),
    Column("suite_digest", Text),
    Column("model", Text),
    Column("model_digest", Text, index=True),
    Column("dataset", Text),
    Column("dataset_digest", Text, index=True),
    Column("part", Text),
    Column("backend", Text),
    Column("precision", Text),
    Column("mode", Text),
    Column("hardware", Text),
    Column("hardware_id", Text, index=True),
    Column("tasks", Text),
    Column("force_rmse", Float),
    Column("md_speed", Float),
)
"""Result records; beside the payload what they are listed and asked by."""

event = Table(
    "event",
    metadata,
    Column("object_type", String(16), primary_key=True),
    Column("object_id", DIGEST, primary_key=True),
    Column("verb", String(16), primary_key=True),
    Column("at", String(40)),
)

history = Table(
    "history",
    metadata,
    Column("id", DIGEST, primary_key=True),
    Column("event", String(16), index=True),
    Column("dataset", String(200)),
    Column("at", String(40)),
    Column("payload", JSON_VALUE, nullable=False),
)
"""The objects of kind ``event``: what users did to datasets (``store.events``)."""

folder = Table(
    "folder",
    metadata,
    Column("path", String(220), primary_key=True),
    Column("mtime_ns", BigInteger, nullable=False),
)
"""Folders of files that have rows, and when each last changed (``marks``)."""

UNFROZEN = (folder,)
"""Tables whose rows may change; triggers guard all others."""
