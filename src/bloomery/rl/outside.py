"""Rollouts by orchestrators: tasks are put into the journal, whoever claims them attempts them through the gateway, and
a step begins when the last of its rollouts is over, one way or the other.

Nothing is sampled while the weights change. With `staleness: 0` a step's tasks are only put when the step before it is
trained; with more, those of the next steps may be attempted meanwhile, by weights of their own memory, renewed between
turns. A trainer that is killed goes on from its checkpoint with the rollouts that the journal has already.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from bloomery.core.errors import InputError
from bloomery.evals.prompts import messages_of
from bloomery.evals.rows import reference_of
from bloomery.graders.payload import Grader, Sample, Score
from bloomery.rl import leases
from bloomery.rl.ahead import Stopped
from bloomery.rl.config import RolloutSettings
from bloomery.rl.gateway import Gateway
from bloomery.rl.journal import Journal
from bloomery.rl.outage import heed
from bloomery.rl.rollouts import Rollout, Task, too_long
from bloomery.rl.routes import make_app
from bloomery.rl.scores import Reported
from bloomery.rl.tables import Attempt
from bloomery.rl.turns import Tree
from bloomery.rl.weights import Renew
from bloomery.serve.server import free_port, serve

Groups = list[list[Rollout]]
Found = TypeVar("Found")
LOOK = 0.1
"""Seconds between looks at whether a step's rollouts are over."""


