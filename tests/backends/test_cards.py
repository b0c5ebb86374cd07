"""Cards of backends: strict, shared like their environment, and true to their files."""

import dataclasses
import re
from pathlib import Path

import pytest

from dpbench.backends import cards, environments
from dpbench.backends.check import CHECK_FOLDER
from dpbench.backends.python_bound import satisfies
from dpbench.errors import BackendError, ConfigError
from dpbench.registry_files import registry_folder
from tests.backends.tiny_package import write_card

SHIPPED = sorted(cards.card_files())

DEEPMD = {
    "deepmd",
    "deepmd-tf",
    "deepmd-pt",
    "deepmd-ptexpt",
    "deepmd-jax",
    "deepmd-tf2",
}


@pytest.fixture
def own(tmp_path):
    """A folder with the card of ``tinypot``."""
    return write_card(tmp_path / "backends")


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "tinypot.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("name", SHIPPED)
def test_card_loads_and_names_files_that_are_there(name):
    card = cards.load_card(name)
    assert card.adapter_path.is_file()
    assert card.licence
    assert card.homepage.startswith("https://")
    assert cards.load_card(card.environment).environment == card.environment
    if card.check is not None and card.check.model:
        assert (card.folder / CHECK_FOLDER / card.check.model).is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_text_needs_no_trust_only_where_nothing_unpickles(name):
    card = cards.load_card(name)
    reads_text = card.adapter == "lammps_pair.py" or name in ("ase", "emt", "nep")
    assert card.reads_text == reads_text


@pytest.mark.parametrize("name", SHIPPED)
def test_requirements_bring_no_index_and_name_versions(name):
    card = cards.load_card(name)
    for requirement in card.requirements + card.without_dependencies:
        assert "://" not in requirement
        assert not requirement.startswith("-")
    assert card.requirements == () or re.search(r"[=~<>]=?\d", card.requirements[0])


def test_models_of_checks_all_belong_to_a_card():
    folder = registry_folder() / cards.FOLDER / CHECK_FOLDER
    named = {card.check.model for card in cards.all_cards().values() if card.check}
    assert {path.name for path in folder.iterdir()} <= named


def test_backends_of_deepmd_kit_share_one_environment():
    assert {n for n, c in cards.all_cards().items() if c.environment == "deepmd"} >= (
        DEEPMD
    )
    assert len({cards.load_card(name).digest for name in DEEPMD}) == 1


def test_lammps_with_deepmd_kit_finds_the_cuda_runtime():
    """Its operators are linked to libcudart.so.12, also where there is no GPU."""
    card = cards.load_card("deepmd-pt")
    assert any(r.startswith("nvidia-cuda-runtime-cu12") for r in card.requirements)
    values = environments.variables_of(card, {}, site="/env/site", prefix="/env")
    first = values["LD_LIBRARY_PATH"].split(":")[0]
    assert first == "/env/site/nvidia/cuda_runtime/lib"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "', 'titel = "', "did you mean 'title'"),
        ('licence = "MIT"', "", "missing key 'licence'"),
        ('">=3.9"', '"3.9 or newer"', "expected clauses such as"),
        ('[".tiny"]', '["tiny"]', "must start with a dot"),
        ('"tinypot:BUILD"', '"tinypot.BUILD"', "is not 'module:attribute'"),
        ('name = "tinypot"', 'name = "tiny"', "expected 'tinypot', the file's own"),
        ("suffixes", 'folder = "/"\nsuffixes', "unknown key 'folder'"),
        ("suffixes", 'environment = "none"\nsuffixes', "no card of that name"),
        ("suffixes", 'environment = "deepmd"\nsuffixes', "has 'python', which"),
        ("suffixes", 'environment = "deepmd-pt"\nsuffixes', "names another environ"),
    ],
)
def test_fault_of_a_card_is_named(own, old, new, message):
    change(own, old, new)
    with pytest.raises(ConfigError, match=message) as caught:
        cards.load_card("tinypot", own_cards=own)
    assert "tinypot.toml" in str(caught.value)


