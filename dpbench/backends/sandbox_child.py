"""What a worker is started through: ``python -I -S sandbox_child.py SPEC COMMAND...``.

SPEC is JSON. With ``"kind": "namespaces"`` the command runs without network, sees no
other process, and finds every file system read-only but for one scratch folder; with
``"kind": "none"`` it runs as it is. In both it is the only thing that outlives nothing:
when this process ends, or the one that started it, all that the command started ends.

Whatever cannot be set up ends in exit status 125 and one line: the command never runs
with less than was asked for. Standard library alone; dpbench is not imported.

SIGUSR1 ends all at once; SIGTERM, which a terminal or a shell sends to the command as
well, leaves it a few seconds to end by itself.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

FAILED = 125
"""Exit status when the sandbox cannot be made."""

GRACE_SECONDS = 4
"""How long the command may take to end by itself."""

NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
"""Mounts, host name, System V memory, processes, network."""
NEW_USER = 0x10000000

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT = 1, 2, 4, 8, 32
BIND, REC, PRIVATE = 4096, 16384, 1 << 18
MOUNT_SETATTR = 442
"""Number of the system call, the same on all architectures."""
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 24, 28
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
NO_ROOT_LOCKED = 0b1111
"""Secure bits: user 0 gains nothing, for good."""
CAPABILITIES = 0x20080522
"""Version 3 of the structures of capset."""

COVERED = ("/tmp", "/var/tmp", "/run", "/dev")
"""Folders with sockets, devices and files of other programs: empty in the sandbox,
but for what is named."""

DEVICES = ("null", "zero", "full", "random", "urandom")
"""Devices that stay, besides those of graphics cards."""

TEMPORARY = "/tmp"
"""Of the covered, the one that may be written: libraries have it built in (torch
unpacks a .pt2 there, whatever TMPDIR says). It is memory, and goes with the sandbox."""

GRAPHICS = ("nvidia", "dri", "kfd")

libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    """Run the command; return its exit status, 128 + signal if one ended it."""
    spec, command = json.loads(argv[0]), argv[1:]
    parent = os.getppid()
    prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    if os.getppid() != parent:
        return FAILED
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if spec["kind"] == "none":
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        child = run(command, spec)
        on_signals(end_all)
        close_all()
        status = wait_for(child)
        end_all()
        return status
    unshare()
    inner = os.fork()
    if inner == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        confine(spec)
        child = run(command, spec)
        close_all()
        os._exit(wait_for(child))  # the first process of its kind: all others end
    on_signals(lambda: os.kill(inner, signal.SIGKILL))
    close_all()
    return wait_for(inner)


def on_signals(end: Callable[[], None]) -> None:
    """End at once by SIGUSR1, and some seconds after SIGTERM."""
    signal.signal(signal.SIGUSR1, lambda *_: end())
    signal.signal(signal.SIGALRM, lambda *_: end())
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def run(command: list[str], spec: dict[str, Any]) -> int:
    """Start the command in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(spec["scratch"])
        os.execv(command[0], command)
    except OSError as error:
        fail(f"{command[0]}: {error.strerror}")


def wait_for(child: int) -> int:
    """Wait until ``child`` ends, burying all others that end before."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return FAILED
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def end_all() -> None:
    """Kill what descends from this process; orphans have become its children."""
    me = os.getpid()
    while True:
        children = children_of(me)
        if not children:
            return
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def children_of(process: int) -> list[int]:
    """Return the children of a process, without those of its threads."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def unshare() -> None:
    """Enter namespaces of its own, as the same user."""
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(NEW_USER | NAMESPACES) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return
    reason = os.strerror(ctypes.get_errno())
    if user != 0 or libc.unshare(NAMESPACES) != 0:
        fail(f"namespaces: {reason}")


def confine(spec: dict[str, Any]) -> None:
    """Take away network, processes, writing, and the rights to get them back."""
    try:
        loopback_up()
        close_file_systems(spec)
        drop_rights()
    except OSError as error:
        fail(f"{error.filename or 'sandbox'}: {error.strerror or error}")


