"""Which file system holds a folder, and which of them several machines share."""

from pathlib import Path

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.beegfs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb3",
        "smbfs",
        "wekafs",
    }
)
"""Kinds, as /proc/mounts has them, whose files other machines may write too. SQLite's
write-ahead log needs memory that all writers share, so it does not work there."""


def file_system_of(folder: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the kind of file system that holds ``folder``; None where unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    target = folder.resolve()
    best: tuple[int, str | None] = (-1, None)
    for line in lines:
        _, point, kind, *_ = line.split()
        mount = Path(point.replace("\\040", " "))
        if target.is_relative_to(mount) and len(mount.parts) >= best[0]:
            best = (len(mount.parts), kind)
    return best[1]


def is_network(folder: Path) -> bool:
    """Tell whether a folder lies on a file system that several machines may share."""
    return file_system_of(folder) in NETWORK_FILE_SYSTEMS
