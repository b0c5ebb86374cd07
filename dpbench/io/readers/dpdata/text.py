"""What dpdata does not look at: whether a calculation converged, and whether it ended.

Each code says so in its own words; here is one row a code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from dpbench.io.parsed import Quarantine


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """How one code tells of convergence and of its end. All are regular expressions."""

    code: str
    """Name of the code."""
    end: str = ""
    """The code's own end marker; empty if it prints none."""
    frame: str = ""
    """Stands once in each frame, after its SCF: the line of its energy."""
    failed: str = ""
    """Tells that an SCF did not converge; stands before the frame's energy."""
    converged: str = ""
    """Tells that an SCF converged; a frame without it did not. Empty if the code says
    nothing on success."""
    begin: str = ""
    """Stands once at the start of each frame of a trajectory."""
    after: str = ""
    """Stands after everything that is read of a frame."""
    one_frame: bool = True
    """Whether a format for single points mixes up the steps of a trajectory."""
    version: str = ""
    """Program version, as group 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the text tells of the frames that dpdata read."""

    reasons: tuple[Quarantine, ...]
    """(frame), UNCONVERGED, TRUNCATED or NONE."""
    is_complete: bool
    """Whether the end marker was found."""
    code_version: str | None
    """As the file prints it."""
    note: str = ""
    """What could not be told apart."""


_ABACUS = Gate(
    code="abacus",
    end=r"(?m)^\s*(?:Finish|Total)\s+Time\s*:",
    frame=r"final etot is|#TOTAL ENERGY#",
    failed=r"(?i)convergence has not been achieved",
    begin=r"(?m)STEP OF (?:MOLECULAR DYNAMICS|ION RELAXATION|RELAXATION)",
    version=r"(?m)^\s*(?:Version:(?: Parallel,)?|ABACUS)\s+v?(\d\S*)",
)
# the unconverged steps of trajectories have no energy, and are told by that
_ABACUS_STEPS = replace(_ABACUS, failed="")
_SIESTA = Gate(
    code="siesta",
    end=r">> End of run:|(?m:^\s*Job completed)",
    frame=r"siesta: E_KS\(eV\) =",
    failed=r"SCF_NOT_CONV|SCF did not converge|No SCF convergence",
    begin=r"outcoor: Atomic coordinates",
    after=r"siesta: Pressure \(static\)",
    version=r"(?m)^\s*(?:Siesta )?Version\s*:\s*(\S+)",
)
_GAUSSIAN = Gate(
    code="gaussian",
    end=r"Normal termination of Gaussian",
    frame=r"(?m)^ SCF Done:",
    failed=r"(?i)convergence criterion not met|convergence failure",
    begin=r"(?:Input|Z-Matrix) orientation:",
    after=r"Cartesian Forces:\s+Max",
    version=r"(?m)^ (Gaussian \d+:\s+\S+)",
)
_ORCA = Gate(
    code="orca",
    end=r"ORCA TERMINATED NORMALLY",
    frame=r"(?m)^FINAL SINGLE POINT ENERGY",
    failed=r"SCF NOT CONVERGED|(?i:not fully converged)",
    converged=r"SCF CONVERGED AFTER",
    version=r"Program Version\s+(\S+)",
)
_PSI4 = Gate(
    code="psi4",
    end=r"\*\*\* Psi4 exiting successfully",
    frame=r"## Total Gradient|-Total Gradient:",
    failed=r"(?i)could not converge|(?:energy|SCF) did not converge|failed to converge",
    converged=r"Energy (?:and wave function )?converged",
    version=r"(?m)^\s*Psi4 (\d\S*)",
)
_FHI_AIMS = Gate(
    code="fhi_aims",
    end=r"Have a nice day",
    frame=r"\| Total energy uncorrected\s+:",
    failed=r"(?i)cycle did not converge|self-consistency cycle NOT converged",
    converged=r"Self-consistency cycle converged",
    begin=r"Begin self-consistency loop",
    after=r"Atomic structure (?:\(.*\) )?as used in the preceding time step",
    version=r"(?mi)^\s*(?:FHI-aims )?version\s*:?\s*(\S+)",
)
_CP2K = Gate(
    code="cp2k",
    end=r"PROGRAM ENDED AT",
    frame=r"ENERGY\| Total FORCE_EVAL",
    failed=r"SCF run NOT converged",
    converged=r"SCF run converged",
    begin=r"SCF WAVEFUNCTION OPTIMIZATION",
    version=r"CP2K\| version string:\s+CP2K version (\S+)",
)
_QE = Gate(
    code="qe",
    end=r"JOB DONE",
    frame=r"(?m)^!\s+total energy",
    failed=r"convergence NOT achieved",
    converged=r"convergence has been achieved",
    version=r"Program (?:PWSCF|CP) v\.(\S+)",
)
_VASP = Gate(
    code="vasp",
    end=r"General timing and accounting",
    failed="",  # dpdata counts the steps of each SCF and names the bad ones
    begin=r"Iteration\s+\d+\(\s+1\)",
    version=r"(?m)^\s*vasp\.(\S+)",
)
_DFTBPLUS = Gate(
    code="dftb+",
    frame=r"(?m)^Total energy:",
    failed=r"SCC is NOT converged",
    converged=r"SCC converged|Total energy:",
)
_PWMAT = Gate(code="pwmat")
_OPENMX = Gate(code="openmx")
_AMBER = Gate(code="amber")
_SQM = Gate(
    code="sqm",
    end=r"Calculation Completed",
    failed=r"(?i)unable to achieve self consistency",
)
_UNKNOWN = Gate(code="unknown")

