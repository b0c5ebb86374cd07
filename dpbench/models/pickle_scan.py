"""What a pickle would do when it is loaded, told without loading it.

Opcodes are read, never run. A pickle is a program: it may name and call anything.
"""

import io
import pickletools
import re
import warnings
from dataclasses import dataclass
from itertools import islice

HARMLESS = frozenset(
    {
        "torch._utils _rebuild_tensor_v2",
        "torch DoubleStorage",
        "torch FloatStorage",
        "torch LongStorage",
        "torch IntStorage",
        "torch ByteStorage",
        "torch BoolStorage",
        "collections OrderedDict",
    }
)
"""All that dpbench's own model files name: tensors and plain values."""

MOST_STEPS = 2_000_000
"""Opcodes that are read of one pickle; a longer one is not taken for plain."""

_CALLS = frozenset({"REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_NAMES = frozenset({"GLOBAL", "STACK_GLOBAL"})
_UNCLEAR = frozenset({"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})
_TEXTS = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"})
_LONGEST = 200
_NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class PickleFacts:
    """What the opcodes of a pickle say."""

    ended: bool
    """Whether its last opcode was reached."""
    steps: int
    """Opcodes that were read."""
    calls: bool
    """Whether it calls something that it names."""
    is_plain: bool
    """Whether it was read to its end and names nothing but ``HARMLESS``."""
    names: frozenset[str]
    """What it names, ``module name``; may lack some where it is not plain."""
    texts: frozenset[str]
    """Strings in it; long ones are left out."""
    magic: str | None
    """The value behind a first key ``magic``, which is how dpbench's files begin."""


def scan_pickle(content: bytes) -> PickleFacts:
    """Read the opcodes of a pickle, as far as there are any."""
    names: set[str] = set()
    texts: list[str] = []
    seen: set[str] = set()
    steps, calls = 0, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that are none
            steady = islice(pickletools.genops(io.BytesIO(content)), MOST_STEPS)
            for opcode, argument, _ in steady:
                steps += 1
                name = opcode.name
                if name == "GLOBAL":
                    names.add(str(argument))
                elif name in _TEXTS:
                    texts.append(str(argument)[:_LONGEST])
                elif name in _CALLS:
                    # A name, what it is called with, and the call.
                    calls = calls or (steps > 2 and not seen.isdisjoint(_NAMES))
                elif name == "INST":
                    calls = calls or "MARK" in seen
                seen.add(name)
    except (ValueError, OverflowError, MemoryError, IndexError):
        pass  # no opcode any more: cut off, or no pickle
    ended = "STOP" in seen
    is_magic = len(texts) > 1 and texts[0] == "magic"
    return PickleFacts(
        ended=ended,
        steps=steps,
        calls=calls,
        is_plain=ended and names <= HARMLESS and _UNCLEAR.isdisjoint(seen),
        names=frozenset(names),
        texts=frozenset(texts),
        magic=texts[1] if is_magic else None,
    )


def text_may_call(content: bytes) -> bool:
    """Tell whether a text may be a pickle that calls what it names.

    Unpicklers take numbers that ``pickletools`` does not, such as ``I0x10``: what is
    no opcode here is passed over to the end of its line, as they would.

    Args:
        content: The whole file.
    """
    file = io.BytesIO(content)
    steps, has_name, start = 0, False, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in strings that are none
        while 0 <= start < len(content):
            file.seek(start)
            try:
                for opcode, argument, _ in pickletools.genops(file):
                    start = file.tell()
                    steps += 1
                    if opcode.name in ("GLOBAL", "INST"):
                        is_name = _NAME.fullmatch(str(argument)) is not None
                        has_name = has_name or is_name
                    has_name = has_name or opcode.name == "STACK_GLOBAL"
                    calls = opcode.name in _CALLS or opcode.name == "INST"
                    if steps > MOST_STEPS or (has_name and calls):
                        return True
                return False  # its last opcode
            except (ValueError, OverflowError, MemoryError, IndexError):
                start = content.find(b"\n", start) + 1 or len(content)
    return False
