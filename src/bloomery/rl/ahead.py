"""Rollouts of the next steps are collected while this one is trained: a queue, as deep as rollouts may be stale.

With a depth of 0 a step is collected when it is wanted, over the weights that it trains. With a depth of 1 the next
one is collected beside the training, over weights that are one step old when they are trained; and so on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING

from bloomery.rl.rollouts import Rollout, Task
from bloomery.train.job import StepRows

if TYPE_CHECKING:
    from bloomery.rl.loop import Collector

Collected = tuple[list[list[Rollout]], dict[str, float]]


class Stopped(Exception):
    """The run was asked to stop while a step waited for its rollouts."""


class Ahead:
    """Collects up to `depth` steps before their turn; a context manager."""

    def __init__(self, collector: Collector, depth: int) -> None:
        self._collector, self._depth = collector, depth
        self._queue: deque[tuple[StepRows, Future[Collected]]] = deque()
        # One that samples between steps has one step under way; orchestrators may claim tasks of all of them.
        at_once = depth + 1 if collector.between_turns else 1
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="bloomery-rollouts") if depth else None
        self._failed = False

    def collected(self, drawn: Iterable[tuple[StepRows, Sequence[Task]]]) -> Iterator[tuple[StepRows, Collected]]:
        """Each step with its rollouts, in order; what a collector raises comes where its step is wanted."""
        for step, tasks in drawn:
            self._queue.append((step, self._begun(tasks, step.step)))
            if len(self._queue) > self._depth:
                yield self._next()
        while self._queue:
            yield self._next()

    def publish(self, version: int) -> None:
        """Sample with the weights as they are now. Unless turns may have weights of their own, a step that is being
        collected is awaited first: which weights sample a step is then the same in every run."""
        if not self._collector.between_turns:
            wait([future for _, future in self._queue])
        self._collector.publish(version)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One that samples between steps ends the step under way: other processes may take part in it.
        cancels = self._collector.between_turns
        for _, future in self._queue if cancels else ():
            future.cancel()
        if self._pool is not None:
            self._collector.stop()
            self._pool.shutdown(cancel_futures=cancels)

    def _begun(self, tasks: Sequence[Task], step: int) -> Future[Collected]:
        if self._pool is not None:
            return self._pool.submit(self._collect, tasks, step)
        done: Future[Collected] = Future()
        done.set_result(self._collector.collect(tasks, step))
        return done

    def _collect(self, tasks: Sequence[Task], step: int) -> Collected:
        """What the collector brings. Once it has failed nobody wants a later step: in every process that takes part,
        since they fail together and have one step under way."""
        if self._failed:
            raise Stopped
        try:
            return self._collector.collect(tasks, step)
        except BaseException:
            self._failed = True
            raise

    def _next(self) -> tuple[StepRows, Collected]:
        step, future = self._queue.popleft()
        return step, future.result()
