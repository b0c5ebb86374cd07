"""Explorations as the loop leaves them on disk, without having run."""

import numpy as np

from dpbench.explore.journal import ConfigEntry, config_digest, write_record
from dpbench.explore.select.settings import TrustLevels
from dpbench.explore.select.stopping import StopSettings
from dpbench.explore.stage_results import (
    AssessedErrors,
    AssessResult,
    ChosenFrame,
    ExploreResult,
    Histogram,
    IngestResult,
    LabelledFrame,
    LabelResult,
    QuarantinedFrame,
    SelectResult,
    StopReason,
    TrainedModel,
    TrainResult,
    WalkSummary,
    iteration_folder,
    write_result,
)

HOSTILE = 'pw.x said <script>document.title = "owned"</script> & "stopped"'
TEMPERATURES = (300.0, 900.0, 1500.0)
EDGES = np.geomspace(5e-4, 0.5, 46)
SEED = 7


def config(name="almg", *, structures=("fcc", "hcp"), select=None):
    stage = {"structures": [*structures], "temperatures": [*TEMPERATURES]}
    return {
        "dataset": name,
        "seed": 1,
        "explore": {"engine": "dpbench", "stages": [stage]},
        "select": select or {"rule": "fixed", "force": [0.05, 0.25], "most": 24},
        "stop": {"iterations": StopSettings().iterations},
        "label": {"driver": "qe"},
    }


def write_config(root, told=None):
    told = config() if told is None else told
    first = {**told, "seed": 0}
    entries = (
        ConfigEntry(iteration=0, digest=config_digest(first), config=first, base="."),
        ConfigEntry(
            iteration=1,
            digest=config_digest(told),
            config=told,
            base=".",
            changed=("seed: 0 -> 1",),
        ),
    )
    write_record(root, entries)


def write_start(root, *, nframes=20):
    folder = root / "start"
    folder.mkdir(parents=True, exist_ok=True)
    done = tuple(labelled(f"start{i}", 0) for i in range(nframes))
    write_result(
        folder,
        "label",
        LabelResult(
            driver="qe", done=done, quarantined=(), cpu_seconds=9.0, wall_seconds=5.0
        ),
    )
    write_result(folder, "ingest", ingested("almg-v1", nframes, nframes))


def labelled(walk, step, *, remedies=(), key="5e" * 32):
    return LabelledFrame(
        key=key,
        walk=walk,
        step=step,
        attempts=1 + len(remedies),
        remedies=tuple(remedies),
        cpu_seconds=0.5,
    )


def ingested(version, nframes, new, **refused):
    return IngestResult(
        version=version,
        digest=f"dpb1:{version.encode().hex():0<64}",
        nframes=nframes,
        new=new,
        refused=refused,
        wall_seconds=0.4,
    )


def trained(number, *, version="almg-v1", error=0.1, models=4):
    return TrainResult(
        dataset=version,
        digest="dpb1:" + "ab" * 32,
        split="dpb1:" + "cd" * 32,
        models=tuple(
            TrainedModel(
                path=f"iter.{number:06d}/train/{member:03d}/m.pth",
                digest=f"{number}{member}" * 32,
                seed=1000 * number + member,
                steps=2000,
                errors={"rmse_f_validation": error * (0.9 + 0.07 * member)},
                cpu_seconds=30.0,
                started_from=None if number == 0 else f"{number - 1}{member}" * 32,
            )
            for member in range(models)
        ),
        cpu_seconds=120.0,
        wall_seconds=61.0,
    )


def walks(structures=("fcc", "hcp")):
    found = [
        WalkSummary(
            name=f"{structure}-{temperature:g}K-{replica}",
            structure=structure,
            temperature=temperature,
            pressure=None,
            replica=replica,
            nframes=100,
            outcome="done",
            reason="",
            dropped={"min_distance": 2} if temperature > 1000 else {},
            cpu_seconds=1.5,
        )
        for structure in structures
        for temperature in TEMPERATURES
        for replica in range(2)
    ]
    found[-1] = WalkSummary(
        name="hcp-1500K-1",
        structure=structures[-1],
        temperature=1500.0,
        pressure=None,
        replica=1,
        nframes=40,
        outcome="exploded",
        reason="an atom moved 3.1 Å in a step at step 812",
        dropped={"min_distance": 9},
        cpu_seconds=0.6,
    )
    return tuple(found)


