"""``dpbench evaluate``: measure a model and file the records."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpbench.cli.context import Context, pass_context

if TYPE_CHECKING:
    from dpbench.eval.options import Options
    from dpbench.eval.run import Filed


TASKS = ("accuracy", "stability", "throughput")

SUITE_ONLY = ("data_folders", "again", "scheduler")
"""Options that mean nothing without a suite."""

SUITE_DECIDES = ("dataset", "split", "tasks", "temperature", "out")
"""Options that a suite leaves no choice in; ``out`` is for single records."""


@click.command("evaluate")
@click.option(
    "--model",
    "model_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    default=(Path("m.pth"),),
    show_default="m.pth",
    help="Model file of 'dpbench train'; with --suite, it may be given again.",
)
@click.option(
    "--suite",
    metavar="NAME[-vN]|FILE",
    help="Do the tasks of this suite on its own data; see 'dpbench suites list'.",
)
@click.option(
    "--data",
    "data_folders",
    multiple=True,
    metavar="[KEY=]DIR",
    help="Where the suite's raw data lie that do not ship with dpbench.",
)
@click.option(
    "--again", is_flag=True, help="Measure anew what the suite has records of."
)
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE",
    help="Measure the suite on this Dask cluster [default: on this machine].",
)
@click.option(
    "--dataset",
    metavar="NAME[-vN][:PART]",
    help="What to evaluate on. Default: every held-out part of the split that the "
    "model was trained with.",
)
@click.option(
    "--split",
    metavar="NAME",
    help="Split that PART belongs to, by name or digest. Default: the model's own.",
)
@click.option(
    "--tasks",
    default=",".join(TASKS),
    show_default=True,
    help="What to measure, separated by commas; 'dpbench suites tasks' names all.",
)
@click.option(
    "--mode",
    type=click.Choice(["smoke", "standard", "full"]),
    default="standard",
    show_default=True,
    help="Length of dynamics and timings: seconds, about a minute, or as long as it "
    "takes. Accuracy is the same in all.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="Who evaluates; give it again for a record of each. Default: dpbench's own "
    "kernels where they serve, else the backend that the file is of.",
)
@click.option(
    "--trust",
    multiple=True,
    metavar="SHA256",
    help="Open this foreign program (a pickle, TorchScript ...) in a sandbox.",
)
@click.option(
    "--precision",
    type=click.Choice(["float64", "float32"]),
    help="Default: that of the model.",
)
@click.option(
    "--sel-overflow",
    type=click.Choice(["error", "deepmd", "deepmd-tf"]),
    help="More neighbours than the model's sel: stop, or drop the farthest as "
    "DeePMD-kit does (deepmd-tf: as its TensorFlow backend does). Default: what the "
    "model's training did; it stops unless told otherwise.",
)
@click.option("--device", help="cpu, cuda or cuda:N. Default: cuda if there is one.")
@click.option(
    "--temperature",
    type=float,
    default=300.0,
    show_default=True,
    help="Start temperature of the dynamics, K.",
)
@click.option("--name", help="Name of the model in tables. Default: its run.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the record to this file too; of several, FILE-PART.json each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
@pass_context
def evaluate_command(context: Context, /, **options: Any) -> None:
    """Measure a model: accuracy, stability and speed, or a suite of tasks.

    The records are filed in the workspace, so 'dpbench leaderboard' needs no argument.
    A suite that was ended goes on where it was when it is called again.

    \b
    Example:
        dpbench evaluate --model m.pth --dataset water-v2:test
        dpbench evaluate --model m.pth --backend dpbench --backend deepmd-tf
        dpbench evaluate --model m.pth --suite si-lda --mode smoke
    """
    from dpbench.eval.options import Options

    _refuse_mixing(options)
    tasks = tuple(t.strip() for t in options["tasks"].split(",") if t.strip())
    chosen = Options(
        tasks=tasks,
        mode=options["mode"],
        backends=options["backends"],
        trust=options["trust"],
        precision=options["precision"],
        sel_overflow=options["sel_overflow"],
        device=options["device"] or _default_device(),
        temperature=options["temperature"],
        name=options["name"],
        split=options["split"],
        command=("dpbench", *sys.argv[1:]),
    )
    if options["suite"] is not None:
        filed = _run_suite(context, chosen, options)
    else:
        filed = _evaluate(context, chosen, options)
    if any(item.record.failure is not None for item in filed):
        click.get_current_context().exit(1)


def _evaluate(
    context: Context, chosen: "Options", options: dict[str, Any]
) -> "list[Filed]":
    """Measure on datasets, and print the records."""
    from dpbench.eval.filing import write_record
    from dpbench.eval.record import record_to_payload
    from dpbench.eval.run import evaluate

    filed = evaluate(
        context.workspace(create=False),
        options["model_paths"][0],
        dataset=options["dataset"],
        options=chosen,
        progress=None if context.is_quiet else _say,
    )
    for path, item in _files(options["out"], filed):
        write_record(path, record_to_payload(item.record))
    click.echo(_as_json(filed) if options["as_json"] else _as_text(filed))
    return filed


def _run_suite(
    context: Context, chosen: "Options", options: dict[str, Any]
) -> "list[Filed]":
    """Measure on a suite, and print the scores."""
    from dpbench.cli.suites import data_folders
    from dpbench.eval.suites.loading import load_suite
    from dpbench.eval.suites.run import Wishes, run_suite
    from dpbench.eval.suites.words import plan_text, score_text, scores_of

    suite = load_suite(options["suite"])
    quiet = context.is_quiet
    filed = run_suite(
        context.workspace(create=True),
        suite,
        Wishes(
            models=options["model_paths"],
            options=chosen,
            folders=data_folders(options["data_folders"]),
            again=options["again"],
            scheduler=options["scheduler"],
        ),
        say=lambda words: None if quiet else click.echo(words, err=True),
        show=lambda plan: None if quiet else click.echo(plan_text(plan), err=True),
    )
    if options["as_json"]:
        click.echo(_as_json(filed))
        return filed
    for record, score in scores_of(suite, filed):
        click.echo(score_text(suite, record, score))
    failures = [i.record.failure for i in filed if i.record.failure is not None]
    for words in failures:
        click.echo(f"  {words}")
    click.echo(f"  {len(filed)} records filed; see 'dpbench results list'")
    return filed


def _refuse_mixing(options: dict[str, Any]) -> None:
    """Refuse options that would have no effect."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE

    def given(names: tuple[str, ...]) -> list[str]:
        named = {p.name: p.opts[0] for p in context.command.params}
        return [
            named[name]
            for name in names
            if context.get_parameter_source(name) == source
        ]

    if options["suite"] is None:
        useless = given(SUITE_ONLY)
        if len(options["model_paths"]) > 1:
            useless.append("a second --model")
        if useless:
            raise click.UsageError(f"{', '.join(useless)}: needs --suite.")
        return
    useless = given(SUITE_DECIDES)
    if options["name"] is not None and len(options["model_paths"]) > 1:
        raise click.UsageError("--name: given for several models; expected one.")
    if useless:
        raise click.UsageError(
            f"{', '.join(useless)}: has no effect with --suite, which decides it. "
            "Leave it out."
        )


def _say(words: str) -> None:
    click.echo(f"{words} ...", err=True)


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _files(out: Path | None, filed: "list[Filed]") -> "list[tuple[Path, Filed]]":
    if out is None:
        return []
    if len(filed) == 1:
        return [(out, filed[0])]
    several = len({item.record.backend for item in filed}) > 1
    return [
        (out.with_stem("-".join([out.stem, *_which(item, several=several)])), item)
        for item in filed
    ]


def _which(item: "Filed", *, several: bool) -> list[str]:
    """Say by what a record differs from the others of this evaluation."""
    return [item.record.part, *([item.record.backend] if several else [])]


def _as_json(filed: "list[Filed]") -> str:
    from dpbench.eval.record import record_to_payload

    rows = [
        {"digest": item.digest, "record": record_to_payload(item.record)}
        for item in filed
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _as_text(filed: "list[Filed]") -> str:
    from dpbench.eval.summary import record_text

    return "\n\n".join(record_text(item.record, item.digest) for item in filed)
