"""A program is opened if it was made here or is named by its digest, and only then."""

import hashlib
import os
import pickle
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dpbench.backends import client, sandbox, trust
from dpbench.backends.client import open_backend
from dpbench.backends.trust import (
    Trust,
    digest_of,
    is_program,
    note_made_here,
    trust_of,
)
from dpbench.errors import BackendError, ConfigError, DpbenchError, ModelError
from dpbench.models.checkpoint import save_model
from dpbench.models.files import load_potential
from tests.backends.small_workers import MODEL, argon, lennard_jones
from tests.models import structures


class Planted:
    """A pickle that creates a file where it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def mark(tmp_path) -> Path:
    return tmp_path / "pwned"


@pytest.fixture
def hostile(tmp_path, mark) -> Path:
    path = tmp_path / "m.pth"
    path.write_bytes(pickle.dumps(Planted(mark)))
    return path


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestHostilePickle:
    def test_worker_is_never_started_with_it(self, hostile, mark, monkeypatch):
        monkeypatch.setattr(client.WorkerProcess, "start", pytest.fail)
        with pytest.raises(BackendError) as caught:
            open_backend(lennard_jones(), hostile, trust=Trust())
        assert "m.pth: is a program (pickle)" in str(caught.value)
        assert f"--trust {sha256(hostile)}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not mark.exists()

    def test_task_is_never_started_with_it(self, hostile, mark, monkeypatch):
        monkeypatch.setattr(client.WorkerProcess, "start", pytest.fail)
        with pytest.raises(BackendError, match="is a program"):
            client.run_task(lennard_jones(), "echo", {}, models=[hostile])
        assert not mark.exists()

    def test_dpbench_does_not_open_it_as_its_own(self, hostile, mark):
        with pytest.raises(DpbenchError):
            load_potential(hostile)
        assert not mark.exists()

    def test_trusted_one_cannot_reach_out_of_its_worker(self, hostile, mark):
        if sandbox.sandbox_kind().startswith("none"):
            pytest.skip(sandbox.sandbox_kind())
        named = trust_of(None, [sha256(hostile).upper()])
        with pytest.raises(BackendError, match=r"Read-only file system|No such file"):
            open_backend(
                lennard_jones(), hostile, trust=named, options={"fault": "unpickle"}
            )
        assert not mark.exists()

    def test_worker_does_open_what_is_trusted(self, tmp_path):
        path = tmp_path / "m.pth"
        path.write_bytes(pickle.dumps(Planted(Path("mine"))))
        with open_backend(
            lennard_jones(),
            path,
            trust=trust_of(None, [sha256(path)]),
            options={"fault": "unpickle"},
        ) as model:
            assert (Path(model._scratch.name) / "mine").is_dir()
            model.evaluate(argon(1))


def test_another_file_than_the_named_one_is_told(hostile):
    trust = trust_of(None, ["0" * 64])
    with pytest.raises(BackendError, match=r"--trust names 0{64}, but its sha256"):
        trust.check(hostile, is_confined=True)


class TestMadeHere:
    def test_note_vouches_for_the_content(self, hostile, tmp_path):
        workspace = tmp_path / "workspace"
        digest = note_made_here(workspace, hostile)
        assert digest == sha256(hostile)
        assert trust_of(workspace).check(hostile, is_confined=True) == digest
        hostile.write_bytes(hostile.read_bytes().replace(b"pwned", b"owned"))
        with pytest.raises(BackendError, match="neither made here"):
            trust_of(workspace).check(hostile, is_confined=True)

    def test_note_of_someone_else_vouches_for_nothing(
        self, hostile, tmp_path, monkeypatch
    ):
        note_made_here(tmp_path / "workspace", hostile)
        for key in ("other", "mine"):
            monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / key))
            assert trust_of(tmp_path / "workspace").made_here == frozenset()
            note_made_here(tmp_path / "elsewhere", hostile)

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"signature": 1}', "[" * 9999])
    def test_forged_note_vouches_for_nothing(self, hostile, tmp_path, text):
        digest = note_made_here(tmp_path, hostile)
        (tmp_path / trust.FOLDER / digest).write_text(text)
        assert trust_of(tmp_path).made_here == frozenset()

    def test_note_of_one_file_does_not_serve_another(self, hostile, tmp_path):
        digest = note_made_here(tmp_path, hostile)
        other = "0" * 64
        notes = tmp_path / trust.FOLDER
        (notes / digest).rename(notes / other)
        assert trust_of(tmp_path).made_here == frozenset()

    def test_key_is_the_users_alone(self, hostile, tmp_path):
        note_made_here(tmp_path, hostile)
        key = tmp_path / "share" / "dpbench" / "trust.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        content = key.read_bytes()
        note_made_here(tmp_path, hostile)
        assert key.read_bytes() == content

    def test_workspace_without_notes_trusts_nothing(self, tmp_path):
        assert trust_of(tmp_path).made_here == frozenset()

    def test_without_a_sandbox_it_must_be_named_too(self, hostile, tmp_path):
        digest = note_made_here(tmp_path, hostile)
        with pytest.raises(BackendError, match="no sandbox"):
            trust_of(tmp_path).check(hostile, is_confined=False)
        named = trust_of(tmp_path, [digest])
        assert named.check(hostile, is_confined=False) == digest


class TestData:
    def test_coefficients_need_no_trust(self, tmp_path):
        path = tmp_path / "argon.txt"
        path.write_text(MODEL)
        assert is_program(path) is None
        assert Trust().check(path, is_confined=False) is None

    def test_same_text_is_a_program_to_a_backend_that_may_unpickle(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(client.WorkerProcess, "start", pytest.fail)
        path = tmp_path / "m.model"
        path.write_text(MODEL)
        launch = replace(lennard_jones(), reads_text=False)
        with pytest.raises(BackendError, match=f"--trust {sha256(path)}"):
            open_backend(launch, path, trust=Trust())
        with pytest.raises(BackendError, match="may run what it holds"):
            client.run_task(launch, "echo", {}, models=[path])
        with pytest.raises(BackendError, match="may run what it holds"):
            open_backend(
                lennard_jones(), path, trust=Trust(), options={"loader": "mace"}
            )

    def test_own_models_of_dpbench_are_data_to_dpbench_alone(self, tmp_path):
        save_model(tmp_path / "m.pth", structures.model(), {})
        assert Trust().check(tmp_path / "m.pth", is_confined=True) is None
        with pytest.raises(BackendError, match="is a program"):
            open_backend(lennard_jones(), tmp_path / "m.pth", trust=Trust())

    def test_portable_model_is_opened_as_what_it_is(self, tmp_path, monkeypatch):
        """Its name may promise a program, and the worker would go by that."""
        path = tmp_path / "m.pth"
        path.write_text("model:\n  '@class': Model\n")
        launch = replace(lennard_jones(), takes_suffix=True)
        monkeypatch.setattr(client.BackendModel, "restart", lambda _: None)
        for options in ({}, {"suffix": ".pth"}):
            model = open_backend(launch, path, trust=Trust(), options=options)
            assert model._options["suffix"] == ".yaml"
        with pytest.raises(BackendError, match="is a program"):
            client.run_task(launch, "compress", {}, models=[path])
        with pytest.raises(BackendError, match="is a program"):
            open_backend(lennard_jones(), path, trust=Trust())

    def test_unknown_content_counts_as_a_program(self, tmp_path):
        path = tmp_path / "m.bin"
        path.write_bytes(bytes(range(7, 200)))
        assert is_program(path) == "unknown"

    def test_missing_model_is_said_to_be_missing(self, tmp_path):
        with pytest.raises(ModelError, match="no-model"):
            Trust().check(tmp_path / "no-model", is_confined=True)


class TestDigests:
    def test_folder_has_the_digest_of_its_list(self, tmp_path):
        folder = tmp_path / "m.savedmodel"
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        (folder / "variables" / "index").write_bytes(b"weights")
        lines = (
            f"{sha256(folder / 'saved_model.pb')}  saved_model.pb\n"
            f"{sha256(folder / 'variables' / 'index')}  variables/index\n"
        )
        assert digest_of(folder) == hashlib.sha256(lines.encode()).hexdigest()

    def test_every_byte_and_name_of_a_folder_counts(self, tmp_path):
        (tmp_path / "a").write_bytes(b"1")
        digests = {digest_of(tmp_path)}
        (tmp_path / "a").write_bytes(b"2")
        digests.add(digest_of(tmp_path))
        (tmp_path / "a").rename(tmp_path / "b")
        digests.add(digest_of(tmp_path))
        assert len(digests) == 3

    def test_links_in_a_folder_are_refused(self, tmp_path):
        (tmp_path / "a").symlink_to("/etc/passwd")
        with pytest.raises(ModelError, match="is a link"):
            digest_of(tmp_path)

    @pytest.mark.parametrize("word", ["", "abc", "g" * 64, "a" * 63])
    def test_trust_takes_a_digest_alone(self, word):
        with pytest.raises(ConfigError, match="64 hexadecimal"):
            trust_of(None, [word])
