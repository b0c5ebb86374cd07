"""Reading and writing through addresses in compiled code.

numba offers arrays, but no memcpy between addresses; these few lines of LLVM do.
Importing this module loads numba.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BUILD: Any = cgutils


def _type_copy_bytes(typing: Any, target: Any, source: Any, count: Any) -> Any:
    """Call memcpy on two addresses."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        to, what = (builder.inttoptr(address, byte) for address in args[:2])
        _BUILD.raw_memcpy(builder, to, what, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.int64), generate


def _type_touch(typing: Any, address: Any) -> Any:
    """Ask for the cache line of an address, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0"
        function = _BUILD.get_or_insert_function(builder.module, kind, name)
        hints = [number(0), number(3), number(1)]  # to read, to keep, data
        builder.call(function, [builder.inttoptr(args[0], byte), *hints])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


def _type_widen(typing: Any, target: Any, source: Any, i: Any) -> Any:
    """Store float32 number ``i`` of the source as float64 number ``i``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single, double = ir.FloatType(), ir.DoubleType()
        what = builder.inttoptr(args[1], single.as_pointer())
        to = builder.inttoptr(args[0], double.as_pointer())
        value = builder.load(builder.gep(what, [args[2]]))
        builder.store(builder.fpext(value, double), builder.gep(to, [args[2]]))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64, types.int64), generate


copy_bytes: Any = intrinsic(_type_copy_bytes)
"""``copy_bytes(target, source, count)``: memcpy of addresses."""

touch: Any = intrinsic(_type_touch)
"""``touch(address)``: ask for a cache line."""

widen: Any = intrinsic(_type_widen)
"""``widen(target, source, i)``: copy number i from float32 to float64."""
