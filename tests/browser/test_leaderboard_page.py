"""The page as a person meets it: opened from disk in a real browser."""

from dataclasses import replace

import pytest

from dpbench.eval.leaderboard import write_board
from tests.browser.webdriver import Browser
from tests.eval.synthetic_records import exploded, synthetic_record, with_digests

pytestmark = pytest.mark.slow

HOSTILE = 'a <b>bold</b> & "quoted" <script>document.title = "owned"</script>'
WIDTHS = (360, 768, 1400)


def records():
    ood = synthetic_record(model="small", force=200, part="ood")
    return [
        synthetic_record(model="small", force=60, speed=20),
        synthetic_record(model="large", force=40, speed=150, seed=1),
        exploded(synthetic_record(model=HOSTILE, force=80, speed=70, seed=2)),
        synthetic_record(model="peeked", force=5, marks=("validation frames",)),
        synthetic_record(
            model="small", force=61, precision="float32", hardware="GPU", seed=3
        ),
        replace(ood, stability=None, throughput=None),
    ]


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory):
    browser = Browser(
        *chromium, profile=tmp_path_factory.mktemp("profile"), width=1400, height=900
    )
    yield browser
    browser.close()


@pytest.fixture
def page(browser, tmp_path_factory):
    """A fresh page, wide; afterwards the console must be empty."""
    folder = tmp_path_factory.mktemp("a folder with spaces")
    path = write_board(with_digests(records()), folder)[0]
    browser.resize(1400, 900)
    browser.dark(is_dark=False)
    browser.open(path)
    yield browser
    assert browser.console() == []


def shown(page):
    """Names of the rows one can see, section by section, from top to bottom."""
    return page.run(
        "return [...document.querySelectorAll('.part-section')]"
        ".filter(s => s.offsetParent)"
        ".map(s => [...s.querySelectorAll('.row')].filter(r => r.offsetParent)"
        ".map(r => r.querySelector('.open, .name').textContent))"
    )


def first_names(page):
    return shown(page)[0]


def head(page, key):
    return page.find(f".part-section:first-child .board > thead th[data-key={key}]")[0]


def sort_by(page, key):
    selector = f".part-section:first-child .board > thead th[data-key={key}] button"
    page.click(page.find(selector)[0])
    return page.run("return arguments[0].getAttribute('aria-sort')", head(page, key))


def choose(page, name, value):
    page.run(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}));"
        "s.dispatchEvent(new Event('change', {bubbles: true}));",
        name,
        value,
    )


def test_the_page_opens_ranked_and_with_its_baseline(page):
    assert page.run("return document.title") == "dpbench leaderboard"
    assert first_names(page) == [
        "large",
        "small",
        "small",
        HOSTILE,
        "peeked",
        "composition-only",
    ]


def test_a_click_on_a_head_sorts_and_another_turns_around(page):
    assert sort_by(page, "md_us_per_atom_step") == "ascending"
    up = first_names(page)
    assert up[-1] == "composition-only"  # no speed: last
    assert up[0] == "small"
    assert sort_by(page, "md_us_per_atom_step") == "descending"
    down = first_names(page)
    assert down[0] == "large"
    assert down[-1] == "composition-only"  # still last
    marks = page.run(
        "return [...document.querySelectorAll('.part-section:first-child "
        ".board > thead th')].map(h => h.getAttribute('aria-sort'))"
    )
    assert sorted(set(marks)) == ["descending", "none"]


def test_sorting_by_name_is_alphabetic(page):
    sort_by(page, "model")
    assert first_names(page)[0] == HOSTILE
    assert first_names(page)[-1] == "small"


def test_sorting_keeps_details_under_their_rows(page):
    sort_by(page, "md_us_per_atom_step")
    assert page.run(
        "return [...document.querySelectorAll('.row[data-details]')].every("
        "r => r.nextElementSibling.id === r.dataset.details)"
    )


def test_a_filter_hides_other_rows_sections_and_plots(page):
    choose(page, "filter-hardware", "GPU")
    assert shown(page) == [["small", "composition-only"]]
    figures = page.run(
        "return [...document.querySelectorAll('figure')]"
        ".filter(f => f.offsetParent).map(f => f.dataset.hardware)"
    )
    assert figures == ["GPU"]
    assert "1 of 6 rows" in page.run(
        "return document.getElementById('status').innerText"
    )
    choose(page, "filter-part", "ood")
    assert shown(page) == []
    assert page.run("return document.getElementById('nothing').offsetParent !== null")


