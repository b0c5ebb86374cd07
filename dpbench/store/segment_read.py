"""An open segment: its manifest and facts at once, its arrays when first needed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS
from dpbench.store import layout
from dpbench.store.direct import RowReader, open_array
from dpbench.store.files import sha256_of_file
from dpbench.store.manifest import read_manifest, segment_folder
from dpbench.store.workspace import Workspace


class Segment:
    """One sealed segment, read-only.

    Opening it reads the manifest alone; ``facts`` read one file more, and the Zarr
    group is not touched before the first ``copy_run``.
    """

    def __init__(self, workspace: Workspace, segment_id: str) -> None:
        """Open the manifest; DatasetError if it is missing or damaged."""
        self.folder: Path = segment_folder(workspace, segment_id)
        self.manifest: dict[str, Any] = read_manifest(workspace, segment_id)
        if self.manifest["format"] > layout.FORMAT:
            raise DatasetError(
                f"{self.folder}: has format {self.manifest['format']}; this dpbench "
                f"reads formats up to {layout.FORMAT}. Update dpbench."
            )
        self._facts: NDArray[Any] | None = None
        self._arrays: dict[str, RowReader] | None = None
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
        if self._arrays is None:
            self._arrays = self._open_arrays()
        return self._arrays

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
            facts: NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}); expected the facts of "
                f"{self.nframes} frames. Restore the segment from a copy, or ingest "
                "its sources again."
            ) from error
        is_whole = facts.dtype == layout.FACTS_DTYPE and facts.shape == (self.nframes,)
        if not is_whole or facts["natoms"].sum() != self.manifest["n_atoms"]:
            raise DatasetError(
                f"{path}: does not fit the manifest's {self.nframes} frames; the file "
                "is damaged. Restore the segment from a copy, or ingest its sources "
                "again."
            )
        return facts

    def _open_arrays(self) -> dict[str, RowReader]:
        group = self.folder / layout.GROUP
        natoms = int(self.manifest["n_atoms"])
        arrays = {
            name: open_array(group / "atoms" / name, rows=natoms, shape=shape)
            for name, shape in ATOM_FIELDS.items()
        }
        for name, shape in FRAME_FIELDS.items():
            path = group / "frames" / name
            arrays[name] = open_array(path, rows=self.nframes, shape=shape)
        return arrays
