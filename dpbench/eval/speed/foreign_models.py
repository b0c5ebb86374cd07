"""Competitors that another program evaluates, and the engine of their dynamics."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpbench.backends.cards import load_card
from dpbench.backends.client import open_backend
from dpbench.backends.environments import launch_of
from dpbench.backends.trust import digest_of, is_program, trust_of
from dpbench.errors import BackendError, EvaluationError, ModelError
from dpbench.eval.opening import Opened, Subject, opened
from dpbench.eval.options import Options
from dpbench.eval.planning import plan_backends
from dpbench.eval.record import BackendFacts, ModelFacts
from dpbench.eval.speed.competitors import EXACT, Competitor, Wish
from dpbench.eval.speed.configurations import Configuration, Engine
from dpbench.md.lammps_input import PLUGIN
from dpbench.models.recognise import recognise
from dpbench.store.workspace import Workspace


def foreign_competitor(
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
        return competitor_of(workspace, found, path, wish)


def fileless_competitor(workspace: Workspace, backend: str, wish: Wish) -> Competitor:
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


def competitor_of(
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
            label=f"{label or facts.name}, {subject.backend} {subject.precision}",
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
    own = _own_pair(path) if backend == "lammps" else None
    if own is not None:
        return "lammps", own, "lammps"
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


def _own_pair(path: Path) -> tuple[str, ...] | None:
    """Return the commands of a description of LAMMPS' own pair styles.

    None where its run would need more than these: charges, other units.
    """
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    if told.get("units", "metal") != "metal" or set(told) & {"charges", "kspace_style"}:
        return None
    modify = told.get("pair_modify")
    lines = (
        f"pair_style {told['pair_style']}",
        *(f"pair_coeff {words}" for words in told["pair_coeff"]),
        *([] if modify is None else [f"pair_modify {modify}"]),
    )
    # Files that do not lie beside it are LAMMPS' own, which it finds itself.
    folder = path.resolve().parent
    beside = {n for n in told.get("files", {}) if (folder / n).is_file()}
    return tuple(
        " ".join(str(folder / w) if w in beside else w for w in line.split())
        for line in lines
    )
