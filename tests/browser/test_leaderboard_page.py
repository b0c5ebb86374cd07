"""The page as a person meets it: opened from disk in a real browser."""

import json
import re
from dataclasses import replace

import pytest

from dpbench.eval.leaderboard import write_board
from dpbench.eval.suites.loading import load_suite
from dpbench.eval.task_results import Fidelity, TaskResult
from dpbench.eval.web.numbers import number, spread_text
from dpbench.metrics.definitions import metric_value
from tests.eval.synthetic_records import exploded, synthetic_record, with_digests
from tests.eval.test_leaderboard_suites import on_suite

pytestmark = pytest.mark.slow

HOSTILE = 'a <b>bold</b> & "quoted" <script>document.title = "owned"</script>'
WIDTHS = (360, 768, 1400)
RIGHT, DOWN, END = "\ue014", "\ue015", "\ue010"
OFF = Fidelity(
    reference="dpbench, float64",
    nframes=8,
    energy_max_per_atom_mev=0.01,
    force_mae_component_mev_per_ang=0.4,
    force_max_component_mev_per_ang=1.9,
)


def records():
    ood = synthetic_record(model="small", force=200, part="ood")
    fast = synthetic_record(
        model="small", force=61, precision="float32", hardware="GPU", seed=3
    )
    return [
        synthetic_record(model="small", force=60, speed=20),
        synthetic_record(model="large", force=40, speed=150, seed=1),
        exploded(synthetic_record(model=HOSTILE, force=80, speed=70, seed=2)),
        synthetic_record(model="peeked", force=5, marks=("validation frames",)),
        replace(fast, accuracy=replace(fast.accuracy, fidelity=OFF)),
        replace(ood, stability=None, throughput=None),
    ]


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
    assert sort_by(page, "nve_drift_mev_per_atom_ps") == "ascending"
    up = first_names(page)
    assert up[-2:] == [HOSTILE, "composition-only"]  # no drift: last
    assert sort_by(page, "energy_mae_per_atom_mev") == "ascending"
    up = first_names(page)
    assert up[0] == "peeked"
    assert up[-1] == "composition-only"
    assert sort_by(page, "energy_mae_per_atom_mev") == "descending"
    assert first_names(page) == up[::-1]
    marks = page.run(
        "return [...document.querySelectorAll('.part-section:first-child "
        ".board > thead th')].map(h => h.getAttribute('aria-sort'))"
    )
    assert sorted(set(marks)) == ["descending", "none"]


def test_sorting_by_name_is_alphabetic(page):
    sort_by(page, "model")
    assert first_names(page)[0] == HOSTILE
    assert first_names(page)[-1] == "small"


def test_speeds_of_two_machines_never_stand_in_one_list(page):
    """T6: sorted by speed, each machine has a list of its own."""
    sort_by(page, "md_us_per_atom_step")
    told = page.run(
        "return [...document.querySelector('.part-section').querySelectorAll("
        "'.row, .group')].map(r => r.matches('.group') ? r.innerText.trim() :"
        "r.querySelector('.open, .name').textContent)"
    )
    assert told[0] == "On GPU"
    assert told[1:3] == ["small", "On Made-up CPU, 2 threads"]
    assert told[3:] == ["small", "peeked", HOSTILE, "large", "composition-only"]


def test_a_fast_mode_shows_its_error_beside_the_speed(page):
    """E5: so does one that nobody compared."""
    cells = page.run(
        "return [...document.querySelectorAll('.part-section:first-child .row')]"
        ".map(r => r.querySelector(\"[data-label^='MD step']\").innerText)"
    )
    assert sum("0.400 meV/Å off float64" in cell for cell in cells) == 1
    assert sum("not compared" in cell for cell in cells) == 0


def test_sorting_keeps_details_under_their_rows(page):
    page.run("document.querySelectorAll('.open').forEach(b => b.click())")
    sort_by(page, "md_us_per_atom_step")
    assert page.run(
        "return [...document.querySelectorAll('.row[data-id]')].every("
        "r => r.nextElementSibling.dataset.details === r.dataset.id)"
    )


