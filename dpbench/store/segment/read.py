"""An open segment: its manifest and facts at once, its arrays when first needed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS
from dpbench.store.files import sha256_of_file
from dpbench.store.remote.segments import check_presence
from dpbench.store.remote.store import remote_of
from dpbench.store.remote_rows import open_remote_rows
from dpbench.store.segment import layout
from dpbench.store.segment.direct import (
    MappedArray,
    RowReader,
    check_files,
    open_array,
)
from dpbench.store.segment.manifest import read_manifest, segment_folder, segment_key
from dpbench.store.workspace import Workspace

_SHAPES = ATOM_FIELDS | FRAME_FIELDS


class Segment:
    """One sealed segment, read-only.

    Opening it reads the manifest alone; ``facts`` read one file more, and the Zarr
    group is not touched before the first ``copy_run``.
    """

    def __init__(self, workspace: Workspace, segment_id: str) -> None:
        """Open the manifest; DatasetError if it is missing or damaged."""
        self.id = segment_id
        self.workspace = workspace
        self.folder: Path = segment_folder(workspace, segment_id)
        self.manifest: dict[str, Any] = read_manifest(workspace, segment_id)
        if self.manifest["format"] > layout.FORMAT:
            raise DatasetError(
                f"{self.folder}: has format {self.manifest['format']}; this dpbench "
                f"reads formats up to {layout.FORMAT}. Update dpbench."
            )
        self.numb_aparam = int(self.manifest.get("aparam", 0))
        """Numbers of an atom that its array ``aparam`` holds; 0 = there is none."""
        self._facts: NDArray[Any] | None = None
        self._arrays: dict[str, RowReader] = {}
        self._is_complete = False
        self._offset: NDArray[np.int64] | None = None

    @property
    def nframes(self) -> int:
        """Number of frames, excluded ones counted."""
        return int(self.manifest["n_frames"])

    @property
    def facts(self) -> NDArray[Any]:
        """(frame), records of ``layout.FACTS_DTYPE``.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        if self._facts is None:
            self._facts = self._read_facts()
        return self._facts

    @property
    def reasons(self) -> list[str]:
        """(frame), why each frame is in quarantine; "" for data."""
        names = ["", *self.manifest["reasons"]]
        return [names[code] for code in self.facts["reason"].tolist()]

    @property
    def arrays(self) -> dict[str, RowReader]:
        """The arrays of ``Frames`` by name, opened on first use.

        Raises:
            DatasetError: If a file is missing, cut or damaged.
        """
        names = [*_SHAPES, *(["aparam"] if self.numb_aparam else [])]
        if len(self._arrays) < len(names):
            for name in names:
                self.array(name)
        return self._arrays

    def array(self, name: str) -> RowReader:
        """Return one array of ``Frames``, opened on first use.

        Raises:
            DatasetError: If a file is missing, cut or damaged.
        """
        if name not in self._arrays:
            is_atom = name in ATOM_FIELDS or name == "aparam"
            path = f"{'atoms' if is_atom else 'frames'}/{name}"
            rows = int(self.manifest["n_atoms"]) if is_atom else self.nframes
            shape = (self.numb_aparam,) if name == "aparam" else _SHAPES[name]
            array = self._open(path, rows=rows, shape=shape)
            self._arrays.setdefault(name, array)  # another thread may have opened it
        return self._arrays[name]

    def open_frames_array(
        self, name: str, *, rows: int, shape: tuple[int, ...]
    ) -> RowReader:
        """Open any array of group ``frames``, anew.

        Raises:
            DatasetError: If a file is missing, cut or damaged.
        """
        return self._open(f"frames/{name}", rows=rows, shape=shape)

    @property
    def is_mapped(self) -> bool:
        """Whether every array is mapped into memory, so that any frame is near.

        Raises:
            DatasetError: If a file is missing, cut or damaged.
        """
        if self.workspace.is_remote and not (self.folder / layout.GROUP).exists():
            return False  # known without asking the store for each array
        return all(isinstance(array, MappedArray) for array in self.arrays.values())

    def check_files(self) -> None:
        """Look whether the files of opened arrays are as long as they were.

        Raises:
            DatasetError: If one has become shorter, or is gone.
        """
        check_files(list(self._arrays.values()))  # another thread may open more

    @property
    def atom_offset(self) -> NDArray[np.int64]:
        """(frame + 1), first atom row of each frame."""
        if self._offset is None:
            offset = np.zeros(self.nframes + 1, dtype=np.int64)
            np.cumsum(self.facts["natoms"], out=offset[1:])
            self._offset = offset
        return self._offset

    def damaged_files(self) -> list[Path]:
        """Hash every file and list those that are missing or have changed."""
        bad = []
        for name, expected in self.manifest["files"].items():
            path = self.folder / name
            if not path.is_file() or sha256_of_file(path) != expected:
                bad.append(path)
        return bad

    def _read_facts(self) -> NDArray[Any]:
        path = self.folder / layout.FACTS
        try:
            facts = layout.as_facts(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}); expected the facts of "
                f"{self.nframes} frames. Restore the segment from a copy, or ingest "
                "its sources again."
            ) from error
        is_whole = facts.dtype == layout.FACTS_DTYPE and facts.shape == (self.nframes,)
        natoms = facts["natoms"] if is_whole else np.zeros(1, dtype=np.int64)
        if natoms.min() <= 0 or natoms.sum() != self.manifest["n_atoms"]:
            raise DatasetError(
                f"{path}: does not fit the manifest's {self.nframes} frames; the file "
                "is damaged. Restore the segment from a copy, or ingest its sources "
                "again."
            )
        return facts

    def _open(self, path: str, *, rows: int, shape: tuple[int, ...]) -> RowReader:
        """Open an array of the Zarr group: the folder's, or the object store's."""
        group = self.folder / layout.GROUP
        remote = remote_of(self.workspace)
        if remote is None or group.exists():
            array = open_array(group / path, rows=rows, shape=shape)
            if not isinstance(array, MappedArray):
                self._refuse_missing(f"{layout.GROUP}/{path}/")
            return array
        if not self._is_complete:
            check_presence(remote, self.manifest)
            self._is_complete = True
        key = f"{segment_key(self.id)}/{layout.GROUP}/{path}"
        return open_remote_rows(remote, key, rows=rows, shape=shape)

    def _refuse_missing(self, prefix: str) -> None:
        """Raise if a file is gone: zarr-python would read it as fill values."""
        for name in self.manifest["files"]:
            if name.startswith(prefix) and not (self.folder / name).is_file():
                raise DatasetError(
                    f"{self.folder / name}: is missing; expected a file of a segment. "
                    "Restore the segment from a copy, or ingest its sources again."
                )
