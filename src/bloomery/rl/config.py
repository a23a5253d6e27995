"""What a rollout loop is told: plain data, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Advantage = Literal["mean", "std", "leave_one_out", "batch_std", "running"]
Norm = Literal["tokens", "rollouts"]


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How answers are sampled and what becomes of their rewards.

    `group` answers are sampled to each task, of at most `max_tokens` tokens. `advantage` names what a reward is held
    against (`advantages.py`). With `norm: tokens` every sampled token of a step counts alike (DAPO, arXiv 2503.14476),
    with `rollouts` every rollout does. `resample`: how often groups without any difference are replaced by new tasks
    (DAPO's dynamic sampling, bounded). `overlong`: an answer that was cut off is graded as it is (`keep`) or leaves the
    loss and the baseline (`drop`); rewards fall over the last `overlong_buffer` tokens before `max_tokens`.
    `temperature` divides the logits of sampler and trainer alike. A rollout is trained by weights that are at most
    `staleness` steps ahead of those that sampled its first turn.
    """

    group: int = 8
    max_tokens: int = 256
    advantage: Advantage = "mean"
    norm: Norm = "tokens"
    overlong: Literal["keep", "drop"] = "keep"
    overlong_buffer: int = 0
    temperature: float = 1.0
    resample: int = 0
    staleness: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PushSettings:
    """How tasks are sent to the user's server at `url`; it calls back to `endpoint`.

    At most `concurrency` rollouts are under way, and `rate_limit` are begun in a second. One that has not called the
    model for `seconds` is given up and sent again, up to `tries` times. A server that takes nothing for `outage`
    seconds ends the run. `token` is a secret as recipes name it.
    """

    url: str
    endpoint: str
    concurrency: int = 96
    rate_limit: float = 5.0
    seconds: float = 600.0
    tries: int = 3
    outage: float = 1800.0
    token: Mapping[str, Any] | None = None
    private: bool = False
    hosts: tuple[str, ...] = field(default=())


MOST_TOKENS = 1 << 30
"""No bound on the tokens of a rollout but the context's."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """When a rollout in an environment ends: after so many `turns` of the model's, so many sampled `tokens` in all of
    them, or `deadline` seconds after it and those beside it began; the first two are the model's doing, the last is
    nobody's."""

    turns: int = 8
    tokens: int = MOST_TOKENS
    deadline: float = 600.0
    at_once: int | None = None
    """Rollouts that are in environments at the same time; None for all of a step's."""
