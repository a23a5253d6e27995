"""Tasks and their rollouts, and the token rows that rollouts become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bloomery.core.rows import Floats, Ids, TokenRow
from bloomery.graders.payload import Score
from bloomery.rl.advantages import Judged

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done: a row as evaluation reads it, and the ids of its prompt. `group` names it in a step."""

    source: str
    group: str
    row: Row
    prompt: Ids


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer to a task: its ids with the stop token, their log-probabilities as they were sampled, its text.

    `reward` is None where it could not be scored, and `why` says what came of the rollout: `trained`, or the reason
    why not.
    """

    task: Task
    number: int
    ids: Ids
    logp: Floats
    text: str
    finished: bool
    version: int
    score: Score | None = None
    advantage: float = 0.0
    why: str = ""

    @property
    def reward(self) -> float | None:
        """The aggregate reward."""
        return None if self.score is None else self.score.aggregate_reward_score

    def told(self) -> dict[str, Any]:
        """JSON for a person who looks at it."""
        return {
            "task": str(self.task.row.get("id", "")),
            "group": self.task.group,
            "number": self.number,
            "version": self.version,
            "answer": self.text,
            "reward": self.reward,
            "metrics": {} if self.score is None else {one.name: one.value for one in self.score.metrics_list},
            "advantage": round(self.advantage, 6),
            "why": self.why,
            "finished": self.finished,
            "ids": self.ids.tolist(),
            "logp": [round(float(value), 6) for value in self.logp],
        }


def token_row(rollout: Rollout, per_token: float = 1.0) -> TokenRow:
    """The row of a rollout: weight `per_token` in `pg` where its tokens were sampled, none in the prompt.

    Rows of one group stay together, so that what they have in common at their beginning is computed once.
    """
    before, after = len(rollout.task.prompt), len(rollout.ids)

    def at_answer(values: Floats) -> Floats:
        return np.concatenate([np.zeros(before, np.float32), values.astype(np.float32)])

    return TokenRow(
        np.concatenate([rollout.task.prompt, rollout.ids]).astype(np.int32),
        {"pg": at_answer(np.full(after, per_token))},
        f"{rollout.task.group}:{rollout.number}",
        rollout.task.source,
        str(rollout.task.row.get("id", rollout.task.group)),
        rollout.task.group,
        advantage=at_answer(np.full(after, rollout.advantage)),
        logp_sampled=at_answer(rollout.logp),
    )


def token_rows(rollouts: Sequence[Rollout], norm: str) -> list[TokenRow]:
    """Rows of those that are trained; see `RolloutSettings.norm`."""
    trained = [one for one in rollouts if one.why == TRAINED]
    return [token_row(one, 1.0 if norm == "tokens" else 1.0 / len(one.ids)) for one in trained]


TRAINED = "trained"


def with_advantages(groups: Sequence[Sequence[Rollout]], judged: Judged) -> list[list[Rollout]]:
    """The same rollouts with what they are worth; those of a group without any difference teach nothing."""
    return [
        [_worth(one, float(value), bool(used)) for one, value, used in zip(group, worth, trained, strict=True)]
        for group, worth, trained in zip(groups, judged.advantage, judged.trained, strict=True)
    ]


def _worth(rollout: Rollout, advantage: float, used: bool) -> Rollout:
    if rollout.why:
        return rollout
    if rollout.reward is None:
        return replace(rollout, why=f"unscorable: {rollout.score.reason if rollout.score else 'no reward came'}")
    if not used:
        return replace(rollout, why="too few of its group were scored")
    if advantage == 0:
        return replace(rollout, why="as good as what it is held against")
    return replace(rollout, advantage=advantage, why=TRAINED)
