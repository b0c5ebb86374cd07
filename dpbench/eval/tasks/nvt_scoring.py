"""The cheap stage of the task ``nvt``: observables of runs against references."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.config import to_mapping
from dpbench.eval.motion.observed import (
    Look,
    Observed,
    errors,
    mean_with_error,
    observed,
)
from dpbench.eval.motion.references import Reference
from dpbench.eval.motion.summary import (
    how_it_went,
    listed,
    mean_over_systems,
    survived_percent,
)
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.nvt_settings import NvtSettings, chosen_references
from dpbench.eval.tasks.task import Job
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.units import GPA

Array = NDArray[np.float64]

PERCENT = (
    "rdf_error_percent",
    "adf_error_percent",
    "vdos_error_percent",
    "diffusion_error_percent",
    "pressure_error_percent",
)
"""Errors that a failed run makes 100."""

CURVES = 10
"""Trajectories whose curves a record keeps."""

POINTS = 100
"""Most points of a curve that a record keeps."""


def score(kept: Kept, job: Job) -> TaskResult:
    """Compare the runs with their references; a failed run counts as all wrong."""
    settings: NvtSettings = job.settings
    references, refused = chosen_references(job)
    by_source = {reference.source: reference for reference in references}
    scored = [
        _system(kept, number, by_source[system["source"]], settings)
        for number, system in enumerate(kept.facts["systems"])
    ]
    runs = [run for system in scored for run in system["runs"]]
    status, reason = how_it_went(runs)
    if not scored:
        why = next(iter(refused.values()), "the part has no frames")
        reason = f"no trajectory of the data is a reference: {why}"
    for system in scored[CURVES:]:
        system.pop("curves")
    return TaskResult(
        task="nvt",
        code="",
        status=status if scored else "no_reference",
        reason=reason,
        protocol={"ensemble": "NVT", **to_mapping(settings)},
        metrics=_metrics(scored),
        samples={
            "systems": scored,
            "refused": dict(list(refused.items())[:POINTS]),
            "nrefused": len(refused),
        },
        wall_time_s=kept.wall_time_s,
    )


def _metrics(scored: list[dict[str, Any]]) -> tuple[MetricValue, ...]:
    """Average over the trajectories for which there is something to compare."""
    found = []
    for name in (*PERCENT, "pressure_mae_gpa"):
        values = [system["errors"][name] for system in scored]
        known = [[value] for value in values if value is not None]
        found.append(mean_over_systems(name, known))
    if any(
        run["failure_step"] is not None for system in scored for run in system["runs"]
    ):
        found[-1] = metric_value("pressure_mae_gpa", None, n=0)
    survived = [survived_percent(s["runs"], s["steps"]) for s in scored]
    return (*found, mean_over_systems("nvt_survived_percent", survived))


def _system(
    kept: Kept, number: int, reference: Reference, settings: NvtSettings
) -> dict[str, Any]:
    """Score the runs of one reference."""
    system: Mapping[str, Any] = kept.facts["systems"][number]
    look = Look(
        r_max=settings.r_max, r_bin=settings.r_bin, bond_factor=settings.bond_factor
    )
    true = observed([reference.coord], reference, look, pressure=reference.pressure)
    holds = [run["failure_step"] is None for run in system["runs"]]
    model = _model(kept, number, reference, look=look, holds=holds)
    found = errors(true, model) if model is not None else errors(true, true)
    share = sum(holds) / len(holds)
    for name in PERCENT:
        value = found[name]
        if value is not None:
            found[name] = share * value + (1 - share) * 100.0
    if share < 1:
        found["pressure_mae_gpa"] = None
    noise = _halves(reference, look)
    return {
        **system,
        "errors": found,
        "reference": _told(reference, true),
        "model": None if model is None else _summary(kept, number, model, holds),
        "reference_halves_errors": noise,
        "limited_by_reference": sorted(
            name
            for name, value in found.items()
            if value is not None and (noise.get(name) or 0.0) >= value
        ),
        "curves": _curves(true, model),
    }


def _model(
    kept: Kept,
    number: int,
    reference: Reference,
    *,
    look: Look,
    holds: list[bool],
) -> Observed | None:
    """Take the observables of the runs that reached their end; None if none did."""
    if not any(holds):
        return None
    paths = [
        path.astype(np.float64)
        for path, is_whole in zip(kept.arrays[f"coord_{number}"], holds, strict=True)
        if is_whole
    ]
    pressure = None
    if reference.box is not None:
        volume = abs(float(np.linalg.det(reference.box[0])))
        pressure = kept.arrays[f"virial_{number}"][holds].ravel() / (3 * volume * GPA)
        if not np.isfinite(pressure).all():
            pressure = None
    return observed(paths, reference, look, pressure=pressure)


def _halves(reference: Reference, look: Look) -> dict[str, float | None]:
    """Compare the two halves of a reference: what its length leaves open."""
    middle = reference.nframes // 2
    pressure = reference.pressure
    first, second = (
        observed(
            [reference.coord[rows]],
            reference,
            look,
            pressure=None if pressure is None else pressure[rows],
        )
        for rows in (slice(0, middle), slice(middle, 2 * middle))
    )
    return errors(first, second)


def _told(reference: Reference, true: Observed) -> dict[str, Any]:
    """Say what the reference is, and how well it knows its own means."""
    told: dict[str, Any] = {
        "nframes": reference.nframes,
        "interval_fs": reference.interval,
        "duration_ps": None
        if reference.interval is None
        else (reference.nframes - 1) * reference.interval / 1000,
        "temperature_k": reference.temperature,
        "told_temperature_k": reference.told_temperature,
        "equipartition_temperature_k": reference.equipartition_temperature,
        "remarks": list(reference.remarks),
        **_diffusion(true),
    }
    if true.pressure is not None:
        mean, error = mean_with_error(true.pressure)
        told |= {"pressure_gpa": mean, "pressure_error_gpa": error}
    return told


def _summary(
    kept: Kept, number: int, model: Observed, holds: list[bool]
) -> dict[str, Any]:
    """Say the means of the model's runs."""
    temperature = kept.arrays[f"temperature_{number}"][holds]
    told: dict[str, Any] = {
        "temperature_k": float(temperature.mean()),
        **_diffusion(model),
    }
    if model.pressure is not None:
        mean, error = mean_with_error(model.pressure)
        told |= {"pressure_gpa": mean, "pressure_error_gpa": error}
    return told


def _diffusion(seen: Observed) -> dict[str, Any]:
    found = seen.diffusion
    if found is None:
        return {}
    return {
        "diffusion_ang2_per_ps": found.value,
        "diffusion_ci": [found.low, found.high],
        "diffusion_blocks": found.nblocks,
        "diffusion_exponent": found.exponent,
        "is_diffusive": found.is_diffusive,
    }


def _curves(true: Observed, model: Observed | None) -> dict[str, Any]:
    """Return the curves of both, thinned."""
    found: dict[str, Any] = {}
    for name in ("rdf", "adf", "vdos"):
        ours = getattr(true, name)
        theirs = None if model is None else getattr(model, name)
        if ours is None:
            continue
        found[name] = {
            "x": listed(ours[0], digits=4, most=POINTS),
            "reference": listed(ours[1], digits=5, most=POINTS),
            "model": None
            if theirs is None
            else listed(
                np.interp(ours[0], theirs[0], theirs[1]), digits=5, most=POINTS
            ),
        }
    return found
