"""Inputs of CP2K as trees of sections: read, edited and written back line by line.

What is not edited stays as it was, comments, directives and repeated keywords too.
The reader of ``io`` looks keywords up; here a template is changed and written again.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from dpbench.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class Section:
    """One section; grows while a template is read and edited."""

    name: str
    """In capitals; empty for the root."""
    parameter: str = ""
    """What stands behind the name, e.g. the element of ``&KIND Al``."""
    items: list["str | Section"] = field(default_factory=list)
    """Lines and sections in their order."""

    def sections(self, name: str) -> list["Section"]:
        """Return the sections of that name directly below."""
        return [
            item
            for item in self.items
            if isinstance(item, Section) and item.name == name
        ]

    def find(self, *path: str) -> "Section | None":
        """Return the first section under ``path``; None if there is none."""
        here: Section | None = self
        for name in path:
            found = here.sections(name) if here is not None else []
            here = found[0] if found else None
        return here

    def demand(self, *path: str) -> "Section":
        """Return the first section under ``path``, made where it is missing."""
        here = self
        for name in path:
            found = here.sections(name)
            if not found:
                found = [Section(name=name)]
                here.items.append(found[0])
            here = found[0]
        return here

    def drop(self, *names: str) -> None:
        """Take out the sections of these names."""
        self.items = [
            item
            for item in self.items
            if isinstance(item, str) or item.name not in names
        ]

    def value(self, key: str) -> str | None:
        """Return the last value of a keyword; None if it is not given."""
        found = self.values_of(key)
        return found[-1] if found else None

    def values_of(self, key: str) -> list[str]:
        """Return all values of a keyword that may be repeated."""
        lines = [line for line in self._lines() if _keyword(line) == key]
        return [_plain(line).partition(" ")[2].strip() for line in lines]

    def set(self, key: str, value: str) -> None:
        """Give a keyword one value, in place of all that it had."""
        self.unset(key)
        self.items.insert(0, f"{key} {value}")

    def unset(self, key: str) -> None:
        """Take a keyword out."""
        self.items = [
            item
            for item in self.items
            if isinstance(item, Section) or _keyword(item) != key
        ]

    def _lines(self) -> Iterable[str]:
        return (item for item in self.items if isinstance(item, str))


def parse(text: str, *, where: str) -> Section:
    """Read an input.

    Raises:
        ConfigError: If a section is closed that is not open, or never closed.
    """
    root = Section(name="")
    path = [root]
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _plain(raw)
        if line.upper().startswith("&END"):
            _close(path, line, where=f"{where}, line {number}")
        elif line.startswith("&"):
            name, _, parameter = line[1:].partition(" ")
            section = Section(name=name.upper(), parameter=parameter.strip())
            path[-1].items.append(section)
            path.append(section)
        else:
            path[-1].items.append(raw.strip())
    if len(path) > 1:
        raise ConfigError(
            f"{where}: section &{path[-1].name} is never closed; expected &END "
            f"{path[-1].name}. Close it."
        )
    return root


def render(section: Section, *, depth: int = 0) -> str:
    """Write an input, each section indented below its own."""
    indent = "  " * depth
    lines = []
    for item in section.items:
        if isinstance(item, str):
            lines.append(f"{indent}{item}".rstrip())
            continue
        lines.append(f"{indent}&{item.name} {item.parameter}".rstrip())
        inner = render(item, depth=depth + 1)
        lines += [inner] if inner else []
        lines.append(f"{indent}&END {item.name}")
    return "\n".join(lines)


def _close(path: list[Section], line: str, *, where: str) -> None:
    words = line.split()
    name = words[1].upper() if len(words) > 1 else ""
    if len(path) == 1 or (name and path[-1].name != name):
        open_one = f"&{path[-1].name} is open" if len(path) > 1 else "no section is"
        raise ConfigError(
            f"{where}: '{line}' where {open_one}; expected sections to be closed in "
            "their order. Correct it."
        )
    path.pop()


def _plain(line: str) -> str:
    """Return a line without its comment."""
    return re.split(r"[!#]", line, maxsplit=1)[0].strip()


def _keyword(line: str) -> str:
    """Return the keyword of a line in capitals; empty for directives and comments."""
    words = _plain(line).split(maxsplit=1)
    return words[0].upper() if words and not words[0].startswith("@") else ""
