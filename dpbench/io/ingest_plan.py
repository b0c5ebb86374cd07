"""Planning an ingest: what each source is, which are known, and what goes together."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from dpbench.config import canonical_json
from dpbench.io.parsed import ParsedSource, SourceFiles
from dpbench.io.readers import reader_of
from dpbench.store.dataset import DatasetVersion
from dpbench.store.files import sha256_of_file
from dpbench.store.references import name_from
from dpbench.store.segment.manifest import read_manifest

BUNDLE_BYTES = 128_000_000
"""Small sources are parsed together up to this size: a segment takes a quarter of a
second to write, as long as it takes to parse 100 MB of OUTCAR."""

TASKS_PER_WORKER = 2
"""Bundles are made smaller where that keeps every worker busy to the end."""


class SourceReader(Protocol):
    """What a row of the reader table offers; tests bring their own."""

    @property
    def reader_version(self) -> int:
        """Part of a source's identity."""

    def read(self, files: SourceFiles) -> ParsedSource:
        """Read all frames of one calculation."""


ReaderTable = Mapping[str, SourceReader]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedSource:
    """One source, hashed and ready to be parsed."""

    files: SourceFiles
    """Its files."""
    id: str
    """Digest of content, member, format, reader version and declared theory."""
    sha256: str
    """Digest of the content: of one file its sha256, of several their names' too."""
    n_files: int
    """Number of files."""
    n_bytes: int
    """Their size."""
    reader_version: int
    """Version of the reader that will read it."""
    theory: Mapping[str, Any] | None = None
    """Level of theory declared for what it does not tell."""

    @property
    def path(self) -> str:
        """The path that names the source to users."""
        member = self.files.member
        return f"{self.files.main}#{member}" if member else str(self.files.main)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """Sources that one task parses into one segment."""

    sources: tuple[PlannedSource, ...]
    """In the order of the version."""

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(source.n_bytes for source in self.sources)

    def apart(self) -> "list[Bundle]":
        """Return one bundle for each source."""
        return [Bundle(sources=(source,)) for source in self.sources]


def plan_sources(
    found: Sequence[SourceFiles],
    readers: ReaderTable | None,
    *,
    threads: int,
    theory: Mapping[str, Any] | None = None,
) -> tuple[list[PlannedSource], list[tuple[str, str]]]:
    """Hash every source.

    Args:
        found: The sources, in the order of the version.
        readers: Reader by format; None = the reader table.
        threads: Files hashed at the same time.
        theory: Level of theory declared for what the sources do not tell.

    Returns:
        The sources, and (path, reason) of those that cannot be read.
    """
    planned, failed = [], []
    # Parts of one file are several sources: hashed once, and each has its share.
    shared = _Shared(digest=cache(sha256_of_file), parts=Counter(f.main for f in found))
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for files, result in zip(
            found,
            pool.map(lambda f: _plan_or_error(f, readers, theory, shared), found),
            strict=True,
        ):
            if isinstance(result, OSError):
                reason = f"cannot be read ({result.strerror})"
                failed.append((str(result.filename or files.main), reason))
            else:
                planned.append(result)
    return planned, failed


def known_sources(version: DatasetVersion | None) -> set[str]:
    """Return the ids of the sources that a version has frames or quarantine of."""
    if version is None:
        return set()
    entries = [*version.payload["data"], *version.payload["quarantine"]]
    manifests = (read_manifest(version.workspace, entry["id"]) for entry in entries)
    return {source["id"] for m in manifests for source in m["sources"]}


def bundle_size(sources: Sequence[PlannedSource], *, workers: int) -> int:
    """Return how large bundles should be, bytes, for this many worker processes."""
    if workers <= 1:
        return BUNDLE_BYTES
    share = sum(source.n_bytes for source in sources) // (workers * TASKS_PER_WORKER)
    return min(share, BUNDLE_BYTES)


def bundles(sources: Iterable[PlannedSource], *, bundle_bytes: int) -> list[Bundle]:
    """Put neighbouring sources together until a bundle is large enough.

    Neighbours only: the frames of a version follow the order of the sources, whatever
    the size of the bundles.
    """
    out: list[Bundle] = []
    current: list[PlannedSource] = []
    size = 0
    for source in sources:
        if current and size + source.n_bytes > bundle_bytes:
            out.append(Bundle(sources=tuple(current)))
            current, size = [], 0
        current.append(source)
        size += source.n_bytes
    if current:
        out.append(Bundle(sources=tuple(current)))
    return out


def name_of_paths(paths: Sequence[str | Path]) -> str:
    """Name a dataset after the folder of the first path."""
    plain = takewhile(lambda part: not has_magic(part), Path(paths[0]).parts)
    first = Path(*plain)
    folder = first if first.is_dir() else first.parent
    return name_from(folder.resolve().name)


def read_source(files: SourceFiles, readers: ReaderTable | None) -> ParsedSource:
    """Parse one source with the reader of its format."""
    return _reader(files.format, readers).read(files)


def _reader(format_name: str, readers: ReaderTable | None) -> SourceReader:
    return reader_of(format_name) if readers is None else readers[format_name]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shared:
    """What sources of one ingest have in common."""

    digest: Callable[[Path], str]
    """sha256 of a file."""
    parts: Mapping[Path, int]
    """Sources by main file."""


def _plan_or_error(
    files: SourceFiles,
    readers: ReaderTable | None,
    theory: Mapping[str, Any] | None,
    shared: _Shared,
) -> PlannedSource | OSError:
    try:
        return _plan(files, readers, theory, shared)
    except OSError as error:
        return error


def _plan(
    files: SourceFiles,
    readers: ReaderTable | None,
    theory: Mapping[str, Any] | None,
    shared: _Shared,
) -> PlannedSource:
    listed = _list_files(files.paths)
    digests = {name: shared.digest(path) for name, path in listed.items()}
    content = next(iter(digests.values()))
    if len(digests) > 1:
        content = hashlib.sha256(canonical_json(digests)).hexdigest()
    version = _reader(files.format, readers).reader_version
    identity: dict[str, Any] = {
        "sha256": content,
        "member": files.member,
        "format": files.format,
        "reader_version": version,
    }
    if theory is not None:
        identity["theory"] = dict(theory)
    size = sum(path.stat().st_size for path in listed.values())
    return PlannedSource(
        files=files,
        id=hashlib.sha256(canonical_json(identity)).hexdigest(),
        sha256=content,
        n_files=len(listed),
        n_bytes=size // shared.parts[files.main],
        reader_version=version,
        theory=theory,
    )


def _list_files(paths: Sequence[Path]) -> dict[str, Path]:
    """List all files, by a name that does not depend on where the source lies."""
    listed: dict[str, Path] = {}
    for number, path in enumerate(paths):
        if path.is_dir():
            members = sorted(p for p in path.rglob("*") if p.is_file())
            listed |= {f"{number}/{p.relative_to(path).as_posix()}": p for p in members}
        else:
            listed[f"{number}/{path.name}"] = path
    if not listed:
        raise FileNotFoundError(2, "no files", os.fspath(paths[0]))
    return listed
