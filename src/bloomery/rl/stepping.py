"""Rollouts of several turns in this process: all of a step's are answered turn by turn in batches, and their
environments asked side by side.

    reset -> (answers of all that go on, in one batch -> step of each) until none goes on -> rewards

The bridge keeps tokens exact: a prompt is every id so far and what the environment says. With environments whose
answers follow from row, seed and messages, the same weights and seed give the same rollouts, bit for bit.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bloomery.core.errors import InputError
from bloomery.engine.protocol import Completion, Request, Sampling
from bloomery.evals.prompts import messages_of
from bloomery.graders.payload import Grader, text_of
from bloomery.rl.between import SHARE, BetweenSteps, Groups
from bloomery.rl.bridge import Bridge, Opening
from bloomery.rl.config import RolloutSettings, StepSettings
from bloomery.rl.environments.interface import Answer, Call, Do, Host, Malformed, number, opened, stepped
from bloomery.rl.inside import ROUND
from bloomery.rl.playing import Playing, reply_of
from bloomery.rl.rollouts import Rollout, Task
from bloomery.rl.turns import Turn

OUTAGE = 5
"""Steps in a row in which no environment worked, after which the run ends: waiting would train nothing."""


class Answering(Protocol):
    """An engine that answers each request in its own way."""

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have."""
        ...

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order."""
        ...


@dataclass(slots=True)
class Stepping(BetweenSteps):
    """Collects rollouts in environments. Without a `grader`, rewards are the environment's."""

    engine: Answering
    host: Host
    bridge: Bridge
    settings: RolloutSettings
    steps: StepSettings
    decode: Callable[[Sequence[int]], str]
    grader: Grader | None = None
    renew: Callable[[int], None] = lambda version: None
    end: Callable[[], None] = lambda: None
    version: int = 0
    failed: int = field(default=0, init=False)
    """Steps in a row without a rollout that could be scored."""

    def attempt(self, tasks: Sequence[Task], step: int, first: int = 0) -> tuple[Groups, dict[str, float]]:
        """`group` rollouts of each task, and the seconds that sampling, environments and grading took."""
        size, spent = self.settings.group, {"sampling_s": 0.0, "environment_s": 0.0, "grading_s": 0.0}
        pairs = [(task, number) for task in tasks for number in range(size)]
        live = [Playing(task, number, seat) for seat, (task, number) in enumerate(pairs, first * size)]
        most = self.steps.at_once or max(1, len(live))
        for start in range(0, len(live), most):
            self._play(live[start : start + most], step, spent)
        with _timed(spent, "grading_s"):
            done = self._scored(live, step)
        return [done[at : at + size] for at in range(0, len(done), size)], spent | _counts(live)

    def _play(self, live: Sequence[Playing], step: int, spent: dict[str, float]) -> None:
        """From their beginning to the end of the last."""
        until = time.monotonic() + self.steps.deadline
        with _timed(spent, "environment_s"):
            self._reset(live, step)
            self._end([one for one in live if not one.goes_on])
        while open_ones := [one for one in live if one.goes_on]:
            with _timed(spent, "sampling_s"):
                self._answer(open_ones, step)
            with _timed(spent, "environment_s"):
                self._step([one for one in open_ones if one.goes_on], until)
                self._end([one for one in open_ones if not one.goes_on])
        self.host.clear()

    def close(self) -> None:
        """End the environments, and the engine, where it is one of processes."""
        self.host.close()
        self.end()

    def _reset(self, live: Sequence[Playing], step: int) -> None:
        """Begin each rollout; those of one task look at the same seed."""
        rows = {one.task.group: _shown(one.task) for one in live}
        seeds = {name: _seed(self.settings.seed, step, name) for name in rows}
        given = [{"row": rows[one.task.group], "seed": seeds[one.task.group]} for one in live]
        for one, answer in zip(live, self._ask(live, "reset", given), strict=True):
            try:
                found = opened(_value(answer))
            except Malformed as error:
                one.fail(str(error))
                continue
            one.begin(found.messages or rows[one.task.group]["messages"], found.tools)

    def _answer(self, those: Sequence[Playing], step: int) -> None:
        """One more answer in each rollout that has room for it."""
        ready: list[tuple[Playing, tuple[Opening, int]]] = []
        first: dict[tuple[str, str], Opening] = {}
        for one in those:
            try:
                opening = self._opening(one, first)
            except InputError as error:
                one.fail(f"the chat template refuses what the environment said: {error.message}")
                continue
            room = min(self.engine.context - len(opening.prompt), self.steps.tokens - one.tree.sampled_tokens)
            if room < 1:
                one.stop("context" if len(opening.prompt) >= self.engine.context else "tokens")
                continue
            ready.append((one, (opening, min(room, self.settings.max_tokens))))
        requests = [
            Request(opening.prompt, self._sampling(one, most, step), number=one.seat) for one, (opening, most) in ready
        ]
        for (one, (opening, _)), answer in zip(ready, self.engine.answer(requests), strict=True):
            self._said(one, opening, answer)

    def _opening(self, one: Playing, first: dict[tuple[str, str], Opening]) -> Opening:
        """The prompt of a rollout's next turn; that of the first turn is the same for all that begin alike."""
        if one.tree.turns:
            return self.bridge.opening(one.tree, one.messages, one.tools)
        key = (repr(one.messages), repr(one.tools))
        if key not in first:
            first[key] = self.bridge.opening(one.tree, one.messages, one.tools)
        return first[key]

    def _sampling(self, one: Playing, most: int, step: int) -> Sampling:
        """A seed for each turn: a rollout's own answers do not depend on which others go on beside it."""
        seed = self.settings.seed * 1_000_003 + step + 7_919_000_003 * len(one.tree.turns) + one.task.again * ROUND
        return Sampling(most, temperature=self.settings.temperature, seed=seed)

    def _said(self, one: Playing, opening: Opening, answer: Completion) -> None:
        turns, place = one.tree.turns, opening.place
        reply = reply_of(self.decode(answer.body), one.tools, len(turns))
        turn = Turn(
            len(turns), place.parent, place.kind, place.added, opening.tools, opening.bridge, tuple(answer.ids),
            answer.logprobs, self.version, answer.finish_reason, reply,
        )  # fmt: skip
        one.say(turn)

    def _step(self, those: Sequence[Playing], until: float) -> None:
        """What the environments make of the last answers."""
        given = [{"message": dict(one.messages[-1])} for one in those]
        for one, answer in zip(those, self._ask(those, "step", given), strict=True):
            try:
                one.hear(stepped(_value(answer)))
            except Malformed as error:
                one.fail(str(error))
                continue
            if one.goes_on and len(one.tree.turns) >= self.steps.turns:
                one.stop("turns")
            if one.goes_on and time.monotonic() > until:
                one.fail(f"it was not over after {self.steps.deadline:g} s")

    def _end(self, those: Sequence[Playing]) -> None:
        """Ask what each is worth in the end, and let go of its environment; one that failed is only let go."""
        for one, answer in zip(those, self._ask(those, "end", [{}] * len(those)), strict=True):
            if one.fault:
                continue
            try:
                last = number((_value(answer) or {}).get("reward"), "reward")
            except Malformed as error:
                one.fail(str(error))
                continue
            one.rewards += [] if last is None else [last]

    def _ask(self, those: Sequence[Playing], do: Do, given: Sequence[dict[str, Any]]) -> list[Answer]:
        return self.host.ask([Call(one.seat, do, what) for one, what in zip(those, given, strict=True)])

    def _scored(self, live: Sequence[Playing], step: int) -> list[Rollout]:
        """As rollouts, with the environment's rewards or the grader's."""
        settings = self.settings
        if self.grader is None:
            return [one.finished(settings) for one in live]
        whole = [one for one in live if not one.fault and one.tree.turns]
        scores = self.grader.grade([one.sample(step) for one in whole]) if whole else []
        by_one = {id(one): score for one, score in zip(whole, scores, strict=True)}
        return [one.finished(settings, by_one.get(id(one)), graded=True) for one in live]

    def seen(self, groups: Groups, step: int) -> dict[str, float]:
        """Nothing. Raises `InputError` where environments have stopped to work."""
        done = [one for group in groups for one in group]
        self.failed = 0 if not done or any(one.reward is not None for one in done) else self.failed + 1
        if self.failed >= OUTAGE:
            raise InputError(
                f"no rollout of {OUTAGE} steps could be scored: {done[0].reason}",
                fix="mend the environment or its reward, then `bloomery resume`",
            )
        return {}


class _timed:
    """Adds the seconds that a block takes."""

    def __init__(self, spent: dict[str, float], name: str) -> None:
        self._spent, self._name, self._began = spent, name, 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._spent[self._name] += time.perf_counter() - self._began


def _counts(live: Sequence[Playing]) -> dict[str, float]:
    """Shares of rollouts that were stopped, by what stopped them."""
    stopped = [one.stopped for one in live if one.stopped]
    return {f"{SHARE}{why}": stopped.count(why) / len(live) for why in sorted(set(stopped))}


def _value(answer: Answer) -> Any:
    if answer.fault:
        raise Malformed(answer.fault)
    return answer.value


def _seed(seed: int, step: int, group: str) -> int:
    text = f"{seed}:{step}:{group}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _shown(task: Task) -> dict[str, Any]:
    """A row as environments get it: its messages with text as their content, all else as it is."""
    told = [{**message, "content": text_of(message)} for message in messages_of(task.row)]
    return {**task.row, "messages": told, "prompt": told[-1]["content"] if told else ""}
