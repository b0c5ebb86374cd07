"""A whole page as one file that needs nothing else, and what every page bears."""

from importlib.resources import files

from dpbench.eval.web.markup import Markup, tag

LOGO = Markup(
    '<svg viewBox="0 0 40 40" class="logo" aria-hidden="true">'
    '<circle cx="20" cy="20" r="18.5"/><path d="M9 13c3 20 7 20 11 8s7-9 11-2"/>'
    '<circle cx="14" cy="28" r="3.2" class="atom"/></svg>'
)
"""The drawing in the corner of every page."""

THEME_BUTTON = tag(
    "button",
    "Dark",
    id="theme",
    type="button",
    aria_pressed="false",
    title="Switch between light and dark",
)
"""Switches between light and dark."""


def document(title: str, *content: Markup, script: str = "") -> str:
    """Write an HTML file.

    Args:
        title: Title of the window.
        content: What the body holds; ``THEME_BUTTON`` must be in it.
        script: JavaScript of this page, run when all is there.
    """
    assets = files("dpbench.eval.web") / "assets"
    style = Markup((assets / "style.css").read_text(encoding="utf-8"))
    theme = (assets / "theme.js").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", style),
    )
    body = tag("body", *content, tag("script", Markup(theme + script)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"
