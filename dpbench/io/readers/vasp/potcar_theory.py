"""POTCAR as VASP names it: labels of species, and hashes of the potentials."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dpbench.io.readers.vasp.run import element_of

_END = "End of Dataset"
_PRINTED = re.compile(r"^\s*(SHA256|TITEL)\s*=\s*(\S.*?)\s*$", re.M)


def species_labels(titles: Sequence[str]) -> list[str]:
    """Return a label for each POTCAR: the element, numbered from the second on."""
    seen: dict[str, int] = {}
    labels = []
    for title in titles:
        words = title.split()
        name = words[1] if len(words) > 1 else title.strip()
        element = element_of(name) or name
        seen[element] = seen.get(element, 0) + 1
        labels.append(element if seen[element] == 1 else f"{element}{seen[element]}")
    return labels


def without_repeats(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the second species of an element that is like the first."""
    kept: dict[str, Any] = {}
    for label, value in values.items():
        first = label.rstrip("0123456789")
        if first == label or kept.get(first) != value:
            kept[label] = value
    return kept


def printed_hashes(head: str) -> dict[str, str]:
    """Return the SHA256 of each POTCAR, by label, where VASP >= 6 prints them."""
    titles, hashes = [], []
    pending = ""
    for key, value in _PRINTED.findall(head):
        if key == "SHA256":
            pending = str(value).split()[0]
        else:
            titles.append(str(value))
            hashes.append(pending)
            pending = ""
    labels = species_labels(titles)
    return {
        label: f"sha256:{printed}"
        for label, printed in zip(labels, hashes, strict=True)
        if re.fullmatch(r"[0-9a-f]{64}", printed)
    }


def potcar_hashes(text: str, titles: Sequence[str]) -> dict[str, str] | None:
    """Return the hash of each potential of a POTCAR, by label.

    It is the SHA256 that the file states, as ``sha256:``, else that of the data set's
    own text, as ``text-sha256:``.

    Args:
        text: The POTCAR.
        titles: Titles of the run's potentials, in order.

    Returns:
        None if the file holds other potentials than the run.
    """
    sections = [s.strip() for s in text.split(_END) if "TITEL" in s]
    found = []
    for section in sections:
        match = re.search(r"TITEL\s*=\s*(\S.*?)\s*$", section, re.M)
        found.append(" ".join(match[1].split()) if match else "")
    if found != [" ".join(title.split()) for title in titles]:
        return None
    hashes = {}
    for label, section in zip(species_labels(found), sections, strict=True):
        stated = re.search(r"^\s*SHA256\s*=\s*([0-9a-f]{64})\b", section, re.M)
        own = hashlib.sha256(section.encode()).hexdigest()
        hashes[label] = f"sha256:{stated[1]}" if stated else f"text-sha256:{own}"
    return hashes
