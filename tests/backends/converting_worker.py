"""A backend that needs numpy alone, whose models are one number, and that converts."""

import os
from pathlib import Path

from serve import Refused


def open_model(path, options):
    return Model(float(Path(path).read_text().split()[-1]))


class Model:
    def __init__(self, strength):
        self.strength = strength
        self.facts = {
            "type_map": ["O", "H"],
            "rcut": 4.0,
            "precision": "float64",
            "backend": "springs",
            "versions": {"springs": "1.0"},
            "device": "cpu",
            "description": "every atom on a spring",
        }

    def evaluate(self, coord, box, pbc, atype, extra):
        return {
            "energy": 0.5 * self.strength * (coord**2).sum(axis=(1, 2)),
            "force": -self.strength * coord,
        }


def task(name, arguments):
    source, target = Path(arguments["source"]), Path(arguments["target"])
    does = os.environ["CONVERTS"]
    if does == "refuses":
        raise Refused("RuntimeError: smooth_type_embedding is inconsistent")
    head, _, strength = source.read_text().strip().rpartition(" ")
    if does == "slightly wrong":
        strength = str(float(strength) * (1 + 1e-7))
    if does != "nothing":
        target.write_text(f"{head} {strength}\n")
    if does == "several files":
        target.with_suffix(".pdiparams").write_text("weights\n")
    return {"target": str(target), "seconds": 0.25}
