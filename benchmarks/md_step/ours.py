"""A side that is ``dpbench md`` itself: NVE, its log and its watch over the numbers.

The only change is a hook where the run asks whether it shall stop, once a step.
"""

import importlib.metadata
import tempfile
from pathlib import Path

from benchmarks.turns.side import Turns, argument


def main() -> None:
    import torch

    torch.set_num_threads(argument("threads"))
    from dpbench.md.run import start_run
    from dpbench.md.settings import Baths, MDConfig

    config = MDConfig(
        model=argument("model"),
        structure=argument("structure"),
        baths=Baths(ensemble="nve", timestep=argument("timestep_fs")),
        steps=10**7,
        precision=argument("precision"),
        exact=argument("exact"),
        traj_every=0,
        log_every=100,
    )
    packages = ("dpbench", "torch", "numba")
    versions = {name: importlib.metadata.version(name) for name in packages}
    turns = Turns(
        argument("steps"),
        warm_up=3,
        told={"versions": versions, "skin": config.skin},
        is_mean=True,
    )

    def tick() -> bool:
        turns.tick()
        return False

    with tempfile.TemporaryDirectory(prefix="md-step-run-") as folder:
        start_run(config, Path(folder) / "run", should_stop=tick)


if __name__ == "__main__":
    main()
