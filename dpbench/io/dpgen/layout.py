"""What lies where in a work folder of DP-GEN.

A run is ``iter.NNNNNN/{00.train,01.model_devi,02.fp}`` beside ``record.dpgen``; each
label is a folder ``02.fp/task.SSS.NNNNNN`` (SSS = the system explored), and DP-GEN
collects those that it could read as ``02.fp/data.SSS``. What ``dpgen init_bulk`` and
its like leave is ``02.md``.

Source: DP-GEN documentation, "Overview of the run process" and "param.json";
``dpgen/generator/run.py`` of DP-GEN 0.13.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.errors import SourceError
from dpbench.io.grouping import natural_key

STAGES = (
    "make_train",
    "run_train",
    "post_train",
    "make_model_devi",
    "run_model_devi",
    "post_model_devi",
    "make_fp",
    "run_fp",
    "post_fp",
)
"""Stages of an iteration, as ``record.dpgen`` numbers them."""

RECORD = "record.dpgen"
LABELS = "02.fp"
WALKS = "01.model_devi"
_ITERATION = re.compile(r"iter\.(\d+)")
_TASK = re.compile(r"task\.(\d+)\.(\d+)")
_DATA = re.compile(r"data\.(\d+)")
_COLLECTED = "deepmd"
_INIT_RUNS = "02.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """One ``02.fp``: the labels of one iteration."""

    folder: Path
    """The folder ``02.fp``."""
    iteration: int | None
    """Which iteration; None if the folder does not lie in one."""
    tasks: tuple[Path, ...]
    """Folders ``task.SSS.NNNNNN``, in natural order."""
    collected: tuple[Path, ...]
    """Folders ``data.SSS`` that DP-GEN made of them."""

    @property
    def name(self) -> str:
        """How messages call it: ``iter.000003`` or the folder above."""
        return self.folder.parent.name or str(self.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class InitData:
    """One entry of the data that a run started from."""

    path: Path
    """Where it lies."""
    told_by: str
    """The file that names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkFolder:
    """What was found below one path."""

    root: Path
    labels: tuple[Labels, ...]
    init: tuple[InitData, ...]
    last: tuple[int, int] | None
    """(iteration, stage) of the last line of ``record.dpgen``; None without one."""
    params: Mapping[str, Any]
    """Keys of the run's ``param.json``; empty if it does not lie here."""


def read_layout(root: Path) -> WorkFolder:
    """Find the iterations, the init data and the record below a path.

    Args:
        root: A work folder, one ``iter.*`` of it, a ``02.fp``, a folder that holds
            one, or what ``dpgen init_*`` left.

    Raises:
        SourceError: If there is nothing of DP-GEN's.
    """
    params_files = list(_params_in(root))
    work = WorkFolder(
        root=root,
        labels=tuple(_all_labels(root)),
        init=tuple(_init_data(root, params_files)),
        last=_last_record(root / RECORD),
        params=params_files[0][1] if params_files else {},
    )
    if not work.labels and not work.init:
        raise SourceError(
            f"{root}: no 02.fp, no iter.* and no init data; expected a work folder of "
            "DP-GEN. Give the folder in which 'dpgen run' was started; single outputs "
            "are read by 'dpbench ingest auto'."
        )
    return work


def system_of(path: Path) -> int | None:
    """Return which system of ``sys_configs`` a task or collection belongs to."""
    found = _TASK.fullmatch(path.name) or _DATA.fullmatch(path.name)
    return None if found is None else int(found[1])


def _all_labels(root: Path) -> Iterator[Labels]:
    if root.name == LABELS:
        candidates = [root]
    else:
        below = [p for p in _folders(root) if _ITERATION.fullmatch(p.name)]
        candidates = [p / LABELS for p in (root, *below)]
        if not any(p.is_dir() for p in candidates):
            candidates = [p / LABELS for p in _folders(root)]
    for folder in candidates:
        if folder.is_dir():
            inside = _folders(folder)
            found = _ITERATION.fullmatch(folder.resolve().parent.name)
            yield Labels(
                folder=folder,
                iteration=None if found is None else int(found[1]),
                tasks=tuple(p for p in inside if _TASK.fullmatch(p.name)),
                collected=tuple(p for p in inside if _DATA.fullmatch(p.name)),
            )


def _init_data(
    root: Path, params_files: Sequence[tuple[Path, Mapping[str, Any]]]
) -> Iterator[InitData]:
    """Yield the start data: by the parameters, else by the inputs of a training."""
    found: dict[Path, str] = {}
    for file, params in params_files:
        prefix = root / str(params.get("init_data_prefix") or "")
        for entry in _texts(params.get("init_data_sys")):
            found.setdefault(prefix / entry, file.name)
    if not params_files:
        for path, told_by in _trained_on(root):
            found.setdefault(path, told_by)
    if not found:
        for path in _made_by_init(root):
            found.setdefault(path, "02.md")
    for path, told_by in found.items():
        yield InitData(path=path, told_by=told_by)


def _params_in(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield (file, keys) of files that are the parameters of a run.

    ``param.json`` stands before others: copies of older parameters lie about.
    """
    files = sorted(root.glob("*.json"), key=lambda p: (p.name != "param.json", p.name))
    for file in files:
        content = read_json(file)
        if isinstance(content, dict) and "init_data_sys" in content:
            yield file, content


def _trained_on(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield (system, file that names it) of the init data of the first training."""
    for file in sorted(root.glob("iter.*/00.train/[0-9]*/input.json"))[:1]:
        content = read_json(file)
        training = content.get("training") if isinstance(content, dict) else None
        if not isinstance(training, dict):
            continue
        data = training.get("training_data")
        data = data if isinstance(data, dict) else training
        for entry in _texts(data.get("systems")):
            if "data.init" in Path(entry).parts:
                yield file.parent / entry, str(file.relative_to(root))


def _made_by_init(root: Path) -> Iterator[Path]:
    """Yield systems of ``02.md`` that 'dpgen init_bulk' and its like made."""
    for place in (root, *_folders(root)):
        for system in _folders(place / _INIT_RUNS):
            collected = system / _COLLECTED
            yield collected if collected.is_dir() else system


def outputs_behind(collected: Path) -> list[Path]:
    """Return the folders of outputs that a collection of ``02.md`` was made from.

    'dpgen init_bulk' puts ``deepmd`` beside ``scale-1.000/000000/OUTCAR``.
    """
    if collected.name != _COLLECTED:
        return []
    beside = [p for p in _folders(collected.parent) if p.name != _COLLECTED]
    return [
        folder
        for scale in beside
        for folder in _folders(scale)
        if any(folder.glob("OUTCAR*")) or any(folder.glob("OUT.*/running_*.log"))
    ]


def _last_record(path: Path) -> tuple[int, int] | None:
    """Read the last line 'iteration stage'; None if there is no such file or line."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    for line in reversed(lines):
        words = line.split()
        if len(words) == 2 and all(word.isdecimal() for word in words):
            return int(words[0]), int(words[1])
    return None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is missing or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _folders(path: Path) -> list[Path]:
    """Return the folders below a path, in natural order; none if it is not there."""
    try:
        inside = [p for p in path.iterdir() if p.is_dir() and p.name[0] != "."]
    except OSError:
        return []
    return sorted(inside, key=natural_key)


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]
