"""Rollouts by orchestrators: tasks are put into the journal, whoever claims them attempts them through the gateway, and
a step begins when the last of its rollouts is over, one way or the other.

Nothing is sampled while the weights change: a step's tasks are only put when the step before it is trained. A trainer
that is killed goes on from its checkpoint with the rollouts that the journal has already.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bloomery.core.errors import InputError
from bloomery.engine.service import NativeService
from bloomery.evals.prompts import messages_of
from bloomery.rl import leases
from bloomery.rl.config import RolloutSettings
from bloomery.rl.dispatch import Dispatcher
from bloomery.rl.gateway import Gateway
from bloomery.rl.journal import Journal
from bloomery.rl.rollouts import Rollout, Task, too_long
from bloomery.rl.routes import make_app
from bloomery.serve.server import serve

Groups = list[list[Rollout]]
LOOK = 0.1
"""Seconds between looks at whether a step's rollouts are over."""


class Door:
    """The gateway on a socket, in a thread with an event loop of its own."""

    def __init__(
        self, make: Callable[[], Gateway], host: str, port: int, wrap: Callable[[Any, Gateway], Any] | None = None
    ) -> None:
        """`make` is called in the thread, `wrap` may stand before its app. Returns when the socket is open."""
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

    def close(self) -> None:
        """Let nobody in any more, and end the thread."""
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
        app: Any = make_app(self.gateway, ())
        app = app if self._wrap is None else self._wrap(app, self.gateway)
        await serve(app, self.gateway, self._host, self._port, self._ready.set, self._stop)


@dataclass(slots=True)
class Outside:
    """Collects what orchestrators do. `say` tells a person that a step waits for them."""

    journal: Journal
    service: NativeService
    door: Door
    settings: RolloutSettings
    say: Callable[[str], None] = lambda text: None
    push: Dispatcher | None = None
    """Sends the tasks to a server, where there is one; others may claim them as well."""
    waits: float = 60.0
    """Seconds without anything finished after which that is said."""

    def collect(self, tasks: Sequence[Task], step: int) -> tuple[Groups, dict[str, float]]:
        """`group` rollouts of each task; those that are unscorable have no reward, and the reason."""
        began = time.perf_counter()
        names = [[f"{task.group}:{step}:{number}" for number in range(self.settings.group)] for task in tasks]
        wanted = [
            leases.Task(name, f"{task.group}:{step}", shown(task))
            for task, group in zip(tasks, names, strict=True)
            for name in group
        ]
        assert self.door.gateway is not None
        self.door.gateway.valve.version = step
        self.journal.put(wanted).result()
        self.door.tell()
        self._wait([one.rollout_id for one in wanted])
        self.journal.trained(step - 1).result()
        found = [
            [self._rollout(task, n, name) for n, name in enumerate(group)]
            for task, group in zip(tasks, names, strict=True)
        ]
        flat = zip((one for group in found for one in group), (name for group in names for name in group), strict=True)
        scored = [name for one, name in flat if one.reward is not None]
        self.journal.batch(scored, step).result()
        return found, {"collecting_s": time.perf_counter() - began}

    def restart(self, step: int) -> None:
        """Training goes on before `step`: the rollouts that it and later ones had already are theirs again."""
        self.journal.rewind(step - 1).result()

    def close(self) -> None:
        """End the gateway and the engine."""
        if self.push is not None:
            self.push.close()
        self.door.close()
        self.service.stop()
        self.journal.close()

    def _wait(self, names: Sequence[str]) -> None:
        left, last = set(names), time.monotonic()
        while left:
            if self.push is not None and self.push.error is not None:
                raise self.push.error
            over = {name for name in left if self._state(name) != "pending"}
            left -= over
            if over:
                last = time.monotonic()
            elif time.monotonic() - last > self.waits:
                self.say(f"{len(left)} of {len(names)} rollouts are not over; orchestrators may claim them")
                last = time.monotonic()
            if left:
                time.sleep(LOOK)

    def _state(self, name: str) -> str:
        return str(self.journal.status(name).result()["train_state"])

    def _rollout(self, task: Task, number: int, name: str) -> Rollout:
        status: dict[str, Any] = self.journal.status(name).result()
        attempt = self.journal.latest(name).result()
        assert attempt is not None
        tree = self.journal.tree(attempt.id).result()
        finished = all(turn.finish == "stop" for turn in tree.turns)
        scored = status["train_state"] != "unscorable" and status["reward"] is not None and bool(tree.turns)
        reason = str(status["reason"] or ("nothing was sampled" if not tree.turns else ""))
        reward = float(status["reward"]) if scored else None
        penalty = too_long(tree, self.settings)
        return Rollout(task, number, tree, finished, reward, reason, status["components"], penalty=penalty)


def shown(task: Task) -> dict[str, Any]:
    """What an orchestrator gets to see of a task: all of its row but the answer, which its reference holds."""
    row = {key: value for key, value in task.row.items() if key != "messages"}
    return {**row, "messages": [dict(message) for message in messages_of(task.row)]}


def address(text: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8100`. Raises `InputError`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise InputError(f"`rollouts.orchestrators: {text}` is no address", fix="write host and port: 127.0.0.1:8100")
    return host, int(port)
