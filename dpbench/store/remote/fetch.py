"""Bringing a remote dataset to the local disk, where it can be mapped."""

from dataclasses import dataclass

from dpbench.errors import WorkspaceError
from dpbench.store.dataset import DatasetVersion
from dpbench.store.remote.segments import Progress, fetch_arrays
from dpbench.store.remote.store import remote_of
from dpbench.store.segment import layout
from dpbench.store.segment.manifest import read_manifest, segment_folder
from dpbench.store.versions import ROLES


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What fetching a version came to."""

    n_segments: int
    """Segments of the version, all on the local disk now."""
    n_new: int
    """Those that this call has brought."""
    bytes_new: int
    """Size of their arrays."""


def fetch_version(version: DatasetVersion, progress: Progress) -> Fetched:
    """Bring every segment of a version to the local disk, quarantine too.

    Args:
        version: What to fetch.
        progress: Called with the bytes of each file that has arrived.

    Raises:
        WorkspaceError: If the workspace has no remote store, or it cannot be reached,
            or the disk not written.
        DatasetError: If a file is missing or damaged in the store.
    """
    remote = remote_of(version.workspace)
    if remote is None:
        raise WorkspaceError(
            f"{version.workspace.root}: holds its segments itself; expected 'stores' "
            "with a URL in its dpbench.toml. There is nothing to fetch."
        )
    entries = [entry["id"] for role in ROLES for entry in version.payload[role]]
    arrived: list[int] = []

    def count(size: int) -> None:
        arrived.append(size)
        progress(size)

    n_new = 0
    for segment_id in entries:
        folder = segment_folder(version.workspace, segment_id)
        content = read_manifest(version.workspace, segment_id)
        n_new += not (folder / layout.GROUP).is_dir()
        fetch_arrays(remote, folder, content, count)
    return Fetched(n_segments=len(entries), n_new=n_new, bytes_new=sum(arrived))


def bytes_to_fetch(version: DatasetVersion) -> int:
    """Return the size of the segments that are not on the local disk.

    Raises:
        DatasetError: If a manifest is missing or damaged.
    """
    total = 0
    for role in ROLES:
        for entry in version.payload[role]:
            folder = segment_folder(version.workspace, entry["id"])
            content = read_manifest(version.workspace, entry["id"])
            if not (folder / layout.GROUP).is_dir():
                total += int(content["bytes"])
    return total
