"""``dpbench backends``, as a user calls it."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.store.workspace import Workspace
from tests.backends.tiny_package import make_wheel, write_card

CHECK = """
[check]
model = "argon.tiny"
elements = ["Ar", "Ar"]
spacing = 3.7
energy = {energy}
"""

MODEL = "0.0104 3.4 -1.5 Ar Ne\n"

ENERGY = 4 * 0.0104 * ((3.4 / 3.7) ** 12 - (3.4 / 3.7) ** 6) - 3.0


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a command in a workspace that has the card of ``tinypot``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "envs"))
    workspace = Workspace.find(tmp_path / "ws", create=True)
    write_card(workspace.root / "backends")
    make_wheel(tmp_path / "wheels")

    def run(*words, code=0):
        result = CliRunner().invoke(cli, ["--workspace", "ws", "backends", *words])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.output

    return run


def with_check(energy: float, **words) -> None:
    folder = write_card(Path("ws/backends"), **words)
    card = folder / "tinypot.toml"
    card.write_text(card.read_text() + CHECK.format(energy=energy))
    (folder / "check").mkdir(exist_ok=True)
    (folder / "check" / "argon.tiny").write_text(MODEL)


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [name])


def test_backend_goes_from_a_card_to_an_installation_and_away(call):
    assert row(call("list"), "tinypot").endswith("not installed")
    told = call("install", "tinypot", "--wheelhouse", "wheels")
    # What venv leaves in an environment, where uv leaves nothing.
    left = ("pip", "setuptools") if sys.version_info < (3, 12) else ("pip",)
    count = 1 if shutil.which("uv") else 1 + len(left)
    assert f"tinypot: installed, {count} packages in" in told
    assert row(call("list"), "tinypot").endswith("installed, 1.2.3")
    line = row(call("check", "tinypot"), "tinypot")
    assert line.split()[1:3] == ["1.2.3", "imports"]
    shown = call("show", "tinypot")
    assert "TINY_FOLDER = {site}/tinypot" in shown
    assert "tinypot:BUILD = compiler = none, threads = 1" in shown
    assert "tinypot 1.2.3" in shown
    found = json.loads(call("show", "tinypot", "--json"))
    assert found["environment"]["card"] == found["digest"]
    assert "is installed already" in call("install", "tinypot")
    assert "removed" in call("remove", "tinypot")
    assert row(call("list"), "tinypot").endswith("not installed")
    assert "nothing to remove" in call("remove", "tinypot", code=1)


def test_check_says_what_mends_a_missing_backend(call):
    text = call("check", "tinypot", code=1)
    assert "absent" in text
    assert "dpbench backends install tinypot" in text
    rows = json.loads(call("check", "--json"))  # absent, but nobody asked for it
    mine = next(found for found in rows if found["name"] == "tinypot")
    assert (mine["installed"], mine["works"]) == (False, False)


def test_check_calculates_in_the_worker(call):
    with_check(ENERGY, imports="numpy")
    card = Path("ws/backends/tinypot.toml")
    card.write_text(card.read_text().replace("facts =", "# facts ="))
    call("add", "tinypot", "--python", sys.executable)
    line = row(call("check", "tinypot"), "tinypot")
    assert line.split()[2] == "works"
    assert f"2 atoms: energy {ENERGY:.6f} eV" in line
    with_check(ENERGY + 1e-5, imports="numpy")
    wrong = call("check", "tinypot", code=1)
    assert "broken" in wrong
    assert f"expected {ENERGY + 1e-5:.8f} eV" in wrong


def test_check_tells_what_changed_and_what_the_card_lacks(call):
    with_check(ENERGY, imports="numpy")
    call("add", "tinypot", "--python", sys.executable)
    manifest = Path("envs/tinypot/dpbench-backend.json")
    data = json.loads(manifest.read_text())
    data["fingerprint"]["packages"]["numpy"] = "0.1"
    manifest.write_text(json.dumps(data))
    line = row(call("check", "tinypot"), "tinypot")
    assert "; changed since it was adopted: numpy 0.1 -> " in line
    Path("ws/backends/check/argon.tiny").unlink()
    text = call("check", "tinypot", code=1)
    assert "argon.tiny: is missing; the card's check needs it" in text


def test_check_of_a_worker_that_dies_is_one_line_and_the_rest_goes_on(call):
    with_check(ENERGY, imports="numpy")
    Path("ws/backends/tiny_adapter.py").write_text("import os\nos._exit(3)\n")
    call("add", "tinypot", "--python", sys.executable)
    rows = json.loads(call("check", "tinypot", "nope", "--json", code=1))
    assert [found["state"] for found in rows] == ["broken", "broken"]
    assert "\n" not in rows[0]["words"]
    assert "is no backend." in rows[1]["words"]


def test_check_names_an_older_card(call):
    call("install", "tinypot", "--wheelhouse", "wheels")
    make_wheel(Path("wheels"), "2.0")
    write_card(Path("ws/backends"), requirement="tinypot==2.0")
    text = call("check", "tinypot", code=1)
    assert "made from an older card" in text
    assert "from an older card" in row(call("list"), "tinypot")


def test_card_that_is_at_fault_spoils_one_row_alone(call):
    path = Path("ws/backends/tinypot.toml")
    path.write_text(path.read_text().replace("licence", "license"))
    text = call("list")
    assert "did you mean 'licence'?" in row(text, "tinypot")
    assert "DeePMD-kit" in row(text, "deepmd")
    assert "broken" in call("check", "tinypot", code=1)


def test_environment_whose_card_is_gone_can_be_removed(call):
    call("install", "tinypot", "--wheelhouse", "wheels")
    Path("ws/backends/tinypot.toml").unlink()
    assert "removed" in call("remove", "tinypot")


@pytest.mark.parametrize("name", ["..", "../wheels", "wheels", "/", ""])
def test_remove_takes_environments_alone(call, tmp_path, name):
    (tmp_path / "envs" / "wheels").mkdir(parents=True)
    assert "is no backend." in call("remove", "--", name, code=1)
    assert (tmp_path / "wheels").is_dir()
    assert (tmp_path / "envs" / "wheels").is_dir()


def test_backends_are_listed_without_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "envs"))
    result = CliRunner().invoke(cli, ["backends", "list", "--json"])
    assert result.exit_code == 0
    assert {"deepmd-tf", "lammps"} <= {r["backend"] for r in json.loads(result.stdout)}
    assert list(tmp_path.iterdir()) == []