def test_a_filter_hides_other_rows_sections_and_plots(page):
    choose(page, "filter-hardware", "GPU")
    assert shown(page) == [["small", "composition-only"]]
    figures = page.run(
        "return [...document.querySelectorAll('figure')]"
        ".filter(f => f.offsetParent).map(f => f.dataset.hardware)"
    )
    assert figures == ["GPU", "GPU"]  # accuracy against speed, cost against size
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
    page.wait("return document.querySelectorAll('.row').length", 8)
    assert [len(names) for names in shown(page)] == [6, 2]


def test_a_click_on_a_row_unfolds_its_record_and_provenance(page):
    row = page.find("tr.row")[0]
    page.click(row)
    page.wait("return document.querySelectorAll('.details svg.plot').length", 5)
    told, expanded = page.run(
        "return [document.querySelector('.details').innerText,"
        "arguments[0].querySelector('.open').getAttribute('aria-expanded')]",
        row,
    )
    assert expanded == "true"
    for words in ("dpbench evaluate --model large.pth", "run-large", "a" * 64, "Split"):
        assert words in told
    assert "dpbench reproduce " in told
    whole = page.find(".details [data-card=Record] summary")[0]
    page.click(whole)
    page.wait("return !document.querySelector('.details pre').textContent", False)
    text = page.run("return document.querySelector('.details pre').textContent")
    assert json.loads(text)["model"]["name"] == "large"
    page.run("window.scrollTo(0, 0)")
    page.click(row)
    assert page.find(".details") == []


def test_the_keyboard_unfolds_a_row_too(page):
    button = page.find(".open")[0]
    page.type(button, "\ue007")
    assert (
        page.run("return arguments[0].getAttribute('aria-expanded')", button) == "true"
    )


def test_a_point_of_the_plot_leads_to_its_row(page):
    point = page.find("figure a[data-open]")[0]
    page.run("arguments[0].dispatchEvent(new Event('click', {bubbles: true}))", point)
    opened = page.run(
        "const r = document.getElementById('row-' + arguments[0].dataset.open);"
        "return r.querySelector('.open').getAttribute('aria-expanded')",
        point,
    )
    assert opened == "true"


def test_every_number_leads_to_its_record(page):
    """L2: a click on a cell opens the record at the task that measured it."""
    cell = page.find("tr.row a.cell[data-task=stability]")[0]
    assert "task=stability" in page.run("return arguments[0].hash", cell)
    page.click(cell)
    page.wait(
        "return document.querySelector('.card.found')?.dataset.card",
        "Energy conservation",
    )
    numbers = page.run(
        "return [...document.querySelectorAll('.row[data-id] .num .value')]"
        ".filter(v => v.textContent !== '–' && !v.closest('a.cell')).length"
    )
    assert numbers == 0


def test_a_command_is_copied(page):
    page.allow_clipboard()
    page.click(page.find("tr.row")[0])
    page.wait("return document.querySelectorAll('.details .copy').length > 0", True)
    button = page.find(".details .copy")[0]
    page.click(button)
    page.wait("return arguments[0].textContent", "Copied", button)
    copied = page.run_async(
        "navigator.clipboard.readText().then(arguments[arguments.length - 1])"
    )
    assert re.fullmatch("dpbench reproduce [0-9a-f]{12}", copied)


def test_an_interval_is_told_on_hover_and_by_the_keyboard(page):
    cell = page.find("tr.row a.cell")[0]
    tip = "const t = document.getElementById('tip'); return t.hidden ? '' : t.innerText"
    page.hover(cell)
    page.wait(tip, "95 % interval 1.71 to 1.89 meV/atom")
    page.hover(page.find("h1")[0])
    page.wait(tip, "")
    page.type(page.find("tr.row .open")[0], RIGHT)
    page.wait(tip, "95 % interval 1.71 to 1.89 meV/atom")


