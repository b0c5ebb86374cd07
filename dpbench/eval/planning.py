"""Which backends shall evaluate a model, found out before any of it runs."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from dpbench.backends.cards import NATIVE, Card, load_card
from dpbench.backends.environments import launch_of
from dpbench.backends.interchange import Loaded, load_any
from dpbench.backends.launch import Launch
from dpbench.backends.trust import Trust, data_of, suffix_option, trust_of
from dpbench.errors import BackendError, ModelError
from dpbench.eval.options import Options
from dpbench.models.files import load_potential
from dpbench.models.formats import FORMATS
from dpbench.models.recognise import OWN_KINDS, recognise
from dpbench.store.workspace import Workspace

logger = logging.getLogger(__name__)

PORTABLE = ("deepmd-dp", "deepmd-yaml")
"""Kinds that may hold a model of a type that dpbench has no kernels for."""


OWNERS = {known.kind: known.backend for known in FORMATS} | {"deepmd-pt": "deepmd-pt"}
"""Kind of file -> the backend that it is of; checkpoints are read and never written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A foreign program."""

    launch: Launch
    """How its worker is started."""
    card: Card
    """What is known of it."""

    @property
    def takes_device(self) -> bool:
        """Whether it must be told the device; others take what they see."""
        return self.launch.adapter.name == "ase_calculator.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What will be opened where; made and checked before any of it runs."""

    backend: str
    """Name of the backend."""
    path: Path
    """The model's file."""
    kind: str
    """As ``recognise`` names it."""
    trust: Trust
    """Which programs may be opened."""
    program: Program | None = None
    """The foreign program; None for dpbench's own kernels."""
    suffix: str | None = None
    """Format that the file must be converted to first."""
    loaded: Loaded | None = None
    """The model, where planning had to read it."""


def plan_backends(
    workspace: Workspace, path: Path, options: Options
) -> tuple[Plan, ...]:
    """Find who evaluates a model, and refuse what cannot be before anything runs.

    Args:
        workspace: Has cards and trusted models of its own.
        path: The model's file.
        options: Names the backends; none: dpbench's kernels where they serve, else the
            backend that the file is of.

    Raises:
        ModelError: If there is no such file, or it is of no known kind.
        BackendError: If a backend is unknown, not installed, or the file is a program
            that nothing vouches for.
    """
    found = recognise(path)
    trust = trust_of(workspace.root, options.trust)
    if options.backends:
        return tuple(
            _plan(workspace, path, found.kind, name, trust) for name in options.backends
        )
    return (_default_plan(workspace, path, found.kind, trust),)


def _default_plan(workspace: Workspace, path: Path, kind: str, trust: Trust) -> Plan:
    """Take dpbench's kernels where they serve, else the file's own backend."""
    if kind in PORTABLE:
        return _portable_plan(workspace, path, kind, trust)
    if kind in OWN_KINDS or kind == "unknown":  # its reader says what is wrong
        return _plan(workspace, path, kind, NATIVE, trust)
    owner = OWNERS.get(kind)
    if owner is None:
        raise ModelError(
            f"{path}: is no model that dpbench's kernels evaluate "
            f"({recognise(path).description}); expected the name of a backend. Give "
            "--backend; 'dpbench backends list' names them."
        )
    try:
        loaded = load_any(path, trust=trust, workspace=workspace.root)
    except (ModelError, BackendError) as error:  # of no type that has kernels here
        logger.info("%s Backend %s evaluates it.", error, owner)
        return _plan(workspace, path, kind, owner, trust)
    return replace(_plan(workspace, path, kind, NATIVE, trust), loaded=loaded)


def _portable_plan(workspace: Workspace, path: Path, kind: str, trust: Trust) -> Plan:
    """Take DeePMD-kit where dpbench has no kernels for what the file holds."""
    try:
        load_potential(path)
    except ModelError as error:
        logger.info("%s Backend deepmd-pt evaluates it.", error)
        try:
            return _plan(workspace, path, kind, "deepmd-pt", trust)
        except BackendError as missing:
            raise ModelError(f"{error} {missing}") from missing
    return _plan(workspace, path, kind, NATIVE, trust)


def _plan(
    workspace: Workspace, path: Path, kind: str, backend: str, trust: Trust
) -> Plan:
    if backend == NATIVE:
        return Plan(backend=backend, path=path, kind=kind, trust=trust)
    own_cards = workspace.root / "backends"
    try:
        launch = launch_of(backend, own_cards=own_cards)
    except BackendError as error:
        raise BackendError(f"{path}: {error}") from error
    if kind not in OWN_KINDS:  # those are read here, and written anew for it
        asked = suffix_option(launch, path, {})
        trust.check(path, is_confined=True, data=data_of(launch, path, asked))
    formats = [known for known in FORMATS if known.backend == backend]
    suffix = None
    if formats and OWNERS.get(kind) != backend:
        suffix = formats[0].suffix
    elif not formats and kind in OWN_KINDS:
        raise BackendError(
            f"{backend}: does not read {path} ({recognise(path).description}); "
            "expected a model of its own. Name that, or one of DeePMD-kit's backends."
        )
    return Plan(
        backend=backend,
        path=path,
        kind=kind,
        trust=trust,
        program=Program(launch=launch, card=load_card(backend, own_cards=own_cards)),
        suffix=suffix,
    )
