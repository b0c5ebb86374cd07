"""Compile every Triton program that a script launches, for GPUs that are not there.

Run in a process of its own, without the interpreter: ``compile_launches`` replaces the
launch by a compilation for the real target, so types, layouts and registers are those
of a GPU although nothing runs.
"""

import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.bool: "i1",
}
OPTIONS = ("num_warps", "num_stages")


def signature_of(function, arguments):
    """Return Triton's signature and constants of a launch."""
    signature, constants = {}, {}
    for parameter in function.params:
        value = arguments[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + TYPES[value.dtype]
        else:
            signature[parameter.name] = "i32" if isinstance(value, int) else "fp32"
    return signature, constants


def compile_launches(capability=90):
    """Compile instead of launching; return the list that collects the results."""
    found, seen = [], set()

    def run(self, *args, grid, warmup, **keywords):
        del grid, warmup
        options = {k: keywords.pop(k) for k in OPTIONS if k in keywords}
        arguments = dict(zip(self.arg_names, args, strict=False)) | keywords
        signature, constants = signature_of(self, arguments)
        key = (self.fn.__name__, str(signature), str(constants))
        if key not in seen:
            seen.add(key)
            source = ASTSource(fn=self, signature=signature, constexprs=constants)
            target = GPUTarget("cuda", capability, 32)
            built = triton.compile(source, target=target, options=options)
            found.append((self.fn.__name__, signature, built))

    JITFunction.run = run
    return found


def resources(built, capability=90):
    """Return what ptxas says of a program: registers and spilled bytes."""
    root = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "program.ptx"
        ptx.write_text(built.asm["ptx"])
        arch = f"-arch=sm_{capability}" + ("a" if capability == 90 else "")
        done = subprocess.run(
            [str(root / "ptxas"), "-v", arch, str(ptx), "-o", f"{folder}/out"],
            capture_output=True,
            text=True,
            check=False,
        )
    lines = done.stderr.splitlines()
    return " ".join(
        line.rpartition(":")[2].strip()
        for line in lines
        if "registers" in line or "spill" in line
    )
