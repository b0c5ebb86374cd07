"""Writing a segment: one immutable Zarr v3 group, its facts and its manifest.

It is written to a temporary folder, forced to disk, hashed and renamed: a folder that
bears a segment's name is whole. Segments are flat CSR, uncompressed and sharded.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames
from dpbench.store.files import (
    disk_errors,
    fsync_folder,
    fsync_tree,
    remove_tree,
    sha256_of_tree,
)
from dpbench.store.formulas import hill_formula
from dpbench.store.segment import layout, manifest
from dpbench.store.segment.chunks import checksums

MAX_Z = len(SYMBOLS)
"""One more than the largest atomic number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentData:
    """Everything that a segment will hold."""

    role: str
    """``data``, or ``quarantine`` for frames that no version lists as data."""
    frames: Frames
    """The frames."""
    source_id: NDArray[np.int32]
    """(frame), index into ``sources``; rising."""
    step: NDArray[np.int32]
    """(frame), position in the source."""
    n_scf: NDArray[np.int16]
    """(frame), electronic iterations; -1 unknown."""
    digests: NDArray[np.uint8]
    """(frame, 32), see ``digests.frame_digests``."""
    reasons: Sequence[str]
    """(frame), why each frame is in quarantine; "" for data."""
    sources: Sequence[Mapping[str, Any]]
    """The sources, as the manifest keeps them (``io.ingest_task`` makes them)."""
    charge: NDArray[np.float64] | None = None
    """(frame), total charge, e; NaN unknown. None = of no frame known."""
    multiplicity: NDArray[np.int16] | None = None
    """(frame), spin multiplicity 2S + 1; -1 unknown. None = of no frame known."""
    temperature: NDArray[np.float64] | None = None
    """(frame), kinetic temperature, K; NaN unknown. None = of no frame known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How the arrays of a packed segment lie on disk."""

    compress: Literal["zstd", "lz4"] | None = None
    """Codec; None = plain bytes, which are mapped."""
    chunk_rows: int | None = None
    """Rows of a chunk, that is of what is read at once where there is a codec; None =
    ``layout.CHUNK_ROWS``."""


def write_segment(
    folder: Path, data: SegmentData, *, encoding: Encoding | None = None
) -> str:
    """Write a segment below ``folder``; one that is there already is left alone.

    Args:
        folder: Where ``ID/`` is to appear.
        data: What to write; at least one frame.
        encoding: How a packed segment lies on disk; None = as ingest writes it.

    Returns:
        The segment's id.

    Raises:
        WorkspaceError: If the disk is full or cannot be written; nothing is left.
    """
    content = hashlib.sha256(data.digests.tobytes()).hexdigest()
    aparam = _atom_numbers(data.frames)
    told: dict[str, Any] = {
        "format": layout.FORMAT_PLAIN,
        "role": data.role,
        "frames_digest": content,
    }
    if aparam is not None:
        told |= {"format": layout.FORMAT, "aparam": aparam.shape[1]}
    if encoding is not None:
        told["packed"] = {**asdict(encoding), "frames": content}
    name = manifest.segment_name({**told, "sources": data.sources})
    target = folder / name
    if target.exists():
        return name
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        with disk_errors(folder):
            temporary.mkdir(parents=True)
            systems, names = compositions(data.frames)
            reasons = sorted({reason for reason in data.reasons if reason})
            encoded = encoding or Encoding()
            _write_group(
                temporary / layout.GROUP, data, systems, encoded, aparam=aparam
            )
            _write_facts(temporary / layout.FACTS, data, systems, reasons=reasons)
            _write_manifest(
                temporary, name, data, names=names, reasons=reasons, told=told
            )
            fsync_tree(temporary)
            move_into_place(temporary, target)
    finally:
        remove_tree(temporary)
    return name


def move_into_place(source: Path, target: Path) -> None:
    """Rename a whole segment; if ``target`` is there, it is the same segment."""
    try:
        source.rename(target)
    except OSError:
        if not (target / manifest.NAME).exists():
            raise
    fsync_folder(target.parent)


def compositions(frames: Frames) -> tuple[NDArray[np.int32], list[str]]:
    """Find the composition of each frame.

    Returns:
        (frame) index into the names, and the names: Hill formulas, sorted.
    """
    frame_idx = np.repeat(np.arange(frames.nframes), frames.natoms)
    cells = frames.nframes * MAX_Z
    counts = np.bincount(frame_idx * MAX_Z + frames.z, minlength=cells)
    counts = counts.reshape(frames.nframes, MAX_Z)
    unique, inverse = np.unique(counts, axis=0, return_inverse=True)
    formulas = [
        hill_formula({int(z): int(row[z]) for z in row.nonzero()[0]}) for row in unique
    ]
    names = sorted(formulas)
    position = np.array([names.index(formula) for formula in formulas], dtype=np.int32)
    return position[inverse.reshape(-1)], names


def label_bits(frames: Frames) -> NDArray[np.uint8]:
    """(frame), which labels each frame has, as ``layout.LABEL_BITS``."""
    present = {
        "energy": frames.has_energy,
        "force": frames.has_force,
        "virial": frames.has_virial,
        "box": ~np.isnan(frames.box).any(axis=(1, 2)),
    }
    bits = np.zeros(frames.nframes, dtype=np.uint8)
    for name, flag in present.items():
        bits |= (flag * layout.LABEL_BITS[name]).astype(np.uint8)
    bits[frames.numb_aparam > 0] |= layout.APARAM_BIT
    return bits


