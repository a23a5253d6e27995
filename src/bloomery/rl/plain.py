"""Rollouts as JSON and back, exactly: what one process made and others train.

The log (`Rollout.told`) is for people and rounds; this does not.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from bloomery.rl.rollouts import Rollout, Task
from bloomery.rl.turns import Tree, Turn

TURN = ("number", "parent", "kind", "tools", "version", "finish", "reply", "added", "bridge", "sampled")
ROLLOUT = ("number", "finished", "reward", "reason", "components", "why", "penalty")
"""What is JSON as it is, before advantages are known."""


def plain(rollout: Rollout) -> dict[str, Any]:
    """JSON of a rollout, without its task."""
    return {name: getattr(rollout, name) for name in ROLLOUT} | {"turns": [_plain(one) for one in rollout.tree.turns]}


def rollout_of(told: dict[str, Any], task: Task) -> Rollout:
    """The rollout again, given its task."""
    tree = Tree([_turn(one) for one in told["turns"]])
    return Rollout(task, tree=tree, **{name: told[name] for name in ROLLOUT})


def _plain(turn: Turn) -> dict[str, Any]:
    logp = base64.b64encode(np.asarray(turn.logp, "<f4").tobytes()).decode()
    return {name: getattr(turn, name) for name in TURN} | {"logp": logp}


def _turn(told: dict[str, Any]) -> Turn:
    logp = np.frombuffer(base64.b64decode(told["logp"]), "<f4").astype(np.float32)
    tuples = {name: tuple(told[name]) for name in ("added", "bridge", "sampled")}
    return Turn(**{name: told[name] for name in TURN} | tuples, logp=logp)
