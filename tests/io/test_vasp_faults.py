import gzip
import json
import random
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dpbench.errors import SourceError
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers import reader_of
from dpbench.units import KBAR
from tests.io.vasp_texts import (
    CELL,
    TAIL,
    made_up_steps,
    outcar,
    outcar_head,
    outcar_step,
    vasprun,
)

STEPS = made_up_steps(4)


@pytest.fixture
def read(tmp_path):
    def parse(**texts: str) -> ParsedSource:
        paths = []
        for name, text in texts.items():
            path = tmp_path / {"xml": "vasprun.xml"}.get(name, name.upper())
            path.write_text(text)
            paths.append(path)
        return reader_of("vasp").read(SourceFiles(format="vasp", paths=tuple(paths)))

    return parse


def reasons(parsed: ParsedSource) -> list[str]:
    return [str(reason) for reason in parsed.quarantine]


def test_every_number_of_an_outcar_arrives(read):
    parsed = read(outcar=outcar(STEPS))
    volume = 4.0 * 5.0 * 6.0
    for i, step in enumerate(STEPS):
        atoms = parsed.frames.atoms_of(i)
        assert_array_equal(parsed.frames.coord[atoms], step["coord"])
        assert_array_equal(parsed.frames.force[atoms], step["force"])
        assert parsed.frames.energy[i] == step["energy"]
        xx, yy, zz, xy, yz, zx = step["stress"]
        stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        assert_allclose(parsed.frames.virial[i], stress * KBAR * volume, rtol=1e-14)
    assert_array_equal(parsed.frames.box, np.tile(CELL, (4, 1, 1)))
    assert parsed.frames.z.tolist() == [8, 1, 1] * 4
    assert parsed.complete


def test_a_compressed_source_under_stress_has_a_positive_virial(read):
    steps = made_up_steps(1)
    steps[0]["stress"] = np.array([10.0, 10.0, 10.0, 0.0, 0.0, 0.0])
    virial = read(outcar=outcar(steps)).frames.virial[0]
    # +10 kbar = 1 GPa of compression; virial = -V * stress
    assert_allclose(virial, np.eye(3) * 10 * KBAR * 120.0, rtol=1e-12)


@pytest.mark.parametrize("form", ["outcar", "xml"])
def test_a_file_cut_anywhere_keeps_its_whole_frames(read, form):
    text = outcar(STEPS) if form == "outcar" else vasprun(STEPS)
    mark = "free  energy   TOTEN" if form == "outcar" else "</calculation>"
    for cut in np.linspace(0, len(text) - 150, 60).astype(int).tolist():
        piece = text[:cut]
        whole = sum(
            "\n" in rest if form == "outcar" else True
            for rest in (piece.split(mark)[1:])
        )
        try:
            parsed = read(**{form: piece})
        except SourceError:
            assert whole == 0
            continue
        found = reasons(parsed)
        assert found[:whole] == [""] * whole
        assert found[whole:] in ([], ["truncated"])
        assert not parsed.complete
        for i in range(whole):
            assert parsed.frames.energy[i] == STEPS[i]["energy"]
            atoms = parsed.frames.atoms_of(i)
            assert_array_equal(parsed.frames.force[atoms], STEPS[i]["force"])


def test_a_number_cut_in_two_is_not_taken_for_a_whole_one(read):
    text = vasprun(STEPS[:2])
    at = text.rfind('e_fr_energy">') + len('e_fr_energy">') + 10
    assert reasons(read(xml=text[:at])) == ["", "truncated"]


def test_a_cut_outcar_is_completed_by_its_vasprun(read):
    text = outcar(STEPS)
    cut = text.index("Iteration      4") + 2000
    both = read(outcar=text[:cut], xml=vasprun(STEPS))
    assert reasons(both) == [""] * 4
    assert both.frames.energy[3] == STEPS[3]["energy"]
    assert not both.complete