def test_arrows_walk_through_the_rows(page):
    page.type(page.find("tr.row .open")[0], DOWN + DOWN)
    focus = (
        "return document.activeElement.closest('.row')?.getAttribute('aria-rowindex')"
    )
    page.wait(focus, "4")
    page.type(page.find("tr.row .open")[2], END)
    page.wait(focus, "6")  # the baseline below it has no record


def test_a_link_brings_back_filters_sort_and_row(page):
    choose(page, "filter-part", "test")
    choose(page, "filter-precision", "float64")
    sort_by(page, "energy_mae_per_atom_mev")
    page.click(page.find("tr.row .open")[0])
    page.wait("return document.querySelectorAll('.details .card').length > 3", True)
    told, address = shown(page), page.run("return location.hash")
    for words in ("part=test", "precision=float64", "sort=energy_mae", "row="):
        assert words in address
    other = page.path.parent / "a copy.html"
    other.write_bytes(page.path.read_bytes())
    page.open(other, fragment=address)
    assert shown(page) == told
    page.wait("return document.querySelectorAll('.details .card').length > 3", True)
    assert page.run("return document.getElementById('filter-part').value") == "test"
    page.click(page.find("button[type=reset]")[0])
    page.wait("return location.hash.includes('part=')", False)


def test_an_old_link_to_a_row_still_opens_it(page):
    name = page.run("return document.querySelector('.row').dataset.id")
    page.open(page.path.parent / "index.html", fragment=f"#row-{name}&x")
    page.open(page.path, fragment=f"#row-{name}")
    page.wait("return document.querySelectorAll('.details .card').length > 3", True)


def test_roles_tell_a_screen_reader_what_is_there(page):
    assert page.run(
        "const t = document.querySelector('.board');"
        "return [t.getAttribute('role'), t.getAttribute('aria-rowcount'),"
        "t.getAttribute('aria-colcount'), [...t.querySelectorAll('tr')]"
        ".map(r => r.getAttribute('aria-rowindex')).join()]"
    ) == ["table", "7", "11", "1,2,3,4,5,6,7"]
    unnamed = page.run(
        "return [...document.querySelectorAll('svg.plot, select, input, table.board')]"
        ".filter(e => !(e.ariaLabel || e.labels?.length)).length"
    )
    assert unnamed == 0


def test_the_script_writes_numbers_as_python_does(page):
    values = [0.0, 1.005, 2.745, 12.25, 100.5, 999.6, 0.00123, 9.999, 2.5e-5, 1.5e6, -3]
    told = [
        cell.split()
        for cell in page.run("return window.dpbenchNumbers(arguments[0])", values)
    ]
    assert told == [[number(v), spread_text(v, 0.02)] for v in values]


def test_hostile_names_are_shown_and_not_run(page):
    assert HOSTILE in first_names(page)
    page.run("document.querySelectorAll('.open').forEach(b => b.click())")
    page.wait("return document.querySelectorAll('.details .card').length > 30", True)
    assert page.find(".model b, .details script, .details b, .details iframe") == []
    links = page.run(
        "return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
    )
    assert not [link for link in links if link.startswith("javascript")]
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
    choose(page, "sort-by", "energy_mae_per_atom_mev")
    assert first_names(page)[0] == "peeked"


@pytest.fixture
def suite_page(browser, tmp_path):
    """A board with a suite, a training of three seeds, and tasks with curves."""
    curves = {"heating": {"progress": [0, 0.5, 1], "alive": [1, 1, 0.5], "systems": []}}
    ramps = TaskResult(
        task="ramps",
        code="c" * 64,
        status="ok",
        metrics=(metric_value("heating_survival_auc", 0.8, n=2),),
        samples=curves,
    )
    points = [
        {"step": s, "rmse_f_validation": 1 / s, "rmse_f_train": 0.9 / s}
        for s in (1, 10, 100)
    ]
    made = []
    for seed in (1, 2, 3):
        record = on_suite(synthetic_record(model=f"dp-s{seed}", force=60 + seed))
        run = {"seed": seed, "config": {"a": 1}, "curve": {"points": points}}
        provenance = replace(
            record.provenance,
            run=run,
            training_dataset=record.dataset,
            training_split=record.split,
            theory_conflicts=("functional",),
        )
        made.append(replace(record, provenance=provenance, tasks={"ramps": ramps}))
    browser.resize(1400, 900)
    browser.dark(is_dark=False)
    browser.open(write_board(with_digests(made), tmp_path)[0])
    yield browser
    assert browser.console() == []


