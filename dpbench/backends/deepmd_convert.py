"""Conversion of model files by DeePMD-kit, in its environment, and their check.

DeePMD-kit 3.2.0 converts some models without a word to others: every new file is
evaluated beside the old one before it is kept.
"""

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.backends.client import open_backend, run_task
from dpbench.backends.consistency import SINGLE, native_answers
from dpbench.backends.launch import Launch
from dpbench.backends.trust import Trust, digest_of
from dpbench.backends.worker_process import Say
from dpbench.elements import SYMBOLS
from dpbench.errors import BackendError, ModelError
from dpbench.frames import Frames, uniform
from dpbench.metrics.frame_errors import Predictions
from dpbench.models.deepmd_file import read_deepmd
from dpbench.models.recognise import recognise

CONVERT_SECONDS = 1800.0
"""How long a conversion may take: ``.pt2`` is compiled."""

DOUBLE = 1e-9
"""Largest relative difference of a converted float64 model, see ``_compare``."""

TABULATED = 1e-3
"""Largest relative difference of a compressed model: it would be damaged then."""

COMPRESSED = (".pth", ".pb", ".hlo", ".savedmodel")
"""Suffixes of compressed models: of PyTorch, TensorFlow, and JAX twice."""

ATOMS = 24
"""Most atoms of the structure that old and new file are compared on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What was made, and how far it is from what it was made of."""

    target: Path
    """The new file or folder."""
    seconds: float
    """Time of the conversion in the worker, s."""
    compared: str
    """With what the new file was compared, in words."""
    energy: float
    """Largest difference of the energies compared, eV."""
    force: float
    """Largest difference of the force components compared, eV/Å."""
    versions: Mapping[str, str]
    """Programs that evaluated the new file."""

    def summary(self) -> str:
        """Word it in one line."""
        return (
            f"{self.target}: compared with {self.compared}: energy within "
            f"{self.energy:.1e} eV, force within {self.force:.1e} eV/Å"
        )


def convert_by_deepmd(
    launch: Launch,
    source: Path,
    target: Path,
    *,
    trust: Trust,
    head: str | None = None,
    timeout_s: float = CONVERT_SECONDS,
    say: Say | None = None,
) -> Conversion:
    """Convert a model file of DeePMD-kit to that of another of its backends.

    A ``.pt`` of training is frozen. The target's suffix says the backend: ``.pb``,
    ``.pth``, ``.pte``, ``.pt2``, ``.hlo``, ``.savedmodel``, ``.savedmodeltf``, ``.pd``,
    ``.json``, ``.dp``, ``.yaml``.

    Args:
        launch: Of DeePMD-kit's environment.
        source: Any model file of DeePMD-kit.
        target: What to write; a file of that name is replaced, a folder is not.
        trust: Which programs may be opened.
        head: Branch of a multi-task checkpoint.
        timeout_s: How long the conversion may take, s.
        say: Called with each line that DeePMD-kit prints.

    Raises:
        BackendRefused: With DeePMD-kit's message, if it does not convert it.
        BackendError: If the worker fails, or the new file says something else than the
            old one; it is not kept then.
        ModelError: If the source is missing or no model.
    """
    arguments = {"head": head, "suffix": recognise(source).suffix_expected or None}
    return _made(
        launch,
        "convert",
        (source, target),
        arguments,
        trust=trust,
        tolerance=None,
        timeout_s=timeout_s,
        say=say,
    )


def compress_by_deepmd(
    launch: Launch,
    source: Path,
    target: Path,
    *,
    trust: Trust,
    step: float = 0.01,
    extrapolate: int = 5,
    timeout_s: float = CONVERT_SECONDS,
    say: Say | None = None,
) -> Conversion:
    """Tabulate the embedding nets of a model as ``dp compress`` does.

    The shortest distance of its training data must be known to the file.

    Args:
        launch: Of DeePMD-kit's environment.
        source: A model file of DeePMD-kit.
        target: What to write; its suffix, one of ``COMPRESSED``, says the backend.
        trust: Which programs may be opened.
        step: Of the table, in normalised units.
        extrapolate: How far the coarse table goes, in multiples of the fine one.
        timeout_s: How long it may take, s.
        say: Called with each line that DeePMD-kit prints.

    Raises:
        BackendRefused: With DeePMD-kit's message, if it does not compress it.
        BackendError: If the worker fails, or the result is damaged.
        ModelError: If the source is missing or no model.
    """
    if target.suffix not in COMPRESSED:
        raise ModelError(
            f"{target}: dp compress writes {', '.join(COMPRESSED)}; name a file that "
            "ends so."
        )
    return _made(
        launch,
        "compress",
        (source, target),
        {"step": step, "extrapolate": extrapolate},
        trust=trust,
        tolerance=TABULATED,
        timeout_s=timeout_s,
        say=say,
    )


