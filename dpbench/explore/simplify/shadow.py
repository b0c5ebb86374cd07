"""A workspace of its own for the runs and splits of a simplification.

Its objects are copies and its segments a link, so that a hundred trainings leave
nothing in the workspace that they serve: no runs, no models, no splits that a user
would have to choose among.
"""

import shutil
from pathlib import Path

from dpbench.errors import WorkspaceError
from dpbench.store import catalog
from dpbench.store.files import disk_errors
from dpbench.store.workspace import Workspace

COPIED = ("refs", "version", "theory", "event")
"""Kinds of objects that a dataset needs to be read."""


def shadow_of(workspace: Workspace, folder: Path) -> Workspace:
    """Make, or find again, the shadow of a workspace.

    Raises:
        WorkspaceError: If the workspace keeps its data elsewhere, or the folder cannot
            be written.
    """
    if workspace.is_remote:
        raise WorkspaceError(
            f"{workspace.root}: keeps its data in {workspace.config.stores}; expected "
            "a workspace on this machine. Export the dataset and import it into one."
        )
    with disk_errors(folder):
        for kind in COPIED:
            there = workspace.objects / kind
            if there.is_dir():
                shutil.copytree(there, folder / "objects" / kind, dirs_exist_ok=True)
        link = folder / "stores"
        if link.is_symlink() and link.resolve() != workspace.stores.resolve():
            link.unlink()  # the workspace was moved
        if not link.exists():
            folder.mkdir(parents=True, exist_ok=True)
            link.symlink_to(workspace.stores.resolve(), target_is_directory=True)
    shadow = Workspace.find(folder, create=True)
    catalog.rebuild(shadow)
    return shadow
