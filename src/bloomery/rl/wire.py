"""What orchestrators send and get beside calls to the model: shapes only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bloomery.rl.leases import Claim, Terms, digest
from bloomery.rl.scores import Failure, Reported
from bloomery.serve.wire.request import Name, Wire

Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number: a bool, a string, NaN and null are refused, never coerced."""


class ClaimRequest(Wire):
    """Asks for tasks; waits up to `wait_s` seconds for the first."""

    worker_id: Name
    max: Annotated[int, Field(ge=1, le=256)] = 1
    wait_s: Annotated[float, Field(ge=0, le=30)] = 0


class TaskLimits(Wire):
    """How much an attempt may take."""

    max_turns: int
    max_tokens: int
    deadline_s: float


class ClaimedTask(Wire):
    """A task in the hands of its worker: talk to `base_url` with `session_key` as the API key."""

    rollout_id: str
    group_id: str
    attempt: int
    task: Any
    base_url: str
    session_key: str
    trajectory_id: str
    """Names the attempt in SageMaker's calls; opens nothing by itself."""
    lease_s: float
    limits: TaskLimits
    sampling: dict[str, float | int]

    @classmethod
    def of(cls, claim: Claim, base_url: str, terms: Terms, sampling: dict[str, Any]) -> ClaimedTask:
        """What a worker is told of its claim."""
        limits = TaskLimits(max_turns=terms.turns, max_tokens=terms.tokens, deadline_s=terms.deadline)
        return cls(
            rollout_id=claim.attempt.rollout_id, group_id=claim.attempt.group_id, attempt=claim.attempt.number,
            task=claim.row, base_url=base_url, session_key=claim.key, trajectory_id=digest(claim.key),
            lease_s=terms.lease, limits=limits, sampling=sampling,
        )  # fmt: skip


class OfAttempt(Wire):
    """`attempt` is needed by those who come with the project key: a session key says it already."""

    attempt: Annotated[int, Field(ge=1)] | None = None


class Fault(Wire):
    """Whose fault it was. Only the model's may carry a reward."""

    kind: Literal["task", "model", "infrastructure"] = "infrastructure"
    retryable: bool = True
    message: Annotated[str, Field(max_length=4096)] = ""

    def failure(self) -> Failure:
        """As the journal has it."""
        return Failure(self.kind, self.retryable, self.message)


class RewardFields(OfAttempt):
    """One number, one for each turn in the order in which they were answered, or one for each component."""

    reward: Number | None = None
    rewards: Annotated[list[Number], Field(max_length=4096)] | None = None
    components: Annotated[dict[Name, Number], Field(max_length=256)] | None = None
    target: Name | None = None
    """The id of the answer that `reward` is for."""
    supersedes: bool = False

    @property
    def told(self) -> bool:
        """Whether there is a reward in it."""
        return not (self.reward is None and self.rewards is None and not self.components)

    def reported(self, target: int | None) -> Reported:
        """As the journal has it."""
        turns = None if self.rewards is None else tuple(self.rewards)
        return Reported(self.reward, turns, self.components or {}, target)

    @model_validator(mode="after")
    def _one_kind(self) -> RewardFields:
        if self.rewards is not None and (self.reward is not None or self.target is not None):
            raise ValueError("`rewards` stands for all turns: leave `reward` and `target` out")
        if self.target is not None and self.reward is None:
            raise ValueError("`target` needs a `reward`")
        return self


class RewardRequest(RewardFields):
    """Reports a reward."""

    @model_validator(mode="after")
    def _some(self) -> RewardRequest:
        if not self.told:
            raise ValueError("give `reward`, `rewards` or `components`")
        return self


class CompleteRequest(RewardFields):
    """Seals a rollout; its reward may come with it."""

    status: Literal["ready", "failed", "aborted"]
    error: Fault | None = None


class RolloutStatus(Wire):
    """What is known of a rollout; `train_status` with its `reason` says what it was used for."""

    rollout_id: str
    group_id: str
    attempt: int
    state: str
    error: Any
    turns: int
    tokens: int
    turn_kinds: dict[str, int]
    reward: float | None
    components: dict[str, float]
    train_status: Literal["used", "dropped", "pending"]
    train_state: str
    reason: str | None
    step: int | None
