"""System calls by number, and a filter that forbids those a graded program has no use for (seccomp(2), BPF).

Namespaces already keep a program from other processes, files and networks; the filter takes away the calls through
which holes in kernels were mostly found.
"""

from __future__ import annotations

import errno
import struct

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> (its column below, its name in audit.h)."""

# From the kernel's syscall_64.tbl and asm-generic/unistd.h; None where the machine has no such call.
CLONE, CLONE3 = (56, 220), 435
FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "vmsplice": (278, 75),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
}
NEW_NAMESPACES = 0x7E020080
"""The flags of clone(2) that make a namespace."""

LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
X32 = 0x40000000
"""Calls of x86-64's 32-bit twin have this bit: they would slip past the numbers above."""


def needed(machine: str) -> dict[str, int]:
    """Numbers of the calls that the walls are built with, for which C libraries have no function."""
    column = MACHINES[machine][0]
    return {name: call for name in ("pivot_root", "mount_setattr") if (call := FORBIDDEN[name][column]) is not None}


def program(machine: str) -> bytes:
    """The filter as BPF: another architecture is killed, a forbidden call fails with EPERM, clone3 with ENOSYS.

    clone3's flags lie in memory, which a filter cannot read; on ENOSYS, C libraries fall back to clone.
    """
    column, audit = MACHINES[machine]
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if machine == "x86_64":
        lines += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    for numbers in FORBIDDEN.values():
        if (call := numbers[column]) is not None:
            lines += [(EQUAL, 0, 1, call), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    lines += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, REFUSE | errno.ENOSYS), (EQUAL, 0, 3, CLONE[column])]
    lines += [(LOAD, 0, 0, 16), (ANY_BIT, 0, 1, NEW_NAMESPACES), (RETURN, 0, 0, REFUSE | errno.EPERM)]
    lines += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
