"""A model that walks move by."""

import pytest

from dpbench.models.checkpoint import save_model
from tests.explore.sampling.small import almg_model


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A model file of Al and Mg."""
    path = tmp_path_factory.mktemp("model") / "m.pth"
    save_model(path, almg_model(), {})
    return path
