"""The adapter of docs/backend-protocol.md works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends.client import Launch, open_backend
from dpbench.backends.trust import Trust, digest_of
from dpbench.errors import BackendRefused
from tests.backends.small_workers import argon, dimer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backend-protocol.md"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("repulsion")
    block = re.search(r"test_docs.py -->\n```python\n(.*?)```", PAGE.read_text(), re.S)
    adapter = tmp_path / "repulsion.py"
    adapter.write_text(block[1])
    path = tmp_path / "model.txt"
    path.write_text("900.0 0.35 Ar Ne\n")
    launch = Launch(name="repulsion", python=Path(sys.executable), adapter=adapter)
    trust = Trust(named=frozenset({digest_of(path)}))
    with open_backend(launch, path, trust=trust, timeout_s=60) as opened:
        yield opened


def test_adapter_of_the_page_gives_energy_and_its_derivative(model):
    found = model.evaluate(dimer(2.0)).predictions
    assert found.energy[0] == pytest.approx(900 * np.exp(-2 / 0.35), rel=1e-12)
    assert found.force[0, 0] == pytest.approx(-found.energy[0] / 0.35, rel=1e-12)
    assert found.virial[0, 0, 0] == pytest.approx(2 * found.force[1, 0], rel=1e-12)


def test_adapter_of_the_page_refuses_periodic_frames(model):
    with pytest.raises(BackendRefused, match="give clusters"):
        model.evaluate(argon(1))


def test_command_of_the_page_gives_the_digest_of_a_folder(tmp_path):
    (line,) = re.findall(r"^cd model.savedmodel && .*$", PAGE.read_text(), re.M)
    folder = tmp_path / "model.savedmodel"
    for name in ("saved_model.pb", "variables/b", "variables/a b", "B", "ä"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    done = subprocess.run(
        ["/bin/bash", "-c", line], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.split()[0].decode() == digest_of(folder)