def test_a_cut_vasprun_is_completed_by_its_outcar(read):
    text = vasprun(STEPS)
    cut = text.rindex('<varray name="forces"') + 60
    both = read(outcar=outcar(STEPS), xml=text[:cut])
    assert reasons(both) == [""] * 4
    assert_array_equal(both.frames.force[9:], STEPS[3]["force"])


def test_stars_are_quarantined_alone(read):
    text = outcar(STEPS)
    force = f"{STEPS[1]['force'][2, 0]:14.6f}"
    assert text.count(force) == 1
    parsed = read(outcar=text.replace(force, "*" * 14))
    assert reasons(parsed) == ["", "nan", "", ""]
    assert np.isnan(parsed.frames.force[5, 0])
    assert parsed.frames.force[5, 1] == STEPS[1]["force"][2, 1]


def test_joined_numbers_come_apart(read):
    steps = made_up_steps(2)
    steps[1]["coord"][0] = [-12345.54321, -23456.65432, -34567.76543]
    text = outcar(steps)
    assert "-12345.54321-23456.65432" in text.replace(" ", "")
    parsed = read(outcar=text)
    assert_array_equal(parsed.frames.coord[3], steps[1]["coord"][0])
    assert reasons(parsed) == ["", ""]


def test_an_energy_of_stars_is_nan(read):
    text = outcar(STEPS)
    energy = f"{float(STEPS[2]['energy']):20.8f}"
    assert reasons(read(outcar=text.replace(energy, "*" * 20))) == ["", "", "nan", ""]


def test_one_step_without_stress_loses_its_virial_alone(read):
    body = "".join(
        outcar_step(i, step, stress=i != 2) for i, step in enumerate(STEPS, start=1)
    )
    parsed = read(outcar=outcar_head() + body + TAIL)
    assert parsed.frames.has_virial.tolist() == [True, False, True, True]
    assert reasons(parsed) == [""] * 4


def test_machine_learned_steps_are_no_dft(read):
    text = (
        outcar_head()
        + outcar_step(1, STEPS[0])
        + outcar_step(2, STEPS[1], learned=True)
        + outcar_step(3, STEPS[2], learned=True)
        + outcar_step(4, STEPS[3])
        + TAIL
    )
    parsed = read(outcar=text)
    assert reasons(parsed) == ["", "not_dft", "not_dft", ""]
    assert parsed.frames.energy[1] == STEPS[1]["energy"]


@pytest.mark.parametrize("order", ["before", "behind"])
def test_the_learned_block_beside_a_dft_step_is_no_second_frame(read, order):
    text = outcar_head()
    for number, step in enumerate(STEPS[:2], start=1):
        learned = {**step, "energy": step["energy"] + 0.1, "force": step["force"] * 0.9}
        blocks = [
            outcar_step(number, learned, learned=True),
            outcar_step(number, step),
        ]
        text += "".join(blocks if order == "before" else blocks[::-1])
    parsed = read(outcar=text + TAIL, xml=vasprun(STEPS[:2]))
    assert reasons(parsed) == ["", ""]
    assert parsed.step.tolist() == [1, 2]
    assert parsed.frames.energy[1] == STEPS[1]["energy"]


def test_a_run_of_learned_steps_alone_is_no_dft(read):
    steps = "".join(
        f"{'-' * 41} Ionic step {i:8d}  {'-' * 43}\n" + outcar_step(i, s, learned=True)
        for i, s in enumerate(STEPS, start=1)
    )
    parsed = read(outcar=outcar_head() + steps + TAIL)
    assert reasons(parsed) == ["not_dft"] * 4
    assert_array_equal(parsed.frames.coord[:3], STEPS[0]["coord"])


def with_pstress(steps, *, extra: float = 0.0) -> str:
    """Return a vasprun.xml whose totals hold p V, as under PSTRESS = 100 kbar."""
    text = vasprun(steps)
    for step in steps:
        energy = float(step["energy"])
        total = energy + 100 * KBAR * 120.0 + extra
        old = f'  <energy>\n   <i name="e_fr_energy">{energy:16.8f}'
        assert text.count("\n" + old) == 1
        new = old.replace(f"{energy:16.8f}", f"{total:16.8f}")
        text = text.replace("\n" + old, "\n" + new)
    tag = '<i name="PSTRESS">    100.00000000</i>'
    return text.replace(" <parameters>", f" <parameters>\n  {tag}")


