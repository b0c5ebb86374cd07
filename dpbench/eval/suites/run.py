"""Running a suite: lay out what is to be measured, tell the cost, measure the rest.

Every unit, one task on one part by one backend, is a record of its own, filed as soon
as it is measured. A run that was ended goes on where it was: what the workspace holds
a record of is not measured again.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpbench.errors import DpbenchError, EvaluationError
from dpbench.eval.fingerprint import hardware_fingerprint
from dpbench.eval.opening import unopened
from dpbench.eval.options import Options
from dpbench.eval.planning import plan_backends
from dpbench.eval.record import Record, record_to_payload
from dpbench.eval.session import Filed
from dpbench.eval.suites.cache import find_unit, note_unit
from dpbench.eval.suites.cost import Survey, seconds_of, survey
from dpbench.eval.suites.data import Prepared, prepare_suite
from dpbench.eval.suites.loading import Suite
from dpbench.eval.suites.measuring import failed, measure_units
from dpbench.eval.suites.units import Unit, lay_out
from dpbench.store import catalog
from dpbench.store.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client

Say = Callable[[str], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What the user may choose of a run."""

    models: tuple[Path, ...]
    """Model files, measured one after the other."""
    options: Options = field(default_factory=Options)
    """Mode, backends, precision, device; its tasks do not count."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where the user has raw data, by key; ``""`` stands for all others."""
    again: bool = False
    """Measure what there are records of, too."""
    scheduler: str | None = None
    """Address or file of a Dask cluster; None: this process measures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A unit, and what is known of it beforehand."""

    unit: Unit
    """The unit."""
    filed: Filed | None
    """Its record, where the workspace has one."""
    seconds: float | None
    """What it will take, s; 0 where it is filed, None where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuitePlan:
    """All that a run will do."""

    suite: Suite
    """The suite."""
    mode: str
    """``smoke``, ``standard`` or ``full``."""
    planned: tuple[Planned, ...]
    """In the order in which they are done."""
    notes: tuple[str, ...]
    """What is left out, and why; what could not be opened."""


def run_suite(
    workspace: Workspace,
    suite: Suite,
    wishes: Wishes,
    *,
    say: Say = lambda _: None,
    show: Callable[[SuitePlan], None] = lambda _: None,
) -> list[Filed]:
    """Measure models on a suite and file a record of every unit.

    Args:
        workspace: Holds the data, or takes them; takes the records.
        suite: The suite.
        wishes: Models, mode, backends, where the data are.
        say: Told what goes on.
        show: Handed the plan before anything of it is measured.

    Returns:
        The records of all units, in the order of the plan, also those that were there.

    Raises:
        DatasetError: If the data are not those of the suite.
        EvaluationError: If the suite has nothing that the models can be measured on.
        ModelError: If a model cannot be read.
        BackendError: If a backend is not installed, or the only one cannot open it.
    """
    here, notes = _data(workspace, suite, wishes, say)
    units = _units(workspace, suite, wishes, here)
    with _cluster(workspace, wishes) as client:
        run = _Run(
            workspace=workspace, suite=suite, wishes=wishes, say=say, client=client
        )
        plan = run.plan(units, notes)
        show(plan)
        if not plan.planned:
            raise EvaluationError(
                f"{suite.label}: nothing is left to measure: {'; '.join(plan.notes)}."
            )
        found = {
            id(p.unit): of_suite(workspace, p.unit, p.filed)
            for p in plan.planned
            if p.filed is not None
        }
        open_units = [p.unit for p in plan.planned if p.filed is None]
        is_only = len({(u.model, u.backend) for u in units}) == 1
        begin = time.perf_counter()
        for done, (unit, record) in enumerate(
            run.measured(open_units, is_only=is_only), start=1
        ):
            found[id(unit)] = file_unit(workspace, unit, record)
            spent = time.perf_counter() - begin
            say(f"[{done}/{len(open_units)}] {unit.name} is filed ({spent:.0f} s)")
    return [found[id(planned.unit)] for planned in plan.planned]


def file_unit(workspace: Workspace, unit: Unit, record: Record) -> Filed:
    """File the record of a unit; one of a backend that failed is tried again later."""
    digest = catalog.register_result(workspace, record_to_payload(record))
    if record.failure is None:
        hardware = record.hardware.id
        params: dict[str, Any] = {**unit.params, "hardware": hardware}
        note_unit(workspace, unit.key(hardware), digest, params)
    return Filed(digest=digest, record=record)


def of_suite(workspace: Workspace, unit: Unit, filed: Filed) -> Filed:
    """Let a record that another suite measured under the same key count for this one.

    Its numbers are the same by the key; the record is filed once more with the name of
    this suite.
    """
    record = filed.record
    if (record.suite, record.suite_digest) == (unit.suite, unit.suite_digest):
        return filed
    own = replace(record, suite=unit.suite, suite_digest=unit.suite_digest)
    return file_unit(workspace, unit, own)


def _data(
    workspace: Workspace, suite: Suite, wishes: Wishes, say: Say
) -> tuple[list[Prepared], list[str]]:
    """Find or make the datasets that a model knows the elements of."""
    known = [_elements(workspace, path, wishes.options) for path in wishes.models]
    keys, notes = [], []
    for data in suite.file.data:
        if not any(own is None or set(data.elements) <= own for own in known):
            missing = "-".join(data.elements)
            notes.append(f"{data.key} is left out: no model knows {missing}")
            continue
        keys.append(data.key)
    if not keys:
        raise EvaluationError(
            f"{suite.label}: {'; '.join(notes)}; expected a model that knows the "
            "elements of one of its datasets."
        )
    here: list[Prepared] = []
    errors: list[DpbenchError] = []
    for key in keys:
        try:
            here += prepare_suite(
                workspace, suite, folders=wishes.folders, keys=(key,), say=say
            )
        except DpbenchError as error:
            # Data that do not ship may be here in part: the row says what is missing.
            if suite.data(key).origin != "user" or key in wishes.folders:
                raise
            errors.append(error)
            notes.append(f"{key} is left out: {error}")
    if not here:
        raise errors[0]
    return here, notes


def _elements(workspace: Workspace, path: Path, options: Options) -> set[str] | None:
    """Return the elements that a model knows; None where only its backend tells."""
    plan = plan_backends(workspace, path, options)[0]
    known = unopened(workspace, plan, options).model.type_map
    return set(known) or None


def _units(
    workspace: Workspace, suite: Suite, wishes: Wishes, here: Sequence[Prepared]
) -> list[Unit]:
    """Lay out all units, model by model and backend by backend."""
    units: list[Unit] = []
    for path in wishes.models:
        known = _elements(workspace, path, wishes.options)
        own = [
            item for item in here if known is None or set(item.data.elements) <= known
        ]
        for plan in plan_backends(workspace, path, wishes.options):
            units += lay_out(
                workspace,
                suite,
                own,
                model=path.resolve(),
                backend=plan.backend,
                options=replace(wishes.options, backends=(plan.backend,)),
            )
    return units


def _cluster(workspace: Workspace, wishes: Wishes) -> Any:
    if wishes.scheduler is None:
        return nullcontext()
    # Imported here: distributed takes half a second, and one machine needs none.
    from dpbench.eval.suites.spread import connected

    return connected(wishes.scheduler, workspace)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """What planning and measuring share."""

    workspace: Workspace
    suite: Suite
    wishes: Wishes
    say: Say
    client: "Client | None"

    def plan(self, units: Sequence[Unit], notes: Sequence[str]) -> SuitePlan:
        """Look up what is there, and estimate what the rest will cost."""
        told = list(notes)
        planned: list[Planned] = []
        classes = self._hardware()
        for group in _groups(units):
            filed = [self._filed(unit, classes) for unit in group]
            seen = self._survey(group, filed)
            if seen.trouble is not None:
                told.append(f"{group[0].backend} cannot open it: {seen.trouble}")
            for unit, there in zip(group, filed, strict=True):
                elements = set(self.suite.data(unit.task.data).elements)
                if seen.type_map is not None and not elements <= set(seen.type_map):
                    unknown = "-".join(sorted(elements - set(seen.type_map)))
                    told.append(
                        f"{unit.name} is left out: {unit.model.name} does not know "
                        f"{unknown}"
                    )
                    continue
                seconds = 0.0 if there else seconds_of(unit, seen.us_per_atom_step)
                planned.append(Planned(unit=unit, filed=there, seconds=seconds))
        return SuitePlan(
            suite=self.suite,
            mode=self.wishes.options.mode,
            planned=tuple(planned),
            notes=tuple(dict.fromkeys(told)),
        )

    def measured(
        self, units: Sequence[Unit], *, is_only: bool
    ) -> Iterator[tuple[Unit, Record]]:
        """Measure units, on the cluster or here; of several backends one may fail."""
        if self.client is not None:
            from dpbench.eval.suites.spread import spread_units

            yield from spread_units(self.client, self.workspace, units, is_only=is_only)
            return
        for group in _groups(units):
            left = list(group)
            try:
                for unit, record in measure_units(self.workspace, group, say=self.say):
                    left.remove(unit)
                    yield unit, record
            except DpbenchError as error:
                if is_only:
                    raise
                logger.error("%s The others go on.", error)
                yield from ((u, failed(self.workspace, u, error)) for u in left)

    def _hardware(self) -> tuple[str, ...]:
        """Name the classes of hardware that may measure."""
        # Some backends compute on the CPU, whatever device is asked for; the key holds
        # the device, too, so that nothing else is found there.
        devices = sorted({self.wishes.options.device, "cpu"}, reverse=True)
        if self.client is None:
            return tuple(hardware_fingerprint(device=name).id for name in devices)
        from dpbench.eval.suites.spread import hardware_of

        return tuple(i for name in devices for i in hardware_of(self.client, name))

    def _filed(self, unit: Unit, classes: Iterable[str]) -> Filed | None:
        """Find the record of a unit on one of the classes of hardware."""
        if self.wishes.again:
            return None
        for hardware in classes:
            found = find_unit(self.workspace, unit.key(hardware))
            if found is not None:
                return found
        return None

    def _survey(self, group: Sequence[Unit], filed: Sequence[Filed | None]) -> Survey:
        """Open and time a model, where something is left to be measured."""
        pending = [u for u, there in zip(group, filed, strict=True) if there is None]
        if not pending:
            return Survey(us_per_atom_step=None, type_map=None)
        self.say(f"timing {group[0].model.name} by {group[0].backend}")
        return survey(self.workspace, pending)


def _groups(units: Sequence[Unit]) -> list[list[Unit]]:
    """Put the units of one model on one backend together, in their order."""
    groups: dict[tuple[Path, str], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.model, unit.backend), []).append(unit)
    return list(groups.values())
