"""Tasks and their rollouts, and the token rows that rollouts become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.rows import Ids, TokenRow
from bloomery.rl.advantages import Judged, overlong
from bloomery.rl.config import RolloutSettings
from bloomery.rl.turns import Tree, rows

Row = Mapping[str, Any]

TRAINED = "trained"
WAITED = "towards the start: the KL is over its cap"


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done: a row as evaluation reads it, and the ids of its prompt. `group` names it in a step.

    `again` is 0 where the blend drew it, else the round in which it took another's place (`resample.py`).
    """

    source: str
    group: str
    row: Row
    prompt: Ids
    again: int = 0

    @property
    def name(self) -> str:
        """The row's own id, else the group's name."""
        return str(self.row.get("id", self.group))


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt at a task: the tree of its turns, its reward, and what came of it.

    `penalty`, 0 or less, is added to the reward where rollouts are compared (`RolloutSettings.overlong_buffer`).
    `reward` is None where it could not be scored, for the `reason`. `finished` says whether no answer was cut off.
    `why` is `trained` where its tokens are, else the reason why they are not; empty until that is known.
    """

    task: Task
    number: int
    tree: Tree
    finished: bool = True
    reward: float | None = None
    reason: str = ""
    components: Mapping[str, float] | None = None
    advantage: float = 0.0
    why: str = ""
    penalty: float = 0.0

    @property
    def text(self) -> str:
        """What the last answer says."""
        return str(self.tree.turns[-1].reply.get("content") or "") if self.tree.turns else ""

    def told(self) -> dict[str, Any]:
        """JSON for a person who looks at it."""
        return {
            "task": self.task.name,
            "group": self.task.group,
            "number": self.number,
            "answer": self.text,
            "reward": self.reward,
            **({"penalty": round(self.penalty, 6)} if self.penalty else {}),
            **({"reason": self.reason} if self.reward is None else {}),
            "components": dict(self.components or {}),
            "advantage": round(self.advantage, 6),
            "why": self.why,
            "finished": self.finished,
            "turns": [
                {
                    "parent": turn.parent,
                    "kind": turn.kind,
                    "version": turn.version,
                    "added": [dict(message) for message in turn.added],
                    "reply": dict(turn.reply),
                    "ids": list(turn.sampled),
                    "logp": [round(float(value), 6) for value in turn.logp],
                }
                for turn in self.tree.turns
            ],
        }


def too_long(tree: Tree, settings: RolloutSettings) -> float:
    """What the longest answer of a rollout takes off its reward, 0 to -1."""
    margin = settings.overlong_buffer
    longest = max((len(turn.sampled) for turn in tree.turns), default=0)
    return overlong(longest, settings.max_tokens, margin) if margin else 0.0


def rewards(groups: Sequence[Sequence[Rollout]]) -> list[npt.NDArray[np.float64]]:
    """What the rollouts of each group are compared by, float64[G]; NaN where there is no reward, or where the rollout
    counts nowhere."""
    return [
        np.array([np.nan if one.reward is None or one.why else one.reward + one.penalty for one in group], np.float64)
        for group in groups
    ]


def token_rows(rollouts: Sequence[Rollout], norm: str) -> list[TokenRow]:
    """Rows of those that are trained; see `RolloutSettings.norm`.

    Rows of one group stay together, so that what they have in common at their beginning is computed once.
    """
    found: list[TokenRow] = []
    for one in (one for one in rollouts if one.why == TRAINED):
        found += _rows(one, one.tree.sampled_tokens if norm == "tokens" else 1.0)
    return found


def sampled_rows(groups: Sequence[Sequence[Rollout]]) -> list[TokenRow]:
    """Rows of all rollouts in which anything was sampled, trained or not: what the policy does, token by token."""
    flat = [one for group in groups for one in group if one.tree.sampled_tokens]
    return [row for one in flat for row in _rows(one, one.tree.sampled_tokens)]


def _rows(one: Rollout, weight: float) -> list[TokenRow]:
    return rows(
        one.tree,
        f"{one.task.group}:{one.number}",
        source=one.task.source,
        example_id=one.task.name,
        group_id=one.task.group,
        weight=weight,
        advantages=[one.advantage] * len(one.tree.turns),
    )


def with_advantages(groups: Sequence[Sequence[Rollout]], judged: Judged) -> list[list[Rollout]]:
    """The same rollouts with what they are worth; those of a group without any difference teach nothing."""
    return [
        [_worth(one, float(value), bool(used)) for one, value, used in zip(group, worth, trained, strict=True)]
        for group, worth, trained in zip(groups, judged.advantage, judged.trained, strict=True)
    ]


def back_to_start(groups: Sequence[Sequence[Rollout]]) -> list[list[Rollout]]:
    """The same where rewards wait (`pull.py`): what would be trained by its advantage is trained towards the start."""
    return [[replace(one, why=WAITED) if one.why == TRAINED else one for one in group] for group in groups]


def _worth(rollout: Rollout, advantage: float, used: bool) -> Rollout:
    if rollout.why:
        return rollout
    if rollout.reward is None:
        return replace(rollout, why=f"unscorable: {rollout.reason or 'no reward came'}")
    if not used:
        return replace(rollout, why="too few of its group were scored")
    if advantage == 0:
        return replace(rollout, why="as good as what it is held against")
    return replace(rollout, advantage=advantage, why=TRAINED)
