"""Everything that an exploration would stumble over, looked at before it is begun.

What is missing, misspelt or does not fit is refused by ``--dry-run``, and by the loop
before the first label is paid for.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

from dpbench.config import to_mapping
from dpbench.errors import ConfigError
from dpbench.explore.changes import differences, refuse_fixed
from dpbench.explore.config import ExploreConfig
from dpbench.explore.journal import Iteration, read_record
from dpbench.explore.labels.driver import Driver
from dpbench.explore.labels.job import check_program
from dpbench.explore.labels.table import driver_of
from dpbench.explore.labels.theory_check import refuse_foretold
from dpbench.explore.sampling.starts import Starts, start_structures
from dpbench.explore.sampling.walking import check_engine
from dpbench.explore.session import Session
from dpbench.explore.stages.start import FOLDER, check_source, refuse_taken_name
from dpbench.explore.training_settings import ensemble_config, member_config
from dpbench.store.dataset import open_dataset


def check_anew(session: Session) -> None:
    """Check a configuration that the books do not hold yet.

    Where they do, it was checked before, and each stage says what has gone since.

    Raises:
        ConfigError: If something is missing or does not fit.
        DpbenchError: As ``check_all`` does.
    """
    entries = read_record(session.root)
    plain = to_mapping(session.config)
    if not entries or differences(entries[-1].config, plain):
        check_all(session)


def check_all(session: Session) -> None:
    """Check all that an exploration needs, from where it is.

    Args:
        session: Its crew is not called.

    Raises:
        ConfigError: If a file, program, engine or element is missing, or something
            changed that must not.
        DatasetError: If the name is taken, the start is missing, or is of another
            level of theory.
        BackendError: If the engine's environment is missing.
        SourceError: If files of the start are missing.
        DpbenchError: Whatever else a structure or file cannot be used for.
    """
    config, entries = session.config, read_record(session.root)
    if entries:
        refuse_fixed(session.root, differences(entries[-1].config, to_mapping(config)))
    else:
        refuse_taken_name(session)
    driver = _driver(config, session.base)
    symbols: set[str] = set()
    for starts in _all_starts(session):
        driver.check_frames(starts.frames)
        symbols.update(starts.frames.symbols)
    if Iteration(number=-1, folder=session.root / FOLDER).ingest is None:
        symbols.update(_check_start(session, driver))
    _check_training(session, symbols)
    # Workers of a cluster may have programs that this machine lacks.
    if config.resources.scheduler is None:
        check_engine(config.explore)


def starts_of_stage(session: Session, number: int) -> Starts:
    """Return what the walks of a stage would start from in the first iteration."""
    config = session.config
    return start_structures(
        config.explore,
        config.explore.stages[number].structures,
        workspace=lambda: session.workspace,
        seed=config.seed,
        where=session.base,
        iteration=1,
    )


def labelled_starts(session: Session) -> Starts:
    """Return the structures that are labelled first; ``start.structures`` is given."""
    config = session.config
    return start_structures(
        config.explore,
        config.start.structures,
        workspace=lambda: session.workspace,
        seed=config.seed,
        where=session.base,
        count=config.start.count,
    )


def _all_starts(session: Session) -> Iterable[Starts]:
    if session.config.start.structures:
        yield labelled_starts(session)
    for number in range(len(session.config.explore.stages)):
        yield starts_of_stage(session, number)


def _driver(config: ExploreConfig, base: Path) -> Driver:
    """Build the driver, and look for its files and programs."""
    labels = config.label.resolved(base)
    driver = driver_of(labels)
    driver.identity()
    if config.resources.scheduler is None:
        where = f"label.{labels.driver}"
        command = getattr(labels.options, "command", None)
        if command is not None:
            check_program(command, where=f"{where}.command")
        python = getattr(labels.options, "python", None)
        if python is not None:
            check_program(shlex.quote(str(python)), where=f"{where}.python")
    return driver


def _check_start(session: Session, driver: Driver) -> tuple[str, ...]:
    """Check what is begun with; return its elements as far as they are known."""
    check_source(session)
    reference = session.config.start.dataset
    if reference is None:
        return ()
    version = open_dataset(session.workspace, reference, with_part=True)
    refuse_foretold(driver, version, name=version.label)
    return version.symbols


def _check_training(session: Session, symbols: Iterable[str]) -> None:
    """Check the training configuration, and that it knows every element."""
    settings = session.config.train
    shared = ensemble_config(settings, base=session.base)
    for is_reusing in (False, settings.reuse):
        member_config(settings, shared, seed=session.config.seed, is_reusing=is_reusing)
    stated = shared.model.type_map
    lacking = [] if stated is None else sorted(set(symbols) - set(stated))
    if stated is not None and lacking:
        raise ConfigError(
            f"{session.base / str(settings.config)}: model.type_map = {list(stated)}: "
            f"lacks {', '.join(lacking)}, of which there are frames to explore or to "
            "train on; expected all elements. Add them, or leave type_map out."
        )