def test_an_enthalpy_is_not_taken_for_the_energy(read):
    energies = [float(step["energy"]) for step in STEPS]
    alone = read(xml=with_pstress(STEPS))
    assert alone.frames.energy.tolist() == energies
    assert "totals of 4 steps are enthalpies" in alone.notes[0]
    both = read(outcar=outcar(STEPS), xml=with_pstress(STEPS))
    assert both.frames.energy.tolist() == energies
    assert reasons(both) == [""] * 4


def test_an_energy_that_cannot_be_told_from_an_enthalpy_needs_outcar(read):
    xml = with_pstress(STEPS, extra=-0.75)
    assert reasons(read(xml=xml)) == ["no_energy"] * 4
    both = read(outcar=outcar(STEPS), xml=xml)
    assert reasons(both) == [""] * 4
    assert both.frames.energy[0] == STEPS[0]["energy"]


@pytest.mark.parametrize(
    ("n_scf", "version", "banner", "reason"),
    [
        (19, "5.4.4", "aborting loop because EDIFF is reached", ""),
        (20, "5.4.4", "aborting loop because EDIFF is reached", "unconverged"),
        (20, "6.3.0", "aborting loop because EDIFF is reached", ""),
        (
            20,
            "6.3.0",
            "aborting loop EDIFF was not reached (unconverged)",
            "unconverged",
        ),
        (7, "5.4.4", "hard stop encountered!  aborting job ...", "unconverged"),
    ],
)
def test_convergence_is_judged_as_each_version_tells(
    read, n_scf, version, banner, reason
):
    body = outcar_step(1, STEPS[0], n_scf=n_scf, banner=banner)
    parsed = read(outcar=outcar_head(version=version) + body + TAIL)
    assert reasons(parsed) == [reason]
    assert parsed.n_scf.tolist() == [n_scf]


def test_vasprun_at_the_last_iteration_is_unconverged_unless_outcar_knows(read):
    xml = vasprun(STEPS[:1], n_scf=20)
    assert reasons(read(xml=xml)) == ["unconverged"]
    body = outcar_step(1, STEPS[0], n_scf=20)
    six = outcar_head(version="6.3.0") + body + TAIL
    assert reasons(read(outcar=six, xml=xml)) == [""]


@pytest.mark.parametrize("label", ["force", "energy", "coord", "stress"])
def test_two_files_that_contradict_each_other_are_a_mismatch(read, label):
    steps = made_up_steps(4)
    steps[2][label] = steps[2][label] + 0.5
    parsed = read(outcar=outcar(STEPS), xml=vasprun(steps))
    assert reasons(parsed) == ["", "", "mismatch", ""]
    assert "they contradict each other in 1" in parsed.notes[-1]


def test_an_atom_across_the_boundary_is_no_mismatch(read):
    steps = made_up_steps(4)
    steps[1]["coord"] = steps[1]["coord"] + CELL[2]
    assert reasons(read(outcar=outcar(STEPS), xml=vasprun(steps))) == [""] * 4


def test_files_of_two_systems_are_a_mismatch(read):
    other = (
        outcar(STEPS)
        .replace("ions per type =               1   2", "")
        .replace(
            "Startparameter", "   ions per type =               2   1\n Startparameter"
        )
    )
    parsed = read(outcar=other, xml=vasprun(STEPS))
    assert set(parsed.quarantine) == {Quarantine.MISMATCH}


