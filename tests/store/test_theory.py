import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import DatasetError
from dpbench.store.theory.mixture import (
    Level,
    compatibility,
    conflicts,
    fingerprint,
    notes_on,
    refuse_mixture,
)

BASE = {
    "code": "vasp",
    "code_version": "6.3.0",
    "functional": "PBE",
    "dispersion": "none",
    "hubbard_u": {},
    "cutoff": 400.0,
    "kpoints": {"mesh": [4, 4, 4], "shift": [0, 0, 0], "reciprocal": [1.2, 1.2, 1.2]},
    "smearing": "gaussian",
    "smearing_width": 0.05,
    "spin": "none",
    "pseudopotentials": {
        "Fe": {"title": "PAW_PBE Fe 06Sep2000", "hash": None},
        "O": {"title": "PAW_PBE O 08Apr2002", "hash": None},
    },
    "energy_kind": "free energy",
}


def keys(**changes):
    """Keys in which a changed level is incompatible with ``BASE``, both ways round."""
    other = BASE | changes
    found = [d.key for d in compatibility(BASE, other)]
    assert found == [d.key for d in compatibility(other, BASE)]
    return found


def potential(title, digest=None):
    return {"Fe": {"title": title, "hash": digest}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"code_version": "5.4.4"}, []),
        ({"code": "qe"}, ["code"]),
        ({"functional": "PBEsol"}, ["functional"]),
        ({"functional": "pbe"}, []),
        ({"functional": None}, ["functional"]),
        ({"dispersion": "DFT-D3"}, ["dispersion"]),
        ({"dispersion": None}, []),
        ({"cutoff": 400.0001}, []),
        ({"cutoff": 520.0}, ["cutoff"]),
        ({"spin": "collinear"}, ["spin"]),
        ({"spin": "spin-orbit"}, ["spin"]),
        ({"energy_kind": "free_energy_TOTEN"}, []),
        ({"energy_kind": "energy at zero width"}, ["energy_kind"]),
        ({"hubbard_u": None}, []),
        ({"hubbard_u": {"Fe": {"l": 2, "u": 4.0, "j": 0.0}}}, ["hubbard_u.Fe"]),
        ({"pseudopotentials": potential("PAW_PBE Fe 06Sep2000")}, []),
        (
            {"pseudopotentials": potential("PAW_PBE Fe_pv 02Aug2007")},
            ["pseudopotentials.Fe"],
        ),
        ({"pseudopotentials": {"Ni": {"title": "PAW_PBE Ni 02Aug2007"}}}, []),
        ({"details": {"LASPH": True}}, []),
    ],
)
def test_one_changed_setting_is_told_or_rightly_passed(changes, expected):
    assert keys(**changes) == expected


def test_all_keys_that_differ_are_named_in_one_go():
    found = keys(functional="LDA-PZ", cutoff=500.0, dispersion="DFT-D3(BJ)")
    assert found == ["functional", "dispersion", "cutoff"]
    difference = compatibility(BASE, BASE | {"cutoff": 500.0})[0]
    assert (difference.one, difference.other) == (400.0, 500.0)


def test_u_counts_on_shared_elements_only():
    oxide = BASE | {"hubbard_u": {"Fe": {"l": 2, "u": 4.0, "j": 0.0}}}
    oxygen = BASE | {"pseudopotentials": {"O": BASE["pseudopotentials"]["O"]}}
    assert compatibility(oxide, oxygen) == ()
    other = BASE | {"hubbard_u": {"Fe": {"l": 2, "u": 5.3, "j": 0.0}}}
    assert [d.key for d in compatibility(oxide, other)] == ["hubbard_u.Fe"]


def test_labels_of_one_element_are_compared_by_element():
    iron = {"title": "Fe.upf", "hash": "md5:a"}
    one = BASE | {"pseudopotentials": {"Fe1": iron, "Fe2": iron}}
    assert compatibility(one, BASE | {"pseudopotentials": {"Fe": iron}}) == ()
    other = BASE | {"pseudopotentials": {"Fe1": iron, "Fe2": potential("x")["Fe"]}}
    assert [d.key for d in compatibility(one, other)] == ["pseudopotentials.Fe"]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (("Fe.upf", "md5:a"), ("Fe.upf", "md5:a"), True),
        (("Fe.upf", "md5:a"), ("Fe.upf", "md5:b"), False),
        (("Fe.upf", "md5:a"), ("renamed.upf", "md5:a"), True),
        (("Fe.upf", "md5:a"), ("Fe.upf", None), True),
        (("Fe.upf", "md5:a"), ("Fe.upf", "sha256:b"), True),
        (("Fe.upf", "md5:a"), ("other.upf", None), False),
        (("GTH-PBE", None), ("GTH-PBE-q16", None), True),
        (("GTH-PBE-q8", None), ("GTH-PBE-q16", None), False),
    ],
)
def test_hashes_decide_where_both_are_known(one, other, is_same):
    levels = [BASE | {"pseudopotentials": potential(*pair)} for pair in (one, other)]
    found = [d.key for d in compatibility(*levels)]
    assert found == ([] if is_same else ["pseudopotentials.Fe"])


