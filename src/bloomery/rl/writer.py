"""One thread that owns a SQLite file: what is asked for at the same moment is committed together.

A commit costs the same for one turn as for fifty, so turns of many sessions share one. Before anybody hears of a seal
or a reward it is on the disk (`synchronous=FULL`); turns alone are handed to the system, which keeps them when this
process is killed, and reach the disk with the next full commit.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from bloomery.core.errors import DamagedError, Where

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Any]
Job = tuple[Work, bool, "Future[Any]"]
TOGETHER = 256
"""Most changes of one commit."""


class Writer:
    """Runs functions over the file, in order, and `chore` by itself every so many seconds."""

    def __init__(self, path: Path, schema: str, version: int, chore: Work, every: float = 1.0) -> None:
        """Raises `DamagedError` for a file that is another program's, or of another version."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # it holds users' conversations
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._chore, self._every, self._full = chore, every, True
        self._due = time.monotonic() + every
        try:
            _prepare(self._db, schema, version)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DamagedError(f"is no journal of sessions: {error}", where=Where(path)) from None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="bloomery-journal", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[sqlite3.Connection], Result], durable: bool = False) -> Future[Result]:
        """What `work` returns or raises, once it is committed; what it changed before it raised is undone."""
        future: Future[Result] = Future()
        self._jobs.put((work, durable, future))
        return future

    def close(self) -> None:
        """Finish what was asked for, and close the file."""
        self._jobs.put(None)
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while True:
            jobs = self._taken()
            self._commit([job for job in jobs if job is not None])
            if None in jobs:
                return

    def _taken(self) -> list[Job | None]:
        jobs: list[Job | None] = []
        with contextlib.suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=max(0.0, self._due - time.monotonic())))
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every
            jobs.insert(0, (self._chore, True, Future()))
        while 0 < len(jobs) < TOGETHER and jobs[-1] is not None:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _commit(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        try:
            full = any(durable for _, durable, _ in jobs)
            if full != self._full:
                self._db.execute(f"pragma synchronous = {'full' if full else 'normal'}")
                self._full = full
            self._db.execute("begin immediate")
            told = [self._done(work) for work, _, _ in jobs]
            self._db.execute("commit")
        except Exception as error:  # a full disk, most of all: nobody may believe that it was written
            if self._db.in_transaction:
                self._db.execute("rollback")
            told = [(None, error)] * len(jobs)
        for (_, _, future), (result, fault) in zip(jobs, told, strict=True):
            future.set_exception(fault) if fault else future.set_result(result)

    def _done(self, work: Work) -> tuple[Any, Exception | None]:
        """(result, what was raised) of one change; what it raised undoes that change alone."""
        self._db.execute("savepoint one")
        try:
            return work(self._db), None
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            self._db.execute("rollback to one")
            return None, error
        finally:
            if self._db.in_transaction:
                self._db.execute("release one")


def _prepare(db: sqlite3.Connection, schema: str, version: int) -> None:
    db.row_factory = sqlite3.Row
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    [found] = db.execute("pragma user_version").fetchone()
    if found == 0 and not db.execute("select 1 from sqlite_master").fetchone():
        db.executescript(f"begin; {schema}; pragma user_version = {version}; commit")
    elif found != version:
        raise sqlite3.DatabaseError("it is of another program, or of another version")
