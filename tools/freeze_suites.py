"""Seal the suites that are published: sha256 of their files in ``frozen.json``.

    python tools/freeze_suites.py            seals what is new
    python tools/freeze_suites.py --check    says what would be sealed

A file that is sealed already never changes: write the next version beside it.
"""

import json
import sys

from dpbench.errors import ConfigError
from dpbench.eval.suites.loading import FROZEN, files_of, frozen_files, suites_folder

SEALED = (".toml", ".json", ".gz", ".in")
"""Files that decide numbers; words about them may be mended."""


def main() -> None:
    """Add files that are new; refuse those that have changed."""
    folder = suites_folder()
    found = {name: d for name, d in files_of(folder).items() if name.endswith(SEALED)}
    sealed = frozen_files(folder) if (folder / FROZEN).is_file() else {}
    changed = sorted(name for name, d in sealed.items() if found.get(name) != d)
    if changed:
        raise ConfigError(
            f"{folder / FROZEN}: {', '.join(changed)} changed or went away; expected "
            "what was published. Write the next version beside it."
        )
    new = sorted(found.keys() - sealed.keys())
    print("\n".join(new) or "nothing is new")
    if "--check" not in sys.argv[1:]:
        text = json.dumps(found, indent=1, sort_keys=True)
        (folder / FROZEN).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