def _made(
    launch: Launch,
    job: str,
    files: tuple[Path, Path],
    arguments: Mapping[str, Any],
    *,
    trust: Trust,
    tolerance: float | None,
    timeout_s: float,
    say: Say | None,
) -> Conversion:
    """Have a worker write a file, compare it with its source, and put it in place."""
    source, target = files
    if target.is_dir():
        raise ModelError(f"{target}: is a folder that exists; remove it, then convert.")
    if target.resolve() == source.resolve():
        raise ModelError(f"{target}: is the file to convert itself; name another.")
    with tempfile.TemporaryDirectory(prefix="dpbench-convert-") as folder:
        scratch = Path(folder).resolve()
        made = scratch / f"model{target.suffix}"
        named = {"source": str(source.resolve()), "target": str(made)}
        reply = run_task(
            launch,
            job,
            named | {k: v for k, v in arguments.items() if v is not None},
            models=[source],
            trust=trust,
            scratch=scratch,
            timeout_s=timeout_s,
            say=say,
        )
        if not made.exists():
            raise BackendError(
                f"{launch.name}: wrote no {target.name}, but said that it had."
            )
        checked = _compare(launch, source, made, trust=trust, tolerance=tolerance)
        _put(made, target)
    return Conversion(target=target, seconds=float(reply["seconds"]), **checked)


def check_structure(type_map: tuple[str, ...], rcut: float) -> Frames:
    """Make two frames with atoms of every element (of at most 24) within the cutoff.

    The second is the first, strained and shaken.

    Args:
        type_map: Elements of the model.
        rcut: Its cutoff, Å.
    """
    known = [symbol for symbol in type_map if symbol in SYMBOLS][:ATOMS]
    if not known:
        raise ModelError("the model knows no chemical element; nothing can be compared")
    natoms = max(6, len(known))
    side = math.ceil(natoms ** (1 / 3))
    spacing = 0.4 * rcut
    grid = np.stack(np.unravel_index(np.arange(natoms), (side,) * 3), axis=1)
    rng = np.random.default_rng(17)
    coord = spacing * (grid + rng.uniform(-0.15, 0.15, (2, natoms, 3)))
    # Wide enough that few images are near: models differ in how many they take.
    box = (side * spacing + 0.7 * rcut) * np.eye(3)
    strain = np.eye(3) + np.array([[0, 0, 0], [0.08, 0.03, 0], [-0.05, 0.04, -0.02]])
    z = [SYMBOLS.index(known[index % len(known)]) for index in range(natoms)]
    coord[1] = coord[1] @ strain
    return uniform(z=z, coord=coord, box=np.stack([box, box @ strain]))


def _compare(
    launch: Launch,
    source: Path,
    made: Path,
    *,
    trust: Trust,
    tolerance: float | None,
) -> dict[str, Any]:
    """Evaluate both files on one structure.

    The largest difference must be below the tolerance times the largest size plus one
    of each quantity.

    Raises:
        BackendError: If it is not.
    """
    ours = frozenset({digest_of(made)})
    trusted = Trust(made_here=trust.made_here | ours, named=trust.named | ours)
    suffix = made.suffix
    with open_backend(launch, made, trust=trusted, options={"suffix": suffix}) as model:
        frames = check_structure(model.type_map, float(model.facts["rcut"] or 6.0))
        count = int(model.facts.get("dim_aparam") or 0)
        if count:
            frames = replace(frames, aparam=np.full((len(frames.z), count), 0.5))
        new = model.evaluate(frames, fparam=_numbers(model.facts, frames)).predictions
        facts = model.facts
    compared, old = _reference(launch, source, frames, trust=trust, facts=facts)
    is_double = facts["precision"] in ("float64", None)
    allowed = tolerance or (DOUBLE if is_double else SINGLE)
    off = {}
    for name in ("energy", "force"):
        a, b = getattr(old, name), getattr(new, name)
        off[name] = float(np.abs(a - b).max())
        if not off[name] <= allowed * (float(np.abs(a).max()) + 1):
            raise BackendError(
                f"{launch.name}: {source.name} converted to '{suffix}' gives another "
                f"{name} than {compared}, off by {off[name]:.1e} "
                f"{'eV' if name == 'energy' else 'eV/Å'}; expected the same. The new "
                "file was not kept. docs/consistency.md tells what DeePMD-kit "
                "converts wrongly."
            )
    versions = facts.get("versions", {})
    return {"compared": compared, "versions": versions} | off


def _reference(
    launch: Launch,
    source: Path,
    frames: Frames,
    *,
    trust: Trust,
    facts: Mapping[str, Any],
) -> tuple[str, Predictions]:
    """Evaluate the source: by dpbench where it can, else by its own backend."""
    if recognise(source).kind == "deepmd-dp" and not facts.get("dim_fparam"):
        try:
            model = read_deepmd(source)
        except ModelError:
            pass  # of a kind that dpbench does not have
        else:
            return "dpbench's kernels", _native(model, frames)
    suffix = recognise(source).suffix_expected
    with open_backend(launch, source, trust=trust, options={"suffix": suffix}) as peer:
        numbers = _numbers(peer.facts, frames)
        found = peer.evaluate(frames, fparam=numbers).predictions
        return f"{peer.facts['backend']} on {source.name}", found


def _native(model: Any, frames: Frames) -> Predictions:
    found = native_answers(model, frames, overflow="deepmd")
    return Predictions(
        energy=found.energy, force=found.force.reshape(-1, 3), virial=found.virial
    )


def _numbers(facts: Mapping[str, Any], frames: Frames) -> Any:
    """Return the same frame parameters for every frame, where the model takes any."""
    count = int(facts.get("dim_fparam") or 0)
    return np.full((frames.nframes, count), 0.5) if count else None


def _put(made: Path, target: Path) -> None:
    """Move what was made to its place."""
    for path in made.parent.glob(f"{made.stem}.*"):
        # Paddle's files are several, told apart by what follows the first dot.
        ending = path.name.removeprefix(made.stem)
        goal = target.with_name(target.name.removesuffix(target.suffix) + ending)
        shutil.move(str(path), str(goal))
