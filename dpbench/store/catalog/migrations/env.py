"""Run migrations on the connection that the caller hands over, in its transaction."""

from alembic import context

from dpbench.store.catalog.tables import metadata

# render_as_batch: SQLite changes a column by copying its table.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
