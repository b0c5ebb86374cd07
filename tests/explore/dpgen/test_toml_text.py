"""What is written as TOML is read back as it was."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from dpbench.explore.dpgen.toml_text import toml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXT,
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3))
TABLES = st.recursive(
    st.dictionaries(TEXT, VALUES, max_size=4),
    lambda inner: st.dictionaries(
        TEXT,
        st.one_of(VALUES, inner, st.lists(inner, min_size=1, max_size=3)),
        max_size=4,
    ),
    max_leaves=6,
)


@given(TABLES)
def test_toml_is_read_back_as_it_was(data):
    assert tomllib.loads(toml_text(data, comments={"": "a comment"})) == data


def test_missing_values_are_left_out():
    assert toml_text({"a": None, "b": 1}, comments={}) == "b = 1\n"