GATES: dict[str, Gate] = {
    "abacus": _ABACUS_STEPS,
    "abacus/scf": _ABACUS,
    "abacus/pw/scf": _ABACUS,
    "abacus/lcao/scf": _ABACUS,
    "siesta": _SIESTA,
    # takes coordinates, energy and forces of the last step alike
    "gaussian/log": replace(_GAUSSIAN, one_frame=False),
    "gaussian/md": _GAUSSIAN,
    "gaussian/fchk": Gate(code="gaussian"),
    "orca": _ORCA,
    "psi4": _PSI4,
    "fhi_aims": _FHI_AIMS,
    "cp2k": _CP2K,
    "qe": _QE,
    "vasp": _VASP,
    "outcar": _VASP,
    "xml": Gate(code="vasp"),
    "vasp/xml": Gate(code="vasp", end=r"</modeling>"),
    "dftbplus": _DFTBPLUS,
    "pwmat": _PWMAT,
    "movement": _PWMAT,
    "mlmd": _PWMAT,
    "openmx": _OPENMX,
    "amber": _AMBER,
    "sqm": _SQM,
}
"""Gates by dpdata format, or by the part of it before the slash."""


def gate_of(name: str) -> Gate:
    """Return the gate of a dpdata format; one that tells nothing if none is known."""
    return GATES.get(name) or GATES.get(name.partition("/")[0]) or _UNKNOWN


def count_steps(gate: Gate, text: str) -> int:
    """Return how many energies the text holds."""
    return len(_places(gate.frame, text))


def is_complete(gate: Gate, text: str) -> bool:
    """Whether the code's end marker stands in the text, if it prints one."""
    return not gate.end or _compiled(gate.end).search(text) is not None


def before_last_step(gate: Gate, text: str) -> str | None:
    """Return the text before its last step; None if there is no step before."""
    starts = _places(gate.begin, text)
    return text[: starts[-1]] if len(starts) > 1 else None


def judge_text(gate: Gate, text: str, nframes: int, *, step_by_step: bool) -> Verdict:
    """Judge the frames that dpdata found in a text.

    Args:
        gate: How the code speaks.
        text: Its output.
        nframes: Frames that dpdata read.
        step_by_step: Whether frames are written one after the other, so that only the
            last can be cut.

    Returns:
        A reason for each frame.
    """
    is_whole = is_complete(gate, text)
    marks = _places(gate.frame, text)
    if step_by_step:
        bad, note = _unconverged(gate, text, nframes, is_whole=is_whole)
    else:
        lacks = bool(gate.converged) and not _places(gate.converged, text)
        bad, note = [bool(_places(gate.failed, text)) or lacks] * nframes, ""
    reasons = [Quarantine.UNCONVERGED if b else Quarantine.NONE for b in bad]
    if not is_whole and nframes and not _is_last_whole(gate, text, nframes):
        first = nframes - 1 if step_by_step else 0
        reasons = _filled(reasons, first, Quarantine.TRUNCATED)
    if not step_by_step and gate.one_frame and len(marks) > 1:
        note = (
            f"{len(marks)} calculations in a file that is read as one: coordinates "
            "and labels may be those of different ones. Read it with the format for "
            "trajectories"
        )
        reasons = _filled(reasons, 0, Quarantine.MISMATCH)
    return Verdict(
        reasons=tuple(reasons),
        is_complete=is_whole,
        code_version=_version(gate, text),
        note=note,
    )


def _filled(
    reasons: list[Quarantine], first: int, reason: Quarantine
) -> list[Quarantine]:
    """Give ``reason`` to the frames from ``first`` on that have none yet."""
    return [
        reason if index >= first and found is Quarantine.NONE else found
        for index, found in enumerate(reasons)
    ]


def _is_last_whole(gate: Gate, text: str, nframes: int) -> bool:
    """Whether a file without end marker was cut behind the last frame read."""
    if len(_places(gate.begin, text)) > nframes:
        return True
    after, frames = _places(gate.after, text), _places(gate.frame, text)
    return bool(after) and bool(frames) and after[-1] > frames[-1]


def _unconverged(
    gate: Gate, text: str, nframes: int, *, is_whole: bool
) -> tuple[list[bool], str]:
    """(frame), whether the SCF failed; all frames if it cannot be told which did."""
    failures = _places(gate.failed, text)
    frames = _places(gate.frame, text)
    if not frames:
        return [bool(failures)] * nframes, ""
    ends = [*frames, len(text) + 1]
    failed = [_within(failures, ends, k) for k in range(len(ends))]
    if gate.converged:
        good = _places(gate.converged, text)
        for k in range(len(frames)):
            failed[k] = failed[k] or not _within(good, ends, k)
    # the step that a cut file ends in may have its energy and nothing more
    if len(frames) in ((nframes,) if is_whole else (nframes, nframes + 1)):
        return failed[:nframes], ""
    if any(failed):
        note = (
            f"{len(frames)} energies in the text for {nframes} frames: one unconverged "
            "SCF quarantines all"
        )
        return [True] * nframes, note
    return [False] * nframes, ""


def _within(places: Sequence[int], ends: Sequence[int], index: int) -> bool:
    start = ends[index - 1] if index else 0
    return any(start <= place < ends[index] for place in places)


def _places(pattern: str, text: str) -> list[int]:
    if not pattern:
        return []
    return [match.start() for match in _compiled(pattern).finditer(text)]


def _version(gate: Gate, text: str) -> str | None:
    match = _compiled(gate.version).search(text) if gate.version else None
    return None if match is None else match[1]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