class Door:
    """The gateway on a socket, in a thread with an event loop of its own."""

    def __init__(
        self, make: Callable[[], Gateway], host: str, port: int, wrap: Callable[[Any, Gateway], Any] | None = None, *,
        shut: bool = False,
    ) -> None:  # fmt: skip
        """`make` is called in the thread, `wrap` may stand before its app. Returns when the socket is open. Where it is
        `shut`, calls to the model wait until there are weights to sample with. Raises `InputError` for a taken port."""
        free_port(host, port)
        self._shut = shut
        self._make, self._host, self._port, self._wrap = make, host, port, wrap
        self._ready, self._stop = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.gateway: Gateway | None = None
        self._thread = threading.Thread(target=self._run, name="bloomery-gateway", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def tell(self) -> None:
        """There are tasks: wake those who wait for one."""
        assert self._loop is not None and self.gateway is not None
        self._loop.call_soon_threadsafe(self.gateway.told_of_tasks)

    def change(self, version: int, renew: Renew) -> None:
        """New weights: nobody samples while `renew` works."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._change(version, renew), self._loop).result()

    def hold(self) -> None:
        """Let nobody sample, and return when those who do have their answers."""
        assert self._loop is not None and self.gateway is not None
        asyncio.run_coroutine_threadsafe(self.gateway.valve.hold(), self._loop).result()

    def release(self, version: int) -> None:
        """Sample with the weights as they are."""
        assert self._loop is not None and self.gateway is not None
        self._loop.call_soon_threadsafe(self.gateway.valve.release, version)

    async def _change(self, version: int, renew: Renew) -> None:
        assert self.gateway is not None
        await self.gateway.valve.hold()
        try:
            await asyncio.to_thread(renew, version)
        finally:
            self.gateway.valve.release(version)

    def close(self) -> None:
        """Let nobody in any more, and end the thread."""
        if self.gateway is not None:
            self.gateway.draining = True  # or claims that wait would be waited for
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # the thread that waits for the socket raises it
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self.gateway = asyncio.get_running_loop(), self._make()
        if self._shut:
            await self.gateway.valve.hold()
        app: Any = make_app(self.gateway, ())
        app = app if self._wrap is None else self._wrap(app, self.gateway)
        await serve(app, self.gateway, self._host, self._port, self._ready.set, self._stop)


class Worker(Protocol):
    """Someone who sees to it that tasks are done; `error` says why nobody does any more."""

    error: BaseException | None

    def close(self) -> None:
        """End it."""
        ...


class Answers(Protocol):
    """What answers the gateway, and ends with it."""

    def forget(self) -> None:
        """The weights have changed: no turn goes on from one that has ended."""
        ...

    def stop(self) -> None:
        """Answer nothing any more."""
        ...


@dataclass(slots=True)
class Outside:
    """Collects what orchestrators do. `say` tells a person that a step waits for them."""

    journal: Journal
    service: Answers
    door: Door
    settings: RolloutSettings
    say: Callable[[str], None] = lambda text: None
    push: Worker | None = None
    """Sends the tasks to a server, or has them done in a process of ours; others may claim them as well."""
    grader: Grader | None = None
    """Scores what orchestrators have completed, where they do not send the rewards themselves."""
    renew: Renew | None = None
    """Renews the service's weights; None where they are those in training themselves: nobody samples meanwhile."""
    version: int = -1
    """Of the weights that sample; -1 before the first are published."""
    waits: float = 60.0
    """Seconds without anything finished after which that is said."""
    between_turns: ClassVar[bool] = True
    stopping: threading.Event = field(default_factory=threading.Event)
    grading: threading.Lock = field(default_factory=threading.Lock)

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[Groups, dict[str, float]]:
        """`group` rollouts of each task; those that are unscorable have no reward, and the reason."""
        began = time.perf_counter()
        names = [[f"{task.group}:{step}:{number}" for number in range(self.settings.group)] for task in tasks]
        wanted = [
            leases.Task(name, f"{task.group}:{step}", shown(task))
            for task, group in zip(tasks, names, strict=True)
            for name in group
        ]
        if self.renew is None or self.version < 0:
            self.service.forget()
            self.door.release(max(self.version, 0))
        self.journal.put(wanted).result()
        self.door.tell()
        self._wait({name: task for task, group in zip(tasks, names, strict=True) for name in group})
        if self.renew is None:
            self.door.hold()  # whoever still calls, for a rollout that was given up, waits until training has ended
        states = self.journal.states([one.rollout_id for one in wanted]).result()
        scored = [name for name, state in states.items() if state == "scored"]
        self.journal.batch(scored, step).result()  # from here on no reward is replaced
        known = self._known([one.rollout_id for one in wanted])
        found = [
            [self._rollout(task, n, *known[name]) for n, name in enumerate(group)]
            for task, group in zip(tasks, names, strict=True)
        ]
        return found, {"collecting_s": time.perf_counter() - began}

    def publish(self, version: int) -> None:
        """Sample with the weights as they are now: turns that are being sampled end with those they began with."""
        self.journal.trained(version - 1).result()
        self.version = version
        if self.renew is not None:
            self.door.change(version, self._renew)

    def _renew(self, version: int) -> None:
        assert self.renew is not None
        self.renew(version)
        self.service.forget()

    def restart(self, step: int) -> None:
        """Training goes on before `step`: the rollouts that it and later ones had already are theirs again."""
        self.stopping.clear()
        heed(self.grader, stopping=False)
        self.journal.rewind(step - 1).result()

    def stop(self) -> None:
        """Wait for no rollout any more."""
        self.stopping.set()
        heed(self.grader, stopping=True)

    def close(self) -> None:
        """End the gateway and the engine."""
        if self.push is not None:
            self.push.close()
        self.door.close()
        self.service.stop()
        self.journal.close()

    def _wait(self, wanted: Mapping[str, Task]) -> None:
        names, left, last = [*wanted], set(wanted), time.monotonic()
        while left and not self.stopping.is_set():
            if self.push is not None and self.push.error is not None:
                raise self.push.error
            if self.grader is not None:
                self._grade(wanted, self.grader)
            over = {name for name, state in self.journal.states([*left]).result().items() if state != "pending"}
            left -= over
            if over:
                last = time.monotonic()
            elif time.monotonic() - last > self.waits:
                self.say(f"{len(left)} of {len(names)} rollouts are not over; orchestrators may claim them")
                last = time.monotonic()
            if left:
                self.stopping.wait(LOOK)
        if left:
            raise Stopped

    def _grade(self, wanted: Mapping[str, Task], grader: Grader) -> None:
        """Score those that have ended. A failure of the grader's leaves a rollout unscorable."""
        ended = [one for one in self.journal.awaiting().result() if one.rollout_id in wanted]
        trees = _all(self.journal.tree(one.id) for one in ended)
        samples = [_sample(one, wanted[one.rollout_id], tree) for one, tree in zip(ended, trees, strict=True)]
        with self.grading:
            scores = grader.grade(samples) if samples else []
        _all(self._write(attempt, score) for attempt, score in zip(ended, scores, strict=True))

    def _write(self, attempt: Attempt, score: Score) -> Future[None]:
        if score.aggregate_reward_score is None:
            return self.journal.unscorable(attempt.rollout_id, score.reason)
        parts = {metric.name: metric.value for metric in score.metrics_list}
        return self.journal.reward(attempt.id, Reported(score.aggregate_reward_score, components=parts))

    def _known(self, names: Sequence[str]) -> dict[str, tuple[dict[str, Any], Tree]]:
        """Status and turns of each rollout."""
        told = _all(self.journal.status(name) for name in names)
        attempts = _all(self.journal.latest(name) for name in names)
        trees = _all(self.journal.tree(one.id) for one in attempts if one is not None)
        return dict(zip(names, zip(told, trees, strict=True), strict=True))

    def _rollout(self, task: Task, number: int, status: dict[str, Any], tree: Tree) -> Rollout:
        finished = all(turn.finish == "stop" for turn in tree.turns)
        scored = status["train_state"] != "unscorable" and status["reward"] is not None and bool(tree.turns)
        reason = str(status["reason"] or ("nothing was sampled" if not tree.turns else ""))
        reward = float(status["reward"]) if scored else None
        penalty = too_long(tree, self.settings)
        why = "cut off" if self.settings.overlong == "drop" and not finished else ""
        return Rollout(task, number, tree, finished, reward, reason, status["components"], why=why, penalty=penalty)


def _all(asked: Iterable[Future[Found]]) -> list[Found]:
    """What the journal answers, asked at once: what has to be on the disk is synced together."""
    return [one.result() for one in list(asked)]


def _sample(attempt: Attempt, task: Task, tree: Tree) -> Sample:
    """What a grader gets: the conversation up to the last answer."""
    said = [message for turn in tree.line(len(tree.turns) - 1) for message in (*turn.added, turn.reply)]
    name = f"{attempt.rollout_id}:{attempt.number}"
    return Sample(name, said, reference_of(task.row), task.row.get("metadata") or {})


def shown(task: Task) -> dict[str, Any]:
    """What an orchestrator gets to see of a task: all of its row but the answer, which its reference holds."""
    row = {key: value for key, value in task.row.items() if key != "messages"}
    return {**row, "messages": [dict(message) for message in messages_of(task.row)]}


def address(text: str, key: str = "rollouts.orchestrators: ") -> tuple[str, int]:
    """Host and port of `127.0.0.1:8100`, which `key` was set to. Raises `InputError`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise InputError(f"`{key}{text}` is no address", fix="write host and port: 127.0.0.1:8100")
    return host, int(port)
