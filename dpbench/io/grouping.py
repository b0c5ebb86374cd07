"""Which files of a folder belong to one calculation."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpbench.io.parsed import SourceFiles
from dpbench.io.sniff import Kind, read_head
from dpbench.io.text import without_compression

MAIN_KINDS: dict[Kind, str] = {
    Kind.OUTCAR: "vasp",
    Kind.VASPRUN: "vasp",
    Kind.QE_OUTPUT: "qe",
    Kind.CP2K_LOG: "cp2k",
    Kind.EXTXYZ: "extxyz",
    Kind.HDF5: "deepmd/hdf5",
    Kind.SQLITE: "ase/db",
    Kind.PARQUET: "parquet",
    Kind.MLEARN: "mlearn",
    Kind.SIESTA: "dpdata:siesta/output",
    Kind.FHI_AIMS: "dpdata:fhi_aims/output",
    Kind.GAUSSIAN: "dpdata:gaussian/md",
    Kind.ORCA: "dpdata:orca/spout",
    Kind.PSI4: "dpdata:psi4/out",
    Kind.PWMAT_MOVEMENT: "dpdata:pwmat/movement",
}
"""Kinds of file that hold labels, and the format that reads them."""

_QE_XML_NAME = "data-file-schema.xml"
_VASP_COMPANIONS = ("POSCAR", "INCAR", "KPOINTS", "POTCAR")


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which ``run2`` stands before ``run10``."""
    return tuple(
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
        for piece in re.split(r"(\d+)", str(path))
        if piece
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """One folder, each of its files sniffed once."""

    path: Path
    kinds: Mapping[str, Kind]
    """Kind by file name, in natural order."""
    subfolders: tuple[str, ...]
    _names: dict[Kind, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Index the names by kind."""
        for name, kind in self.kinds.items():
            self._names[kind].append(name)

    def names(self, kind: Kind) -> list[str]:
        """Names of the files of one kind, in natural order."""
        return list(self._names.get(kind, ()))

    def find(self, name: str) -> Path | None:
        """Return the file of that name, plain or compressed, if it is here."""
        for other in (name, f"{name}.gz", f"{name}.bz2", f"{name}.xz"):
            if other in self.kinds:
                return self.path / other
        return None


def group(folder: Folder) -> list[SourceFiles]:
    """Put the files of each calculation of a folder together, main file first."""
    sources = [
        *_group_vasp(folder),
        *_group_qe(folder),
        *_group_cp2k(folder),
    ]
    for kind, format_name in MAIN_KINDS.items():
        if format_name not in ("vasp", "qe", "cp2k"):
            sources += [
                SourceFiles(format=format_name, paths=(folder.path / name,), member=m)
                for name in folder.names(kind)
                for m in _members(folder.path / name, kind)
            ]
    return sources


def _members(path: Path, kind: Kind) -> tuple[str, ...]:
    """Return the sources inside a file; one without a name is the whole file."""
    if kind is not Kind.MLEARN:
        return ("",)
    from dpbench.io.readers.mlearn import members_in

    return members_in(path) or ("",)


def _group_vasp(folder: Folder) -> list[SourceFiles]:
    """Pair OUTCAR with vasprun.xml, OUTCAR.md.1 with vasprun.md.1.xml and so on."""
    runs: dict[str, list[str]] = defaultdict(list)
    xml: dict[str, list[str]] = defaultdict(list)
    for name in folder.names(Kind.OUTCAR):
        runs[_vasp_label(name, "OUTCAR")].append(name)
    for name in folder.names(Kind.VASPRUN):
        xml[_vasp_label(name, "vasprun")].append(name)
    sources = []
    for label in sorted({*runs, *xml}):
        outcars, vaspruns = runs[label], xml[label]
        # Two files of one label (OUTCAR and OUTCAR.gz) may be two runs: keep apart.
        paired = len(outcars) <= 1 and len(vaspruns) <= 1
        sets = [outcars + vaspruns] if paired else [[n] for n in outcars + vaspruns]
        for names in sets:
            paths = [folder.path / name for name in names]
            paths += _vasp_companions(folder, label)
            sources.append(SourceFiles(format="vasp", paths=tuple(paths)))
    return sources


def _vasp_label(name: str, stem: str) -> str:
    plain = without_compression(Path(name)).name
    plain = re.sub(r"(?i)\.xml$", "", plain)
    return re.sub(stem, "", plain, flags=re.IGNORECASE).strip("._-")


def _vasp_companions(folder: Folder, label: str) -> list[Path]:
    suffix = f".{label}" if label else ""
    found = (folder.find(name + suffix) for name in _VASP_COMPANIONS)
    return [path for path in found if path is not None]


def _group_qe(folder: Folder) -> list[SourceFiles]:
    outputs = folder.names(Kind.QE_OUTPUT)
    only_one = len(outputs) == 1
    sources = []
    for name in outputs:
        companions = (
            _qe_input(folder, name, only_one=only_one),
            _qe_xml(folder, name, only_one=only_one),
        )
        paths = (folder.path / name, *(p for p in companions if p is not None))
        sources.append(SourceFiles(format="qe", paths=paths))
    return sources


def _qe_input(folder: Folder, output: str, *, only_one: bool) -> Path | None:
    """Find the input: the one the output names, that of its stem, or the only one."""
    inputs = folder.names(Kind.QE_INPUT)
    if not inputs:
        return None
    named = re.search(r"Reading input from\s+(\S+)", read_head(folder.path / output))
    if named is not None and Path(named[1]).name in inputs:
        return folder.path / Path(named[1]).name
    stem = _stem(output)
    same = [name for name in inputs if _stem(name) == stem]
    if len(same) == 1:
        return folder.path / same[0]
    if only_one and len(inputs) == 1:
        return folder.path / inputs[0]
    return None


def _qe_xml(folder: Folder, output: str, *, only_one: bool) -> Path | None:
    same = [n for n in folder.names(Kind.QE_XML) if _stem(n) == _stem(output)]
    if len(same) == 1:
        return folder.path / same[0]
    if not only_one:
        return None
    here = folder.find(_QE_XML_NAME)
    if here is not None:
        return here
    saves = [name for name in folder.subfolders if name.endswith(".save")]
    inside = [folder.path / name / _QE_XML_NAME for name in saves]
    inside = [path for path in inside if path.is_file()]
    return inside[0] if len(inside) == 1 else None


def _stem(name: str) -> str:
    return without_compression(Path(name)).stem


def _group_cp2k(folder: Folder) -> list[SourceFiles]:
    """Give each log the trajectory files of the project that it names.

    Logs that name one trajectory are restarts of one run, and one source.
    """
    grouped: dict[tuple[Path, ...], list[Path]] = {}
    for name in folder.names(Kind.CP2K_LOG):
        head = read_head(folder.path / name)
        project = re.search(r"GLOBAL\| Project name\s+(\S+)", head)
        beside = [] if project is None else _cp2k_companions(folder, project[1])
        given = re.search(r"CP2K\| Input file name\s+(\S+)", head)
        found = None if given is None else folder.find(Path(given[1]).name)
        own = [] if found is None or found in beside else [found]
        if any("-pos-" in path.name for path in beside):
            logs = grouped.setdefault(tuple(beside), [])
            logs.append(folder.path / name)
            logs += [path for path in own if path not in logs]
        else:
            grouped[folder.path / name, *beside, *own] = []
    return [
        SourceFiles(format="cp2k", paths=(*logs, *beside))
        for beside, logs in grouped.items()
    ]


def _cp2k_companions(folder: Folder, project: str) -> list[Path]:
    pattern = re.compile(
        rf"{re.escape(project)}-(?:(?!vel)[A-Za-z_]+-)?\d+(?:_\d+)?"
        r"\.(?:xyz|cell|ener|stress)"
    )
    return [
        folder.path / name
        for name in folder.kinds
        if pattern.fullmatch(without_compression(Path(name)).name)
    ]
