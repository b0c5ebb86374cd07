import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import ConfigError
from dpbench.store.references import (
    check_name,
    check_part,
    name_from,
    parse_reference,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("water", ("water", None, None)),
        ("water-v2", ("water", 2, None)),
        ("water-v12:test", ("water", 12, "test")),
        ("a.b_c-d:ood", ("a.b_c-d", None, "ood")),
    ],
)
def test_references_are_parsed_and_written_back(text, expected):
    reference = parse_reference(text)
    assert (reference.name, reference.number, reference.part) == expected
    assert str(reference) == text


@pytest.mark.parametrize("text", ["", "a b", "-x", "water:", "water-v0", "a/b", ":x"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(ConfigError, match="NAME"):
        parse_reference(text)


def test_version_is_no_name_for_a_dataset():
    with pytest.raises(ConfigError, match="versions are made by ingest"):
        check_name("water-v2")


@pytest.mark.parametrize("name", ["", ".x", "a b", "a:b", "a/b", "wässer"])
def test_odd_names_are_refused(name):
    with pytest.raises(ConfigError, match="is no name"):
        check_name(name)


def test_odd_parts_are_refused():
    assert check_part("ood") == "ood"
    with pytest.raises(ConfigError, match="is no name"):
        check_part("o=d")


@given(st.text())
def test_any_folder_name_gives_a_name_that_a_dataset_may_have(text):
    assert check_name(name_from(text))
