import pytest

from dpbench.store.theory import differing_keys, fingerprint

PSEUDO = {"Si": {"title": "Si.upf", "hash": "a1"}}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {"functional": "PBE"}, []),
        ({"functional": None}, {"functional": "PBE"}, []),
        ({"functional": "PBE"}, {"functional": "LDA"}, ["functional"]),
        ({"cutoff": 400.0}, {"cutoff": 400.0000001}, []),
        ({"cutoff": 400.0}, {"cutoff": 500.0}, ["cutoff"]),
        ({"kpoints": [1, 1, 1]}, {"kpoints": [2, 2, 2]}, []),
        ({"code_version": "6.7"}, {"code_version": "7.3"}, []),
        ({"hubbard_u": {"Fe": 4.0}}, {"hubbard_u": {"Fe": 5.3}}, ["hubbard_u"]),
        ({"pseudopotentials": PSEUDO}, {"pseudopotentials": {"O": {"hash": "b"}}}, []),
        (
            {"pseudopotentials": PSEUDO},
            {"pseudopotentials": {"Si": {"title": "Si.upf", "hash": None}}},
            [],
        ),
        (
            {"pseudopotentials": PSEUDO},
            {"pseudopotentials": {"Si": {"title": "Si.upf", "hash": "c3"}}},
            ["pseudopotentials.Si"],
        ),
    ],
)
def test_only_what_both_declare_can_contradict(one, other, expected):
    assert differing_keys(one, other) == expected
    assert differing_keys(other, one) == expected


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({}) != fingerprint({"a": 1})