def test_typing_searches_and_reset_brings_all_back(page):
    page.type(page.find("#filter-text")[0], "LARGE")
    assert shown(page) == [["large", "composition-only"]]
    page.click(page.find("button[type=reset]")[0])
    page.wait("return [...document.querySelectorAll('.row[hidden]')].length", 0)
    assert [len(names) for names in shown(page)] == [6, 2]


def test_a_click_on_a_row_unfolds_its_record_and_provenance(page):
    row = page.find("tr.row[data-search^=large]")[0]
    page.click(row)
    panel = page.run(
        "const r = arguments[0], d = document.getElementById(r.dataset.details);"
        "return [r.querySelector('.open').getAttribute('aria-expanded'), d.hidden,"
        "d.innerText, d.querySelectorAll('svg.plot').length]",
        row,
    )
    assert panel[:2] == ["true", False]
    for words in ("dpbench evaluate --model large.pth", "run-large", "a" * 64, "Split"):
        assert words in panel[2]
    assert panel[3] == 3  # two parity plots and the energy trace
    page.click(row)
    assert page.run(
        "return document.getElementById(arguments[0].dataset.details).hidden", row
    )


def test_the_keyboard_unfolds_a_row_too(page):
    button = page.find(".open")[0]
    page.type(button, "\ue007")
    assert (
        page.run("return arguments[0].getAttribute('aria-expanded')", button) == "true"
    )


def test_a_point_of_the_plot_leads_to_its_row(page):
    point = page.find("figure a[data-row]")[0]
    page.run("arguments[0].dispatchEvent(new Event('click', {bubbles: true}))", point)
    opened = page.run(
        "const r = document.getElementById('row-' + arguments[0].dataset.row);"
        "return r.querySelector('.open').getAttribute('aria-expanded')",
        point,
    )
    assert opened == "true"


def test_hostile_names_are_shown_and_not_run(page):
    assert HOSTILE in first_names(page)
    assert page.find(".model b") == []
    assert page.run("return document.title") != "owned"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("is_dark", [False, True])
def test_nothing_overflows_at_any_width(page, width, is_dark):
    page.dark(is_dark=is_dark)
    page.resize(width, 900)
    page.run("document.querySelectorAll('.open').forEach(b => b.click())")
    assert page.run("return document.documentElement.scrollWidth") <= width


def luminance(colour):
    channels = [int(c) / 255 for c in colour]
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("selector", [".value", ".under", ".badge.warn", ".open"])
def test_text_stands_out_from_its_ground(page, is_dark, selector):
    """WCAG 2.1 AA: contrast of at least 4.5."""
    page.dark(is_dark=is_dark)
    theme = "dark" if is_dark else "light"
    page.wait("return document.documentElement.dataset.theme", theme)
    colours = page.run(
        "let e = document.querySelector('.board ' + arguments[0]);"
        "const text = getComputedStyle(e).color; let ground;"
        "do { ground = getComputedStyle(e).backgroundColor; e = e.parentElement; }"
        "while (ground === 'rgba(0, 0, 0, 0)');"
        "return [text, ground].map(c => c.match(/\\d+/g).slice(0, 3));",
        selector,
    )
    light, dim = sorted((luminance(c) for c in colours), reverse=True)
    assert (light + 0.05) / (dim + 0.05) >= 4.5


def test_the_theme_follows_the_system_until_the_button_is_pressed(page):
    theme = "return document.documentElement.dataset.theme"
    page.dark(is_dark=True)
    page.wait(theme, "dark")
    page.click(page.find("#theme")[0])
    page.wait(theme, "light")
    page.dark(is_dark=False)
    page.wait("return matchMedia('(prefers-color-scheme: dark)').matches", False)
    page.dark(is_dark=True)
    page.wait("return matchMedia('(prefers-color-scheme: dark)').matches", True)
    page.wait(theme, "light")


def test_on_a_phone_rows_are_cards_that_can_be_sorted(page):
    page.resize(390, 844)
    assert (
        page.run(
            "return getComputedStyle(document.querySelector('.board thead')).display"
        )
        == "none"
    )
    choose(page, "sort-by", "md_us_per_atom_step")
    assert first_names(page)[0] == "small"
