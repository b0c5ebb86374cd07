"""From what the user typed to configurations: files converted and compressed once.

Processes that are timed open these files; conversion and compression by DeePMD-kit
happen before anything is timed.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from dpbench.backends.deepmd_convert import compress_by_deepmd
from dpbench.backends.environments import launch_of
from dpbench.backends.interchange import MINIMUM_KEY, convert, write_native
from dpbench.backends.trust import note_made_here, trust_of
from dpbench.errors import BackendError, EvaluationError
from dpbench.eval.facts import model_facts
from dpbench.eval.known import known_provenance
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.opening import Subject, exact_evaluator, opened
from dpbench.eval.options import Options
from dpbench.eval.planning import plan_backends
from dpbench.eval.speed.competitors import EXACT, Competitor, Wish
from dpbench.eval.speed.configurations import Configuration, distinct
from dpbench.eval.speed.faithful import fidelity_of
from dpbench.eval.speed.foreign_models import (
    competitor_of,
    fileless_competitor,
    foreign_competitor,
)
from dpbench.eval.task_results import Fidelity
from dpbench.models.checkpoint import model_digest
from dpbench.models.compressed import CompressedPotential, TableSettings
from dpbench.models.files import Potential, load_potential
from dpbench.models.formats import FORMATS
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import OWN_KINDS, recognise
from dpbench.models.sel import trained_overflow
from dpbench.store.workspace import Workspace

logger = logging.getLogger(__name__)

IN_LAMMPS = {"deepmd-tf": ".pb", "deepmd-pt": ".pth", "deepmd-jax": ".savedmodel"}
"""Backend of DeePMD-kit -> the suffix that its plugin for LAMMPS reads, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """A model file that dpbench's kernels read."""

    path: Path
    model: Potential
    provenance: dict[str, Any]
    plain: "tuple[Path, DeepPotential, dict[str, Any]] | None"
    """What it was compressed from; itself, if it is plain."""

    @property
    def is_compressed(self) -> bool:
        """Whether its embedding is tables."""
        return isinstance(self.model, CompressedPotential)


def prepare(
    workspace: Workspace,
    wish: Wish,
    *,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
) -> list[Competitor]:
    """Make one competitor of every model, backend and precision that fit together.

    Args:
        workspace: Has cards and trusted models of its own.
        wish: What the user asks for.
        folder: Takes the files that are made; it must live as long as the result.
        say: Told each conversion as it begins.

    Raises:
        EvaluationError: If nothing fits, or a compressed model's plain one is missing.
        ModelError: If a file is no model.
        BackendError: If the only backend is not installed, or refuses; of several, one
            that DeePMD-kit does not convert for is told and left out.
    """
    own = [path for path in wish.models if recognise(path).kind in OWN_KINDS]
    foreign = [path for path in wish.models if path not in own]
    loaded = _loaded(own)
    is_alone = len(wish.models) * len(wish.precisions) * len(wish.backends) <= 1
    found: list[Competitor] = []
    for model, backend in product(loaded, wish.backends or ("dpbench",)):
        if backend in ("dpbench", EXACT):
            found += _native(workspace, model, wish, is_exact=backend == EXACT)
        elif _converts_to(backend):
            for precision in wish.precisions:
                say(f"making the file of {backend} of {model.path.name}")
                where = Path(tempfile.mkdtemp(dir=folder))
                made = (where, precision)
                try:
                    found.append(_converted(workspace, model, backend, wish, made))
                except BackendError as error:
                    if is_alone:
                        raise
                    logger.error("%s It is left out; the others go on.", error)
    for path, named in product(foreign, wish.backends or (None,)):
        competitor = foreign_competitor(workspace, path, named, wish)
        found += [] if competitor is None else [competitor]
    served = {item.configuration.backend for item in found} | {"dpbench", EXACT}
    for backend in wish.backends:
        was_tried = bool(loaded) and _converts_to(backend)
        if backend not in served and not was_tried:
            found.append(fileless_competitor(workspace, backend, wish))
    labelled = distinct([item.configuration for item in found])
    return [
        replace(item, configuration=configuration)
        for item, configuration in zip(found, labelled, strict=True)
    ]


def _loaded(paths: Sequence[Path]) -> list[_Model]:
    """Read models, and find of each compressed one what it was made of."""
    read = [(path, *load_potential(path)) for path in paths]
    plain = [
        (path, model, told)
        for path, model, told in read
        if isinstance(model, DeepPotential)
    ]
    found = []
    for path, model, told in read:
        origin = None
        if isinstance(model, DeepPotential):
            origin = (path, model, told)
        else:
            weights = told.get("compression", {}).get("source")
            origin = next(
                (one for one in plain if model_digest(one[1]) == weights), None
            )
        found.append(_Model(path=path, model=model, provenance=told, plain=origin))
    return found


