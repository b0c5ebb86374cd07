"""The datasets of a suite: found in the workspace by their digests, or made there."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from dpbench.errors import DatasetError
from dpbench.eval.parts import find_content, find_split_content
from dpbench.eval.suites.format import SplitRecipe, SuiteData
from dpbench.eval.suites.loading import Suite
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.leakage.split import make_checked_split
from dpbench.io.theory_file import read_theory_file
from dpbench.registry_files import registry_folder
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split, find_split, save_split
from dpbench.store.versions import newest_version
from dpbench.store.workspace import Workspace

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A dataset of a suite as this workspace has it."""

    data: SuiteData
    """What the suite says of it."""
    version: DatasetVersion
    """The version with the suite's digest, under whatever name."""
    split: Split
    """The split with the suite's digest."""


def find_data(workspace: Workspace, data: SuiteData) -> Prepared | None:
    """Look for a dataset of a suite; None if version or split is not here."""
    found = find_split_content(workspace, data.digest, data.split.digest)
    return found and Prepared(data=data, version=found[0], split=found[1])


def prepare_suite(
    workspace: Workspace,
    suite: Suite,
    *,
    folders: Mapping[str, Path] | None = None,
    keys: tuple[str, ...] | None = None,
    say: Say = lambda _: None,
) -> list[Prepared]:
    """Find the datasets of a suite, and make those that are not here.

    Args:
        workspace: Takes them.
        suite: The suite.
        folders: Where the user has the raw files: key of the dataset -> folder; the key
            ``""`` stands for all that are not named.
        keys: Datasets that are wanted; None: all.
        say: Told what goes on.

    Raises:
        DatasetError: If what was made is not what the suite says, or its raw files are
            not known.
        SourceError: If they cannot be read.
    """
    found = []
    given = folders or {}
    known = {data.key for data in suite.file.data}
    for key in given:
        if key and key not in known:
            raise DatasetError(
                f"{suite.label}: has no dataset '{key}'; expected one of "
                f"{', '.join(sorted(known))}. Name it as KEY=DIR."
            )
    for data in suite.file.data:
        if keys is None or data.key in keys:
            folder = given.get(data.key, given.get(""))
            found.append(_prepare(workspace, suite, data, folder, say))
    return found


def _prepare(
    workspace: Workspace, suite: Suite, data: SuiteData, folder: Path | None, say: Say
) -> Prepared:
    here = find_data(workspace, data)
    if here is not None:
        say(f"{data.key}: {here.version.label} is here")
        return here
    version = find_content(workspace, data.digest) or _ingest(
        workspace, suite, data, folder, say
    )
    say(f"{data.key}: splitting {version.label}")
    split = _split(version, data.split)
    if split.digest != data.split.digest:
        raise DatasetError(
            f"{suite.label}: {data.key}: the split has digest {split.digest}; expected "
            f"{data.split.digest}. This dpbench deals frames otherwise than the suite "
            "says: take the version of dpbench that the suite was made with."
        )
    save_split(version, split)
    return Prepared(data=data, version=version, split=split)


def _ingest(
    workspace: Workspace, suite: Suite, data: SuiteData, folder: Path | None, say: Say
) -> DatasetVersion:
    """Read the raw files into a dataset of the workspace."""
    name = _free_name(workspace, suite, data, say)
    theory = None
    if data.theory is not None:
        theory = read_theory_file(registry_folder() / "theory" / f"{data.theory}.toml")
    with ExitStack() as stack:
        root = _root(stack, suite, data, folder)
        missing = [path for path in data.paths if not list(root.glob(path))]
        if missing:
            raise DatasetError(
                f"{suite.label}: {data.key}: there is no {missing[0]} below {root}; "
                f"expected it there. {data.made}"
            )
        say(f"{data.key}: reading {', '.join(data.paths)} below {root}")
        ingest(
            workspace,
            data.code,
            sorted(path for pattern in data.paths for path in root.glob(pattern)),
            dataset=name,
            options=IngestOptions(theory=theory, note=f"for {suite.label}"),
        )
    version = newest_version(workspace, name)
    if version is None or version.digest != data.digest:
        found = "nothing" if version is None else version.digest
        raise DatasetError(
            f"{suite.label}: {data.key}: the raw files gave {found}; expected "
            f"{data.digest}. They are not those of the suite, or this dpbench reads "
            "them otherwise."
        )
    return version


def _free_name(workspace: Workspace, suite: Suite, data: SuiteData, say: Say) -> str:
    """Choose a name for a dataset: its own, or with digits of its digest behind.

    Suites find datasets by digest, so the name is only for people.
    """
    taken = newest_version(workspace, data.dataset)
    if taken is None:
        return data.dataset
    name = f"{data.dataset}-{data.digest.rpartition(':')[2][:8]}"
    other = newest_version(workspace, name)
    if other is not None:
        raise DatasetError(
            f"{suite.label}: {data.key}: the datasets '{data.dataset}' and '{name}' of "
            f"the workspace {workspace.root} have digests {taken.digest} and "
            f"{other.digest}; expected {data.digest}, or one of the names free. Rename "
            f"one of them: 'dpbench dataset rename {name} NAME'."
        )
    say(
        f"{data.key}: '{data.dataset}' is another dataset in this workspace; taking "
        f"the name '{name}'"
    )
    return name


def _root(stack: ExitStack, suite: Suite, data: SuiteData, folder: Path | None) -> Path:
    """Find where the paths of a dataset begin."""
    if folder is not None:
        return folder
    if data.origin == "package":
        return stack.enter_context(as_file(files("dpbench")))
    if data.origin == "registry":
        return suite.folder
    raise DatasetError(
        f"{suite.label}: {data.key}: its raw files do not ship with dpbench; expected "
        f"their folder. Give --data {data.key}=DIR. {data.made}"
    )


def _split(version: DatasetVersion, recipe: SplitRecipe) -> Split:
    found = find_split(version, recipe.digest)
    if found is not None:
        return found
    return make_checked_split(
        version,
        strategy=recipe.strategy,
        seed=recipe.seed,
        fractions=recipe.fractions,
        hold_out=recipe.hold_out,
        gap=recipe.gap,
        skip_twins=recipe.skip_twins,
    )
