"""The page about an exploration in a real browser, read anew while it runs."""

import re
import time

import pytest

from dpbench.explore.announce import Announcement
from dpbench.explore.report import write_report
from tests.explore.report.books import write_exploration

pytestmark = pytest.mark.slow

WIDTHS = (360, 768, 1400)
RUNNING = Announcement(iteration=3, stage="label", done=9, total=24, text="so far well")
STATE = "return document.getElementById('state')?.dataset.state"
THEME = "return document.documentElement?.dataset.theme"
EVERY = 0.4


@pytest.fixture
def page(browser):
    """The browser, wide and light; afterwards the console must be empty."""
    browser.resize(1400, 900)
    browser.dark(is_dark=False)
    yield browser
    assert browser.console() == []


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_exploration(tmp_path_factory.mktemp("a folder with spaces"))


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr("dpbench.explore.report.page.RELOAD_SECONDS", EVERY)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_needs_scrolling_sideways(page, root, width):
    page.resize(width, 800)
    page.open(write_report(root))
    for details in page.find("details > summary"):
        page.click(details)
    assert page.run("return document.documentElement.scrollWidth") <= width
    out = page.run(
        "return [...document.querySelectorAll('main > *, figure, .card, .tiles li')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.className)"
    )
    assert out == []


@pytest.mark.parametrize("is_dark", [False, True])
def test_words_of_the_plots_can_be_read_on_their_ground(page, root, is_dark):
    page.dark(is_dark=is_dark)
    page.open(write_report(root))
    pairs = page.run(
        "const up = e => { for (; e; e = e.parentElement) { const c ="
        " getComputedStyle(e).backgroundColor; if (!c.endsWith(', 0)')) return c; } };"
        "const words = 'svg.rows text, td, th, .note, .legend li';"
        "return [...document.querySelectorAll(words)]"
        ".map(e => { const s = getComputedStyle(e);"
        " return [e instanceof SVGElement ? s.fill : s.color, up(e)]; })"
    )
    for ink, ground in {tuple(pair) for pair in pairs}:
        assert contrast(ink, ground) >= 4.5


def contrast(one, other):
    """Contrast of two colours by the formula of WCAG 2."""

    def luminance(colour):
        parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
        lights = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), lights, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_page_stays_as_it_was_left(page, tmp_path):
    root = write_exploration(tmp_path, iterations=2)  # of which the tab knows nothing
    path = write_report(root, running=RUNNING)
    page.open(path)
    page.click(page.find("#theme")[0])
    page.click(page.find("#chosen1 > summary")[0])
    page.wait("return document.getElementById('chosen1').open", True)
    page.open(path)
    page.wait("return document.getElementById('chosen1').open", True)
    assert page.run(THEME) == "dark"
    page.click(page.find("#theme")[0])
    page.open(path)
    assert page.run(THEME) == "light"


def test_a_running_page_is_read_anew_until_it_is_over(page, root, often):
    page.open(write_report(root, running=RUNNING))
    page.run("window.old = true")
    page.wait("return window.old === undefined", True)
    write_report(root)
    page.wait(STATE, "converged")
    page.run("window.old = true")
    time.sleep(4 * EVERY)
    assert page.run("return window.old === true")


def stays(page):
    """Select all; tell whether the page is still the same a good while later.

    Not if it was on its way out already, which nobody can help.
    """
    page.run("window.old = true; getSelection().selectAllChildren(document.body)")
    time.sleep(8 * EVERY)
    return page.run("return window.old === true")


def test_a_running_page_waits_while_somebody_reads_with_the_mouse(page, root, often):
    page.open(write_report(root, running=RUNNING))
    assert any(stays(page) for _ in range(4))
    page.run("getSelection().removeAllRanges()")
    page.wait("return window.old === undefined", True)


def test_a_page_that_is_not_written_any_more_says_so(page, root):
    path = write_report(root, running=RUNNING)
    page.open(path)
    assert page.run("return document.getElementById('stale').hidden")
    text = path.read_text(encoding="utf-8")
    path.write_text(
        re.sub(r'data-written="[^"]+"', 'data-written="2020-01-01T00:00:00Z"', text),
        encoding="utf-8",
    )
    page.open(path)
    assert not page.run("return document.getElementById('stale').hidden")
    assert "same command" in page.run(
        "return document.getElementById('stale').textContent"
    )
