"""A tiny adapter: Lennard-Jones in numpy, and every fault that a backend may have.

The model is a JSON file: ``{"elements": [...], "epsilon": eV, "sigma": Å}``. Option
``fault`` names what goes wrong, ``at`` in which call (the first is 0).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from serve import Refused


def open_model(path, options):
    fault = options.get("fault")
    if fault == "slow start":
        time.sleep(60)
    if fault == "exit at open":
        print("no such device")
        sys.exit(3)
    return Model(json.loads(Path(path).read_text()), fault, options.get("at", 0))


def task(name, arguments):
    if name == "echo":
        for number in range(3):
            print(f"line {number}")
        return {"said": arguments}
    if name == "write":
        Path(arguments["path"]).write_text("written")
        return {}
    if name == "environment":
        return {"names": sorted(os.environ), "folder": str(Path.cwd())}
    if name == "sleep":
        time.sleep(60)
    raise Refused(f"no task '{name}'")


class Model:
    def __init__(self, parameters, fault, at):
        self.epsilon = parameters["epsilon"]
        self.sigma = parameters["sigma"]
        self.fault, self.at, self.calls = fault, at, 0
        self.facts = {
            "type_map": parameters["elements"],
            "rcut": None,
            "precision": "float64",
            "backend": "lennard-jones",
            "versions": {},
            "device": "cpu",
            "description": "all pairs, no cutoff, minimum image",
        }

    def evaluate(self, coord, box, pbc, atype, extra):
        found = self.pairs(coord, box, pbc)
        if "fparam" in extra:
            found["energy"] = found["energy"] + extra["fparam"].sum(axis=1)
        if self.fault is not None and self.calls == self.at:
            found = FAULTS[self.fault](found)
        self.calls += 1
        return found

    def pairs(self, coord, box, pbc):
        delta = coord[:, :, None] - coord[:, None]
        if box is not None:
            frac = np.einsum("fijx,fxy->fijy", delta, np.linalg.inv(box))
            frac -= np.round(frac) * pbc
            delta = np.einsum("fijy,fyx->fijx", frac, box)
        square = (delta**2).sum(axis=-1)
        np.einsum("fii->fi", square)[:] = np.inf
        six = (self.sigma**2 / square) ** 3
        pair = 4 * self.epsilon * (six**2 - six)
        pull = 4 * self.epsilon * (12 * six**2 - 6 * six) / square
        force = pull[..., None] * delta
        atom_energy = pair.sum(axis=2) / 2
        found = {
            "energy": atom_energy.sum(axis=1),
            "force": force.sum(axis=2),
            "atom_energy": atom_energy,
        }
        if box is not None:
            found["virial"] = np.einsum("fijx,fijy->fxy", force, delta) / 2
        return found


def die(found):
    print("Segmentation fault is near")
    os.kill(os.getpid(), signal.SIGKILL)


def hang(found):
    print("waiting for a lock")
    time.sleep(60)


def hang_in_c(found):
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL})
    time.sleep(60)


def leak(found):
    held = []
    while True:
        held.append(np.ones(2_000_000))
        time.sleep(0.005)


def garbage(found):
    noise = bytes(range(256)) * 4000
    for fd in (1, 2):
        os.write(fd, noise)
    print('{"id": 2, "ok": {}}')
    return found


def with_nan(found):
    found["force"][-1, 0, 2] = np.nan
    return found


def wrong_shape(found):
    return {**found, "force": found["force"][:, :-1]}


def wrong_dtype(found):
    return {**found, "energy": found["energy"].astype(str)}


def raises(found):
    raise RuntimeError("out of\x1b[31m memory on device 0")


def refuses(found):
    raise Refused("virial of a slab is not implemented")


FAULTS = {
    "die": die,
    "hang": hang,
    "hang in C": hang_in_c,
    "leak": leak,
    "garbage": garbage,
    "NaN": with_nan,
    "wrong shape": wrong_shape,
    "wrong dtype": wrong_dtype,
    "raise": raises,
    "refuse": refuses,
}
