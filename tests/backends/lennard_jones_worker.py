"""A tiny adapter: Lennard-Jones in numpy, and every fault that a backend may have.

The model is a line of text: epsilon (eV), sigma (Å), an energy per atom (eV), and the
elements. Option ``fault`` names what goes wrong, ``at`` in which call (the first is
0); ``faults`` what goes wrong in each.
"""

import json
import os
import pickle
import signal
import struct
import subprocess
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
    if fault == "unpickle":
        pickle.loads(Path(path).read_bytes())
        return Model("0.01 3.4 0 Ar", {})
    faults = options.get("faults", {options.get("at", 0): fault})
    model = Model(Path(path).read_text(), faults)
    model.facts.update(options.get("facts", {}))
    if fault == "daemon":
        model.facts["daemon"] = daemon()
    return model


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
    def __init__(self, text, faults):
        epsilon, sigma, shift, *elements = text.split()
        self.epsilon, self.sigma = float(epsilon), float(sigma)
        self.shift = float(shift)
        self.faults, self.calls = {int(call): faults[call] for call in faults}, 0
        self.facts = {
            "type_map": elements,
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
        if "aparam" in extra:
            found["energy"] = found["energy"] + extra["aparam"].sum(axis=(1, 2))
        fault = self.faults.get(self.calls)
        self.calls += 1
        return found if fault is None else FAULTS[fault](found)

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
        atom_energy = pair.sum(axis=2) / 2 + self.shift
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
    print("reading all of it")
    held = []
    while True:
        held.append(np.ones(2_000_000))


def leak_in_child(found):
    code = "import time; held = bytearray(800_000_000); time.sleep(60)"
    subprocess.run([sys.executable, "-I", "-c", code], check=False)


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


def inf_energy(found):
    found["energy"][0] = np.inf
    return found


def no_force(found):
    return {"energy": found["energy"]}


def say_raw(data):
    os.write(int(sys.argv[2]), data)
    time.sleep(60)


def long_message(found):
    say_raw(struct.pack("!I", 2**32 - 1) + b"{")


def no_json(found):
    say_raw(struct.pack("!I", 4) + b"\x80\x04.N")


def other_number(found):
    say_message({"id": 99, "ok": {}})


def other_shape(found):
    say_arrays("force", [1, 3], 0)


def beyond(found):
    say_arrays("energy", [1], 2**40)


def half_a_message(found):
    os.write(int(sys.argv[2]), struct.pack("!I", 1000) + b'{"id": 2, "ok"')
    os._exit(7)


def closes(found):
    os.close(int(sys.argv[2]))
    time.sleep(60)


def say_message(message):
    data = json.dumps(message).encode()
    say_raw(struct.pack("!I", len(data)) + data)


def say_arrays(name, shape, offset):
    entry = {"name": name, "dtype": "<f8", "shape": shape, "offset": offset}
    say_message({"id": 2, "ok": {"arrays": [entry], "seconds": 0.0}})


def daemon():
    """Start a process that leaves the session and its parent; return its number."""
    code = (
        "import os, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-I", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        return int(process.stdout.readline())


def raises(found):
    raise RuntimeError("out of\x1b[31m memory on device 0")


def refuses(found):
    raise Refused("virial of a slab is not implemented")


FAULTS = {
    "die": die,
    "hang": hang,
    "hang in C": hang_in_c,
    "leak": leak,
    "leak in a child": leak_in_child,
    "infinite energy": inf_energy,
    "no force": no_force,
    "long message": long_message,
    "no JSON": no_json,
    "other number": other_number,
    "other shape": other_shape,
    "beyond": beyond,
    "half a message": half_a_message,
    "closes": closes,
    "garbage": garbage,
    "NaN": with_nan,
    "wrong shape": wrong_shape,
    "wrong dtype": wrong_dtype,
    "raise": raises,
    "refuse": refuses,
}
