"""The other side of `sandbox_level.py`: started by path in a fresh interpreter, it limits itself and becomes a program.

Reads its job (JSON) from the file named on the command line. With `walls`, it first leaves everything behind: a user,
process, mount, network, IPC and host-name namespace of its own (namespaces(7)), a root that holds the system's
libraries and Python, read-only, and a small /tmp, no capability, no way to gain one (no_new_privs), and a filter of
system calls. Run by root, the program is nobody. Standard library only, Linux only.

Exit status: the program's own, 128 + n when signal n killed it, `NO_WALLS` when a wall could not be raised (standard
error says which), `TOO_MUCH_MEMORY` when all processes together outgrew `memory`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

NO_WALLS, TOO_MUCH_MEMORY = 120, 121
NOBODY = 65534
LOOK_EVERY = 0.02
"""Seconds between two looks at the memory of all processes."""

CLONE = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000}
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
AT_FDCWD, AT_RECURSIVE, MNT_DETACH = -100, 0x8000, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
SECCOMP_MODE_FILTER = 2
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
DEVICES = ("null", "zero", "full", "random", "urandom")

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Raise the walls that the job asks for, then become its program."""
    job = json.loads(Path(sys.argv[1]).read_text())
    if not job["walls"]:
        _limit(job)
        os.execv(job["argv"][0], job["argv"])  # noqa: S606
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    _leave()
    first = os.fork()
    if first:
        os._exit(_status(os.waitpid(first, 0)[1]))
    try:
        _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        _call("prctl", PR_SET_DUMPABLE, 0)
        _build(Path(job["root"]), job)
        failed, fail = os.pipe()  # closes when the program is executed: only what came before can write to it
        program = os.fork()
    except OSError as error:
        _no_walls(error)
    if program == 0:
        _become(job, fail)
    os.close(fail)
    status = _watch(program, job["memory"])
    if os.read(failed, 1):
        os._exit(NO_WALLS)
    os._exit(1 if status == NO_WALLS else status)  # the program may not claim that its walls fell


def _leave() -> None:
    """New namespaces. A child that stays outside writes who is who, which only a process there may."""
    ready, told = os.pipe()
    pid, user, group = os.getpid(), os.geteuid(), os.getegid()
    outside = os.fork()
    if outside == 0:
        os.close(told)
        os._exit(_map(pid, user, group) if os.read(ready, 1) else 0)
    try:
        _call("unshare", sum(CLONE.values()))
    except OSError as error:
        _no_walls(error)
    os.write(told, b"x")
    if os.waitpid(outside, 0)[1]:
        _no_walls(OSError(0, "the user map was refused"))


def _map(pid: int, user: int, group: int) -> int:
    """Root stays root inside, to build, and nobody is there to run as; anyone else is nobody from the start."""
    try:
        if user:
            Path(f"/proc/{pid}/setgroups").write_text("deny")
        Path(f"/proc/{pid}/uid_map").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1" if user == 0 else f"{NOBODY} {user} 1")
        Path(f"/proc/{pid}/gid_map").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1" if user == 0 else f"{NOBODY} {group} 1")
    except OSError:
        return 1
    return 0


