"""A whole page as one file that needs nothing else, and what every page bears."""

import base64
import hashlib
from importlib.resources import files

from dpbench.eval.web.markup import Markup, tag

_LOGO = Markup(
    '<svg viewBox="0 0 40 40" class="logo" aria-hidden="true">'
    '<circle cx="20" cy="20" r="18.5"/><path d="M9 13c3 20 7 20 11 8s7-9 11-2"/>'
    '<circle cx="14" cy="28" r="3.2" class="atom"/></svg>'
)
"""The drawing in the corner of every page."""

_THEME_BUTTON = tag(
    "button",
    "Dark",
    id="theme",
    type="button",
    aria_pressed="false",
    title="Switch between light and dark",
)
"""Switches between light and dark."""


def masthead(title: str, words: str, *, summary: str | None = None) -> Markup:
    """Write the head of a page: drawing, title, switch of the theme.

    Args:
        title: What the page is about.
        words: Below it.
        summary: Beside it; None: nothing.
    """
    brand = tag("div", tag("h1", title), tag("p", words))
    beside = [] if summary is None else [tag("p", summary, class_="summary")]
    return tag(
        "header", tag("div", _LOGO, brand, class_="brand"), *beside, _THEME_BUTTON
    )


def document(
    title: str, *content: Markup, script: str = "", style: str = "", after: str = ""
) -> str:
    """Write an HTML file.

    The page may run this one script and fetch nothing: its security policy says so, and
    the browser holds it even where an escape were forgotten.

    Args:
        title: Title of the window.
        content: What the body holds; a ``masthead`` must be in it.
        script: JavaScript of this page, run when all is there.
        style: CSS of this page, beside that of all pages.
        after: Data blocks that the parser reaches after the script has run.
    """
    assets = files("dpbench.eval.web") / "assets"
    shared = (assets / "style.css").read_text(encoding="utf-8")
    code = (assets / "theme.js").read_text(encoding="utf-8") + script
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(shared + style)),
    )
    body = tag("body", *content, tag("script", Markup(code)), Markup(after))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"