def loopback_up() -> None:
    """Let the processes inside talk to each other; there is nobody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS: UP


def close_file_systems(spec: dict[str, Any]) -> None:
    """Make all read-only, cover what nobody should see, bring back what is named."""
    mount(None, "/", None, REC | PRIVATE)
    scratch = spec["scratch"]
    named = sorted(filter(is_covered, spec["readable"]), key=len)  # folders first
    kept = {path: os.open(path, os.O_PATH) for path in [*named, scratch]}
    devices = {path: os.open(path, os.O_PATH) for path in device_files()}
    read_only("/")
    for folder in COVERED:
        if Path(folder).is_dir() and not Path(folder).is_symlink():
            how = "mode=1777,size=1g" if folder == TEMPORARY else "mode=755,size=1m"
            mount("tmpfs", folder, "tmpfs", NOSUID | NODEV, how)
    for path, source in devices.items():
        bring_back(Path(path), source)
    furnish_dev()
    for path, source in kept.items():
        if is_covered(path):
            bring_back(Path(path), source)
    if not is_covered(scratch):
        mount(f"/proc/self/fd/{kept[scratch]}", scratch, None, BIND)
    mount(None, scratch, None, BIND | REMOUNT | NOSUID | NODEV)
    for path in spec["hidden"]:
        if Path(path).is_dir():
            mount("tmpfs", path, "tmpfs", RDONLY | NOSUID | NODEV, "size=4k")
        elif Path(path).exists():
            mount("/dev/null", path, None, BIND)
    for folder in COVERED:
        if folder != TEMPORARY and os.path.ismount(folder):
            mount(None, folder, None, BIND | REMOUNT | RDONLY | NOSUID | NODEV)
    new_proc()
    for source in [*kept.values(), *devices.values()]:
        os.close(source)


def is_covered(path: str) -> bool:
    """Tell whether a path lies in a folder that is emptied."""
    return path.startswith(tuple(folder + "/" for folder in COVERED))


def device_files() -> list[str]:
    """List the devices that stay."""
    found = [f"/dev/{name}" for name in DEVICES]
    found += [
        entry.path for entry in os.scandir("/dev") if entry.name.startswith(GRAPHICS)
    ]
    return [path for path in found if Path(path).exists()]


def bring_back(path: Path, source: int) -> None:
    """Bind what an open descriptor stands for to a path below an emptied folder."""
    opened = Path(f"/proc/self/fd/{source}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if opened.is_dir() else path.touch()
    mount(str(opened), str(path), None, BIND | REC)


def furnish_dev() -> None:
    """Add what programs expect of /dev besides devices."""
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        Path(f"/dev/{name}").symlink_to(target)
    Path("/dev/shm").mkdir()
    mount("tmpfs", "/dev/shm", "tmpfs", NOSUID | NODEV, "mode=1777,size=1g")


def new_proc() -> None:
    """Show the processes of this sandbox alone, and no setting that can be written."""
    try:
        mount("proc", "/proc", "proc", RDONLY | NOSUID | NODEV | NOEXEC)
    except OSError as error:
        if error.errno != errno.EPERM:  # where parts of /proc are masked: the old one
            raise


def read_only(root: str) -> None:
    """Make every file system below ``root`` read-only."""
    attributes = struct.pack("QQQQ", RDONLY, 0, 0, 0)
    done = libc.syscall(
        MOUNT_SETATTR, AT_FDCWD, root.encode(), AT_RECURSIVE, attributes, 32
    )
    if done == 0:
        return
    if ctypes.get_errno() != errno.ENOSYS:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), root)
    for path, flags in mounts():  # a kernel before 5.12
        mount(None, path, None, BIND | REMOUNT | RDONLY | flags)


def mounts() -> list[tuple[str, int]]:
    """List where file systems are mounted, with the flags that must be kept."""
    known = {"nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC, "noatime": 1024}
    known |= {"nodiratime": 2048, "relatime": 1 << 21}
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        path = words[4].encode().decode("unicode_escape")
        found[path] = sum(known.get(word, 0) for word in words[5].split(","))
    return list(found.items())


def drop_rights() -> None:
    """Give up every capability, and the ways to gain one."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # there are no more
    prctl(PR_SET_SECUREBITS, NO_ROOT_LOCKED)
    header, data = struct.pack("Ii", CAPABILITIES, 0), bytes(24)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "capset")


def mount(
    source: str | None,
    target: str,
    kind: str | None,
    flags: int,
    options: str | None = None,
) -> None:
    """Mount, by the system call.

    Raises:
        OSError: If it fails.
    """
    words = [
        None if word is None else os.fsencode(word)
        for word in (source, target, kind, options)
    ]
    if libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def prctl(option: int, value: int) -> None:
    """Change a setting of this process, by the system call.

    Raises:
        OSError: If it fails.
    """
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")


def close_all() -> None:
    """Close what is the command's, so that its end is seen by whoever waits."""
    os.closerange(3, 4096)


def fail(reason: str) -> NoReturn:
    """End with one line."""
    print(f"sandbox: {reason}", file=sys.stderr, flush=True)
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
