"""From what the user typed to configurations: files converted and compressed once.

Processes that are timed open these files; conversion and compression by DeePMD-kit
happen before anything is timed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from dpbench.backends.cards import load_card
from dpbench.backends.client import open_backend
from dpbench.backends.deepmd_convert import compress_by_deepmd
from dpbench.backends.environments import launch_of
from dpbench.backends.interchange import MINIMUM_KEY, convert, write_native
from dpbench.backends.trust import digest_of, is_program, note_made_here, trust_of
from dpbench.errors import BackendError, EvaluationError, ModelError
from dpbench.eval.facts import model_facts
from dpbench.eval.known import known_provenance
from dpbench.eval.opening import Opened, Subject, opened
from dpbench.eval.options import Options
from dpbench.eval.planning import plan_backends
from dpbench.eval.record import BackendFacts, ModelFacts
from dpbench.eval.speed.configurations import Configuration, Engine, distinct
from dpbench.md.lammps_input import PLUGIN
from dpbench.models.checkpoint import model_digest
from dpbench.models.compressed import CompressedPotential, TableSettings
from dpbench.models.files import Potential, load_potential
from dpbench.models.formats import FORMATS
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import OWN_KINDS, recognise
from dpbench.store.workspace import Workspace

EXACT = "dpbench-exact"
"""Backend name of dpbench's kernels with the embedding nets evaluated."""

IN_LAMMPS = {"deepmd-tf": ".pb", "deepmd-pt": ".pth", "deepmd-jax": ".savedmodel"}
"""Backend of DeePMD-kit -> the suffix that its plugin for LAMMPS reads, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asks to be measured."""

    models: tuple[Path, ...] = ()
    backends: tuple[str, ...] = ()
    """Empty: dpbench's kernels, or the backend that a file is of."""
    precisions: tuple[str | None, ...] = (None,)
    """Of dpbench's kernels."""
    engine: Engine | None = None
    """Of the dynamics; None: each backend's best."""
    device: str = "cpu"
    trust: tuple[str, ...] = ()
    """sha256 of programs that may be opened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Competitor:
    """A configuration, and what its record says of it."""

    configuration: Configuration
    subject: Subject
    facts: BackendFacts | None
    """The foreign program; None for dpbench's own kernels."""
    notes: dict[str, str] = field(default_factory=dict)
    """How the file that is opened was made."""


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
        BackendError: If a backend is not installed, or refuses.
    """
    own = [path for path in wish.models if recognise(path).kind in OWN_KINDS]
    foreign = [path for path in wish.models if path not in own]
    loaded = _loaded(own)
    found: list[Competitor] = []
    for model, backend in product(loaded, wish.backends or ("dpbench",)):
        if backend in ("dpbench", EXACT):
            found += _native(workspace, model, wish, is_exact=backend == EXACT)
        elif _converts_to(backend):
            say(f"making the file of {backend} of {model.path.name}")
            found.append(_converted(workspace, model, backend, wish, folder))
    for path, named in product(foreign, wish.backends or (None,)):
        competitor = _foreign(workspace, path, named, wish)
        found += [] if competitor is None else [competitor]
    for backend in wish.backends:
        if backend not in ("dpbench", EXACT) and not any(
            item.configuration.backend == backend for item in found
        ):
            found.append(_without_file(workspace, backend, wish))
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
            )
        )
    return found


def _converted(
    workspace: Workspace, model: _Model, backend: str, wish: Wish, folder: Path
) -> Competitor:
    """Return a backend of DeePMD-kit on the same weights, compressed if ours are."""
    if model.plain is None:
        raise EvaluationError(
            f"{model.path}: its tables are for dpbench's kernels alone; expected the "
            f"plain model, of which {backend} makes its own. Give both by --model."
        )
    path, plain, provenance = model.plain
    suffix = IN_LAMMPS.get(backend) or next(
        known.suffix for known in FORMATS if known.backend == backend
    )
    stem = f"{model.path.stem}-{backend}{'-compressed' if model.is_compressed else ''}"
    target = folder / f"{stem}{suffix}"
    shortest = provenance.get(MINIMUM_KEY)
    notes = {"converted": f"from {path.name} to {suffix} by DeePMD-kit"}
    if model.is_compressed:
        if shortest is None:
            shortest = TableSettings().shortest
        start = folder / f"{stem}.dp"
        write_native(start, plain, {**provenance, MINIMUM_KEY: shortest})
        launch = launch_of(backend, own_cards=workspace.root / "backends")
        compress_by_deepmd(launch, start, target, trust=trust_of(workspace.root))
        note_made_here(workspace.root, target)
        notes["compressed"] = f"by dp compress, tables from {shortest:g} Å on"
    else:
        convert(path, target, backend=backend, workspace=workspace.root)
    options = Options(backends=(backend,), device=wish.device)
    known = known_provenance(workspace, path, provenance)
    facts = model_facts(plain, path, known, name=None)
    if model.is_compressed:
        facts = replace(facts, kind="compressed", path=str(model.path))
    (plan,) = plan_backends(workspace, target, options)
    with opened(workspace, plan, options) as found:
        return _competitor(
            workspace,
            found,
            target,
            wish,
            facts=facts,
            notes=notes,
            label=f"{facts.name}{', compressed' if model.is_compressed else ''}",
            provenance=known,
        )


def _foreign(
    workspace: Workspace, path: Path, backend: str | None, wish: Wish
) -> Competitor | None:
    """Return a file of another program's; None where the backend is not for it."""
    kind = recognise(path).kind
    suffixes = None
    if backend is not None and backend not in ("dpbench", EXACT):
        card = load_card(backend, own_cards=workspace.root / "backends")
        suffixes = card.suffixes
    if backend in ("dpbench", EXACT) or (
        suffixes is not None and not path.name.endswith(tuple(suffixes))
    ):
        return None
    named = () if backend is None else (backend,)
    options = Options(backends=named, trust=wish.trust, device=wish.device)
    (plan,) = plan_backends(workspace, path, options)
    if plan.program is None:
        raise ModelError(
            f"{path}: is a model of kind {kind}; expected one that its own backend "
            "evaluates. Convert it with 'dpbench convert' to measure dpbench's kernels."
        )
    with opened(workspace, plan, options) as found:
        return _competitor(workspace, found, path, wish)


