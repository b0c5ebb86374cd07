"""Made-up result records for tests of records and leaderboard; no measurement."""

from dataclasses import replace

import numpy as np

from dpbench.eval.fingerprint import Hardware, Software
from dpbench.eval.record import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    DatasetFacts,
    LeakageFacts,
    ModelFacts,
    Overlap,
    Provenance,
    Record,
    SourceFacts,
    SplitFacts,
)
from dpbench.eval.task_results import (
    Accuracy,
    Baseline,
    Parity,
    PredictionFile,
    SizeResult,
    SourceAccuracy,
    Stability,
    StabilityProtocol,
    StabilityRun,
    Throughput,
    ThroughputProtocol,
)
from dpbench.eval.throughput import QUANTITIES, timing
from dpbench.eval.timing import Measurement
from dpbench.metrics.definitions import METRICS, metric_value
from dpbench.store.objects import digest_of

NO_LEAKAGE = LeakageFacts(
    n_train=400, exact=0, equal_labels=0, invariant=0, same_trajectory=0
)
"""Frames of runs that the training had no part of."""

ACCURACY_NAMES = tuple(METRICS)[:13]


def synthetic_record(
    *,
    model: str = "small",
    force: float = 50.0,
    width: float = 2.0,
    speed: float = 40.0,
    part: str = "test",
    hardware: str = "Made-up CPU, 2 threads",
    precision: str = "float64",
    marks: tuple[str, ...] = (),
    seed: int = 0,
    created_at: str = "2026-01-01T00:00:00+00:00",
    dataset: str = "si8",
    leakage: LeakageFacts | None = NO_LEAKAGE,
) -> Record:
    """A complete record whose numbers follow from the arguments alone."""
    rng = np.random.default_rng(seed)
    version = DatasetFacts(
        name=dataset, number=1, label=f"{dataset}-v1", digest="dpb1:" + "d" * 64
    )
    split = SplitFacts(
        digest="5" * 64,
        strategy="trajectory",
        seed=0,
        parts={"train": 400, "validation": 50, "test": 100, "ood": 50},
    )
    source = SourceFacts(
        path="runs/900K/pw.out",
        sha256="a" * 64,
        format="qe",
        code="qe",
        code_version="7.3",
        nframes=100,
    )
    return Record(
        schema=SCHEMA_NAME,
        schema_version=SCHEMA_VERSION,
        created_at=created_at,
        command=("dpbench", "evaluate", "--model", f"{model}.pth"),
        mode="standard",
        model=ModelFacts(
            digest=digest_of({"model": model}),
            name=model,
            path=f"{model}.pth",
            parameters=12_345 + 1000 * len(model),
            type_map=("Si",),
            rcut=6.0,
            description="se_e2_a [16, 32, 64] x 8, fitting [64, 64, 64]",
        ),
        dataset=version,
        split=split,
        part=part,
        nframes=100,
        natoms=800,
        backend="dpbench",
        precision=precision,
        hardware=synthetic_hardware(hardware),
        software=Software(
            dpbench="0.1.0",
            commit="c" * 40,
            dirty=False,
            python="3.11.9",
            packages={"numpy": "2.0.0", "torch": "2.13.0"},
            environment={"OMP_WAIT_POLICY": "PASSIVE"},
        ),
        overlap=Overlap(train=0, validation=0),
        leakage=leakage,
        marks=marks,
        accuracy=_accuracy(rng, force, width),
        stability=_stability(rng),
        throughput=_throughput(rng, speed),
        provenance=Provenance(
            run={"run_id": f"run-{model}", "seed": 1, "steps": 5000},
            training_dataset=version,
            training_split=split,
            sources=(source,),
            nsources=1,
        ),
    )


def synthetic_hardware(label: str) -> Hardware:
    return Hardware(
        id=digest_of({"hardware": label})[:12],
        label=label,
        cpu=label,
        cores=2,
        logical=2,
        threads=2,
        memory_gib=8.0,
        gpus=(),
        machine="x86_64",
        os="Linux 6.1",
        load=0.1,
    )


def with_digests(records: list[Record]) -> dict[str, Record]:
    from dpbench.eval.record import record_to_payload

    return {digest_of(record_to_payload(record)): record for record in records}


def exploded(record: Record) -> Record:
    run = replace(
        record.stability.runs[0],
        status="exploded",
        reason="two atoms 0.312 Å apart",
        failure_step=137,
        drift=None,
        residual=None,
    )
    metrics = (
        metric_value("nve_drift_mev_per_atom_ps", None, n=0),
        metric_value("nve_completed_percent", 34.0, n=1),
    )
    stability = replace(
        record.stability, status="exploded", runs=(run,), metrics=metrics
    )
    return replace(record, stability=stability)