@pytest.mark.parametrize(
    ("kind", "width", "is_same"),
    [
        ("gaussian", 0.01, True),
        ("gaussian", 0.2, False),
        ("none", None, True),
        ("tetrahedron-bloechl", 0.2, True),
        ("methfessel-paxton", 0.2, True),
        ("methfessel-paxton", 1.0, False),
        ("marzari-vanderbilt", 0.136, True),
        ("fermi-dirac", 0.0259, True),
        ("fermi-dirac", 0.2585, False),
        ("gaussian", None, True),
        ("fermi-dirac", None, False),
    ],
)
def test_smearings_agree_where_their_free_energies_do(kind, width, is_same):
    found = keys(smearing=kind, smearing_width=width)
    assert found == ([] if is_same else ["smearing"])


def test_electronic_temperatures_of_300_and_3000_kelvin_do_not_mix():
    cold, hot = (
        BASE | {"smearing": "fermi-dirac", "smearing_width": width}
        for width in (0.02585, 0.2585)
    )
    assert [d.key for d in compatibility(cold, hot)] == ["smearing"]


def test_undeclared_levels_mix_with_each_other_only():
    assert compatibility({}, {}) == ()
    assert compatibility({}, {"functional": None}) == ()
    (difference,) = compatibility({}, BASE)
    assert (difference.key, difference.one, difference.other) == (
        "theory",
        "undeclared",
        "declared",
    )
    assert "--theory" in difference.note


def test_the_refusal_names_keys_values_and_sources():
    levels = [
        Level(theory=BASE, n_sources=12, example="a/OUTCAR"),
        Level(theory=BASE | {"cutoff": 520.0, "dispersion": "DFT-D3"}, example="b/OUT"),
    ]
    with pytest.raises(DatasetError) as caught:
        refuse_mixture("w", levels)
    message = str(caught.value)
    for word in (
        "dispersion: none [A] but DFT-D3 [B] | cutoff (eV): 400 [A] but 520 [B]",
        "[A] 12 sources, e.g. a/OUTCAR; [B] 1 source, e.g. b/OUT",
        "--allow-mixed-theory",
    ):
        assert word in message
    assert "\n" not in message
    assert message.count("a/OUTCAR") == message.count("b/OUT") == 1
    assert len(message) < 300
    recorded = [c.to_json() for c in refuse_mixture("w", levels, allow=True)]
    assert [entry["key"] for entry in recorded] == ["dispersion", "cutoff"]
    assert recorded[1]["values"][0] == {
        "value": 400.0,
        "n_sources": 12,
        "example": "a/OUTCAR",
    }


def test_one_stranger_among_thousands_of_levels_is_found():
    levels = [
        Level(theory=BASE | {"kpoints": {"mesh": [4, 4, 4], "reciprocal": [b] * 3}})
        for b in (1.2 + 1e-5 * i for i in range(5000))
    ]
    assert conflicts(levels) == ()
    stranger = Level(theory=BASE | {"functional": "LDA-PZ"}, example="stray")
    (found,) = conflicts([*levels, stranger])
    assert found.key == "functional"
    assert [claim.n_sources for claim in found.claims] == [5000, 1]
    assert found.claims[1].example == "stray"


def test_what_is_no_contradiction_is_still_said():
    shifted = BASE | {"kpoints": BASE["kpoints"] | {"shift": [1, 1, 1]}}
    older = BASE | {"code_version": "5.4.4", "smearing_width": 0.04}
    notes = notes_on(Level(theory=theory) for theory in (BASE, shifted, older))
    assert [note.partition(":")[0] for note in notes] == [
        "k-meshes differ in shift",
        "versions of the code differ",
        "smearing widths differ",
    ]
    assert notes_on([Level(theory=BASE), Level(theory=BASE)]) == ()


LEVELS = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(["vasp", "qe"]),
        "functional": st.sampled_from(["PBE", "LDA-PZ", None]),
        "dispersion": st.sampled_from(["none", "unnamed", "DFT-D3", "DFT-D3(BJ)"]),
        "cutoff": st.sampled_from([400.0, 400.001, 520.0, None]),
        "hubbard_u": st.sampled_from([{}, {"Fe": 4.0}, {"Fe1": 4.0}, None]),
        "pseudopotentials": st.sampled_from([potential("a"), potential("b", "md5:1")]),
        "kpoints": st.builds(
            lambda n, b: {"mesh": [n] * 3, "reciprocal": [b] * 3},
            st.integers(1, 5),
            st.floats(0.2, 2.0),
        ),
        "smearing": st.sampled_from(["none", "gaussian", "fermi-dirac"]),
        "smearing_width": st.sampled_from([0.01, 0.1, 0.2]),
    },
)


@given(LEVELS, LEVELS)
def test_compatibility_is_symmetric_and_reflexive(one, other):
    forth, back = compatibility(one, other), compatibility(other, one)
    assert [d.key for d in forth] == [d.key for d in back]
    assert [(d.one, d.other) for d in forth] == [(d.other, d.one) for d in back]
    assert compatibility(one, one) == ()


@given(st.lists(LEVELS, min_size=2, max_size=6))
def test_many_levels_are_in_conflict_if_and_only_if_two_of_them_are(levels):
    pairs = {
        d.key
        for i, one in enumerate(levels)
        for other in levels[i + 1 :]
        for d in compatibility(one, other)
    }
    found = {conflict.key for conflict in conflicts([Level(theory=t) for t in levels])}
    assert found == pairs


def test_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({}) != fingerprint({"a": 1})
