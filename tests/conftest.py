"""Fixtures of every test, and what a missing thing means.

A test that needs shared data, a browser or DeePMD-kit skips with the reason where
that is missing. ``DPBENCH_REQUIRE=all`` (or a comma-separated list of the markers
below) turns such a skip into a failure: a green CI run has then seen everything.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile(
    "dpbench",
    max_examples=40,
    deadline=None,  # a timed test fails on a busy machine
    derandomize=True,  # the same examples in every run; the fuzz stage goes further
    database=None,
)
hypothesis.settings.load_profile("dpbench")


def pytest_configure() -> None:
    """Let idle threads sleep, before anything imports torch or numba."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def absent(need: str, reason: str) -> None:
    """Skip the test, or fail it where ``need`` is required."""
    required = os.environ.get("DPBENCH_REQUIRE", "").split(",")
    if "all" in required or need in required:
        pytest.fail(f"DPBENCH_REQUIRE asks for {need}: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def figures(record_property):
    """Say a line that stands at the end of the log, whatever process ran the test."""
    return lambda text: record_property("figures", text)


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what the tests counted: kills, flips, mutations."""
    reports = [
        r for key in ("passed", "failed") for r in terminalreporter.getreports(key)
    ]
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {text}"
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == "figures"
    ]
    if lines:
        terminalreporter.section("figures")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def own_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the workspace of whoever runs it."""
    monkeypatch.delenv("DPBENCH_WORKSPACE", raising=False)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave fsync out: no test cuts the power, and a segment forces forty files."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def own_loudness() -> Iterator[None]:
    """Leave the logger as it was: a command that ran with -q silences later tests."""
    logger = logging.getLogger("dpbench")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data folder, with ``generated/`` and ``thirdparty/``."""
    named = os.environ.get("DPBENCH_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not (folder / "generated").is_dir():
        absent("shared_data", f"no shared data at {folder}; set DPBENCH_TEST_DATA")
    return folder.resolve()


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """Paths of chromium and chromedriver."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        absent("browser", "chromium and chromedriver are not installed")
    return str(browser), str(driver)


@pytest.fixture(scope="session")
def deepmd_python() -> str:
    """The interpreter of an environment that has DeePMD-kit."""
    python = os.environ.get("DPBENCH_DEEPMD_PYTHON", "")
    if not Path(python).is_file():
        absent("deepmd", "DPBENCH_DEEPMD_PYTHON names no interpreter with DeePMD-kit")
    return python


@pytest.fixture(scope="session")
def services_python() -> Path:
    """The interpreter of an environment that has moto and mlcroissant."""
    python = Path(os.environ.get("DPBENCH_SERVICES_PYTHON", ""))
    if not python.is_file():
        absent("services", "DPBENCH_SERVICES_PYTHON names no interpreter")
    return python


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of PostgreSQL's initdb and pg_ctl."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        absent("postgres", "PostgreSQL's initdb is not installed")
    return Path(on_path).resolve().parent if on_path else found[-1].parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs more than Python from the fixtures that it asks for."""
    needs = {
        "shared_data": pytest.mark.shared_data,
        "chromium": pytest.mark.browser,
        "deepmd_python": pytest.mark.deepmd,
        "services_python": pytest.mark.services,
        "postgres_programs": pytest.mark.postgres,
    }
    for item in items:
        for fixture, mark in needs.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
