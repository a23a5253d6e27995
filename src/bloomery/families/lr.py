"""The learning rate a checkpoint was saved at, from its family's published schedule.

Continuing at that rate is what keeps a hot or warm checkpoint from forgetting at the first step, and
nobody publishes the number itself. `cosine(step 1,907,359 x 512 x 4096 tokens; warm-up 8.39e9; horizon
5e12; peak 4e-4; floor 10 %)` gives 7.4487e-5, the rate that OLMo 2 1B's mid-training configuration starts from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bloomery.core.errors import InputError
from bloomery.core.quantity import parse_budget

Shape = Literal["linear", "1-sqrt", "cosine"]


def _count(value: Any) -> int:
    """1.2e9, '4001B' or '3.4M': a number of tokens or parameters."""
    if isinstance(value, bool) or (isinstance(value, int | float) and not 0 <= value < math.inf):
        raise ValueError(f"{value} is no number of tokens or weights")
    return round(value if isinstance(value, int | float) else parse_budget(f"{value} tokens", "tokens").value)


Count = Annotated[int, BeforeValidator(_count)]
"""Tokens or parameters, as a number or with a scale: `8.39e9`, `5T`."""

# What is left of the way from the peak to the floor, by the fraction x of the decay passed.
DECAY: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "1-sqrt": lambda x: 1 - math.sqrt(x),
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
}


class Stretch(BaseModel):
    """A decay slowed on the way: at `begin` tokens, what had been planned to end at `planned` was given longer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: Count
    planned: Count


class FamilySchedule(BaseModel):
    """A pre-training schedule in tokens: warm-up, then `kind`, from `peak` to `floor` x `peak`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["constant", "linear", "cosine", "wsd"]
    peak: float = Field(gt=0)
    warmup: Count = 0
    """Tokens of warm-up."""
    horizon: Count | None = None
    """Tokens at which the decay ends; not needed for `constant`."""
    anneal_from: Count | None = None
    """Tokens at which a `wsd` schedule begins to decay."""
    shape: Shape = "linear"
    """Shape of a `wsd` schedule's decay."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The rate at the horizon, as a fraction of the peak."""
    stretch: Stretch | None = None
    """Where the rest of a decay was spread up to a later `horizon` (Olmo 3 7B: 5T planned, 7T from half way)."""

    @model_validator(mode="after")
    def _in_order(self) -> FamilySchedule:
        if self.kind == "constant":
            return self
        start = "anneal_from" if self.kind == "wsd" else "warmup"
        for key in ("horizon", start):
            if getattr(self, key) is None:
                raise InputError(f"a schedule of `kind: {self.kind}` needs `{key}`", fix=f"add `{key}`, in tokens")
        begin, horizon = self.begin, int(self.horizon or 0)
        if not self.warmup <= begin < horizon:
            message = f"the decay goes from {begin:,} to {horizon:,} tokens, after a warm-up of {self.warmup:,}"
            before = "" if start == "warmup" else f"`warmup` at most `{start}`, and "
            raise InputError(message, fix=f"make {before}`{start}` less than `horizon`")
        if self.stretch and not begin <= self.stretch.begin < self.stretch.planned <= horizon:
            message = f"`stretch` goes from {self.stretch.begin:,} to {self.stretch.planned:,} tokens"
            raise InputError(message, fix=f"make `begin` less than `planned`, both from `{start}` to `horizon`")
        return self

    @property
    def begin(self) -> int:
        """Tokens at which the decay begins."""
        return self.anneal_from if self.kind == "wsd" and self.anneal_from is not None else self.warmup


def lr_at_tokens(schedule: FamilySchedule, tokens: float) -> float:
    """Learning rate after `tokens` training tokens.

    Warm-up is linear from zero; cosine and linear decay over what follows it. Past the horizon the
    rate stays at the floor.
    """
    if tokens < schedule.warmup:
        return schedule.peak * tokens / schedule.warmup
    if schedule.kind == "constant":
        return schedule.peak
    begin, horizon = schedule.begin, schedule.horizon
    assert horizon is not None  # every schedule that decays has one
    if tokens <= begin:
        return schedule.peak
    if schedule.stretch and tokens > schedule.stretch.begin:
        slower = (schedule.stretch.planned - schedule.stretch.begin) / (horizon - schedule.stretch.begin)
        tokens = schedule.stretch.begin + slower * (tokens - schedule.stretch.begin)
    passed = min(1.0, (tokens - begin) / ((schedule.stretch.planned if schedule.stretch else horizon) - begin))
    left = DECAY[schedule.shape if schedule.kind == "wsd" else schedule.kind](passed)
    return schedule.peak * (schedule.floor + (1 - schedule.floor) * left)


def plasticity(lr: float, peak: float) -> Literal["hot", "warm", "cold"]:
    """How much learning rate is left to anneal ("loss potential", arXiv 2505.07796), as a class.

    Hot: at least 90 % of the peak (constant-rate checkpoints). Cold: under 2 %. Warm: between, such as
    a cosine stopped at 10-25 % of its peak (OLMo 2, Olmo 3).
    """
    left = lr / peak if peak > 0 else 0.0
    return "hot" if left >= 0.9 else "cold" if left < 0.02 else "warm"
