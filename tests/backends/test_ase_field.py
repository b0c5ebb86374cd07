"""Potentials of the field in environments of their own, through the whole client.

Each model is made in its environment (untrained, or by a step of training), or is one
that its package ships. DPBENCH_BACKENDS_TEST names the folder of environments; what is
not there is skipped: no CI installs ten copies of torch.
"""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import dpbench.backends
from dpbench.backends.cards import load_card
from dpbench.backends.client import Launch, open_backend
from dpbench.backends.trust import Trust, digest_of
from dpbench.frames import uniform

pytestmark = [pytest.mark.backends, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("field_models.py")
ADAPTER = Path(dpbench.backends.__file__).parent / "workers" / "ase_calculator.py"
PATIENCE = 900.0
"""Seconds: an import of torch and its kin on a busy machine."""


@dataclass(frozen=True)
class Case:
    """One package."""

    name: str
    environment: str = ""
    z: tuple[int, ...] = (29, 13, 29, 29)
    options: dict = field(default_factory=dict)
    is_single: bool = False
    """Whether it computes in float32."""

    @property
    def card(self):
        return load_card(self.environment or self.name)


CASES = [
    Case("mace"),
    Case("nequip"),
    Case("allegro", environment="nequip"),
    Case("sevennet", is_single=True),
    Case("chgnet", is_single=True),
    Case(
        "orb",
        options={
            "arguments": {"architecture": "orb_v3_conservative_inf_omat"},
            "precision": "float64",
        },
    ),
    Case("mattersim", is_single=True),
    Case(
        "schnetpack",
        options={"arguments": {"energy_unit": "kcal/mol", "position_unit": "Ang"}},
    ),
    Case("torchani", z=(8, 1, 8, 1)),
    Case("nep"),
]


def run(python: Path, *words: object) -> str:
    done = subprocess.run(
        [python, SCRIPT, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def structures(z: tuple[int, ...], step: float):
    """A structure; it with one atom moved up and down, and sheared to and fro."""
    rng = np.random.default_rng(1)
    box = 3.9 * (np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
    places = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    coord = places @ box + 0.1 * rng.normal(size=(4, 3))
    coords, boxes = [coord], [box]
    for sign in (1, -1):
        moved = coord.copy()
        moved[1, 2] += sign * step
        strain = np.eye(3)
        strain[0, 1] = strain[1, 0] = sign * step / 2
        coords += [moved, coord @ strain]
        boxes += [box, box @ strain]
    return np.array(z), np.array(coords), np.array(boxes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_potential_of_the_field(case, tmp_path, figures):
    """Equal to its calculator called directly; forces and virial are derivatives."""
    folder = os.environ.get("DPBENCH_BACKENDS_TEST", "")
    card = case.card
    python = Path(folder) / card.name / "bin" / "python"
    if not folder or not python.is_file():
        pytest.skip(f"no {card.name} below DPBENCH_BACKENDS_TEST = '{folder}'")
    made = json.loads(run(python, "make", case.name, tmp_path).splitlines()[-1])
    model = None if made is None else tmp_path / made
    step = 1e-2 if case.is_single else 1e-4
    z, coord, box = structures(case.z, step)
    given, told = tmp_path / "frames.npz", tmp_path / "told.npz"
    np.savez(given, z=z, coord=coord, box=box)
    run(python, "ask", case.name, model or "-", given, told)
    theirs = np.load(told)

    launch = Launch(
        name=case.name,
        python=python,
        adapter=ADAPTER,
        env={"OMP_NUM_THREADS": "1", **card.env},
        options=card.options,
        reads_text=card.reads_text,
    )
    named = frozenset() if model is None else frozenset({digest_of(model)})
    with open_backend(
        launch,
        model,
        trust=Trust(named=named),
        options=case.options,
        timeout_s=PATIENCE,
        start_timeout_s=PATIENCE,
    ) as opened:
        answer = opened.evaluate(uniform(z=z, coord=coord, box=box))
        facts = opened.facts
    found = answer.predictions
    volume = np.linalg.det(box)[:, None, None]
    close = {"rtol": 2e-5, "atol": 2e-4} if case.is_single else {"atol": 1e-9}
    np.testing.assert_allclose(found.energy, theirs["energy"], **close)
    np.testing.assert_allclose(
        found.force.reshape(coord.shape), theirs["force"], **close
    )
    np.testing.assert_allclose(found.virial, -volume * theirs["stress"], **close)
    assert np.abs(found.force).max() > 0

    e = found.energy
    force, virial = -(e[1:3] - e[3:5]) / (2 * step)
    near = {"abs": 5e-3, "rel": 1e-2} if case.is_single else {"abs": 1e-6}
    assert found.force[1, 2] == pytest.approx(force, **near)
    assert found.virial[0, 0, 1] == pytest.approx(virial, **near)
    version = facts["versions"].get(card.distribution, "?")
    figures(
        f"{case.name} {version}: {facts['precision']}, rcut {facts['rcut']}, "
        f"{1e3 * answer.worker_s / 5:.1f} ms a frame of 4 atoms, "
        f"{1e3 * answer.overhead_s / 5:.2f} ms on the way"
    )
