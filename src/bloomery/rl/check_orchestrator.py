"""Is an orchestrator fit for a run? It gets one task for each trap of the toy gateway, and its deeds are judged."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bloomery.evals.prompts import Prompter
from bloomery.rl.config import PushSettings
from bloomery.rl.dispatch import Dispatcher, terms_of
from bloomery.rl.forced import Forced
from bloomery.rl.gateway import Gateway, Rights
from bloomery.rl.journal import Journal
from bloomery.rl.laws import Law
from bloomery.rl.leases import Task, Terms
from bloomery.rl.outside import Door
from bloomery.rl.sigv4 import Signers
from bloomery.rl.toy import TRAPS, WAIT, Recited, Trapped
from bloomery.serve.desk import Model

ROW: Mapping[str, Any] = {"messages": [{"role": "user", "content": "What is 6 x 7?"}], "reference_answer": "42"}
ANSWERS = ("I think that it is 42.", "It is 41.", "42.")
OVERLOOKED = 3
"""Calls after 409 or 410 that are still taken for carelessness: some were under way."""
_LOOK = 0.05


@dataclass
class OrchestratorCheck:
    """Deals `rows` at `host` and `port`, and sends them to a server where `push` names one."""

    tokenizer: Any
    host: str
    port: int
    token: str
    rows: Sequence[Mapping[str, Any]] = (ROW,)
    answers: Sequence[str] = ANSWERS
    seconds: float = 120.0
    """How long it may take in all."""
    quiet: float = 1.5
    """Seconds without a call after the last rollout is over, before anything is judged."""
    push: PushSettings | None = None
    say: Callable[[str], None] = lambda text: None
    signers: Signers = field(default_factory=lambda: Signers({}))
    _app: Trapped | None = field(init=False, default=None)
    _over: dict[str, dict[str, Any]] = field(init=False, default_factory=dict)

    def laws(self) -> list[Law]:
        """Every law, in order. Raises `InputError` where the server that tasks are sent to may not be reached."""
        with tempfile.TemporaryDirectory(prefix="bloomery-check-") as folder, ExitStack() as ending:
            terms = terms_of(self.push) if self.push else Terms(lease=self.seconds, deadline=2 * self.seconds)
            journal = Journal(Path(folder) / "journal.sqlite", terms)
            ending.callback(journal.close)
            journal.put([Task(trap, trap, dict(self.rows[at % len(self.rows)])) for at, trap in enumerate(TRAPS)])
            door = Door(lambda: self._gateway(journal), self.host, self.port, self._trapped)
            ending.callback(door.close)
            self._play(journal, ending)
            return self._judged()

    def _gateway(self, journal: Journal) -> Gateway:
        prompter = Prompter(self.tokenizer, "auto")
        model = Model("policy", prompter, self.tokenizer, int(time.time()), "fp_check")
        service, rights = Recited(self.tokenizer, self.answers), Rights(self.token, signers=self.signers)
        return Gateway(service, model, prompter, journal, rights, forced=Forced())

    def _trapped(self, app: Any, gateway: Gateway) -> Trapped:
        self._app = Trapped(app, gateway)
        return self._app

    def _play(self, journal: Journal, ending: ExitStack) -> None:
        dispatcher = None
        if self.push:
            dispatcher = Dispatcher(journal, self.push, "check", Forced().to_json(), say=self.say)
            ending.callback(dispatcher.close)
            dispatcher.start()
        until, pause = time.monotonic() + self.seconds, threading.Event()
        while time.monotonic() < until:
            if dispatcher and dispatcher.error:
                raise dispatcher.error
            self._over = {trap: journal.status(trap).result() for trap in TRAPS}
            last = self._seen.seen[-1].at if self._seen.seen else 0.0
            pending = any(told["train_state"] == "pending" for told in self._over.values())
            if not pending and time.monotonic() - last > self.quiet:
                return
            pause.wait(_LOOK)

    @property
    def _seen(self) -> Trapped:
        assert self._app is not None  # `laws` opens the gateway first
        return self._app

    def _judged(self) -> list[Law]:
        taken = self._seen.taken
        seen = f"{len(taken)} of {len(TRAPS)} within {self.seconds:g} s"
        took = Law("it takes a task", True if taken else None, seen)
        if not taken:
            return [took]
        return [
            took,
            self._whole("plain", "it calls the model, completes the rollout as ready and rewards it"),
            self._finite(),
            self._law("busy", "where it is asked to wait (429), it waits and asks again", self._waits),
            self._law("dropped", "a lost reply is asked for again, and not as another turn", self._repeats),
            self._law("sealed", "it stops where its rollout was ended (409)", lambda: self._stops("sealed")),
            self._law("expired", "it stops where its lease is over (410)", lambda: self._stops("expired")),
            self._law("expired", "the fresh attempt is driven to its end", lambda: self._ended("expired")),
            self._law("plain", "nothing is asked of the model after the end", self._silent),
            self._whole("last", "after all that it goes on"),
        ]

    def _law(self, trap: str, name: str, look: Callable[[], str]) -> Law:
        """`look` says what is wrong; empty for nothing."""
        if trap not in self._seen.taken:
            return Law(name, None, "the task was not taken")
        wrong = look()
        return Law(name, not wrong, wrong)

    def _whole(self, trap: str, name: str) -> Law:
        return self._law(trap, name, lambda: self._ended(trap))

    def _ended(self, trap: str) -> str:
        told = self._over[trap]
        if told["state"] == "ready" and told["reward"] is not None and told["turns"]:
            return ""
        reward = "no reward" if told["reward"] is None else f"reward {told['reward']:g}"
        return f"{told['state']}, {told['turns']} turns, {reward}" + (f": {told['reason']}" if told["reason"] else "")

    def _finite(self) -> Law:
        ends = [one for one in self._seen.seen if one.what in ("complete", "reward")]
        bad = [one for one in ends if one.status in (400, 422)]
        wrong = f"{len(bad)} of {len(ends)} reports were refused as malformed" if bad else ""
        return Law("every reward is a finite number, in the shape asked for", None if not ends else not bad, wrong)

    def _waits(self) -> str:
        calls = [one.at for one in self._seen.of("busy", "model")]
        if len(calls) < 2:
            return "it never asked again"
        early = calls[1] - calls[0] < 0.9 * WAIT
        return f"it came back after {calls[1] - calls[0]:.2f} s of {WAIT}" if early else self._ended("busy")

    def _repeats(self) -> str:
        if self._over["dropped"]["turn_kinds"]["fork"] > self._over["plain"]["turn_kinds"]["fork"]:
            return "the same turn was sampled twice: send `Idempotency-Key` with every call, the same on every try"
        return self._ended("dropped")

    def _stops(self, trap: str) -> str:
        late = [one for one in self._seen.seen if one.rollout == trap and one.attempt == 1 and one.status in (409, 410)]
        return f"{len(late)} calls came afterwards" if len(late) > OVERLOOKED else ""

    def _silent(self) -> str:
        late = 0
        for trap in ("plain", "busy", "dropped", "last"):
            done = [one.at for one in self._seen.of(trap, "complete") if one.status == 200]
            late += sum(bool(done) and one.at > done[0] for one in self._seen.of(trap, "model"))
        return f"{late} calls" if late else ""
