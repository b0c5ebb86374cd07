"""The shipped references are what pw.x printed, at the theory of the training sets."""

from pathlib import Path

import numpy as np
import pytest

from dpbench.eval.crystals.references import load_references
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.tasks import elastic
from dpbench.eval.tasks.table import TASKS
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers import READERS
from dpbench.metrics.frame_errors import Predictions
from dpbench.registry_files import registry_folder
from tests.eval.crystals.analytic import do, values

FILES = sorted((registry_folder() / "suites").glob("*/references/*.json"))
DEMO = Path(__file__).parents[3] / "dpbench" / "_demo"


def named(path: Path) -> str:
    return f"{path.parts[-3]}-{path.stem}"


class Oracle(AbstractEvaluator):
    """Knows the answers to the very frames of a reference, and nothing else."""

    backend, precision, device, rcut = "oracle", "float64", "cpu", 6.0

    def __init__(self, references) -> None:
        self.cases = [case.frames() for case in references.cases]
        self.type_map = tuple({s for frames in self.cases for s in frames.symbols})

    def predict(self, frames, *, fparam=None):
        for known in self.cases:
            for first in range(known.nframes - frames.nframes + 1):
                some = known.select(range(first, first + frames.nframes))
                same = some.coord.shape == frames.coord.shape
                if same and np.allclose(some.coord, frames.coord, atol=1e-6):
                    return Predictions(
                        energy=some.energy, force=some.force, virial=some.virial
                    )
        raise AssertionError("asked about a frame that the reference has not")

    def prepare(self, frame): ...
    def forward(self, frame): ...
    def calculator(self): ...
    def list_builds(self, calculator): ...
    def synchronise(self): ...


def read(path: Path):
    return READERS["qe"].read(SourceFiles(format="qe", paths=(path,)))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_label_stands_in_the_output_beside_it(path):
    references = load_references(path.parent, path.stem)
    for case in references.cases:
        output = read(path.parent / case.output)
        assert set(output.quarantine) == {Quarantine.NONE}
        frames = case.frames()
        for index in np.flatnonzero(frames.has_energy):
            one = frames.select([index])
            found = np.flatnonzero(np.abs(output.frames.energy - one.energy) < 1e-7)
            labels = [output.frames.select([row]) for row in found]
            assert any(
                np.allclose(label.force, one.force, atol=1e-7)
                and np.allclose(label.virial, one.virial, atol=1e-7)
                and np.allclose(label.coord, one.coord, atol=2e-6)
                for label in labels
            )


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_inputs_of_all_runs_lie_beside_their_output(path):
    for case in load_references(path.parent, path.stem).cases:
        assert (path.parent / case.output.replace(".out.", ".inputs.")).exists()


def test_the_theory_is_that_of_the_training_set():
    """Cut-off, functional, smearing, the very UPF file: as the demo's outputs print."""
    trained = read(DEMO / "si8_a540_300K.out.gz").theory
    folder = registry_folder() / "suites" / "si-lda" / "references"
    for path in folder.glob("*.out.gz"):
        here = read(path).theory
        for key in ("functional", "cutoff", "smearing_width", "pseudopotentials"):
            assert here[key] == trained[key], (path.name, key)
        assert here["code_version"] == trained["code_version"]


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.stem in ("eos", "phonons", "size_transfer")],
    ids=named,
)
def test_who_knows_the_answers_has_no_error(path, tmp_path):
    references = load_references(path.parent, path.stem)
    result = do(TASKS[path.stem], Oracle(references), tmp_path, references=path.parent)
    assert result.status == "ok"
    for name, value in values(result).items():
        if name != "size_transfer_force_ratio":  # zero by zero
            assert value == pytest.approx(0, abs=1e-6)


def test_silicon_is_that_of_the_local_density():
    """Nielsen and Martin (1985) print C11, C12, C44 = 159, 61, 85 GPa in LDA."""
    folder = registry_folder() / "suites" / "si-lda" / "references"
    (case,) = load_references(folder, "elastic").cases
    found = elastic._of_reference(case)
    assert (found.c11, found.c12) == pytest.approx((159, 61), rel=0.05)
    assert 65 < found.c44 < 90


def test_silicon_vibrates_as_it_is_measured(tmp_path):
    """Dolling (1963) and Nilsson and Nelin (1972): 15.5 THz at the centre, 3.4 at L."""
    folder = registry_folder() / "suites" / "si-lda" / "references"
    references = load_references(folder, "phonons")
    oracle = Oracle(references)
    shown = do(TASKS["phonons"], oracle, tmp_path, references=folder).samples
    at = dict(
        zip(
            map(tuple, shown["Si-diamond"]["wave_vectors"]),
            shown["Si-diamond"]["reference_thz"],
            strict=True,
        )
    )
    assert at[0, 0, 0][:3] == pytest.approx([0, 0, 0], abs=0.01)
    assert at[0, 0, 0][3:] == pytest.approx([15.5] * 3, abs=0.5)
    assert at[0.5, 0.5, 0.5][:2] == pytest.approx([3.4] * 2, abs=0.3)


def test_references_and_outputs_stay_small():
    folders = {path.parent for path in FILES}
    size = sum(file.stat().st_size for f in folders for file in f.iterdir())
    assert size < 900_000
