"""Verifying the files of a segment: every one is there, whole, and no other."""

import hashlib
import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.store.segment import layout
from dpbench.store.segment.chunks import Place, array_of, damaged_places, frames_of
from dpbench.store.segment.manifest import (
    NAME,
    manifest_digest,
    manifest_text,
    segment_key,
    segment_name,
    storage_digest,
)
from dpbench.store.shelf import Shelf
from dpbench.store.verify.findings import Finding, Findings

Manifest = dict[str, Any]


def verify_manifest(
    shelf: Shelf, segment_id: str, findings: Findings
) -> Manifest | None:
    """Check a segment's manifest; None if nothing can be told by it."""
    key = f"{segment_key(segment_id)}/{NAME}"
    where, data = shelf.where(key), shelf.read(key)
    if data is None:
        findings.add(where, "is missing; expected the manifest of a segment")
        return None
    findings.count(len(data))
    try:
        content: Manifest = json.loads(data)
        problem = _manifest_problem(content, data, segment_id)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        findings.add(where, f"cannot be used ({type(error).__name__}: {error})")
        return None
    if problem is not None:
        findings.add(where, problem)
    is_usable = content["storage_digest"] == storage_digest(content["files"])
    return content if is_usable and content["format"] <= layout.FORMAT else None


def verify_files(
    shelf: Shelf, segment_id: str, content: Manifest, findings: Findings
) -> None:
    """Hash every file of a segment; name the chunks of those that have changed."""
    prefix = segment_key(segment_id)
    there = {key.removeprefix(f"{prefix}/") for key in shelf.keys(prefix)}
    for name in sorted(there - content["files"].keys() - {NAME}):
        findings.add(
            shelf.where(f"{prefix}/{name}"),
            "is an extra file; expected the files that the manifest names",
            array=array_of(name),
        )
    for name, expected in content["files"].items():
        found = shelf.digest(f"{prefix}/{name}")
        if found is None:
            findings.add(
                shelf.where(f"{prefix}/{name}"),
                f"is missing{_all_chunks(content, name)}; expected the file that the "
                "manifest names",
                array=array_of(name),
            )
            continue
        findings.count(found[1])
        if found[0] != expected:
            findings.faults.extend(_damage(shelf, prefix, name, content))


def _manifest_problem(content: Manifest, data: bytes, segment_id: str) -> str | None:
    """Say what does not fit in a manifest; raises what a wrong type raises."""
    name = segment_name(content)
    if content["storage_digest"] != storage_digest(content["files"]):
        return "its storage digest does not fit its list of files; it is damaged"
    # Segments of format 1 and the first of format 2 have no digest of all.
    told = content.get("manifest_digest")
    if told is not None and told != manifest_digest(content):
        return "its content does not fit its digest; it is damaged"
    if content["id"] != segment_id or name != segment_id:
        return f"is the manifest of another segment ({content['id'][:12]})"
    if manifest_text(content).encode() != data:
        return "is not written as dpbench writes manifests; it is damaged"
    if content["format"] > layout.FORMAT:
        return (
            f"has format {content['format']}; this dpbench reads formats up to "
            f"{layout.FORMAT}. Update dpbench"
        )
    return None


def _damage(shelf: Shelf, prefix: str, name: str, content: Manifest) -> list[Finding]:
    """Name the chunks of a file whose hash is not the one in the manifest."""
    where, array = shelf.where(f"{prefix}/{name}"), array_of(name)
    entry = content.get("chunks", {}).get(name)
    data = shelf.read(f"{prefix}/{name}")
    places = [] if entry is None or not data else damaged_places(name, entry, data)
    if not places or array is None:
        cut = "is empty" if data == b"" else "has changed since it was written"
        found = f"{cut}{_all_chunks(content, name) if entry else ''}"
        return [Finding(where=where, found=found, array=array)]
    offset = _atom_offset(shelf, prefix, content)
    size = 0 if data is None else len(data)
    return [
        Finding(
            where=where,
            found=_word(place, size, int(entry["bytes"])),
            array=array,
            chunk=place.first if place.part == "chunk" else None,
            frames=None if offset is None else frames_of(place, array, offset),
        )
        for place in places
    ]


def _word(place: Place, size: int, expected: int) -> str:
    span = _span(place.first, place.last)
    if place.part == "end":
        return f"{span}: the file has {size} bytes; expected {expected}"
    if place.part == "index":
        return f"{span}: the index of the shard has changed since it was written"
    return f"{span} has changed since it was written"


def _all_chunks(content: Manifest, name: str) -> str:
    """Word the chunks of a whole file."""
    entry = content.get("chunks", {}).get(name)
    if entry is None:
        return ""
    whole = damaged_places(name, entry, b"")[0]
    return f" ({_span(whole.first, whole.last)})"


def _span(first: int, last: int) -> str:
    return f"chunk {first}" if first == last else f"chunks {first} to {last}"


def _atom_offset(
    shelf: Shelf, prefix: str, content: Manifest
) -> NDArray[np.int64] | None:
    """(frame + 1), first atom row of each frame; None if the facts are damaged."""
    data = shelf.read(f"{prefix}/{layout.FACTS}")
    if data is None or hashlib.sha256(data).hexdigest() != content["files"].get(
        layout.FACTS
    ):
        return None
    facts = read_facts(data)
    offset = np.zeros(len(facts) + 1, dtype=np.int64)
    np.cumsum(facts["natoms"], out=offset[1:])
    return offset


def read_facts(data: bytes) -> NDArray[Any]:
    """Read the facts of a segment from the bytes of their file."""
    return layout.as_facts(np.load(io.BytesIO(data), allow_pickle=False))
