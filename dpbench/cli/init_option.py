"""``dpbench train --init``: the model that a run starts from."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dpbench.store.workspace import Workspace
    from dpbench.train.init_model import Init

OPTIONS = (
    click.Option(
        ["--init"],
        metavar="MODEL",
        type=click.Path(path_type=Path),
        help="Fine-tune MODEL: m.pth, .dp, .yaml, or any file of DeePMD-kit. Nets and "
        "statistics are its own, the energy bias is fitted to the data.",
    ),
    click.Option(
        ["--trust"],
        multiple=True,
        metavar="SHA256",
        # As every option that is not given.
        callback=lambda _context, _parameter, value: value or None,
        help="Open MODEL though it is a foreign program, or let --trainer run its "
        "--config without a sandbox; may be repeated.",
    ),
)


def init_options(command: click.Command) -> click.Command:
    """Let a command take ``--init`` and ``--trust``."""
    command.params.extend(OPTIONS)
    return command


def read_init(
    path: Path | None,
    trust: Iterable[str] | None,
    config_path: Path | None,
    *,
    workspace: "Workspace",
    precision: Any,
) -> "Init | None":
    """Read the model of ``--init``, and what the configuration file states beside it.

    Args:
        path: The model; None where none is given.
        trust: sha256 of foreign programs that may be opened.
        config_path: TOML or input.json.
        workspace: Knows what was made here.
        precision: Of the command line; None where none is given.
    """
    if path is None:
        return None
    from dpbench.backends.interchange import load_any
    from dpbench.backends.trust import digest_of, trust_of
    from dpbench.models.recognise import recognise
    from dpbench.train.init_model import Init

    model, training = _stated(config_path)
    loaded = load_any(
        path, trust=trust_of(workspace.root, trust or ()), workspace=workspace.root
    )
    return Init(
        path=path,
        model=loaded.model,
        provenance=loaded.provenance,
        origin={"kind": recognise(path).kind, "sha256": digest_of(path)},
        notes=loaded.notes,
        stated=model,
        precision=precision or training.get("precision"),
    )


def _stated(config_path: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a configuration file states of the model, and of the run."""
    from dpbench.config import read_toml, to_mapping
    from dpbench.train.input_json import read_input_json

    if config_path is None:
        return {}, {}
    if config_path.suffix == ".json":
        # Whatever it leaves out has DeePMD-kit's default.
        found = to_mapping(read_input_json(config_path).config)
    else:
        found = read_toml(config_path)
    return found.get("model", {}), found.get("training", {})