def _without_file(workspace: Workspace, backend: str, wish: Wish) -> Competitor:
    """Return a backend that needs no model file."""
    own = workspace.root / "backends"
    card = load_card(backend, own_cards=own)
    launch = launch_of(backend, own_cards=own)
    try:
        with open_backend(launch, None, trust=trust_of(workspace.root)) as model:
            told = dict(model.facts)
    except BackendError as error:
        raise BackendError(
            f"{backend}: opens without a model file only what needs none ({error}); "
            f"expected a model of it ({', '.join(card.suffixes)}). Give --model."
        ) from error
    type_map = tuple(told["type_map"])
    cutoff = told.get("rcut")
    facts = ModelFacts(
        digest=f"backend:{backend}",
        name=backend,
        path="",
        parameters=None,
        type_map=type_map,
        rcut=None if cutoff is None else float(cutoff),
        description=str(told.get("description") or card.title),
        kind="foreign",
    )
    precision = str(told.get("precision") or "not told")
    return Competitor(
        configuration=Configuration(
            label=backend,
            backend=backend,
            path=None,
            type_map=type_map,
            rcut=facts.rcut,
            own_cards=str(own),
        ),
        subject=Subject(
            backend=backend, model=facts, provenance={}, precision=precision
        ),
        facts=BackendFacts(
            licence=card.licence,
            versions={str(k): str(v) for k, v in told.get("versions", {}).items()},
            environment=None,
            sandbox="",
        ),
    )


def _competitor(
    workspace: Workspace,
    found: Opened,
    path: Path,
    wish: Wish,
    *,
    facts: ModelFacts | None = None,
    provenance: Any = None,
    label: str | None = None,
    notes: dict[str, str] | None = None,
) -> Competitor:
    """Describe a foreign model that is open."""
    subject = found.subject
    facts = facts or subject.model
    engine, pair, where = _engine_of(workspace, subject.backend, path, wish, facts)
    return Competitor(
        configuration=Configuration(
            label=f"{label or facts.name}, {subject.backend}",
            backend=subject.backend,
            path=str(path.resolve()),
            type_map=facts.type_map,
            rcut=facts.rcut,
            device=wish.device,
            engine=engine,
            trusted=digest_of(path) if is_program(path) else None,
            own_cards=str(workspace.root / "backends"),
            lammps_backend=where,
            pair=pair,
        ),
        subject=replace(
            subject, model=facts, provenance=provenance or subject.provenance
        ),
        facts=None
        if found.facts is None
        else replace(
            found.facts,
            converted=(notes or {}).get("converted", found.facts.converted),
        ),
        notes=notes or {},
    )


def _engine_of(
    workspace: Workspace, backend: str, path: Path, wish: Wish, facts: ModelFacts
) -> tuple[Engine, tuple[str, ...], str | None]:
    """Choose the engine of a foreign model, and how LAMMPS gets it."""
    kind = recognise(path).kind
    if wish.engine == "ase":
        return "ase", (), None
    if kind in PLUGIN and load_card(backend).environment == "deepmd":
        elements = " ".join(facts.type_map)
        pair = (f"pair_style deepmd {path.resolve()}", f"pair_coeff * * {elements}")
        return "lammps", pair, "deepmd"
    if wish.engine == "lammps":
        raise EvaluationError(
            f"{path}: is of the kind {kind}, which LAMMPS does not run here; expected "
            f"one of {', '.join(PLUGIN)}. Leave --engine out."
        )
    return "ase", (), None
