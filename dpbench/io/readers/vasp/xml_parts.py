"""A vasprun.xml in parts: what stands before the first ionic step, then each step.

The file is split by its tags before any of it is parsed as XML: a step is parsed alone,
so that damage ends where the step does, and memory is that of one step. Its large
parts that no label comes from are dropped unparsed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, final

from lxml import etree

from dpbench.errors import SourceError
from dpbench.io.text import open_binary, read_errors

CHUNK = 1_000_000
"""Bytes read at a time."""

_LARGE = re.compile(rb"<(eigenvalues|dos|projected)\b")
_OPEN, _CLOSE = b"<calculation", b"</calculation>"
_END = b"</modeling>"
_TORN = b"<torn/>"
"""Put where a step began or ended inside a large part: one of its tags is lost."""

_SCF, _SCF_END = b"<scstep>", b"</scstep>"
_PARTS = (b"<structure", b"<varray", _TORN)
"""What does not stand inside an electronic iteration."""
_LONGEST = 16
_ORDER = re.compile(r"(scstep )*structure (forces )?(stress )?energy ")
"""Children of a whole step."""


@final
class Parts:
    """Reads one vasprun.xml from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened yet."""
        self._path = path
        self.head = b""
        """What stands before the first step, once that was asked for."""
        self.complete = False
        """Whether the end tag of the file is there, once all was read."""

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the text of each step, and whether its own tags enclose it.

        Raises:
            SourceError: If the file cannot be read, or not unpacked.
        """
        with open_binary(self._path) as file, read_errors(self._path):
            text, seen, has_head = b"", 0, False
            for piece in _slim(file):
                text += piece
                if not has_head:
                    at = text.find(_OPEN, seen)
                    seen = max(0, len(text) - _LONGEST)
                    if at < 0:
                        continue
                    self.head, text, seen, has_head = text[:at], text[at:], 0, True
                while (end := text.find(_CLOSE, seen)) >= 0:
                    end += len(_CLOSE)
                    step = text[:end].lstrip()
                    yield step, step.startswith(_OPEN) and step.count(_OPEN) == 1
                    text, seen = text[end:], 0
                seen = max(0, len(text) - _LONGEST)
            if not has_head:
                self.head, text = text, b""
            at = text.find(_OPEN)
            if at >= 0:
                yield text[at:], False
            self.complete = _END in text


def parse_head(head: bytes, path: Path) -> Any:
    """Parse what stands before the first step, as far as it is whole.

    Raises:
        SourceError: If it is no XML, or declares entities.
    """
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise SourceError(
            f"{path}: declares XML entities; VASP writes none. Give the file that VASP "
            "wrote."
        )
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(head, parser) if head.strip() else None
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(
            f"{path}: is no readable vasprun.xml ({error}). Give the file that VASP "
            "wrote."
        ) from error
    if root is None:
        raise SourceError(f"{path}: is no readable vasprun.xml; expected <modeling>.")
    return root


def parse_step(text: bytes, *, is_whole: bool) -> tuple[Any | None, bool]:
    """Parse one step.

    Returns:
        The element, None if nothing of it can be parsed; and whether it is whole:
        well-formed, with each of its parts once and in order.
    """
    options: dict[str, Any] = {
        "resolve_entities": False,
        "encoding": "iso-8859-1",
        "collect_ids": False,
        "remove_blank_text": True,
    }
    try:
        short = _without_first_iterations(text)
        element = etree.fromstring(short, etree.XMLParser(**options))
    except etree.XMLSyntaxError:
        lenient = etree.XMLParser(recover=True, **options)
        return etree.fromstring(text, lenient), False
    return element, is_whole and _is_in_order(element)


def _without_first_iterations(text: bytes) -> bytes:
    """Drop all electronic iterations but the last, whose energy alone is wanted.

    They are half of the text. If they are not plain siblings the text stays as it is.
    """
    first, last = text.find(_SCF), text.rfind(_SCF)
    dropped = text[first:last] if first >= 0 else b""
    n_open = dropped.count(_SCF)
    if n_open != dropped.count(_SCF_END) or any(m in dropped for m in _PARTS):
        return text
    return text[:first] + text[last:]


def _is_in_order(element: Any) -> bool:
    names = [
        child.get("name") if child.tag == "varray" else child.tag for child in element
    ]
    known = ("scstep", "structure", "forces", "stress", "energy", "torn")
    # Other elements may stand anywhere: VASP 5 writes <v name="LVDW"> among them.
    order = "".join(f"{name} " for name in names if name in known)
    structure = element.find("structure")
    return (
        _ORDER.fullmatch(order) is not None
        and len(structure.findall("crystal/varray[@name='basis']")) == 1
        and len(structure.findall("varray[@name='positions']")) == 1
        and len(element.findall("energy/i[@name='e_fr_energy']")) <= 1
    )


def _slim(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the text of a file without the content of its large parts."""
    text, closing = b"", b""
    while chunk := file.read(CHUNK):
        text += chunk
        while True:
            if closing:
                at = text.find(closing)
                inside = text if at < 0 else text[:at]
                if _OPEN in inside or _CLOSE in inside:
                    yield _TORN
                if at < 0:
                    text = text[-_LONGEST:]
                    break
                text, closing = text[at + len(closing) :], b""
            match = _LARGE.search(text)
            if match is None:
                # A tag may be cut in two by the end of the chunk.
                at = text.rfind(b"<", max(0, len(text) - _LONGEST))
                at = at if at >= 0 else len(text)
                yield text[:at]
                text = text[at:]
                break
            yield text[: match.start()]
            text, closing = text[match.start() :], b"</" + match[1] + b">"
    yield b"" if closing else text