def _build(root: Path, job: dict[str, Any]) -> None:
    """A new root under `root`, entered; the old one is gone."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE, "")
    _mount("tmpfs", str(root), "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=755")
    # Before the views: Python's own folder may lie in the machine's /tmp, and would be hidden behind a later one.
    (root / "tmp").mkdir()
    _mount("tmpfs", str(root / "tmp"), "tmpfs", MS_NOSUID | MS_NODEV, f"size={job['disk']},nr_inodes=8192,mode=1777")
    for path in (*SYSTEM, *job["views"]):
        _view(root, path, job)
    for name in DEVICES:
        place = root / "dev" / name
        place.parent.mkdir(exist_ok=True)
        place.touch()
        _mount(f"/dev/{name}", str(place), "", MS_BIND, "")
    (root / "dev" / "shm").symlink_to("/tmp")  # noqa: S108
    _files(root, job["files"])
    (root / "proc").mkdir()
    _mount("proc", str(root / "proc"), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid")
    os.chdir(root)
    _syscall(job, "pivot_root", b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")
    _read_only(job, "/", recursive=False)


def _view(root: Path, path: str, job: dict[str, Any]) -> None:
    """The folder `path`, as it is but read-only, at the same place under `root`."""
    place = Path(f"{root}{path}")
    if place.exists() or place.is_symlink() or not Path(path).exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if Path(path).is_symlink():
        place.symlink_to(Path(path).readlink())
        return
    place.mkdir()
    _mount(path, str(place), "", MS_BIND | MS_REC, "")
    _read_only(job, str(place), recursive=True)


def _files(root: Path, files: dict[str, str]) -> None:
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text(f"nobody:x:{NOBODY}:{NOBODY}::/tmp:/bin/false\n")
    with contextlib.suppress(OSError):
        (root / "etc" / "ld.so.cache").write_bytes(Path("/etc/ld.so.cache").read_bytes())
    (root / "box").mkdir()
    for name, text in files.items():
        (root / "box" / name).write_text(text)
        (root / "box" / name).chmod(0o644)


def _become(job: dict[str, Any], fail: int) -> NoReturn:
    """Nobody, without capabilities, limited and filtered; then the program."""
    try:
        _limit(job)
        for capability in range(64):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                break
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        _call("capset", (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
        _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _filter(bytes.fromhex(job["filter"]))
        os.chdir("/tmp")  # noqa: S108
        os.execv(job["argv"][0], job["argv"])  # noqa: S606
    except OSError as error:
        os.write(fail, b"x")
        _no_walls(error)


def _limit(job: dict[str, Any]) -> None:
    wanted = {
        resource.RLIMIT_AS: job["memory"],
        resource.RLIMIT_CPU: job["cpu_seconds"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 1 << 24,
    }
    if job["walls"]:
        # Counted for one user in one user namespace (Linux 5.14), so only inside walls it counts what it should.
        wanted |= {resource.RLIMIT_NPROC: job["processes"], resource.RLIMIT_NOFILE: 256}
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _watch(program: int, memory: int) -> int:
    """As the first process of its namespace: bury what ends, until the program does; then all others end with us."""
    while True:
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == program:
                return 1 if _status(status) == TOO_MUCH_MEMORY else _status(status)
            if ended:
                continue
        if _resident() > memory:
            return TOO_MUCH_MEMORY
        time.sleep(LOOK_EVERY)


def _resident() -> int:
    """Bytes that all processes in here keep in memory; shared ones count for each."""
    pages = 0
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                pages += int((place / "statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _status(wait: int) -> int:
    return os.WEXITSTATUS(wait) if os.WIFEXITED(wait) else 128 + os.WTERMSIG(wait)


def _read_only(job: dict[str, Any], path: str, recursive: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV, 0, 0, 0)
    _syscall(job, "mount_setattr", AT_FDCWD, path.encode(), AT_RECURSIVE if recursive else 0, attributes, 32)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    given = [text.encode() or None for text in (source, target, kind)]
    _call("mount", *given, ctypes.c_ulong(flags), options.encode() or None)


def _filter(program: bytes) -> None:
    """Forbid system calls (seccomp(2)) to this process and all that it starts."""
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    _call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header, len(header)), 0, 0)


def _syscall(job: dict[str, Any], name: str, *arguments: Any) -> None:
    """A call that C libraries have no function for; its number is the machine's."""
    _call("syscall", ctypes.c_long(job["calls"][name]), *arguments, label=name)


def _call(name: str, *arguments: Any, label: str = "") -> None:
    if getattr(libc, name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{label or name}: {os.strerror(code)}")


def _no_walls(error: OSError) -> NoReturn:
    os.write(2, f"{error.strerror}\n".encode())
    os._exit(NO_WALLS)


if __name__ == "__main__":
    main()
