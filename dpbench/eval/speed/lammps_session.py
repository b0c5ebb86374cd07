"""A LAMMPS that is asked line by line, in its own environment.

Run as ``python -I lammps_session.py LOG WORKERS`` and needs nothing of dpbench but the
folder of the workers, which know how LAMMPS is imported. Reads one JSON
object a line from standard input, ``{"commands": [...]}``, has LAMMPS do them, and
answers with one line on the descriptor it was given: ``{"ok": true}`` or
``{"error": "..."}``. What LAMMPS prints goes to the log.
"""

import importlib
import json
import os
import sys


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    sys.path.insert(0, sys.argv[2])
    module = importlib.import_module("lammps_pair").import_lammps()
    quiet = ["-log", sys.argv[1], "-screen", "none", "-nocite"]
    session = module.lammps(cmdargs=quiet)
    print(json.dumps({"ok": True, "version": session.version()}), file=answers)
    answers.flush()
    for line in sys.stdin:
        answer: dict[str, object] = {"ok": True}
        try:
            for command in json.loads(line)["commands"]:
                session.command(command)
        except Exception as error:
            # Whatever LAMMPS says is the answer; the other side words it.
            answer = {"error": " ".join(str(error).split())}
        print(json.dumps(answer), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