def _metrics(force: float, width: float) -> tuple:
    scale = {
        "energy_rmse_per_atom_mev": 0.06,
        "energy_mae_per_atom_mev": 0.045,
        "energy_shifted_rmse_per_atom_mev": 0.05,
        "energy_shifted_mae_per_atom_mev": 0.04,
        "energy_fluctuation_rmse_per_atom_mev": 0.05,
        "force_mae_component_mev_per_ang": 0.75,
        "force_mae_vector_norm_mev_per_ang": 1.4,
        "force_rmse_relative_percent": 0.08,
        "virial_rmse_per_atom_mev": 0.4,
        "virial_mae_per_atom_mev": 0.3,
        "stress_rmse_component_gpa": 0.004,
        "stress_mae_component_gpa": 0.003,
    }
    out = []
    for name in ACCURACY_NAMES:
        factor = scale.get(name, 1.0)
        interval = ((force - width) * factor, (force + width) * factor)
        out.append(metric_value(name, force * factor, n=2400, interval=interval))
    return tuple(out)


def _accuracy(rng: np.random.Generator, force: float, width: float) -> Accuracy:
    energy = rng.normal(-107.0, 0.05, 150).round(6)
    forces = rng.normal(0, 0.7, 900).round(6)
    metrics = _metrics(force, width)
    return Accuracy(
        metrics=metrics,
        nonfinite_frames=0,
        baseline=Baseline(
            fitted_on="si8-v1:train",
            energies={"Si": -107.0},
            rank=1,
            metrics=tuple(
                replace(m, value=v, ci_low=None, ci_high=None)
                for m, v in zip(
                    _metrics(640.0, 0.0),
                    [m.value for m in _metrics(640.0, 0.0)],
                    strict=True,
                )
            ),
        ),
        by_element={"Si": metrics[5:9]},
        by_source=(
            SourceAccuracy(
                source="runs/900K/pw.out",
                sha256="a" * 64,
                nframes=100,
                metrics=metrics,
            ),
        ),
        nsources=1,
        parity=Parity(
            energy_reference=tuple(energy.tolist()),
            energy_predicted=tuple(
                (energy + rng.normal(0, 0.003, 150)).round(6).tolist()
            ),
            force_reference=tuple(forces.tolist()),
            force_predicted=tuple(
                (forces + rng.normal(0, force / 1000, 900)).round(6).tolist()
            ),
        ),
        predictions=PredictionFile(
            path="predictions/0.npz", sha256="0" * 64, nframes=100
        ),
        wall_time_s=1.25,
    )


def _stability(rng: np.random.Generator) -> Stability:
    time = np.arange(0, 2000, 10.0)
    runs = []
    for seed in (0, 1, 2):
        wave = 0.05 * np.sin(time / 30 + seed) + rng.normal(0, 0.02, len(time))
        runs.append(
            StabilityRun(
                seed=seed,
                status="completed",
                reason=None,
                failure_step=None,
                steps_done=2000,
                drift=0.012 * (seed + 1),
                residual=0.04,
                min_distance=2.11,
                time=tuple(time.tolist()),
                energy=tuple((wave + 2e-5 * time).round(6).tolist()),
                temperature=(300.0,) * len(time),
            )
        )
    return Stability(
        status="completed",
        protocol=StabilityProtocol(
            ensemble="NVE",
            integrator="velocity Verlet (ASE)",
            temperature=300.0,
            timestep=1.0,
            steps=2000,
            sample_every=10,
            discard=0.2,
            start_frame=5,
            replicas=(2, 2, 2),
            natoms=64,
            limits={"energy_ev_per_atom": 0.5},
        ),
        runs=tuple(runs),
        metrics=(
            metric_value(
                "nve_drift_mev_per_atom_ps", 0.024, n=3, interval=(0.012, 0.036)
            ),
            metric_value("nve_completed_percent", 100.0, n=3),
        ),
        wall_time_s=30.0,
    )


def _throughput(rng: np.random.Generator, speed: float) -> Throughput:
    sizes = []
    for natoms, replicas in ((64, (2, 2, 2)), (256, (4, 4, 2)), (1024, (8, 4, 4))):
        quantities = {}
        for name, factor in zip(QUANTITIES, (0.8, 1.1, 1.0), strict=True):
            micro = speed * factor * rng.normal(1, 0.02, 5)
            quantities[name] = timing(
                Measurement(
                    name=name,
                    samples=tuple((micro * natoms / 1e6).tolist()),
                    steps_per_window=20,
                    warmup_steps=31,
                    warmup_s=0.8,
                    first_call_s=0.4,
                ),
                natoms=natoms,
                timestep=1.0 if name == QUANTITIES[2] else None,
                list_rebuilds=3 if name == QUANTITIES[2] else None,
            )
        sizes.append(
            SizeResult(
                natoms=natoms,
                replicas=replicas,
                density=0.05,
                mean_neighbours=45.1,
                status="ok",
                quantities=quantities,
            )
        )
    last = sizes[-1].quantities
    return Throughput(
        protocol=ThroughputProtocol(
            window_s=1.0,
            repeats=5,
            timestep=1.0,
            temperature=300.0,
            integrator="velocity Verlet (ASE), NVE",
            independent_processes=False,
            start_frame=5,
        ),
        sizes=tuple(sizes),
        metrics=tuple(
            metric_value(
                name,
                last[name].median,
                n=5,
                interval=(last[name].ci_low, last[name].ci_high),
            )
            for name in QUANTITIES
        ),
        natoms=1024,
        wall_time_s=60.0,
    )
