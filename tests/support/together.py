"""Several ranks of a run: where each of two processes stands; threads in place of them, and what these gather."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Found = TypeVar("Found")


def places() -> list[dict[str, str]]:
    """What torchrun puts into the environment of each of two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    return [meeting | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"} for rank in "01"]


class Table:
    """Where so many ranks lay their texts."""

    def __init__(self, size: int) -> None:
        self._barrier, self._texts = threading.Barrier(size, timeout=30), [""] * size

    def gathering(self, rank: int) -> Callable[[str], list[str]]:
        """What one rank gathers with."""

        def gather(text: str) -> list[str]:
            self._texts[rank] = text
            self._barrier.wait()
            found = [*self._texts]
            self._barrier.wait()
            return found

        return gather


def together(size: int, does: Callable[[int, Callable[[str], list[str]]], Found]) -> list[Found | BaseException]:
    """What each rank returns or raises."""
    table = Table(size)

    def one(rank: int) -> Found | BaseException:
        try:
            return does(rank, table.gathering(rank))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return [*pool.map(one, range(size))]
