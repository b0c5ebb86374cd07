"""Markup that cannot forget to escape: text goes in, tags come out."""

from html import escape
from typing import final


@final
class Markup(str):
    """Text that is markup already; every other string is escaped when it is used."""

    __slots__ = ()


Child = str | int | None


def tag(name: str, /, *children: Child, **attributes: Child) -> Markup:
    """Make an element.

    Args:
        name: Its name.
        children: Markup as it is, other text escaped; None is left out.
        attributes: ``class_`` for class, underscores for dashes; None is left out,
            an empty string gives a bare attribute.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        words.append(
            attribute if value == "" else f'{attribute}="{escape(str(value))}"'
        )
    inner = join(*children)
    if name in _VOID:
        return Markup(f"<{' '.join(words)}>")
    return Markup(f"<{' '.join(words)}>{inner}</{name}>")


def join(*children: Child) -> Markup:
    """Lay markup and escaped text behind each other."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(str(child), quote=False)
            for child in children
            if child is not None
        )
    )


_VOID = frozenset({"meta", "link", "input", "br", "hr"})
