"""Export: a version, or a part of its split, in a format that others read.

The folder appears at once: everything is written to a temporary one beside it, forced
to disk and renamed. What the format cannot hold is listed in ``dpbench.json``.
"""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from dpbench import __version__
from dpbench.errors import DatasetError, WorkspaceError
from dpbench.io.dataset_cards import cards_of
from dpbench.io.exchange.content import Content
from dpbench.io.exchange.sidecar import (
    FORMAT,
    FRAME_DTYPE,
    FRAMES_NAME,
    NAME,
    OPTIONAL,
    Sidecar,
    SourceEntry,
    SystemEntry,
    hash_files,
)
from dpbench.io.hub_card import write_hub_files
from dpbench.io.writers import Writer, Written, writer_of
from dpbench.store.files import fsync_tree, remove_tree
from dpbench.store.splits.parts import open_part
from dpbench.store.theory.levels import ASIDE
from dpbench.store.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What an export came to."""

    folder: Path
    """Where it is."""
    sidecar: Sidecar
    """What was written beside the data."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        sidecar = self.sidecar
        return {
            "folder": str(self.folder),
            "format": sidecar.format,
            "dataset": sidecar.dataset,
            "part": sidecar.part,
            "digest": sidecar.digest,
            "n_frames": sidecar.n_frames,
            "n_atoms": sidecar.n_atoms,
            "n_quarantined": sidecar.n_quarantined,
            "bytes": sum(file.bytes for file in sidecar.files.values()),
            "licences": [card.licence for card in sidecar.cards],
            "not_held": list(sidecar.not_held),
        }


def export_dataset(
    workspace: Workspace,
    reference: str,
    format_name: str,
    folder: Path,
    *,
    split: str | None = None,
) -> ExportReport:
    """Write a version, or a part of its split, as ``format_name`` below ``folder``.

    Args:
        workspace: Where the dataset is.
        reference: ``water``, ``water-v2`` or ``water-v2:test``.
        format_name: A key of ``writers.WRITERS``.
        folder: Where to; must not exist, or be empty.
        split: Name or digest of the split that the part belongs to; None = the only
            one that there is.

    Returns:
        What was written.

    Raises:
        ConfigError: If there is no such format, or the reference has no form.
        DatasetError: If there is no such version or part, or it has no frame.
        WorkspaceError: If the folder is not empty or cannot be written.
    """
    writer = writer_of(format_name)
    content = Content(open_part(workspace, reference, split=split))
    if not content.nframes:
        raise DatasetError(f"{content.label}: has no frame; nothing can be exported.")
    refuse_occupied(folder)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.mkdir(parents=True)
        sidecar = _write(temporary, writer, content)
        fsync_tree(temporary)
        temporary.replace(folder)
    except OSError as error:
        raise WorkspaceError(
            f"{folder}: cannot be written ({error.strerror or error}); nothing was "
            "left there. Free the disk, or name another folder."
        ) from error
    finally:
        remove_tree(temporary)
    return ExportReport(folder=folder, sidecar=sidecar)


def refuse_occupied(folder: Path) -> None:
    """Raise WorkspaceError if there is anything at ``folder``."""
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty:
        raise WorkspaceError(
            f"{folder}: is there already, and not empty; expected a folder that an "
            "export can make. Name another."
        )


def _write(folder: Path, writer: Writer, content: Content) -> Sidecar:
    written = writer.write(folder, content)
    order = np.arange(content.nframes)
    if written.positions is not None:
        order = np.asarray(written.positions, dtype=np.int64)
    _write_table(folder / FRAMES_NAME, content, order)
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )
    sidecar = _sidecar(folder, writer, content, written=written, names=names)
    text = json.dumps(sidecar.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")
    if writer.format == "parquet":
        write_hub_files(folder, sidecar)
    return sidecar


def _write_table(path: Path, content: Content, order: np.ndarray[Any, Any]) -> None:
    table = np.zeros(content.nframes, dtype=FRAME_DTYPE)
    table["frame"] = order
    table["source"] = content.source[order]
    table["step"] = content.step[order]
    table["n_scf"] = content.fact("n_scf")[order]
    table["pbc"] = content.survey.pbc[order]
    for name in OPTIONAL:
        table[name] = content.fact(name)[order]
    with path.open("xb") as file:
        np.save(file, table, allow_pickle=False)


def _sidecar(
    folder: Path,
    writer: Writer,
    content: Content,
    *,
    written: Written,
    names: list[str],
) -> Sidecar:
    version = content.version
    n_quarantined = sum(version.payload["quarantined"].values())
    notes = [*writer.limits, *written.notes]
    if n_quarantined:
        notes.append(
            f"the {n_quarantined} quarantined frames of {version.label}: they do not "
            "travel, and 'digest' is that of the good frames"
        )
    used = {source.theory_id for source in content.sources}
    return Sidecar(
        dpbench_export=FORMAT,
        format=writer.format,
        dataset=version.label,
        version_digest=version.digest,
        digest=content.digest,
        n_frames=content.nframes,
        n_atoms=int(content.natoms.sum()),
        elements=content.elements,
        precision=content.dtype.name,
        created_at=version.payload["created_at"],
        dpbench_version=__version__,
        is_lossless=written.is_lossless,
        part=content.part,
        split=content.split,
        n_quarantined=n_quarantined,
        not_held=tuple(notes),
        cards=cards_of(version),
        theories={key: version.theories[key] for key in sorted(used)},
        mixed_theory=tuple(version.payload.get("mixed_theory") or ()),
        sources=_sources(content),
        systems=tuple(
            SystemEntry(**entry) for entry in written.extra.get("systems", ())
        ),
        files=hash_files(folder, names),
    )


def _sources(content: Content) -> tuple[SourceEntry, ...]:
    records = content.sources
    entries = [
        entry
        for segment in content.version.segments
        for entry in segment.manifest["sources"]
    ]
    asides = [entries[i].get(ASIDE) or {} for i in content.used.tolist()]
    hints = relative_paths([record.path for record in records])
    return tuple(
        SourceEntry(
            id=record.id,
            path=hint,
            sha256=record.sha256,
            member=record.member,
            format=record.format,
            code=record.code,
            code_version=record.code_version,
            theory=record.theory_id,
            theory_aside=aside,
            complete=record.complete,
            n_read=record.n_read,
            notes=record.notes,
            time_step=record.time_step,
        )
        for record, hint, aside in zip(records, hints, asides, strict=True)
    )


def relative_paths(paths: list[str]) -> list[str]:
    """Cut what all paths have in common: an export names no folder of this machine."""
    folders = [PurePath(path).parent.parts for path in paths]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return [str(PurePath(*PurePath(path).parts[shared:])) for path in paths]
