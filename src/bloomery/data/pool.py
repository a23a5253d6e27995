"""Tokenizes on all cores, in order: one thread here for each worker process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO

from bloomery.core.errors import BloomeryError
from bloomery.data.block import Block
from bloomery.data.prepare import Batch, Preparation
from bloomery.data.wire import batch_out, block_in, receive, send


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_all(batches: Iterable[Batch], prepare: Preparation, workers: int) -> Iterator[Block]:
    """What `prepare` makes of each batch, in order, worked out by `workers` processes.

    Raises the first `InputError` in the order of the rows, and `BloomeryError` when a worker dies.
    """
    idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    started = [_start(prepare) for _ in range(workers)]
    for process in started:
        idle.put(process)
    threads = ThreadPoolExecutor(workers)
    waiting: deque[Future[Block]] = deque()
    try:
        for batch in batches:
            waiting.append(threads.submit(_ask, idle, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for process in started:
            process.kill()
        threads.shutdown()
        for process in started:
            _end(process)


def _start(prepare: Preparation) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "bloomery.data.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    send(_pipe(process.stdin), prepare.job())
    return process


def _ask(idle: SimpleQueue[subprocess.Popen[bytes]], batch: Batch) -> Block:
    process = idle.get()
    try:
        send(_pipe(process.stdin), *batch_out(batch))
        return block_in(*receive(_pipe(process.stdout)))
    except (EOFError, OSError):
        first = batch[0][1].where
        raise BloomeryError(
            f"a tokenizing process died (status {process.poll()}) on rows from here on",
            where=first,
            fix="free memory, or build with fewer workers",
        ) from None
    finally:
        idle.put(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    _pipe(process.stdout).close()
    with contextlib.suppress(OSError):
        _pipe(process.stdin).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
