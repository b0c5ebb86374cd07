"""Cards: strict, found in a wheel and in a clone, and true to the data they name."""

import dataclasses
import hashlib

import pytest
from sqlalchemy import select

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import ConfigError
from dpbench.io.cards import Card, read_card, shipped_cards
from dpbench.io.dataset_cards import cards_of, give_card
from dpbench.io.exchange.export import export_dataset
from dpbench.io.exchange.importing import import_dataset
from dpbench.io.ingest import ingest
from dpbench.registry_files import registry_folder
from dpbench.store import catalog
from dpbench.store.catalog import tables
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.conftest import REPOSITORY

NAMES = (
    "almg_qe_lda",
    "si8_qe_lda",
    "water8_cp2k_pbe",
    "water8_qe_pbe",
    "water8_xtb_cp2k",
)
MINE = Card(title="Mine", licence="CC0-1.0", citation="I, 2026")
YOURS = Card(title="Yours", licence="CC-BY-SA-4.0", citation="You, 2026")


@pytest.fixture
def workspace(tmp_path):
    """A workspace with one small dataset."""
    workspace = Workspace.find(tmp_path / "ws", create=True)
    add(workspace, tmp_path, name="x", energy=-1)
    return workspace


def add(workspace, folder, *, name, energy):
    path = folder / f"{name}{energy}.xyz"
    columns = "Properties=species:S:1:pos:R:3:forces:R:3"
    path.write_text(f'1\n{columns} energy={energy} pbc="F F F"\nH 0 0 0 0 0 0\n')
    ingest(workspace, "extxyz", [path], dataset=name, workers=0)
    return open_dataset(workspace, name)


def test_every_card_is_known_here():
    assert tuple(shipped_cards()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_cards_name_themselves_and_all_that_people_must_know(name):
    card = shipped_cards()[name]
    assert card.name == name
    assert card.licence == "CC-BY-4.0"
    assert card.citation
    assert card.digest
    assert card.theory
    assert card.sources


def folder_of(name, shared_data):
    if name == "si8_qe_lda":
        return REPOSITORY / "dpbench" / "_demo"
    return shared_data / "generated" / name


def test_demo_data_has_the_digest_and_the_files_of_its_card(tmp_path):
    assert_card_is_true("si8_qe_lda", folder_of("si8_qe_lda", None), tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "si8_qe_lda"])
def test_data_has_the_digest_and_the_files_of_its_card(name, shared_data, tmp_path):
    assert_card_is_true(name, folder_of(name, shared_data), tmp_path)


def assert_card_is_true(name, folder, tmp_path):
    card = shipped_cards()[name]
    for source in card.sources:
        content = (folder / source.name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == source.sha256, source.name
    workspace = Workspace.find(tmp_path / "ws", create=True)
    report = ingest(workspace, card.code, [folder], dataset="x", workers=0)
    version = open_dataset(workspace, "x")
    assert version.nframes == card.n_frames
    assert report.digest == card.digest, (
        f"renew 'digest' in registry/datasets/{name}.toml if the readers changed"
    )
    assert cards_of(version) == (card,)


def test_registry_of_a_wheel_goes_before_that_of_a_clone(tmp_path):
    package = tmp_path / "dpbench"
    package.mkdir()
    assert registry_folder(package) == tmp_path / "registry"
    (package / "_registry").mkdir()
    assert registry_folder(package) == package / "_registry"
    assert registry_folder() == REPOSITORY / "registry"


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("license = 'MIT'", "unknown key 'license' -- did you mean 'licence'"),
        ("licence = 'free for all'", "expected an SPDX identifier"),
        ("title = ''", "title is empty"),
        ("digest = 'abc'", "64 hex digits"),
        ("n_frames = 'many'", "expected int"),
    ],
)
def test_wrong_cards_are_refused(tmp_path, line, match):
    keys = {"title": "'t'", "licence": "'MIT'", "citation": "'c'"}
    key, _, value = line.partition(" = ")
    text = "\n".join(f"{k} = {v}" for k, v in (keys | {key: value}).items())
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(ConfigError, match=match):
        read_card(tmp_path / "card.toml")


def test_card_lacking_a_licence_is_refused(tmp_path):
    (tmp_path / "card.toml").write_text("title = 't'\ncitation = 'c'")
    with pytest.raises(ConfigError, match="missing key 'licence'"):
        read_card(tmp_path / "card.toml")


def test_later_versions_keep_the_card(workspace, tmp_path):
    give_card(workspace, "x", MINE)
    version = add(workspace, tmp_path, name="x", energy=-2)
    assert version.number == 2
    assert cards_of(version) == (MINE,)


def test_a_later_card_replaces_and_an_added_one_joins(workspace):
    version = open_dataset(workspace, "x")
    give_card(workspace, "x", MINE)
    give_card(workspace, "x", YOURS)
    assert cards_of(version) == (YOURS,)
    give_card(workspace, "x", MINE, added=True)
    assert cards_of(version) == (YOURS, MINE)
    give_card(workspace, "x", MINE, added=True)
    assert cards_of(version) == (YOURS, MINE)


def test_cards_are_kept_when_the_registry_is_made_again(workspace):
    give_card(workspace, "x", MINE)
    assert rows(workspace) == [("card", "x")]
    (workspace.root / "registry.db").unlink()
    catalog.rebuild(workspace)
    assert rows(workspace) == [("card", "x")]
    assert cards_of(open_dataset(workspace, "x")) == (MINE,)


def rows(workspace):
    with catalog.transaction(workspace, write=False) as connection:
        table = tables.history
        found = connection.execute(select(table.c.event, table.c.dataset))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("format_name", ["extxyz", "parquet"])
def test_imports_bring_their_licence_along(workspace, tmp_path, format_name):
    give_card(workspace, "x", MINE)
    report = export_dataset(workspace, "x", format_name, tmp_path / "out")
    assert report.to_json()["licences"] == ["CC0-1.0"]
    add(workspace, tmp_path, name="y", energy=-3)
    give_card(workspace, "y", YOURS)
    import_dataset(workspace, tmp_path / "out", dataset="y")
    version = open_dataset(workspace, "y")
    assert version.nframes == 2
    assert cards_of(version) == (YOURS, MINE)
    both = export_dataset(workspace, "y", "parquet", tmp_path / "both")
    text = (both.folder / "README.md").read_text()
    assert "license: other" in text
    assert 'license_name: "CC-BY-SA-4.0 and CC0-1.0"' in text


def test_a_single_licence_stands_in_the_header(workspace, tmp_path):
    give_card(workspace, "x", dataclasses.replace(MINE, description="Of *mine*."))
    export_dataset(workspace, "x", "parquet", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc0-1.0" in text
    assert "Of *mine*." in text


def test_cards_survive_being_written_as_json():
    for card in (*shipped_cards().values(), MINE):
        assert from_mapping(Card, to_mapping(card), where="x") == card
