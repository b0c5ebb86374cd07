"""The section on quality: flags, checks, and the frames that they name."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from dpbench.eval.dataset_report.sections import section, table
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number
from dpbench.eval.web.tables import grid


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFrame:
    """A frame that bears a flag."""

    index: int
    """Frame of the version."""
    step: int
    """Position in the source."""
    path: str
    """Its source: a hint."""
    value: str
    """The number behind the flag, with its name; "" for a duplicate."""
    of: int | None
    """The earlier frame that a duplicate repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagRow:
    """One kind of flag."""

    name: str
    """As ``--exclude`` takes it."""
    meaning: str
    """What it finds."""
    limit: str
    """The threshold, with its unit."""
    n: int
    """Frames that bear it."""
    worst: tuple[int, ...]
    """Frames to look at first; the page shows them."""
    rows: tuple[ListedFrame, ...]
    """Frames that bear it, the worst first; some thousand at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRow:
    """One check of a trajectory or of a group of frames."""

    name: str
    """What was checked."""
    subject: str
    """Source, or group of frames."""
    verdict: str
    """Words; starts with ``ok`` if nothing was found."""
    is_ok: bool
    detail: str
    """The numbers behind it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What the quality flags of a version say."""

    n_flagged: int
    """Frames with any flag."""
    flags: tuple[FlagRow, ...]
    checks: tuple[CheckRow, ...]
    notes: tuple[str, ...]
    """What was not checked, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlaggedFrame:
    """One frame that the page shows."""

    index: int
    """Frame of the version."""
    reasons: tuple[tuple[str, ListedFrame], ...]
    """Its flags, and what each of them goes by."""
    path: str
    """Its source: a hint."""
    sha256: str
    """Its source's digest."""
    step: int
    """Position in the source."""
    formula: str
    energy_per_atom: float | None
    """eV."""
    force_max: float | None
    """eV/Å."""
    picture: Markup
    xyz: str
    """The frame as extended XYZ."""


def quality(judgement: Judgement, frames: Sequence[FlaggedFrame]) -> Markup:
    """Draw the section."""
    shown = {frame.index for frame in frames}
    flags = [
        (flag.name, str(flag.n), flag.meaning, _links(flag, shown), flag.limit)
        for flag in judgement.flags
    ]
    checks = [
        (
            check.name,
            tag("span", check.verdict, class_="badge" if check.is_ok else "badge warn"),
            check.detail,
            check.subject,
        )
        for check in sorted(judgement.checks, key=lambda check: check.is_ok)
    ]
    return section(
        "quality",
        "Quality",
        tag(
            "p",
            "Flags are judgements, made again from the frames and the limits; they "
            "delete nothing. 'dpbench dataset quality --exclude' makes a version "
            "without the frames of a flag.",
            class_="note",
        ),
        tag(
            "div",
            table(("flag", "frames", "finds", "worst", "limits"), flags),
            class_="flags",
        ),
        *(_list(flag, shown) for flag in judgement.flags if flag.rows),
        tag("h3", "Checks along trajectories and groups") if checks else None,
        table(("check", "verdict", "numbers", "of"), checks) if checks else None,
        *(tag("p", note, class_="note") for note in judgement.notes),
        tag("h3", f"Frames to look at first: {len(frames)}") if frames else None,
        tag("div", *(_frame_card(frame, shown) for frame in frames), class_="frames")
        if frames
        else None,
    )


def _list(flag: FlagRow, shown: set[int]) -> Markup:
    """List the frames of a flag, folded."""
    rows = [
        (_link(row.index, shown), str(row.step), row.path, _value(row, shown))
        for row in flag.rows
    ]
    more = flag.n - len(rows)
    frames = "1 frame" if flag.n == 1 else f"{flag.n} frames"
    return tag(
        "details",
        tag("summary", f"{flag.name}: {frames}"),
        grid(("frame", "step", "source", "value"), rows, numbers_from=99),
        tag("p", f"… and {more} more.", class_="note") if more > 0 else None,
    )


def _link(index: int, shown: set[int]) -> Markup:
    """Write a frame's number; lead to its card if there is one."""
    if index in shown:
        return tag("a", f"#{index}", href=f"#frame-{index}")
    return join(f"#{index}")


def _value(row: ListedFrame, shown: set[int]) -> Markup:
    if row.of is None:
        return join(row.value)
    return join("as frame ", _link(row.of, shown))


def _links(flag: FlagRow, shown: set[int]) -> Markup:
    links = [_link(index, shown) for index in flag.worst]
    return join(*(part for link in links for part in (link, " ")))


def _frame_card(frame: FlaggedFrame, shown: set[int]) -> Markup:
    data = base64.b64encode(frame.xyz.encode()).decode()
    download = tag(
        "a",
        "extended XYZ",
        href=f"data:chemical/x-xyz;base64,{data}",
        download=f"frame-{frame.index}.xyz",
    )
    rows = (
        *((name, _value(row, shown)) for name, row in frame.reasons),
        ("source", frame.path),
        ("step", str(frame.step)),
        ("sha256", frame.sha256[:16]),
        ("energy", f"{number(frame.energy_per_atom)} eV/atom"),
        ("largest force", f"{number(frame.force_max)} eV/Å"),
        ("structure", download),
    )
    pairs = (item for key, value in rows for item in (tag("dt", key), tag("dd", value)))
    badges = (tag("span", name, class_="badge warn") for name, _ in frame.reasons)
    return tag(
        "article",
        tag("h4", f"Frame {frame.index} · {frame.formula} ", *badges),
        frame.picture,
        tag("dl", *pairs),
        id=f"frame-{frame.index}",
        class_="frame-card",
    )
