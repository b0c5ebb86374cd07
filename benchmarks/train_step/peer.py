"""A side that is DeePMD-kit's own trainer, told from its own ``input.json``.

``dp train`` runs as it is; the only change is a hook where it asks for the data of the
next step, which is once a step. Validation and display lie beyond the end of the run.
"""

import importlib.metadata
import os
import sys
from pathlib import Path

from benchmarks.turns.side import Turns, argument

WARM_UP = 6


def main() -> None:
    backend = argument("backend")
    os.chdir(Path(argument("input")).parent)
    packages = ("deepmd-kit", "tensorflow" if backend == "tf" else "torch")
    found = {}
    for name in packages:
        for installed in (name, f"{name}-cpu"):
            try:
                found[name] = importlib.metadata.version(installed)
            except importlib.metadata.PackageNotFoundError:
                continue
    turns = Turns(
        argument("steps"),
        warm_up=WARM_UP,
        told={"versions": found, "flags": argument("flags")},
    )
    hook(backend, turns)
    from deepmd.main import main as dp

    names = {"tf": "--tf", "pt": "--pt", "pt-expt": "--pt-expt"}
    sys.exit(dp([names[backend], "train", argument("input"), "--skip-neighbor-stat"]))


def hook(backend: str, turns: Turns) -> None:
    """Let the trainer tick when it asks for a batch to train on."""
    if backend == "tf":
        from deepmd.tf.train.trainer import DPTrainer as Trainer

        name = "get_feed_dict"
    elif backend == "pt":
        from deepmd.pt.train.training import Trainer

        name = "get_data"
    else:
        from deepmd.pt_expt.train.training import Trainer

        name = "get_data"
    original = getattr(Trainer, name)
    word = "is_training" if backend == "tf" else "is_train"

    def ticking(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if kwargs.get(word, True):
            turns.tick()
        return original(self, *args, **kwargs)

    setattr(Trainer, name, ticking)


if __name__ == "__main__":
    main()
