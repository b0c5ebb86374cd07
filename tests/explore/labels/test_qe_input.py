"""Inputs of pw.x: a template's theory with the cell and atoms of a frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import ConfigError
from dpbench.explore.labels import qe_pseudo
from dpbench.explore.labels.qe import build, template_of, version_of
from dpbench.explore.labels.qe_input import (
    fortran,
    input_text,
    mesh_of,
    read_template,
)
from dpbench.explore.labels.qe_options import QEOptions
from dpbench.explore.labels.qe_remedies import (
    KNOWN,
    LADDER,
    electrons_with,
    system_with,
)
from dpbench.explore.labels.settings import LabelSettings
from dpbench.frames import Frames, uniform
from dpbench.io.readers.qe.input import read_input

KEYS = {
    "kmesh": (2, 2, 2),
    "system": {"ecutwfc": 15, "starting_magnetization(2)": 0.5},
    "pseudopotentials": {"Al": "Al.UPF", "Mg": "Mg.UPF"},
}


def settings(upf: Path, **more: object) -> LabelSettings:
    keys = {**KEYS, "pseudo_dir": upf, **more}
    return LabelSettings(qe=QEOptions(**keys))  # type: ignore[arg-type]


def test_template_keeps_theory_and_drops_cell_and_dynamics(template, alloys):
    text = input_text(
        alloys.select([0]), template_of(QEOptions(template=template)), pseudo_dir="/p"
    )
    for kept in ("ecutwfc = 10", "smearing = 'mp'", "conv_thr = 1d-8", "2 2 2 1 1 1"):
        assert kept in text
    for gone in ("md", "nstep", "dt =", "celldm", "tempw", "&ions", "ibrav = 1"):
        assert gone not in text


def test_the_reader_of_ingest_finds_the_frame_in_the_input(template, alloys: Frames):
    frame = alloys.select([0])
    text = input_text(frame, template_of(QEOptions(template=template)), pseudo_dir="/p")
    found = read_input(text)
    assert found.labels == ("Al", "Mg")
    assert found.box is not None
    assert found.coord is not None
    np.testing.assert_allclose(found.box, frame.box[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.coord, frame.coord, rtol=0, atol=1e-9)


def test_species_that_a_frame_lacks_are_left_out_and_numbers_follow(upf, alloys):
    driver = build(settings(upf))
    texts = [
        input_text(alloys.select([i]), driver.template, pseudo_dir="/p")
        for i in range(3)
    ]
    assert "starting_magnetization(2) = 0.5" in texts[0]
    assert "starting_magnetization" not in texts[1]  # Al alone
    assert "starting_magnetization(1) = 0.5" in texts[2]  # Mg alone is number 1
    assert "Al.UPF" not in texts[2]
    assert "ntyp = 1" in texts[2]


def test_a_comment_is_no_value_and_a_quote_no_comment():
    text = "&control\n title='a!b', prefix='x' ! nstep=3\n/\n&system ecutwfc=3 /\n"
    found = read_template(text, where="x")
    assert found.control == {"title": "'a!b'", "prefix": "'x'"}
    assert found.system == {"ecutwfc": "3"}


@pytest.mark.parametrize("card", ["CONSTRAINTS\n1", "OCCUPATIONS\n1 1 1"])
def test_cards_of_other_atoms_are_refused(card):
    with pytest.raises(ConfigError, match=card.partition("\n")[0]):
        read_template(f"&system\n ecutwfc=3\n/\n{card}\n", where="x")


def test_several_species_of_one_element_are_refused():
    rows = "ATOMIC_SPECIES\nFe1 55.8 Fe.UPF\nFe2 55.8 Fe.UPF\n"
    with pytest.raises(ConfigError, match="'Fe1' is no element"):
        read_template(f"&system\n ecutwfc=3\n/\n{rows}", where="x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, ".true."),
        (1e-8, "1e-08"),
        (3, "3"),
        ("mv", "'mv'"),
        ("'mv'", "'mv'"),
        ("1d-8", "1d-8"),
        (".false.", ".false."),
    ],
)
def test_values_are_written_as_fortran_reads_them(value, text):
    assert fortran(value) == text


@pytest.mark.parametrize(
    ("sides", "spacing", "expected"),
    [
        ((4.0, 4.0, 8.0), np.pi / 4, "2 2 1 0 0 0"),  # |b| = pi/2, pi/2, pi/4
        ((4.0, 4.0, 4.0), np.pi / 2 * 0.999, "2 2 2 0 0 0"),
        ((4.0, 5.0, 30.0), 0.3, "6 5 1 0 0 0"),
    ],
)
def test_spacing_gives_as_many_points_as_each_reciprocal_vector_needs(
    sides, spacing, expected
):
    frame = uniform(z=[13], coord=np.zeros((1, 1, 3)), box=np.diag(sides)[None])
    assert mesh_of(frame, spacing) == ("automatic", (expected,))


def test_a_cell_that_strays_in_the_last_bit_keeps_its_mesh():
    meshes = set()
    for side in (4.0, np.nextafter(4.0, 3), np.nextafter(4.0, 5)):
        frame = uniform(z=[13], coord=np.zeros((1, 1, 3)), box=np.eye(3)[None] * side)
        meshes.add(mesh_of(frame, np.pi / 4))
    assert len(meshes) == 1


def test_surface_has_one_point_along_the_vacuum_and_no_shift_there():
    frame = uniform(z=[13], coord=np.zeros((1, 1, 3)), box=np.eye(3)[None] * 4)
    frame = replace(frame, pbc=np.array([[True, True, False]]))
    found = mesh_of(frame, 0.5, shift=lambda _: (1, 1, 1))
    assert found == ("automatic", ("4 4 1 1 1 0",))


def test_a_mesh_of_monkhorst_and_pack_is_shifted_where_it_is_even():
    options = QEOptions(kspacing=0.42, kshift="monkhorst-pack")
    assert options.shift_of((4, 4, 4)) == (1, 1, 1)
    assert options.shift_of((5, 3, 2)) == (0, 0, 1)
    assert QEOptions(kspacing=0.42, kshift=(1, 0, 1)).shift_of((5, 3, 2)) == (1, 0, 1)


def test_mesh_of_monkhorst_and_pack_is_shifted_where_it_is_even():
    options = QEOptions(kspacing=0.3, kshift="monkhorst-pack")
    frame = uniform(
        z=[13], coord=np.zeros((1, 1, 3)), box=np.diag([4.0, 5.0, 6.0])[None]
    )
    mesh = mesh_of(frame, 0.3, shift=options.shift_of)
    assert mesh == ("automatic", ("6 5 4 1 0 1",))
    assert options.shift_of((4, 4, 4)) == (1, 1, 1)


def test_remedies_lower_the_mixing_and_never_raise_it():
    ways = [electrons_with({"mixing_beta": "0.1d0"}, [r.name]) for r in LADDER[:2]]
    assert [way["mixing_beta"] for way in ways] == ["0.05", "0.05"]
    assert ways[0]["electron_maxstep"] == "200"


def test_no_remedy_touches_what_decides_the_label(upf):
    plain = build(settings(upf, version="1")).identity()
    assert "mixing_beta" not in str(plain)
    for remedy in LADDER:
        changed = electrons_with({"conv_thr": "1d-8"}, [remedy.name])
        assert changed["conv_thr"] == "1d-8"


def test_smearing_is_tried_only_where_it_was_named(upf):
    assert "smearing" not in [r.name for r in build(settings(upf)).ladder]
    named = build(settings(upf, remedies=("smearing",)))
    assert named.ladder == (KNOWN[-1],)
    with pytest.raises(ConfigError, match="unknown remedy 'prayer'"):
        build(settings(upf, remedies=("prayer",)))


def test_pseudopotential_of_another_element_is_refused(upf):
    with pytest.raises(ConfigError, match="is a pseudopotential of Mg, given for Al"):
        build(settings(upf, version="1", pseudopotentials={"Al": "Mg.UPF"})).identity()


def test_missing_pseudopotential_is_named_with_the_folders(upf):
    with pytest.raises(ConfigError, match=r"no Si.UPF \(Si\) in .*upf"):
        build(settings(upf, pseudopotentials={"Si": "Si.UPF"}))


@pytest.mark.parametrize("is_there", [False, True])
def test_missing_folder_of_debian_is_answered_with_its_package(
    is_there, tmp_path, monkeypatch
):
    if is_there:
        (tmp_path / "pseudo").mkdir()
    monkeypatch.setattr(qe_pseudo, "SYSTEM_FOLDERS", (str(tmp_path / "pseudo"),))
    with pytest.raises(ConfigError, match=r"no Al.UPF \(Al\), Mg.UPF") as refused:
        build(LabelSettings(qe=QEOptions(**KEYS)))  # type: ignore[arg-type]
    hint = "apt-get install quantum-espresso-data"
    assert (hint in str(refused.value)) is not is_there


def test_content_of_a_pseudopotential_decides_the_label_not_its_folder(upf, tmp_path):
    one = build(settings(upf, version="1")).identity()
    other = tmp_path / "moved"
    upf.rename(other)
    assert build(settings(other, version="1")).identity() == one
    with (other / "Al.UPF").open("a") as file:
        file.write(" ")
    assert build(settings(other, version="1")).identity() != one


def test_frame_without_cell_or_with_an_unknown_element_is_refused(upf):
    driver = build(settings(upf))
    with pytest.raises(ConfigError, match="1 of 1 frames have no cell"):
        driver.check_frames(uniform(z=[13], coord=np.zeros((1, 1, 3))))
    silicon = uniform(z=[14], coord=np.zeros((1, 1, 3)), box=np.eye(3)[None] * 5)
    with pytest.raises(ConfigError, match="no pseudopotential for Si"):
        driver.check_frames(silicon)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"system": {}}, "no cut-off"),
        ({"pseudopotentials": {}}, "no pseudopotentials"),
        ({"template": Path("/none.in")}, "cannot be read"),
    ],
)
def test_incomplete_options_are_refused(upf, keys, words):
    with pytest.raises(ConfigError, match=words):
        build(settings(upf, **keys))


def test_theory_is_foretold_in_the_words_of_the_reader(upf):
    told = build(
        settings(
            upf,
            system={
                "ecutwfc": 15,
                "occupations": "smearing",
                "smearing": "mp",
                "degauss": "0.05d0",
            },
        )
    ).foretold()
    assert told["functional"] == "LDA-PZ"
    assert told["cutoff"] == pytest.approx(204.085, abs=1e-3)
    assert told["smearing"] == "methfessel-paxton"
    assert told["pseudopotentials"]["Al"]["hash"].startswith("md5:")


def test_card_of_hubbard_keeps_the_rows_of_the_elements_that_are_there(upf, tmp_path):
    path = tmp_path / "u.in"
    path.write_text(
        "&system\n ecutwfc=15\n/\n&electrons\n/\nK_POINTS gamma\n"
        "HUBBARD {ortho-atomic}\nU Al-3p 2.0\nU Mg-3s 1.0\n"
    )
    driver = build(
        LabelSettings(
            qe=QEOptions(
                template=path,
                pseudo_dir=upf,
                pseudopotentials={"Al": "Al.UPF", "Mg": "Mg.UPF"},
            )
        )
    )
    frame = uniform(z=[13], coord=np.zeros((1, 1, 3)), box=np.eye(3)[None] * 4)
    text = input_text(frame, driver.template, pseudo_dir="/p")
    assert "HUBBARD {ortho-atomic}\nU Al-3p 2.0\n" in text
    assert "Mg-3s" not in text
    assert "K_POINTS gamma" in text


def test_template_without_kpoints_or_with_a_torn_row_is_refused(tmp_path):
    path = tmp_path / "bare.in"
    path.write_text("&system\n ecutwfc=15\n/\nATOMIC_SPECIES\nAl 27 Al.UPF\n")
    with pytest.raises(ConfigError, match="has no card K_POINTS"):
        template_of(QEOptions(template=path))
    path.write_text("&system\n ecutwfc=15\n/\nATOMIC_SPECIES\nAl 27\n")
    with pytest.raises(ConfigError, match="'Al 27'; expected label, mass and file"):
        template_of(QEOptions(template=path))
    path.write_text("ATOMIC_SPECIES\nAl 27 Al.UPF\n")
    with pytest.raises(ConfigError, match="has no namelist &system"):
        template_of(QEOptions(template=path))


def test_missing_program_is_said_with_how_to_install_it(upf):
    driver = build(settings(upf, command="no-such-pw.x"))
    with pytest.raises(ConfigError, match="apt-get install quantum-espresso"):
        driver.identity()


def test_settings_without_a_table_say_what_to_add():
    with pytest.raises(ConfigError, match=r"\[label.qe\] with template"):
        build(LabelSettings())


@pytest.mark.parametrize(
    ("keys", "spin"),
    [
        ({}, "none"),
        ({"nspin": 2}, "collinear"),
        ({"noncolin": True}, "noncollinear"),
        ({"noncolin": True, "lspinorb": True}, "spin-orbit"),
    ],
)
def test_spin_and_forced_functional_are_foretold(upf, keys, spin):
    system = {"ecutwfc": 15, "input_dft": "PBESOL", **keys}
    told = build(settings(upf, system=system)).foretold()
    assert (told["spin"], told["functional"]) == (spin, "PBEsol")


def test_functional_of_which_outputs_print_another_name_is_not_foretold(upf):
    """BLYP: a UPF file says SLA LYP B88 BLYP, an output is named by its indices."""
    told = build(settings(upf, system={"ecutwfc": 15, "input_dft": "blyp"})).foretold()
    assert "functional" not in told


def test_functionals_that_differ_are_not_foretold(upf):
    other = (upf / "Mg.UPF").read_text().replace("PZ NOGX NOGC", "PW PBE PBE")
    (upf / "Mg.UPF").write_text(other)
    assert "functional" not in build(settings(upf)).foretold()


def test_smearing_as_a_remedy_leaves_an_input_that_has_one(upf):
    assert system_with({}, ["smearing"])["occupations"] == "'smearing'"
    kept = {"occupations": "'tetrahedra'"}
    assert system_with(kept, ["smearing"]) == kept


def test_what_a_program_printed_in_place_of_a_version_is_quoted(program):
    launcher = program(
        "mpirun", "echo 'There are not enough slots' >&2; echo Ask; exit 1"
    )
    with pytest.raises(ConfigError, match=r"PWSCF v\.' but 'Ask \.\.\. There are not"):
        version_of(f"{launcher} -np 16 pw.x")
    with pytest.raises(ConfigError, match=r"but nothing; expected pw\.x"):
        version_of(str(program("pw.x", "exit 0")))
