"""The workspace: the folder that holds stores, objects, runs and the registry."""

import hashlib
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dpbench.config import canonical_json, from_mapping, read_toml
from dpbench.errors import ConfigError, WorkspaceError
from dpbench.store.files import disk_errors

FOLDER = ".dpbench"
"""Name of a workspace that dpbench makes itself."""

VARIABLE = "DPBENCH_WORKSPACE"
"""Environment variable that names the workspace."""

SECRETS = re.compile(r"access_?key|account_?key|secret|token|sas|password|credential")
"""Options that would put a credential into a file."""

logger = logging.getLogger(__name__)

Option = str | bool | int | float
"""What a key of ``[stores_options]`` may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkspaceConfig:
    """What ``dpbench.toml`` in a workspace may say."""

    registry: str | None = None
    """SQLAlchemy URL of the registry, e.g. ``postgresql+psycopg://user@host/name``;
    None = ``registry.db`` (SQLite) in the workspace."""
    index: str | None = None
    """Where the SQLite registry lies instead: ``local`` (a cache folder on this
    machine's disk) or a folder. Each machine then has an index of its own."""
    stores: str | None = None
    """URL of an object store that holds objects and segments, e.g.
    ``s3://bucket/prefix``; None = the workspace folder holds them."""
    stores_options: dict[str, Option] = field(default_factory=dict)
    """How to reach it: ``endpoint``, ``region``, ``allow_http``, ... Credentials come
    from the environment alone."""

    def __post_init__(self) -> None:
        """Refuse credentials, and keys that contradict each other."""
        if self.index is not None and self.registry is not None:
            raise ConfigError(
                "has both 'registry' and 'index'; expected one of them. Leave out "
                "'index' where a server keeps the registry."
            )
        for key in self.stores_options:
            if SECRETS.search(key.lower()):
                raise ConfigError(
                    f"stores_options.{key}: is a credential, and files are copied and "
                    "read by others; expected it in the environment. Set e.g. "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY there."
                )
        if self.stores is not None and not re.match(r"[a-z0-9]+://[^@]*$", self.stores):
            raise ConfigError(
                "stores: is not a URL without a password; expected e.g. "
                "'s3://bucket/prefix'. Credentials come from the environment."
            )


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
        config = _read_config(root / "dpbench.toml")
        workspace = cls(root=root, config=config)
        if workspace.is_remote and (root / "objects" / "refs").is_dir():
            logger.warning(
                "%s: holds datasets of its own, which are not shown while 'stores' is "
                "%s; copy its folders objects and stores there, or move them away",
                root,
                config.stores,
            )
        if create or workspace.is_remote:  # copies may be thrown away at any time
            workspace.make_folders()
        elif not (root / "objects").is_dir():
            found = "there is no such folder" if not root.exists() else "holds no data"
            raise WorkspaceError(
                f"{root}: {found}; expected a dpbench workspace. Make one with "
                "'dpbench ingest', or name another with --workspace."
            )
        return workspace

    def make_folders(self) -> None:
        """Make the folders that are missing.

        Raises:
            WorkspaceError: If they cannot be made.
        """
        if self.root.exists() and not self.root.is_dir():
            raise WorkspaceError(
                f"{self.root}: is a file; expected a folder. Name another --workspace."
            )
        with disk_errors(self.root):
            for folder in (self.objects, self.runs, self.stores):
                folder.mkdir(parents=True, exist_ok=True)

    def remove_if_empty(self) -> None:
        """Remove the folders again if nothing was ever written into them."""
        if any(not path.is_dir() for path in self.root.rglob("*")):
            return
        for folder in (self.objects, self.runs, self.stores, self.root):
            with suppress(OSError):  # another process may be about to write
                folder.rmdir()

    @property
    def is_remote(self) -> bool:
        """Whether an object store holds the truth, and the folder only copies."""
        return self.config.stores is not None

    @property
    def truth(self) -> Path:
        """Folder of objects and segments, or of the copies of remote ones.

        Copies lie apart by URL: those of one store are never taken for another's.
        """
        if not self.is_remote:
            return self.root
        place = [self.config.stores, self.config.stores_options.get("endpoint")]
        return self.root / "cache" / hashlib.sha256(canonical_json(place)).hexdigest()

    @property
    def stores(self) -> Path:
        """Folder of the Zarr segments."""
        return self.truth / "stores"

    @property
    def objects(self) -> Path:
        """Folder of the immutable JSON objects."""
        return self.truth / "objects"

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


def _read_config(path: Path) -> WorkspaceConfig:
    if not path.exists():
        return WorkspaceConfig()
    return from_mapping(WorkspaceConfig, read_toml(path), where=str(path))