def test_a_suite_stands_first_with_its_published_rows(suite_page):
    names = "return [...document.querySelectorAll('.suite-section .name')]"
    assert suite_page.run(f"{names}.map(n => n.textContent)") == [
        *("dp", "GAP", "MTP", "SNAP", "qSNAP")
    ]
    head = suite_page.find(".suite th[data-key='0'] button")[0]
    suite_page.click(head)
    first = suite_page.run(f"{names}[0].textContent")
    assert first == "MTP"
    suite_page.click(suite_page.find(".suite a.cell")[0])
    suite_page.wait("return document.querySelectorAll('.details').length", 1)


def test_numbers_that_do_not_count_are_folded_away(browser, tmp_path):
    suite = load_suite("si-lda")
    keys = [data.key for data in suite.file.data]
    record = on_suite(synthetic_record(model="dp"), suite=suite, key=keys[0])
    browser.open(write_board(with_digests([record]), tmp_path)[0])
    counting = sum(metric.weight > 0 for metric in suite.file.metric)
    heads = "return document.querySelectorAll('.suite th[data-key]').length"
    assert browser.run(heads) == 3 + counting
    (fold,) = browser.find(".suite-section .fold")
    browser.click(fold)
    assert browser.run(heads) == 3 + len(suite.file.metric)
    cells = "return document.querySelectorAll('.suite tbody tr:first-child > *').length"
    assert browser.run(cells) == 3 + len(suite.file.metric)
    browser.click(fold)
    assert browser.run(heads) == 3 + counting
    assert browser.console() == []


def test_seeds_and_curves_are_shown(suite_page):
    row = suite_page.find(".row[data-id]")[0]
    told = suite_page.run("return arguments[0].innerText", row)
    assert "3 seeds" in told
    assert "other level of theory" in told
    suite_page.click(row)
    suite_page.wait("return document.querySelectorAll('.details .seed').length", 3)
    labels = suite_page.run(
        "return [...document.querySelectorAll('.details svg')].map(s => s.ariaLabel)"
    )
    for words in ("Learning curve", "Survival curve; heating: 50", "Parity plot"):
        assert any(words in label for label in labels), words
    choose(suite_page, "columns", "dynamics")
    heads = suite_page.run(
        "return [...document.querySelectorAll('.board:not(.suite) th[data-key]')]"
        ".map(h => h.dataset.key)"
    )
    assert "heating_survival_auc" in heads
    assert "energy_mae_per_atom_mev" not in heads


def test_the_page_asks_for_nothing_when_it_is_used(page):
    """L1: neither the page nor an opened record loads anything."""
    page.click(page.find("tr.row")[0])
    page.wait("return document.querySelectorAll('.details .card').length > 5", True)
    asked = "return performance.getEntriesByType('resource').map(r => r.name)"
    assert [name for name in page.run(asked) if not name.startswith("data:")] == []


def test_a_forgotten_escape_would_not_run(page):
    """The planted fault: markup of a record as markup, past every escape."""
    page.run(
        "const s = document.createElement('script'); s.text = 'document.title = 1';"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=y()>');"
        "document.body.insertAdjacentHTML('beforeend',"
        "'<a id=evil href=\"javascript:document.title=2\">x</a>');"
        "document.getElementById('evil').click()"
    )
    assert page.run("return document.title") == "dpbench leaderboard"
    told = [entry["message"] for entry in page.console()]
    assert told
    assert all("Content Security Policy" in message for message in told)
