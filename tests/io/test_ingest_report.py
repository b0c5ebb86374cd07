from dpbench.io.ingest_report import IngestReport


def report(**changes):
    values = {
        "dataset": "w",
        "label": "w-v1",
        "digest": "dpb",
        "is_new": True,
        "n_files": 1,
        "n_sources": 1,
        "n_kept": 3,
        "quarantined": {},
        "n_repeated": 0,
        "n_already_in": 0,
        "failed": (),
        "troubled": (),
        "notes": (),
        "n_bytes": 1,
        "seconds": 1.0,
    }
    return IngestReport(**values | changes)


def test_notes_that_tell_something_come_before_routine_ones():
    routine = [
        f"{i}: pw.in agrees with the output and gave cell and positions."
        for i in range(6)
    ]
    text = report(notes=(*routine, "7: the input was left aside")).summary()
    shown = text.split("  notes ")[1].splitlines()[1:]
    assert len(shown) == 4
    assert shown[0].strip() == "7: the input was left aside"


def test_frames_left_out_as_equal_are_said_in_words():
    one, two = (report(n_repeated=n).summary() for n in (1, 2))
    assert "1 equal to a frame already here, left out" in one
    assert "2 equal to frames already here, left out" in two


def test_a_mixture_is_a_line_for_each_key_and_in_the_json():
    claims = [{"value": v, "n_sources": 1, "example": v} for v in ("PBE", "LDA")]
    mixed = ({"key": "functional", "values": claims, "note": ""},)
    text = report(mixed_theory=mixed).summary()
    assert "mixed levels of theory: functional: PBE | LDA" in text
    assert report(mixed_theory=mixed).to_json()["mixed_theory"] == list(mixed)
