"""A rollout of several turns while it is made: what was said, what it earned, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from bloomery.evals.rows import reference_of
from bloomery.graders.payload import Sample, Score
from bloomery.rl.config import RolloutSettings
from bloomery.rl.environments.interface import Stepped
from bloomery.rl.rollouts import Rollout, Task, too_long
from bloomery.rl.turns import Message, Tree, Turn
from bloomery.serve.tools import read_calls
from bloomery.serve.wire.chat import Tool

NO_REWARD = "the environment gave no reward"


@dataclass(slots=True)
class Playing:
    """One rollout. `fault` leaves it unscorable; `stopped` says what ended it before the environment did: `turns`,
    `tokens` or `context`, which is the model's doing, so that what it earned counts."""

    task: Task
    number: int
    seat: int
    tree: Tree = field(default_factory=Tree)
    messages: list[Message] = field(default_factory=list)
    tools: tuple[Message, ...] = ()
    rewards: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    fault: str = ""
    stopped: str = ""
    over: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether the model is to answer once more."""
        return not (self.over or self.stopped or self.fault)

    def begin(self, messages: Sequence[Message], tools: Sequence[Message]) -> None:
        """What the model sees first."""
        self.messages, self.tools = [*messages], tuple(tools)

    def fail(self, reason: str) -> None:
        """Not the model's fault: the rollout is in no baseline and in no loss."""
        self.fault = self.fault or reason

    def stop(self, why: str) -> None:
        """End it where the model has used up what it has."""
        self.stopped = why
        if not self.tree.turns:
            self.fail("its first prompt leaves no room for an answer")

    def say(self, turn: Turn) -> None:
        """Take in an answer."""
        self.tree.add(turn)
        self.messages.append(turn.reply)

    def hear(self, told: Stepped) -> None:
        """Take in what the environment made of it."""
        self.messages += told.messages
        self.rewards += [] if told.reward is None else [told.reward]
        self.metrics.update(told.metrics)
        self.over = told.done
        if told.unscorable:
            self.fail(told.unscorable)

    def sample(self, step: int) -> Sample:
        """The transcript up to the last answer, as graders take it."""
        last = max(place for place, one in enumerate(self.messages) if one["role"] == "assistant")
        row = self.task.row
        name = f"{self.task.group}:{step}:{self.number}"
        return Sample(name, self.messages[: last + 1], reference_of(row), row.get("metadata") or {})

    def finished(self, settings: RolloutSettings, score: Score | None = None, *, graded: bool = False) -> Rollout:
        """The rollout: its reward is the grader's where it is `graded`, else the sum of the environment's.

        With `overlong: drop` those in which an answer was cut off are left out.
        """
        whole = all(turn.finish == "stop" for turn in self.tree.turns)
        earned = sum(self.rewards) if self.rewards and not self.fault else None
        reward, reason = earned, self.fault or ("" if self.rewards else NO_REWARD)
        parts = dict(self.metrics)
        if graded:
            reward = score.aggregate_reward_score if score else None
            reason = self.fault or (score.reason if score else "nothing was sampled")
            parts |= {one.name: one.value for one in score.metrics_list} if score else {}
            parts |= {} if earned is None else {"environment": earned}
        why = "cut off" if settings.overlong == "drop" and not whole else ""
        penalty = too_long(self.tree, settings)
        return Rollout(self.task, self.number, self.tree, whole, reward, reason, parts, why=why, penalty=penalty)


def reply_of(text: str, tools: Sequence[Message], turn: int) -> Message:
    """An answer as a message of the conversation, its calls told apart; the ids of calls follow from their place."""
    if not tools:
        return {"role": "assistant", "content": text}
    said, calls = read_calls(text, [Tool.model_validate(tool) for tool in tools])
    told = [
        {
            "id": f"call_{turn}_{place}",
            "type": "function",
            "function": {"name": call.function.name, "arguments": json.loads(call.function.arguments)},
        }
        for place, call in enumerate(calls)
    ]
    return {"role": "assistant", "content": said} | ({"tool_calls": told} if told else {})
