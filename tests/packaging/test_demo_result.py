"""What `make demo` left: its results meet their targets and its page opens."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import absent

pytestmark = pytest.mark.slow


@pytest.fixture
def demo_folder():
    """Folder of a standard demo that has run, named by DPBENCH_DEMO."""
    folder = Path(os.environ.get("DPBENCH_DEMO", ""))
    if not (folder / "demo.json").is_file():
        absent("demo", "DPBENCH_DEMO names no folder in which the demo has run")
    return folder


def test_both_held_out_runs_meet_their_targets(demo_folder):
    report = json.loads((demo_folder / "demo.json").read_text(encoding="utf-8"))
    assert report["mode"] == "standard"
    assert [outcome["part"] for outcome in report["outcomes"]] == ["test", "ood"]
    missed = [outcome for outcome in report["outcomes"] if not outcome["is_met"]]
    assert not missed


def test_page_shows_both_parts_in_a_browser(demo_folder, chromium, tmp_path):
    browser, _ = chromium
    page = demo_folder / "leaderboard" / "index.html"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={tmp_path}", "--dump-dom"),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for word in ("si8-v1", "test", "ood", "composition-only"):
        assert word in done.stdout
