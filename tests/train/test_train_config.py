import pytest

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import ConfigError
from dpbench.train.config import (
    DescriptorSettings,
    RunSettings,
    TrainConfig,
    parse_batch_size,
    parse_duration,
)


def test_config_survives_its_mapping():
    config = from_mapping(
        TrainConfig,
        {
            "model": {"type_map": ["Si"], "descriptor": {"rcut": 5.0, "sel": [60]}},
            "training": {"steps": 10, "batch_size": 4},
        },
        where="train.toml",
    )
    again = from_mapping(TrainConfig, to_mapping(config), where="again")
    assert again == config


def test_misspelt_key_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'rcut_smth'"):
        from_mapping(
            TrainConfig,
            {"model": {"descriptor": {"rcut_smooth": 1.0}}},
            where="train.toml",
        )


def test_model_is_resolved_with_the_neighbours_of_the_data():
    model = TrainConfig().model.resolve(
        type_map=("H", "O"), sel=(8, 4), precision="float32"
    )
    assert model.type_map == ("H", "O")
    assert model.descriptor.sel == (8, 4)
    assert model.precision == "float32"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)]
)
def test_durations_are_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "5 weeks"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match="time_budget"):
        parse_duration(text)


def test_batch_sizes_count_frames_or_atoms():
    assert parse_batch_size(4) == ("frames", 4)
    assert parse_batch_size("auto") == ("atoms", 32)
    assert parse_batch_size("auto:256") == ("atoms", 256)
    for wrong in (0, "many", "auto:0", "auto:x"):
        with pytest.raises(ConfigError, match="batch_size"):
            parse_batch_size(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 10, "time_budget": "5m"},
        {"steps": 0},
        {"epochs": -1.0},
        {"validation_every": 0},
        {"seed": -1},
        {"time_budget": "soon"},
        {"batch_size": 0},
    ],
)
def test_contradicting_runs_are_refused(options):
    with pytest.raises(ConfigError):
        RunSettings(**options)


@pytest.mark.parametrize(
    "options", [{"sel": "auto:0.5"}, {"sel": "many"}, {"rcut_smth": 7.0}]
)
def test_contradicting_descriptors_are_refused(options):
    with pytest.raises(ConfigError):
        DescriptorSettings(**options)
