"""Structural fuzz of a reader: ``python -m tests.io.fuzz SUBJECT DATA COUNT SEED``.

A file is damaged as disks, transfers and batch systems damage them: cut, lines lost,
swapped or doubled, zeros written, numbers that overflow their column, packed files
broken. Every frame that comes back unquarantined must be one of the whole file, to the
last bit; only its stress may be missing. Swapped lines differ in form: two rows of one
table that change places make another, whole output, which no reader can tell, as does
the loss of just as many lines as one step has.
"""

import gzip
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dpbench.errors import SourceError
from dpbench.io.discover import find_sources
from dpbench.io.ingest_plan import read_source
from dpbench.io.parsed import ParsedSource, Quarantine
from tests.io.fuzz_subjects import SUBJECTS, Subject

SECONDS = 20
"""For one damaged file; a whole one takes a tenth of a second."""

KEEP = os.environ.get("DPBENCH_FUZZ_KEEP", "")
"""Folder where damaged calculations that were read wrongly are kept."""

NUMBER = re.compile(rb"(?<![\w.])-?\d+\.\d+(?:[eEdD][-+]?\d+)?")
Random = random.Random
Damage = Callable[[bytes, Random], bytes]


def main(name: str, data: str, count: str, seed: str) -> int:
    """Damage and read; print what came of it as JSON."""
    subject = SUBJECTS[name]
    rng = random.Random(f"{name}:{seed}")
    outcome: Counter[str] = Counter()
    faults: list[str] = []
    signal.signal(signal.SIGALRM, _too_long)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        whole.mkdir()
        subject.write(whole, Path(data))
        read = read_folder(whole, subject.code)
        known = frames_of(read)
        near = (
            Near(read) if len(subject.targets) > 1 and not subject.is_binary else None
        )
        if not known:
            raise SystemExit(f"{name}: the whole file gives no good frame")
        for number in range(int(count)):
            where = Path(folder) / "damaged"
            shutil.copytree(whole, where)
            kind = damage(where, subject, rng)
            outcome["mutations"] += 1
            try:
                signal.alarm(SECONDS)
                judge(read_folder(where, subject.code), known, outcome, near)
            except SourceError as error:
                outcome["refused"] += 1
                if "\n" in str(error) or len(str(error)) > 2000:
                    faults.append(f"{number} {kind}: a refusal of several lines")
            except Exception as error:  # whatever it is, it is what is looked for
                faults.append(f"{number} {kind}: {type(error).__name__}: {error}")
            finally:
                signal.alarm(0)
            if KEEP and faults and faults[-1].startswith(f"{number} "):
                shutil.copytree(where, Path(KEEP) / f"{name}-{seed}-{number}")
            shutil.rmtree(where)
    print(json.dumps({**outcome, "faults": faults}))
    return 0


def read_folder(folder: Path, code: str) -> list[ParsedSource]:
    """Read every source of a folder, as an ingest does; none is left out."""
    found = find_sources(code, [folder])
    read = []
    for files in found.sources:
        try:
            read.append(read_source(files, None))
        except SourceError:
            if len(found.sources) == 1:
                raise
    return read


def frames_of(read: list[ParsedSource]) -> dict[bytes, int]:
    """Good frames by all their numbers, and again without the stress."""
    known = {}
    for source in read:
        for i in range(source.frames.nframes):
            if source.quarantine[i] is Quarantine.NONE:
                known[key(source, i)] = 1
                known.setdefault(key(source, i, with_virial=False), 0)
    return known


def key(source: ParsedSource, index: int, *, with_virial: bool = True) -> bytes:
    """All numbers of a frame; the same frame has the same bytes."""
    frame = source.frames.select(np.array([index]))
    virial = frame.virial if with_virial else np.full_like(frame.virial, np.nan)
    arrays = (
        frame.z,
        frame.coord.astype(np.float64),
        frame.force.astype(np.float64),
        np.nan_to_num(frame.box, nan=-7.0),
        frame.pbc,
        frame.energy,
        np.nan_to_num(virial, nan=-7.0),
    )
    return b"|".join(array.tobytes() for array in arrays)


TOLERANCE = {"coord": 2e-4, "force": 2e-4, "box": 1e-5, "energy": 1e-5}
"""Å, eV/Å, Å, eV: what the file with fewer digits leaves open."""


class Near:
    """Whole frames, found again where another file printed them with fewer digits."""

    def __init__(self, read: list[ParsedSource]) -> None:
        self._frames = [
            s.frames.select(np.array([i]))
            for s in read
            for i in range(s.frames.nframes)
        ]

    def find(self, source: ParsedSource, index: int) -> int | None:
        """Return 1 for a whole frame, 0 for one without its stress, else None."""
        frame = source.frames.select(np.array([index]))
        for other in self._frames:
            if frame.z.tolist() != other.z.tolist():
                continue
            gaps = {
                n: np.abs(getattr(frame, n) - getattr(other, n)).max()
                for n in TOLERANCE
            }
            if np.isnan(frame.box).all() and np.isnan(other.box).all():
                gaps["box"] = 0.0
            if all(gap <= TOLERANCE[name] for name, gap in gaps.items()):
                if np.isnan(frame.virial).all():
                    return int(np.isnan(other.virial).all())
                same = np.allclose(frame.virial, other.virial, rtol=1e-3, atol=2e-2)
                return 1 if same else None
        return None