def is_known(name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    """(frame), which frames know an optional fact."""
    unknown = layout.UNKNOWN[name]
    known = ~np.isnan(values) if np.isnan(unknown) else values != unknown
    return np.asarray(known, dtype=np.bool_)


def _atom_numbers(frames: Frames) -> NDArray[np.float64] | None:
    """(atom, number), columns that no frame fills left out; None if none is left."""
    width = int(frames.numb_aparam.max(initial=0))
    return None if frames.aparam is None or not width else frames.aparam[:, :width]


def _write_group(
    path: Path,
    data: SegmentData,
    systems: NDArray[np.int32],
    encoding: Encoding,
    *,
    aparam: NDArray[np.float64] | None,
) -> None:
    # Imported here: zarr takes 0.3 s to import, and reading batches does without it.
    import zarr

    frames = data.frames
    attributes = {
        "dpbench_format": layout.FORMAT_PLAIN if aparam is None else layout.FORMAT,
        "n_frames": frames.nframes,
        "n_atoms": int(frames.atom_offset[-1]),
        "units": {"length": "angstrom", "energy": "eV"},
        "elements": "atomic number",
    }
    group = zarr.create_group(path, attributes=attributes, zarr_format=3)
    columns: dict[str, NDArray[Any]] = {
        "labels": label_bits(frames),
        "source_id": data.source_id,
        "step": data.step,
        "system_id": systems,
        "n_scf": data.n_scf,
        "hash": data.digests,
    }
    atoms, per_frame = group.create_group("atoms"), group.create_group("frames")
    for name, spec in layout.ATOMS.items():
        _write_array(atoms, name, spec, getattr(frames, name), encoding=encoding)
    if aparam is not None:
        spec = replace(layout.APARAM, shape=aparam.shape[1:])
        _write_array(atoms, "aparam", spec, aparam, encoding=encoding)
    for name, spec in layout.FRAMES.items():
        values = columns[name] if name in columns else getattr(frames, name)
        _write_array(per_frame, name, spec, values, encoding=encoding)
    for name, spec in layout.OPTIONAL_FRAMES.items():
        told = getattr(data, name)
        if told is not None and is_known(name, told).any():
            _write_array(per_frame, name, spec, told, encoding=encoding)


def _write_array(
    group: Any,
    name: str,
    spec: layout.ArraySpec,
    values: NDArray[Any],
    *,
    encoding: Encoding,
) -> None:
    dtype = np.dtype(values.dtype if spec.dtype == "float" else spec.dtype)
    rows = len(values)
    chunk = max(1, min(encoding.chunk_rows or layout.CHUNK_ROWS, rows))
    shard = min(layout.SHARD_ROWS, -(-rows // chunk) * chunk)
    attributes = {"description": spec.description}
    if spec.units:
        attributes["units"] = spec.units
    array = group.create_array(
        name,
        shape=(rows, *spec.shape),
        dtype=dtype,
        chunks=(chunk, *spec.shape),
        shards=(shard, *spec.shape),
        compressors=_codec(encoding),
        filters=None,
        fill_value=np.nan if dtype.kind == "f" else 0,
        dimension_names=spec.dims,
        attributes=attributes,
        config={"write_empty_chunks": True},
    )
    for start in range(0, rows, shard):
        array[start : start + shard] = values[start : start + shard]


def _codec(encoding: Encoding) -> Any:
    if encoding.compress is None:
        return None
    from zarr.codecs import BloscCodec

    # Bytes of like weight together: 0.80 of the size of coordinates, bits 0.88.
    return BloscCodec(cname=encoding.compress, clevel=1, shuffle="shuffle")


def _write_facts(
    path: Path,
    data: SegmentData,
    systems: NDArray[np.int32],
    *,
    reasons: Sequence[str],
) -> None:
    facts = np.zeros(data.frames.nframes, dtype=layout.FACTS_DTYPE)
    facts["natoms"] = data.frames.natoms
    facts["source_id"] = data.source_id
    facts["system_id"] = systems
    facts["step"] = data.step
    facts["n_scf"] = data.n_scf
    facts["labels"] = label_bits(data.frames)
    facts["reason"] = [reasons.index(r) + 1 if r else 0 for r in data.reasons]
    facts["hash"] = data.digests
    for name, unknown in layout.UNKNOWN.items():
        told = getattr(data, name)
        facts[name] = unknown if told is None else told
    np.save(path, facts)


def _write_manifest(
    folder: Path,
    name: str,
    data: SegmentData,
    *,
    names: Sequence[str],
    reasons: Sequence[str],
    told: Mapping[str, Any],
) -> None:
    files = sha256_of_tree(folder)
    edges = np.searchsorted(data.source_id, np.arange(len(data.sources) + 1))
    sources = [
        {**source, "frame_start": int(edges[i]), "frame_stop": int(edges[i + 1])}
        for i, source in enumerate(data.sources)
    ]
    content = {
        "id": name,
        "n_frames": data.frames.nframes,
        "n_atoms": int(data.frames.atom_offset[-1]),
        "bytes": sum((folder / file).stat().st_size for file in files),
        "storage_digest": manifest.storage_digest(files),
        "files": files,
        "compositions": list(names),
        "reasons": list(reasons),
        "sources": sources,
        "chunks": checksums(folder, list(files)),
        **told,
    }
    content["manifest_digest"] = manifest.manifest_digest(content)
    (folder / manifest.NAME).write_text(manifest.manifest_text(content))
