"""The triggers that keep rows as they are, and the one way around them.

The migrations make the triggers: a row that stands for an immutable file can be neither
changed nor deleted. Making the registry again from the files is the one task that must
delete rows. It lifts the guards inside its own write transaction, in which nobody else
can write, and puts them back before it commits; a process killed in between leaves
rows and guards as they were.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from dpbench.errors import WorkspaceError
from dpbench.store.catalog import tables


@contextmanager
def lifted(connection: Connection) -> Iterator[None]:
    """Let rows be deleted until the end of the block; needs the write lock.

    Raises:
        WorkspaceError: If this user of a server does not own its tables.
    """
    if connection.dialect.name == "postgresql":
        _switch(connection, "DISABLE")
        yield
        _switch(connection, "ENABLE")
        return
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    triggers = connection.execute(text(query)).all()
    for name, _ in triggers:
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    yield
    for _, statement in triggers:
        connection.exec_driver_sql(statement)


def _switch(connection: Connection, verb: str) -> None:
    try:
        for table in tables.metadata.sorted_tables:
            connection.execute(text(f'ALTER TABLE "{table.name}" {verb} TRIGGER USER'))
    except ProgrammingError as error:
        reason = " ".join(str(error.orig).split())
        raise WorkspaceError(
            f"registry: {reason}; the triggers that guard its rows belong to the owner "
            "of the tables. Have its administrator run 'dpbench registry rebuild'."
        ) from error