class WrongFrameError(Exception):
    """A frame came back as good that is none of the whole file's."""


def judge(
    read: list[ParsedSource],
    known: dict[bytes, int],
    outcome: Counter[str],
    near: "Near | None",
) -> None:
    """Count what came back, and raise if a frame is a wrong one."""
    for source in read:
        for i in range(source.frames.nframes):
            if source.quarantine[i] is not Quarantine.NONE:
                outcome["quarantined"] += 1
                continue
            found = known.get(key(source, i))
            if found is None and near is not None:
                found = near.find(source, i)
            if found is None:
                raise WrongFrameError(f"frame {i} of {source.frames.nframes}")
            outcome["equal" if found else "equal without stress"] += 1


def damage(folder: Path, subject: Subject, rng: Random) -> str:
    """Damage one file of a folder; return how."""
    path = folder / rng.choice(subject.targets)
    content = path.read_bytes()
    kinds = (
        BINARY if subject.is_binary else {**TEXT, **(PACKED if subject.pack else {})}
    )
    if subject.is_free:
        kinds = {kind: kinds[kind] for kind in kinds if not kind.startswith("bytes")}
    kind = rng.choice(sorted(kinds))
    broken = kinds[kind](content, rng)
    if kind in PACKED and not subject.is_binary:
        path.unlink()
        path = path.with_name(path.name + ".gz")
    path.write_bytes(broken)
    return f"{kind} of {path.name}"


def cut(content: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_front(content: bytes, rng: Random) -> bytes:
    return content[rng.randrange(len(content)) :]


def lose_bytes(content: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.choice((1, 7, 512, 4096)) :]


def double_bytes(content: bytes, rng: Random) -> bytes:
    at, size = rng.randrange(len(content)), rng.choice((1, 7, 512, 4096))
    return content[: at + size] + content[at:]


def by_lines(change: Callable[[list[bytes], Random], None]) -> Damage:
    def damaged(content: bytes, rng: Random) -> bytes:
        lines = content.splitlines(keepends=True)
        change(lines, rng)
        return b"".join(lines)

    return damaged


def _lose(lines: list[bytes], rng: Random) -> None:
    at = rng.randrange(len(lines))
    del lines[at : at + rng.choice((1, 1, 2, 5, 31))]


def _double(lines: list[bytes], rng: Random) -> None:
    at, size = rng.randrange(len(lines)), rng.choice((1, 1, 2, 5, 31))
    lines[at:at] = lines[at : at + size]


def _swap(lines: list[bytes], rng: Random) -> None:
    for _ in range(100):
        a = rng.randrange(len(lines))
        b = rng.choice((rng.randrange(len(lines)), min(a + 1, len(lines) - 1)))
        if _form(lines[a]) != _form(lines[b]):
            lines[a], lines[b] = lines[b], lines[a]
            return


def _form(line: bytes) -> bytes:
    return re.sub(
        rb"[A-Za-z]+", b"a", re.sub(rb"[-+]?[\d.]+(?:[eEdD][-+]?\d+)?", b"0", line)
    ).replace(b" ", b"")


def zeros(content: bytes, rng: Random) -> bytes:
    at, size = rng.randrange(len(content)), rng.choice((1, 1, 16, 512))
    return content[:at] + bytes(size) + content[at + size :]


def zeros_between(content: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes(rng.choice((1, 512))) + content[at:]


def stars(content: bytes, rng: Random) -> bytes:
    start, end = _some_number(content, rng)
    return content[:start] + b"*" * (end - start) + content[end:]


def overlong(content: bytes, rng: Random) -> bytes:
    start, end = _some_number(content, rng)
    text = content[start:end]
    sign = b"-" if text.startswith(b"-") else b""
    digits = bytes(rng.choice(b"123456789") for _ in range(12))
    return content[:start] + sign + digits + text.lstrip(b"-") + content[end:]


def _some_number(content: bytes, rng: Random) -> tuple[int, int]:
    for _ in range(100):
        match = NUMBER.search(content, rng.randrange(len(content)))
        if match is not None:
            return match.span()
    return 0, 1


def packed(change: Damage) -> Damage:
    return lambda content, rng: change(gzip.compress(content, mtime=0), rng)


def flip_bit(content: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(content))
    flipped = content[at] ^ (1 << rng.randrange(8))
    return content[:at] + bytes([flipped]) + content[at + 1 :]


TEXT: dict[str, Damage] = {
    "cut": cut,
    "front cut": cut_front,
    "bytes lost": lose_bytes,
    "bytes doubled": double_bytes,
    "lines lost": by_lines(_lose),
    "lines doubled": by_lines(_double),
    "lines swapped": by_lines(_swap),
    "zeros": zeros,
    "zeros between": zeros_between,
    "stars": stars,
    "overlong": overlong,
}
PACKED: dict[str, Damage] = {
    "packed, cut": packed(cut),
    "packed, bytes lost": packed(lose_bytes),
    "packed, bit flipped": packed(flip_bit),
}
BINARY: dict[str, Damage] = {
    "cut": cut,
    "front cut": cut_front,
    "bytes lost": lose_bytes,
    "bytes doubled": double_bytes,
}
"""Their numbers have no form that could be hurt: zeros among them are numbers."""


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no end after {SECONDS} s")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