def explored(structures=("fcc", "hcp")):
    found = walks(structures)
    return ExploreResult(
        stage=0,
        walks=found,
        cpu_seconds=sum(walk.cpu_seconds for walk in found),
        wall_seconds=11.0,
    )


def selected(number, *, scale, chosen=3, stop=None, explore=None):
    """Deviations that are smaller the later the iteration; counts that fit them."""
    rng = np.random.default_rng([SEED, number])
    explore = explored() if explore is None else explore
    all_counts, by_walk = dict.fromkeys(("accurate", "candidate", "failed"), 0), {}
    total, beyond = np.zeros(len(EDGES) - 1, np.int64), 0
    for walk in explore.walks:
        hot = 0.5 + walk.temperature / 1000
        devi = scale * hot * rng.lognormal(0, 0.5, walk.nframes)
        total += np.histogram(np.maximum(devi, EDGES[0]), EDGES)[0]
        beyond += int((devi > EDGES[-1]).sum())
        counts = {
            "accurate": int((devi < 0.05).sum()),
            "candidate": int(((devi >= 0.05) & (devi < 0.25)).sum()),
            "failed": int((devi >= 0.25).sum()),
        }
        by_walk[walk.name] = counts
        all_counts = {name: n + counts[name] for name, n in all_counts.items()}
    chosen = min(chosen, all_counts["candidate"])
    none = Histogram(edges=(0.0, 1.0), counts=(0,))
    return SelectResult(
        stage=0,
        counts=all_counts,
        levels={
            name: TrustLevels(force=(0.05, 0.25))
            for name in sorted({walk.structure for walk in explore.walks})
        },
        max_devi_f=Histogram(
            edges=tuple(EDGES.tolist()), counts=tuple(total.tolist()), beyond=beyond
        ),
        max_devi_v=none,
        chosen=tuple(
            ChosenFrame(walk="fcc-900K-0", step=20 * i, max_devi_f=0.2 - 0.01 * i)
            for i in range(chosen)
        ),
        rejected={
            "accurate": all_counts["accurate"],
            "budget": all_counts["candidate"] - chosen,
            "failed": all_counts["failed"],
        },
        stop=stop,
        cpu_seconds=3.0,
        wall_seconds=2.0,
        by_walk=by_walk,
    )


CONVERGED = StopReason(
    kind="accurate",
    reason="98.0 % of the frames are accurate, 95 % or more are asked for",
    ends="stage",
)


def write_iteration(root, number, *, stages, stop=None):
    """Write the first so many stages of an iteration."""
    folder = iteration_folder(root, number)
    folder.mkdir(parents=True, exist_ok=True)
    scale = 0.12 / 2.2**number
    lost = QuarantinedFrame(
        key="dead" * 16, walk="fcc-900K-0", step=0, reason=HOSTILE, attempts=4
    )
    done = tuple(
        labelled("fcc-900K-0", 20 * i, remedies=("mixing_beta 0.3",) if i == 1 else ())
        for i in range(1, 24)
    )
    results = {
        "train": trained(number, version=f"almg-v{number + 1}", error=scale),
        "explore": explored(),
        "select": selected(number, scale=scale, chosen=24, stop=stop),
        "label": LabelResult(
            driver="qe",
            done=done,
            quarantined=(lost,),
            cpu_seconds=24.0,
            wall_seconds=14.0,
        ),
        "ingest": ingested(f"almg-v{number + 2}", 43 + 23 * number, 23, duplicate=1),
        "assess": AssessResult(
            nframes=23,
            before=AssessedErrors(rmse_e=0.01, rmse_f=2 * scale, p95_f=4 * scale),
            after=AssessedErrors(rmse_e=0.004, rmse_f=0.9 * scale, p95_f=2 * scale),
            validation_before=AssessedErrors(rmse_e=0.006, rmse_f=1.5 * scale),
            validation_after=AssessedErrors(rmse_e=0.004, rmse_f=scale),
            cpu_seconds=1.0,
        ),
    }
    for stage in stages:
        write_result(folder, stage, results[stage])
    return results


ALL = ("train", "explore", "select", "label", "ingest", "assess")


def write_exploration(root, *, iterations=4, last=("train", "explore", "select")):
    """A start, whole iterations, and a last one that has converged."""
    root.mkdir(parents=True, exist_ok=True)
    write_config(root)
    write_start(root)
    for number in range(iterations - 1):
        write_iteration(root, number, stages=ALL)
    if iterations:
        write_iteration(root, iterations - 1, stages=last, stop=CONVERGED)
    return root
