"""Verifying objects and references: the JSON files that are the truth."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, final

from dpbench.store import objects
from dpbench.store.shelf import Shelf
from dpbench.store.verify.findings import Findings

DIGEST = re.compile(r"[0-9a-f]{64}")

Payload = dict[str, Any]


@final
@dataclass(kw_only=True, slots=True)
class Objects:
    """The whole objects found so far, by kind and digest."""

    shelf: Shelf
    findings: Findings
    found: dict[str, dict[str, Payload]] = field(default_factory=dict)
    """{kind: {digest: payload}}."""

    def take_all(self) -> None:
        """Read every object there is."""
        for kind in objects.KINDS:
            for key in self.shelf.keys(f"objects/{kind}"):
                name = PurePosixPath(key)
                is_object = (
                    name.suffix == ".json"
                    and DIGEST.fullmatch(name.stem) is not None
                    and name.parent.name == name.stem[:2]
                    and len(name.parts) == 4
                )
                if is_object:
                    self.take(kind, name.stem)
                else:
                    found = "is an extra file; expected objects named by their digest"
                    self.findings.add(self.shelf.where(key), found)

    def take(self, kind: str, digest: str, *, needed_by: str = "") -> Payload | None:
        """Read an object and check its name; None if it is missing or damaged."""
        known = self.found.setdefault(kind, {})
        if digest in known:
            return known[digest]
        key = f"objects/{kind}/{digest[:2]}/{digest}.json"
        where = self.shelf.where(key)
        if where in self.findings.places:
            return None  # it has been told
        data = self.shelf.read(key)
        if data is None:
            named = f"; {needed_by} names it" if needed_by else ""
            self.findings.add(where, f"is missing; expected a {kind}{named}")
            return None
        self.findings.count(len(data))
        if hashlib.sha256(data).hexdigest() != digest:
            self.findings.add(
                where, "the content does not fit its name; the file is damaged"
            )
            return None
        known[digest] = json.loads(data)
        return known[digest]


def verify_references(
    shelf: Shelf, found: Objects, *, key: str | None
) -> dict[str, Payload]:
    """Follow every reference of a dataset (None = of all) to its version.

    Returns:
        {label: payload} of the versions that are whole.
    """
    findings = found.findings
    prefix = "objects/refs" if key is None else f"objects/refs/{key}"
    versions: dict[str, Payload] = {}
    numbers: dict[str, list[int]] = {}
    for path in shelf.keys(prefix):
        parts = PurePosixPath(path).parts
        if len(parts) != 4 or not parts[-1].isdigit():
            findings.add(
                shelf.where(path), "is an extra file; expected numbers of versions"
            )
            continue
        name, number = parts[2], int(parts[3])
        numbers.setdefault(name, []).append(number)
        payload = _follow(shelf, found, path)
        if payload is None:
            continue
        label = f"{name}-v{number}"
        if (payload["dataset"], payload["number"]) == (name, number):
            versions[label] = payload
        else:
            other = f"{payload['dataset']}-v{payload['number']}"
            findings.add(
                shelf.where(path), f"names the object of {other}; expected {label}"
            )
    for name, known in sorted(numbers.items()):
        for number in sorted(set(range(1, max(known) + 1)) - set(known)):
            where = shelf.where(f"objects/refs/{name}/{number}")
            findings.add(
                where, f"is missing; expected the reference of {name}-v{number}"
            )
    return versions


def verify_links(found: Objects, versions: dict[str, Payload]) -> None:
    """Check that everything that versions name is there: parents and theories."""
    for label, payload in versions.items():
        if payload["parent"] is not None:
            found.take("version", payload["parent"], needed_by=label)
        for theory in payload["theories"]:
            found.take("theory", theory, needed_by=label)


def verify_events(found: Objects, known_ids: Iterable[str]) -> None:
    """Check that events name versions that are there."""
    known = set(known_ids)
    for digest, payload in found.found.get("event", {}).items():
        wanted = payload.get("version")
        if isinstance(wanted, str) and wanted not in known:
            found.take("version", wanted, needed_by=f"event {digest[:12]}")


def verify_names(found: Objects, keys: Iterable[str]) -> None:
    """Check that no two of the datasets ``keys`` bear one name today."""
    events = found.found.get("event", {}).values()
    renamings = [p for p in events if p.get("event") == "renamed"]
    renamings.sort(key=lambda payload: str(payload["at"]))
    today = {payload["dataset"]: payload["name"] for payload in renamings}
    called: dict[str, list[str]] = {}
    for key in keys:
        called.setdefault(today.get(key, key), []).append(key)
    for name, owners in sorted(called.items()):
        for key in owners if len(owners) > 1 else ():
            if key == name:
                continue  # the name means this one
            others = ", ".join(other for other in owners if other != key)
            found.findings.add(
                found.shelf.where(f"objects/refs/{key}"),
                f"dataset {key} is called {name} today, and so is another one (made as "
                f"{others}); run 'dpbench dataset rename {key} NEW'",
            )


def _follow(shelf: Shelf, found: Objects, path: str) -> Payload | None:
    """Read a reference and the version that it names."""
    data = shelf.read(path)
    if data is None:
        found.findings.add(shelf.where(path), "cannot be read; expected a reference")
        return None
    found.findings.count(len(data))
    text = data.decode("ascii", errors="replace")
    if DIGEST.fullmatch(text) is None:
        found.findings.add(
            shelf.where(path),
            f"holds {text[:70]!r}; expected the digest of a version, 64 hex digits",
        )
        return None
    key = f"objects/version/{text[:2]}/{text}.json"
    if text not in found.found.get("version", {}) and shelf.read(key) is None:
        found.findings.add(
            shelf.where(path),
            f"names version object {text}, which is not there ({shelf.where(key)}); "
            "one of the two files is damaged or lost",
        )
        return None
    return found.take("version", text)
