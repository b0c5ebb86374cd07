"""Compare dpbench with the backends of DeePMD-kit; renew the matrix in registry/.

``python tools/consistency.py --python ENVIRONMENT/bin/python [SUFFIX ...]`` surveys the
backends of these file suffixes (all that the environment has, by default) and writes
registry/consistency/deepmd-kit-3.2.0.json; cells of other backends stay. ``make docs``
renews the page.
"""

import argparse
import sys
import time
from pathlib import Path

from dpbench.backends.consistency import (
    BACKENDS,
    matrix_file,
    outcome,
    survey,
    worker_of,
    write_matrix,
)
from dpbench.backends.consistency_cases import FEW, cases, structures
from dpbench.errors import BackendError

TIMEOUT = 7200.0
"""Seconds that the survey of one backend may take."""


def main() -> int:
    """Survey backends one after the other; each is written as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--few", action="store_true", help="four structures alone")
    parser.add_argument("--models", default="", help="only models named like this")
    parser.add_argument("suffixes", nargs="*", metavar="SUFFIX")
    options = parser.parse_args()
    models = [case for case in cases() if options.models in case.name]
    chosen = structures()
    if options.few:
        chosen = {name: chosen[name] for name in FEW}
    wanted = options.suffixes or [s for s in BACKENDS if s not in (".pd", ".json")]
    failed = 0
    for suffix in wanted:
        began = time.monotonic()
        ask = worker_of(options.python.absolute(), timeout_s=TIMEOUT)
        try:
            found = survey(suffix, models, chosen, ask)
        except BackendError as error:
            failed += 1
            print(f"{suffix}: {error}", file=sys.stderr)
            continue
        write_matrix(matrix_file(), {suffix: found})
        words = [
            outcome(c).split()[0] for m in found.cells.values() for c in m.values()
        ]
        counts = {word: words.count(word) for word in dict.fromkeys(words)}
        print(f"{suffix}: {counts} in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