def test_a_broken_outcar_beside_a_good_vasprun_is_named(read):
    parsed = read(xml=vasprun(STEPS), outcar=" vasp.5.4.4\n nothing more\n")
    assert parsed.frames.nframes == 4
    assert "0 POTCAR titles" in parsed.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with VASP's version"),
        ("PK\0\0\0binary", "does not begin with VASP's version"),
        (outcar_head(), "no ionic step"),
        (outcar_head().replace("PAW_PBE O ", "PAW_PBE Qq "), "unknown element 'Qq'"),
    ],
)
def test_what_is_no_outcar_is_one_clear_error(read, text, words):
    with pytest.raises(SourceError, match=words) as raised:
        read(outcar=text.replace("VRHFIN =O", "VRHFIN =Q"))
    assert "\n" not in str(raised.value)


def test_a_damaged_gzip_is_one_clear_error(tmp_path):
    path = tmp_path / "OUTCAR.gz"
    path.write_bytes(gzip.compress(outcar(STEPS).encode())[:-400])
    with pytest.raises(SourceError, match="cannot be unpacked"):
        reader_of("vasp").read(SourceFiles(format="vasp", paths=(path,)))


def test_incar_gives_the_digits_of_sigma_that_outcar_rounds(read):
    parsed = read(outcar=outcar(STEPS), incar="SIGMA = 0.0465 ! eV\nIVDW = 12\n")
    assert parsed.theory["smearing_width"] == 0.0465
    assert parsed.theory["dispersion"] == "DFT-D3(BJ)"


def test_a_total_energy_unlike_the_last_iteration_is_noted(read):
    text = vasprun(STEPS[:2])
    at = text.rindex("<energy>")
    energy = f"{float(STEPS[1]['energy']):16.8f}"
    shifted = f"{float(STEPS[1]['energy']) - 0.25:16.8f}"
    parsed = read(xml=text[:at] + text[at:].replace(energy, shifted))
    assert parsed.frames.energy[1] == float(shifted)
    assert (
        "1 steps differ from that of the last electronic iteration" in (parsed.notes[0])
    )


def test_learned_steps_of_an_outcar_leave_the_vasprun_aligned(read):
    head = outcar_head() + outcar_step(1, STEPS[0])
    learned = outcar_step(2, STEPS[1], learned=True)
    text = head + learned + outcar_step(3, STEPS[2]) + TAIL
    parsed = read(outcar=text, xml=vasprun([STEPS[0], STEPS[2]]))
    assert reasons(parsed) == ["", "not_dft", ""]
    assert parsed.step.tolist() == [1, 2, 3]
    assert parsed.frames.energy[2] == STEPS[2]["energy"]


def damaged(text: str, rng: random.Random) -> str:
    """Hurt a text as disks, kills and editors do."""
    at, length = rng.randrange(len(text)), rng.randrange(1, 3000)
    other = rng.randrange(len(text))
    marks = ("NaN", "****", "<v>", "</calculation>", "Iteration      9(   3)", "\0")
    return rng.choice(
        (
            lambda: text[:at],
            lambda: text[:at] + text[at + length :],
            lambda: text[: at + length] + text[at:],
            lambda: text[other:] + text[:other],
            lambda: text[:at] + rng.choice(marks) + text[at:],
            lambda: "\n".join(x for x in text.split("\n") if rng.random() > 0.02),
            lambda: re.sub(
                r"-?\d+\.\d+",
                lambda m: "*" * len(m[0]) if rng.random() < 0.05 else m[0],
                text,
            ),
            lambda: "".join(
                rng.choice("0123456789-*. <>/\n") if rng.random() < 0.01 else c
                for c in text
            ),
        )
    )()


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_calculation_is_judged_or_a_named_failure(read, seed):
    rng = random.Random(seed)
    whole = {"outcar": outcar(STEPS), "xml": vasprun(STEPS)}
    for _ in range(25):
        chosen = rng.choice((["outcar"], ["xml"], ["outcar", "xml"]))
        try:
            parsed = read(**{name: damaged(whole[name], rng) for name in chosen})
        except SourceError:
            continue
        good = np.array([reason == "" for reason in parsed.quarantine])
        assert np.isfinite(parsed.frames.energy[good]).all()
        assert parsed.frames.has_force[good].all()
        json.dumps(parsed.theory, allow_nan=False)
