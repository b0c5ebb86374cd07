"""dpbench: data and benchmarks for Deep Potential models, from DFT output to MD."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from xarray import DataTree

__version__ = "0.1.0"


def open_dataset(name: str, workspace: "str | Path | None" = None) -> "DataTree":
    """Open a version of a dataset in a notebook: lazy arrays with names and units.

    Args:
        name: ``water`` (the newest version that is not retracted) or ``water-v2``.
        workspace: The workspace's folder; None = found as the commands find it.

    Returns:
        A tree with the groups ``frames``, ``atoms``, ``sources`` and
        ``compositions``; see ``dpbench.store.tree``.

    Raises:
        WorkspaceError: If there is no workspace.
        ConfigError: If the name is not of the form NAME[-vN].
        DatasetError: If there is no such dataset or version, or it is damaged.
    """
    from dpbench.store import dataset, tree
    from dpbench.store.workspace import Workspace

    return tree.open_tree(dataset.open_dataset(Workspace.find(workspace), name))
