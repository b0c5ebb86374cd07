"""From the paths a user gives to the calculations that lie there.

Files are told by content. In folders, walked recursively, what is no output (inputs,
scripts, hidden files) is simply no source; a file named on purpose must be one, or be
part of one, else it is reported as skipped with the reason.
"""

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from dpbench.errors import ConfigError, SourceError
from dpbench.io.folders import folder_sources, list_folder, walk
from dpbench.io.grouping import MAIN_KINDS, Folder, group, natural_key
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import CODES, DPDATA_PREFIX
from dpbench.io.sniff import Kind, sniff
from dpbench.io.text import without_compression

_BROKEN = (Kind.EMPTY, Kind.BINARY, Kind.UNREADABLE, Kind.UNKNOWN)

_OUTPUT_NAMES: dict[str, re.Pattern[str]] = {
    "vasp": re.compile(r"OUTCAR\b|vasprun\b.*\.xml", re.IGNORECASE),
    "qe": re.compile(r".*\.(?:out|pwo)(?:\.(?:gz|bz2|xz))?$"),
    "cp2k": re.compile(r".*\.(?:out|log)(?:\.(?:gz|bz2|xz))?$"),
    "extxyz": re.compile(r".*\.extxyz(?:\.(?:gz|bz2|xz))?$"),
    "deepmd": re.compile(r".*\.(?:hdf5|h5)$"),
    "ase": re.compile(r".*\.db$"),
    "parquet": re.compile(r".*\.parquet$"),
    "mlearn": re.compile(r"(?:training|test)\.json(?:\.(?:gz|bz2|xz))?$"),
}
"""Names whose content must be readable: met broken in a folder they are reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Discovery:
    """What lies under the paths."""

    sources: tuple[SourceFiles, ...]
    """One entry a calculation, in natural order of the main file."""
    skipped: tuple[tuple[Path, str], ...]
    """Paths that should have been sources and cannot be, each with the reason."""

    @classmethod
    def of(
        cls, sources: Iterable[SourceFiles], skipped: Mapping[Path, str]
    ) -> "Discovery":
        """Put what was found into natural order."""
        return cls(
            sources=tuple(
                sorted(
                    sources,
                    key=lambda s: (natural_key(s.main), natural_key(Path(s.member))),
                )
            ),
            skipped=tuple(
                sorted(skipped.items(), key=lambda item: natural_key(item[0]))
            ),
        )


def find_sources(code: str, paths: Sequence[str | Path]) -> Discovery:
    """Find the calculations under ``paths``.

    Args:
        code: ``vasp``, ``qe``, ``cp2k``, ``deepmd``, ``extxyz``, ``ase``,
            ``parquet``, ``mlearn``, ``dpgen`` (work folders of DP-GEN), ``auto`` (all
            of them and what is unmistakable among dpdata's), or ``dpdata:FORMAT``.
        paths: Files, folders (walked recursively), glob patterns, or
            ``file.hdf5#/path``.

    Returns:
        The sources, each file in at most one of them, in an order that depends
        neither on the order of ``paths`` nor on the file system.

    Raises:
        ConfigError: If the code is unknown.
        SourceError: If a path does not exist or nothing is found at all.
    """
    _check_code(code)
    if code == "dpgen":
        # Imported here: it finds what lies in work folders through this function.
        from dpbench.io.dpgen.finder import find_dpgen

        return find_dpgen(paths)
    found = search(code, paths)
    if not found.sources:
        where, reason = (
            found.skipped[0] if found.skipped else (paths[0] if paths else ".", "")
        )
        more = f" ({len(found.skipped) - 1} more)" if len(found.skipped) > 1 else ""
        raise SourceError(f"{where}: no source found: {reason or 'no path'}{more}")
    return found


def search(code: str, paths: Sequence[str | Path]) -> Discovery:
    """Find calculations as ``find_sources`` does; that there are none is no error.

    Raises:
        SourceError: If a path does not exist.
    """
    scanner = _Scanner(code)
    for path, member in _expand(paths):
        if member:
            scanner.add_member(path, member)
        elif path.is_dir():
            scanner.add_folder(path)
        else:
            scanner.add_file(path)
    return scanner.result()


def _check_code(code: str) -> None:
    if code in CODES:
        return
    if code.startswith(DPDATA_PREFIX):
        from dpbench.io.readers.dpdata.names import check_format

        check_format(code.removeprefix(DPDATA_PREFIX))
        return
    near = get_close_matches(code, CODES, n=1)
    hint = f" -- did you mean '{near[0]}'?" if near else ""
    raise ConfigError(
        f"code '{code}' is unknown; expected {', '.join(CODES)} or dpdata:FORMAT{hint}"
    )


def _expand(paths: Sequence[str | Path]) -> Iterator[tuple[Path, str]]:
    """Yield (path, member), globs and ``file.hdf5#/member`` resolved."""
    for given in paths:
        text, path = str(given), Path(given)
        if path.exists():
            yield path, ""
            continue
        file_name, mark, member = text.partition("#")
        if mark and Path(file_name).is_file():
            yield Path(file_name), member
            continue
        if not glob.has_magic(text):
            raise SourceError(f"{text}: does not exist; expected a file or a folder.")
        found = glob.glob(text, recursive=True)  # noqa: PTH207 - absolute patterns too
        matches = sorted(map(Path, found), key=natural_key)
        if not matches:
            raise SourceError(f"{text}: the pattern matches nothing. Check the path.")
        yield from ((match, "") for match in matches)


class _Scanner:
    """Collects sources; every folder is listed and sniffed once."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._folders: dict[Path, tuple[Folder, list[SourceFiles]]] = {}
        self._sources: dict[tuple[Path, str], SourceFiles] = {}
        self._skipped: dict[Path, str] = {}
        self._named: list[Path] = []

    def result(self) -> Discovery:
        """Return what was found, in natural order."""
        members = {
            path.resolve() for found in self._sources.values() for path in found.paths
        }
        for path in self._named:
            if path.resolve() not in members:
                self._skipped[path] = self._why_not(path)
        return Discovery.of(self._sources.values(), self._skipped)

    def add_member(self, path: Path, member: str) -> None:
        """Take one system inside an HDF5 file, or one member of an mlearn file."""
        format_name = "mlearn" if sniff(path) is Kind.MLEARN else "deepmd/hdf5"
        self._keep(SourceFiles(format=format_name, paths=(path,), member=member))

    def add_file(self, path: Path) -> None:
        """Take the calculation that a named file belongs to."""
        if self._code.startswith(DPDATA_PREFIX):
            self._keep(SourceFiles(format=self._code, paths=(path,)))
            return
        folder, sources = self._scan(path.parent)
        mine = folder.path / path.name
        is_main = folder.kinds.get(mine.name) in MAIN_KINDS
        found = [s for s in sources if is_main and mine in s.paths and self._wants(s)]
        if found:
            # Several sources are members of one file.
            for source in found if found[0].member else found[:1]:
                self._keep(source)
            return
        if self._code == "extxyz" and folder.kinds.get(mine.name) is Kind.XYZ:
            self._keep(SourceFiles(format="extxyz", paths=(path,)))
        elif (
            self._code in ("qe", "auto") and folder.kinds.get(mine.name) is Kind.QE_XML
        ):
            # met in recursion it is a companion; named, it is what the user wants
            self._keep(SourceFiles(format="qe", paths=(path,)))
        else:
            self._named.append(path)

    def add_folder(self, root: Path) -> None:
        """Take every calculation under a folder."""
        if self._code.startswith(DPDATA_PREFIX):
            self._add_dpdata_folder(root)
            return
        before = len(self._sources) + len(self._skipped)
        for path in walk(root, self._skipped):
            folder, sources = self._scan(path)
            for source in sources:
                if self._wants(source) and _holds_systems(source):
                    self._keep(source)
            self._report_broken(folder)
        if len(self._sources) + len(self._skipped) == before:
            what = "" if self._code == "auto" else f" of '{self._code}'"
            self._skipped.setdefault(
                root, f"no output{what} in this folder. Check the path and the code."
            )

    def _add_dpdata_folder(self, root: Path) -> None:
        from dpbench.io.readers.dpdata.names import sources_in

        for path in walk(root, self._skipped):
            folder, _ = self._scan(path)
            for source in sources_in(self._code.removeprefix(DPDATA_PREFIX), folder):
                self._keep(source)
        if not self._sources:
            self._skipped.setdefault(
                root,
                f"no file here is told to be '{self._code}' by its content. "
                "Name the files, or give a glob pattern.",
            )

    def _scan(self, path: Path) -> tuple[Folder, list[SourceFiles]]:
        key = path.resolve()
        if key not in self._folders:
            folder = list_folder(path)
            self._folders[key] = (folder, [*folder_sources(folder), *group(folder)])
        return self._folders[key]

    def _wants(self, source: SourceFiles) -> bool:
        if self._code == "auto":
            return True
        name = source.format.removeprefix(DPDATA_PREFIX)
        return name.partition("/")[0] == self._code

    def _keep(self, source: SourceFiles) -> None:
        self._sources.setdefault((source.main.resolve(), source.member), source)

    def _report_broken(self, folder: Folder) -> None:
        """Name files that by their names should be outputs and cannot be."""
        codes = _OUTPUT_NAMES if self._code == "auto" else (self._code,)
        for name, kind in folder.kinds.items():
            if kind not in _BROKEN:
                continue
            # A .out or .log of unknown text is nothing special, an OUTCAR is.
            telling = ("vasp",) if kind is Kind.UNKNOWN else codes
            if any(
                code in codes
                and _OUTPUT_NAMES[code].match(name)
                and _is_expected(folder, name, code)
                for code in telling
            ):
                path = folder.path / name
                self._skipped[path] = self._why_not(path)

    def _why_not(self, path: Path) -> str:
        kind = sniff(path)
        wanted = "a known output" if self._code == "auto" else f"'{self._code}' output"
        if kind in MAIN_KINDS and self._code != "auto":
            code = MAIN_KINDS[kind]
            return (
                f"is a {kind}; expected {wanted}. Ingest it with "
                f"'{code.partition('/')[0] if ':' not in code else code}'."
            )
        return f"{_with_article(kind)}; expected {wanted}."


def _is_expected(folder: Folder, name: str, code: str) -> bool:
    """Whether an output must be here: empty logs of a batch system are no fault."""
    stem = without_compression(Path(name)).stem
    if code == "qe":
        return any(Path(n).stem == stem for n in folder.names(Kind.QE_INPUT))
    if code == "cp2k":
        return f"{stem}.inp" in folder.kinds
    return True


def _with_article(kind: Kind) -> str:
    return f"is an {kind}" if kind.value[0] in "aeiouAEIOU" else f"is a {kind}"


def _holds_systems(source: SourceFiles) -> bool:
    """Tell files that hold frames from others of their kind, met in a folder."""
    if source.format == "deepmd/hdf5":
        from dpbench.io.readers.deepmd.hdf5 import systems_in

        return bool(systems_in(source.main))
    if source.format == "ase/db":
        from dpbench.io.readers.ase_db import holds_frames

        return holds_frames(source.main)
    if source.format == "parquet":
        from dpbench.io.readers.parquet import holds_frames

        return holds_frames(source.main)
    return True
