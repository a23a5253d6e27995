"""How a run held its forgetting budget, read back from its event log: every decision, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.events import read_events
from bloomery.core.rows import Segment
from bloomery.evals.gate import Gate
from bloomery.evals.wording import percent

EVENT = "hold"
AT_BOUND = 1e-3
"""A share as near to its bound as this is at it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One measurement and the decision after it; `start` is the step that it begins at, None at the end of the run.

    `rise` and `noise` are relative to the start's loss, `kl` in nats a token, `most` the most replay that could be had,
    `capped` the sources whose repetition cap is why it was no more.
    """

    step: int
    rise: float
    noise: float
    kl: float
    allowed: float
    replay_before: float
    replay: float
    rate: float
    did: str
    most: float
    start: int | None
    share: Mapping[str, float]
    capped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """All looks of a run in order, at least one, and the budget that they are about."""

    budget: float
    looks: tuple[Look, ...]

    @property
    def asked(self) -> float:
        """The replay that the recipe asked for."""
        return self.looks[0].replay_before

    @property
    def realised(self) -> float:
        """The replay of the whole run, by the shares in force at each step."""
        turns = [(0, self.asked), *((look.start, look.replay) for look in self.looks if look.start is not None)]
        ends = [*(start for start, _ in turns[1:]), self.looks[-1].step]
        parts = [share * max(0, end - start) for (start, share), end in zip(turns, ends, strict=True)]
        return sum(parts) / max(1, self.looks[-1].step)

    def segments(self) -> tuple[Segment, ...]:
        """The shares that decisions put in force, in order."""
        return tuple(Segment(look.start, look.share) for look in self.looks if look.start is not None)

    def said(self, gate: Gate) -> str:
        """What came of it: held by which means, or not held and why."""
        verdicts = [verdict for verdict in gate.verdicts if verdict.name == "general"]
        if any(verdict.status == "broken" for verdict in verdicts):
            return f"The budget could not be held: {self._why()}."
        shares = [self.asked, *(look.replay for look in self.looks)]
        rates = [look.rate for look in self.looks]
        slower = f" and a rate down to {min(rates):.2g} × the schedule's" if min(rates) < 1 else ""
        between = f"replay between {percent(min(shares), 0)} and {percent(max(shares), 0)} of the tokens{slower}"
        took = f"the domain took {percent(1 - self.realised, 0)}, {percent(1 - self.asked, 0)} was asked for"
        return f"Steered by {between}; {took}."

    def _why(self) -> str:
        last = self.looks[-1]
        steered = [look for look in self.looks if look.start is not None]
        bound = [look.replay >= look.most - AT_BOUND for look in steered]
        if not bound or not bound[-1]:
            left = next((k for k in reversed(self.looks) if k.rise <= k.allowed), None)
            since = f"since step {left.step}" if left else "from the first measurement on"
            return f"the rise was beyond what was allowed {since}, with replay at {percent(last.replay, 0)} at the end"
        first = len(bound) - next((i for i, at in enumerate(reversed(bound)) if not at), len(bound))
        rate = f" and the rate at {last.rate:.2g} ×" if last.rate < 1 else ""
        told = f"replay was at its bound of {percent(steered[-1].most, 0)} from step {steered[first].start:,}{rate}"
        named = " and ".join(f"`{name}`" for name in steered[-1].capped)
        return f"{told}: `data.repetition_cap` leaves no more of {named}" if named else told


def read_held(events: Path) -> Held | None:
    """The decisions of an event log, a resumed run's last word on a step; None where nothing was held."""
    found: dict[int, dict[str, Any]] = {int(event["step"]): event for event in read_events(events, EVENT)}
    if not found:
        return None
    looks = tuple(_look(found[step]) for step in sorted(found))
    return Held(float(next(iter(found.values()))["budget"]), looks)


def _look(event: Mapping[str, Any]) -> Look:
    figures = {key: float(event[key]) for key in ("rise", "noise", "kl", "allowed", "replay_before", "replay", "rate")}
    return Look(
        step=int(event["step"]), **figures, did=event["did"], most=float(event["bounds"][1]), start=event["start"],
        share=dict(event["share"]), capped=tuple(event["capped"]),
    )  # fmt: skip