@pytest.mark.parametrize("name", ["dpbench", "Tiny", "tiny_pot", "../tiny"])
def test_name_that_nothing_could_use_is_refused(own, name):
    with pytest.raises(ConfigError, match="expected lower-case letters"):
        dataclasses.replace(cards.load_card("tinypot", own_cards=own), name=name)


def test_adapter_that_is_not_there_is_named(own):
    (own / "tiny_adapter.py").unlink()
    with pytest.raises(ConfigError, match="no such file beside the card"):
        _ = cards.load_card("tinypot", own_cards=own).adapter_path


def test_own_card_may_not_take_a_shipped_name(own):
    write_card(own, "lammps")
    with pytest.raises(ConfigError, match="ships with dpbench"):
        cards.card_files(own)


def test_unknown_backend_names_the_known(own):
    with pytest.raises(BackendError, match=r"Known: .*deepmd-pt.*tinypot"):
        cards.load_card("mase", own_cards=own)


def test_card_takes_over_what_its_environment_says(own):
    (own / "tiny-two.toml").write_text(
        'name = "tiny-two"\ntitle = "Two"\nenvironment = "tinypot"\n'
        'adapter = "tiny_adapter.py"\nimports = "tinypot"\n'
        '[env]\nTINY_FOLDER = "elsewhere"\n'
    )
    one, two = (cards.load_card(n, own_cards=own) for n in ("tinypot", "tiny-two"))
    assert (two.licence, two.requirements) == (one.licence, one.requirements)
    assert two.env == one.env | {"TINY_FOLDER": "elsewhere"}
    assert two.digest == one.digest


def test_digest_follows_what_is_installed_and_nothing_else(own):
    card = cards.load_card("tinypot", own_cards=own)
    for key, value in [("requirements", ("tinypot==2",)), ("python", ">=3.10")]:
        assert dataclasses.replace(card, **{key: value}).digest != card.digest
    for key, value in [("notes", "more"), ("env", {}), ("title", "Other")]:
        assert dataclasses.replace(card, **{key: value}).digest == card.digest


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (">=3.10,<3.14", [(3, 10), (3, 13)], [(3, 9), (3, 14), (2, 11)]),
        ("==3.11", [(3, 11)], [(3, 10), (3, 12)]),
        (">3.9, !=3.11, <=3.12", [(3, 10), (3, 12)], [(3, 9), (3, 11), (3, 13)]),
    ],
)
def test_bound_holds_versions(bound, inside, outside):
    assert all(satisfies(version, bound) for version in inside)
    assert not any(satisfies(version, bound) for version in outside)


@pytest.mark.parametrize(
    "line",
    [
        'LD_PRELOAD = "{site}/x.so"',
        'LD_AUDIT = "x.so"',
        'DPBENCH_PYTHONPATH = "lib"',
        'PYTHONPATH = "lib"',
        'LD_LIBRARY_PATH = "lib"',
        'LD_LIBRARY_PATH = "{old}/lib"',
        'LD_LIBRARY_PATH = "{site}/../lib:{old}"',
        'GCONV_PATH = "lib"',
    ],
)
def test_own_card_does_not_have_programs_load_code(own, line):
    change(own, "[env]", f"[env]\n{line}")
    with pytest.raises(ConfigError, match=r"tinypot.toml: env: \w+ has any program"):
        cards.load_card("tinypot", own_cards=own)
    other = own / "other.toml"
    text = (registry_folder() / cards.FOLDER / "emt.toml").read_text()
    text = text.replace('"emt"', '"other"').replace('"ase"', '"tinypot"')
    other.write_text(text)
    with pytest.raises(ConfigError, match=r"tinypot.toml: env: \w+ has any program"):
        cards.load_card("other", own_cards=own)


def test_own_card_may_name_libraries_of_its_environment(own):
    change(own, "[env]", '[env]\nLD_LIBRARY_PATH = "{site}/tinypot/lib:{old}"')
    assert "LD_LIBRARY_PATH" in cards.load_card("tinypot", own_cards=own).env
