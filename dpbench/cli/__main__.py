"""Entry point of ``dpbench`` and ``python -m dpbench.cli``.

Thread counts and the wait policy must stand in the environment before numpy, torch or
numba are imported, so they are set here, from argv, and nowhere else.
"""

import os
import sys
from collections.abc import MutableMapping, Sequence

from dpbench.cores import THREAD_VARIABLES, available_cores


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 a DpbenchError, told in one line; 2 wrong usage; 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    set_threads(arguments, os.environ)
    import click

    from dpbench.cli.main import cli

    try:
        code = cli.main(arguments, prog_name="dpbench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130
    return code if isinstance(code, int) else 0


def set_threads(
    arguments: Sequence[str], environment: MutableMapping[str, str]
) -> None:
    """Write thread counts and wait policy into ``environment``.

    Idle threads must sleep: spinning pools of torch and numba fight for the cores and
    make training 1.6 to 7 times slower.

    Args:
        arguments: The command line; ``--threads N`` wins over the environment.
        environment: Changed in place; what the user had set there stays otherwise.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    asked = threads_asked(arguments)
    if asked is not None:
        environment.update(dict.fromkeys(THREAD_VARIABLES, asked))
        return
    count = environment.get("OMP_NUM_THREADS", "")
    if not count.isdigit():
        count = str(available_cores())
    for name in THREAD_VARIABLES:
        environment.setdefault(name, count)


def threads_asked(arguments: Sequence[str]) -> str | None:
    """Find ``--threads N`` or ``--threads=N``; what is no number is left to click."""
    found = None
    for i, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == "--threads" and i + 1 < len(arguments):
            found = arguments[i + 1]
        elif argument.startswith("--threads="):
            found = argument.partition("=")[2]
    is_count = found is not None and found.isdecimal() and int(found) > 0
    return found if is_count else None


if __name__ == "__main__":
    sys.exit(main())
