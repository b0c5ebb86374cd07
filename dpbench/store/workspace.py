"""The workspace: the folder that holds stores, objects, runs and the registry."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dpbench.config import from_mapping, read_toml
from dpbench.errors import WorkspaceError
from dpbench.store.files import disk_errors

FOLDER = ".dpbench"
"""Name of a workspace that dpbench makes itself."""

VARIABLE = "DPBENCH_WORKSPACE"
"""Environment variable that names the workspace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkspaceConfig:
    """What ``dpbench.toml`` in a workspace may say."""

    registry: str | None = None
    """SQLAlchemy URL of the registry, e.g. ``postgresql+psycopg://user@host/name``;
    None = ``registry.db`` (SQLite) in the workspace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """A workspace folder that exists."""

    root: Path
    """The folder itself, absolute."""
    config: WorkspaceConfig = field(default_factory=WorkspaceConfig)
    """Content of its ``dpbench.toml``."""

    @classmethod
    def find(
        cls, explicit: str | Path | None = None, *, create: bool = False
    ) -> "Workspace":
        """Find the workspace of this call.

        It is ``explicit``, else ``$DPBENCH_WORKSPACE``, else the nearest ``.dpbench/``
        in this folder or above, else ``.dpbench/`` here, made if ``create``.

        Args:
            explicit: The folder, as a user named it.
            create: Whether the caller is about to write.

        Raises:
            WorkspaceError: If there is none and ``create`` is false, or it cannot be
                made.
            ConfigError: If its ``dpbench.toml`` cannot be used.
        """
        named = explicit or os.environ.get(VARIABLE)
        root = (Path(named) if named else _nearest()).absolute()
        if create:
            _make(root)
        elif not (root / "objects").is_dir():
            found = "there is no such folder" if not root.exists() else "holds no data"
            raise WorkspaceError(
                f"{root}: {found}; expected a dpbench workspace. Make one with "
                "'dpbench ingest', or name another with --workspace."
            )
        return cls(root=root, config=_read_config(root / "dpbench.toml"))

    def remove_if_empty(self) -> None:
        """Remove the folders again if nothing was ever written into them."""
        if any(not path.is_dir() for path in self.root.rglob("*")):
            return
        for folder in (self.objects, self.runs, self.stores, self.root):
            with suppress(OSError):  # another process may be about to write
                folder.rmdir()

    @property
    def stores(self) -> Path:
        """Folder of the Zarr segments."""
        return self.root / "stores"

    @property
    def objects(self) -> Path:
        """Folder of the immutable JSON objects."""
        return self.root / "objects"

    @property
    def runs(self) -> Path:
        """Folder of the training runs."""
        return self.root / "runs"


def _nearest() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    return here / FOLDER


def _make(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise WorkspaceError(
            f"{root}: is a file; expected a folder. Name another --workspace."
        )
    with disk_errors(root):
        for name in ("objects", "runs", "stores"):
            (root / name).mkdir(parents=True, exist_ok=True)


def _read_config(path: Path) -> WorkspaceConfig:
    if not path.exists():
        return WorkspaceConfig()
    return from_mapping(WorkspaceConfig, read_toml(path), where=str(path))
