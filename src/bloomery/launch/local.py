"""Run a job in this process, and say how it ended as an exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from bloomery.core.errors import BloomeryError, InputError, Where
from bloomery.core.secret import scrub


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those of its job: `rank` of `size`, and `local_rank` of those on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and publishes."""
        return self.rank == 0


def this_place(environ: Mapping[str, str] | None = None) -> Place:
    """Read RANK, WORLD_SIZE and LOCAL_RANK, as torchrun sets them; alone without them.

    Raises `InputError` where they are not numbers or contradict each other.
    """
    env = os.environ if environ is None else environ
    texts = [env.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))]
    if not all(text.isdecimal() for text in texts):
        raise InputError(
            f"RANK, WORLD_SIZE and LOCAL_RANK are {', '.join(texts)}", fix="unset them, or start with torchrun"
        )
    rank, size, local = map(int, texts)
    if rank >= size or local > rank:
        raise InputError(f"RANK {rank} (LOCAL_RANK {local}) does not fit WORLD_SIZE {size}", fix="start with torchrun")
    return Place(rank, size, local)


def run_here(job: Callable[[], int]) -> int:
    """Call `job` and return its exit status; an error of ours becomes one message and its own status.

    A full disk or a missing permission is told as one too. Anything else propagates with its traceback: it is a
    bug. 130 after Ctrl-C, as shells expect.
    """
    try:
        return job()
    except BloomeryError as error:
        return _told(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        known = _of_the_machine(error)
        if known is None:
            raise
        return _told(known)


def leave(status: int) -> NoReturn:
    """End this process with an exit status, without the interpreter's own teardown where it is one of several.

    Threads of the communication library may still let go of Python objects then, which makes CPython 3.11 end them
    inside C++: the process aborts ("terminate called without an active exception") after all its work is done.
    """
    if this_place().size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _told(error: BloomeryError) -> int:
    if this_place().first:
        sys.stderr.write(f"error: {scrub(str(error))}\n")
    return error.exit_status


def _of_the_machine(error: Exception) -> BloomeryError | None:
    """A full disk or a place that cannot be written to as an error of ours, whichever library met it; None: a bug."""
    number = error.errno if isinstance(error, OSError) else None
    where = Where(error.filename) if isinstance(error, OSError) and error.filename else None
    text = str(error).lower()
    if number in (errno.ENOSPC, errno.EDQUOT) or "no space left on device" in text or "disk is full" in text:
        fix = "free some space, then go on where it stopped: bloomery resume RUN"
        return BloomeryError("the disk is full; what was finished before is whole", where=where, fix=fix)
    if where and number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        reason = os.strerror(number) if number else ""
        return InputError(
            f"cannot be used: {reason}", where=where, fix="choose another place, or change its permissions"
        )
    return None
