"""Errors of a model on frames that it was not trained on."""

import logging
from pathlib import Path

from dpbench.errors import ModelError
from dpbench.eval.model_deviation import native_evaluator
from dpbench.explore.assess import Index, ensemble_errors
from dpbench.explore.stage_results import AssessedErrors
from dpbench.store.dataset import DatasetVersion

logger = logging.getLogger(__name__)


def errors_of(model: Path, version: DatasetVersion, frames: Index) -> AssessedErrors:
    """Measure a model; there is no number where a label is missing.

    Nor is there one where the model refuses a frame, for it has more neighbours than
    the model has slots: a warning says so.
    """
    try:
        found = ensemble_errors([native_evaluator(model)], version, frames)
    except ModelError as error:
        logger.warning("%s: its errors are not told: %s", model, error)
        found = None
    return found or AssessedErrors(rmse_e=None, rmse_f=None, p95_f=None)