def _converts_to(backend: str) -> bool:
    return any(known.backend == backend for known in FORMATS)


def _native(
    workspace: Workspace, model: _Model, wish: Wish, *, is_exact: bool
) -> list[Competitor]:
    """Return dpbench's own kernels, once for each precision."""
    if is_exact and model.is_compressed:
        return []  # it has no nets any more
    provenance = known_provenance(workspace, model.path, model.provenance)
    facts = model_facts(model.model, model.path, provenance, name=None)
    found = []
    for precision in wish.precisions:
        told = precision or model.model.config.precision
        way = "exact" if is_exact else "tables"
        name = facts.name + (", compressed" if model.is_compressed else "")
        found.append(
            Competitor(
                configuration=Configuration(
                    label=f"{name}, dpbench {told} {way}",
                    backend="dpbench",
                    path=str(model.path.resolve()),
                    type_map=facts.type_map,
                    rcut=facts.rcut,
                    precision=precision,
                    device=wish.device,
                    is_exact=is_exact,
                    engine=wish.engine if wish.engine == "ase" else "dpbench",
                ),
                subject=Subject(
                    backend="dpbench",
                    model=facts,
                    provenance=provenance,
                    precision=told,
                ),
                facts=None,
                fidelity=_native_fidelity(model, wish, told, is_exact=is_exact),
            )
        )
    return found


def _native_fidelity(
    model: _Model, wish: Wish, precision: str, *, is_exact: bool
) -> Fidelity | None:
    """Compare dpbench's kernels with the exact ones, as they are timed."""
    if is_exact and precision == "float64":
        return None
    plain = model.model if model.plain is None else model.plain[1]
    overflow = trained_overflow(model.provenance)
    options = Options(device=wish.device)
    timed = NativeEvaluator(
        model.model.to(wish.device, DTYPES[precision]),
        device=wish.device,
        is_exact=is_exact,
        sel_overflow=overflow,
    )
    return fidelity_of(timed, exact_evaluator(plain, options, overflow=overflow))


def _converted(
    workspace: Workspace,
    model: _Model,
    backend: str,
    wish: Wish,
    made: tuple[Path, str | None],
) -> Competitor:
    """Return a backend of DeePMD-kit on the same weights, compressed if ours are.

    Args:
        workspace: Notes that the file was made here.
        model: Of dpbench.
        backend: Of DeePMD-kit.
        wish: Of the user.
        made: Folder of the file, and its precision; None keeps the model's.
    """
    if model.plain is None:
        raise EvaluationError(
            f"{model.path}: its tables are for dpbench's kernels alone; expected the "
            f"plain model, of which {backend} makes its own. Give both by --model."
        )
    path, plain, provenance = model.plain
    target, notes = _written_for(workspace, model, backend, *made)
    options = Options(backends=(backend,), device=wish.device)
    known = known_provenance(workspace, path, provenance)
    facts = model_facts(plain, path, known, name=None)
    if model.is_compressed:
        facts = replace(facts, kind="compressed", path=str(model.path))
    (plan,) = plan_backends(workspace, target, options)
    overflow = trained_overflow(provenance)
    with opened(workspace, plan, options) as found:
        exact = exact_evaluator(plain, options, overflow=overflow)
        competitor = competitor_of(
            workspace,
            found,
            target,
            wish,
            facts=facts,
            notes=notes,
            label=f"{facts.name}{', compressed' if model.is_compressed else ''}",
            provenance=known,
        )
        return replace(competitor, fidelity=fidelity_of(found.evaluator, exact))


def _written_for(
    workspace: Workspace,
    model: _Model,
    backend: str,
    folder: Path,
    precision: str | None,
) -> tuple[Path, dict[str, str]]:
    """Have DeePMD-kit write its file of a model that has a plain one."""
    if model.plain is None:
        raise RuntimeError("the caller has looked")
    path, plain, provenance = model.plain
    suffix = IN_LAMMPS.get(backend) or next(
        known.suffix for known in FORMATS if known.backend == backend
    )
    target, start = folder / f"{model.path.stem}{suffix}", folder / "start.dp"
    notes = {"converted": f"from {path.name} to {suffix} by DeePMD-kit"}
    shortest = provenance.get(MINIMUM_KEY) or TableSettings().shortest
    told = {**provenance, MINIMUM_KEY: shortest}
    write_native(
        start, plain.to("cpu", DTYPES[precision or plain.config.precision]), told
    )
    if not model.is_compressed:
        convert(start, target, backend=backend, workspace=workspace.root)
        return target, notes
    launch = launch_of(backend, own_cards=workspace.root / "backends")
    compress_by_deepmd(launch, start, target, trust=trust_of(workspace.root))
    note_made_here(workspace.root, target)
    notes["compressed"] = f"by dp compress, tables from {shortest:g} Å on"
    return target, notes
