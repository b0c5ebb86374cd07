"""A source format for the tests of ingest: JSON files that say what they hold."""

import ctypes
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpbench.errors import SourceError, WorkspaceError
from dpbench.frames import empty
from dpbench.io.discover import Discovery
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from tests.store.synthetic import THEORY, random_frames


def write_source(path: Path, *, seed: int = 0, natoms: Sequence[int] = (2, 3), **more):
    """Write a fake source; ``more``: bad={frame: reason}, crash, hang, eat ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": seed, "natoms": list(natoms), **more}
    path.write_text(json.dumps(content))
    return path


def find(code: str, paths: Sequence[str | Path]) -> Discovery:
    """Every file under the paths, by name."""
    files = sorted(
        f for p in map(Path, paths) for f in ([p] if p.is_file() else p.iterdir())
    )
    sources = tuple(SourceFiles(format="fake", paths=(path,)) for path in files)
    return Discovery(sources=sources, skipped=())


@dataclass(frozen=True)
class FakeReader:
    """Reads what ``write_source`` writes."""

    reader_version: int = 1

    def read(self, files: SourceFiles) -> ParsedSource:
        content = json.loads(files.main.read_text())
        if content.get("crash") == "segfault":
            ctypes.string_at(0)
        if content.get("crash"):
            os._exit(17)
        if content.get("kill_parent"):
            os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600 if content.get("hang") else content.get("seconds", 0))
        while content.get("eat"):
            _EATEN.append(np.ones(10**7))
        if content.get("killed_once"):
            _die_the_first_time(files.main.with_suffix(".tried"))
        if content.get("fault"):
            raise IndexError("list index out of range")
        if content.get("disk_full"):
            raise WorkspaceError(f"{files.main}: No space left on device.")
        if content.get("refuse"):
            raise SourceError(f"{files.main}: is no fake output.")
        natoms = content["natoms"]
        bad = {int(i): Quarantine(r) for i, r in content.get("bad", {}).items()}
        return ParsedSource(
            code="fake",
            code_version="1.0",
            format="fake",
            frames=random_frames(content["seed"], natoms) if natoms else empty(),
            step=np.arange(len(natoms), dtype=np.int32),
            n_scf=np.full(len(natoms), 5, dtype=np.int16),
            quarantine=tuple(bad.get(i, Quarantine.NONE) for i in range(len(natoms))),
            theory=content.get("theory", THEORY),
            complete=not bad,
        )


_EATEN: list[np.ndarray] = []


def _die_the_first_time(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


READERS = {"fake": FakeReader()}
