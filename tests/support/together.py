"""Threads in place of processes: what each rank of a run does, and the texts that they gather."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Found = TypeVar("Found")


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
