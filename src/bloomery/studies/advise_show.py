"""Advice as lines for a person, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloomery.core.intervals import Interval
    from bloomery.studies.advise import Advice
    from bloomery.studies.advise_distance import StageDistance
    from bloomery.studies.advise_look import Look
    from bloomery.studies.advise_measure import Forecast, Measured

KINDS = {
    "text": "text",
    "mixed": "text, with rows of other kinds",
    "sft": "instruction pairs or conversations",
    "reasoning": "chains of thought",
    "tools": "tool calls",
    "preference": "preferences between two answers",
    "judged": "answers judged good or bad",
    "reward": "questions without answers, for rewards",
}


def lines(advice: Advice) -> list[tuple[str, str]]:
    """What was seen, what is advised, and why: (label, text)."""
    return [*_seen(advice), *_advised(advice), *_measured(advice.measured), *_expected(advice)]


def _seen(advice: Advice) -> Iterator[tuple[str, str]]:
    look = advice.look
    yield "kind", f"{KINDS[look.kind]} ({'; '.join(dict.fromkeys(one.columns for one in look.sources))})"
    yield "volume", _volume(look)
    ratios = [one for one in advice.stages if one.ratio is not None]
    if ratios:
        told = f"{advice.distance}: under {ratios[0].stage}, {ratios[0].ratio:.2f} times the bits of general text"
        yield "distance", f"{told}, in bits per byte:"
    elif all(one.domain is None for one in advice.stages):
        wanted = f"bloomery advise ... --family {advice.family} --download"
        yield "distance", f"not measured: the weights are not on this machine; {wanted} fetches and measures them"
    else:
        yield "distance", "not told: the family has no general text here to compare with"
    for one in advice.stages:
        yield "", _stage(one)


def _volume(look: Look) -> str:
    rows = f"{look.rows:,} rows, {look.tokens:,} tokens ({'counted' if look.exact else 'estimated'})"
    twice = "repeats not counted" if look.twice is None else f"{look.twice:.1%} of rows repeat another"
    return f"{rows}, {twice}"


def _stage(one: StageDistance) -> str:
    heat, name = one.start.plasticity, one.stage
    if one.domain is None:
        return f"{name:16} {heat:5} not on this machine"
    general = "" if one.general is None else f" general {one.general:.3f}, {one.domain / one.general:.2f} times"
    return f"{name:16} {heat:5} data {one.domain:.3f}{general}"


def _advised(advice: Advice) -> Iterator[tuple[str, str]]:
    if advice.first:
        yield ("first" if advice.recipe else "instead"), advice.first
    choice = advice.choice
    if choice is None:
        yield "recipe", "none: training on this data as it is cannot be advised"
        return
    if alone := [
        str(one.spec.get("path", "")) for one in advice.look.sources if one.kind != "reward" and one.rows == 1
    ]:
        told = f"{', '.join(alone)}: one document each, of which none can be held out; split it, or add more"
        yield "left out", told
    yield "start", f"{choice.start[0]}: {choice.start[1]}"
    yield "method", f"{choice.method[0]}: {choice.method[1]}"
    if choice.share is not None:
        yield "share", f"{choice.share[0]:.0%} domain: {choice.share[1]}"
    else:
        yield "share", "100 % domain: the family has no general data for this, so nothing can be promised to be kept"
    yield from _plan(advice)


def _plan(advice: Advice) -> Iterator[tuple[str, str]]:
    found, choice = advice.plan, advice.choice
    assert found is not None and choice is not None
    if found.plan is not None:
        plan = found.plan
        yield "blend", f"{plan.get('curated.mix') or 'none'}: {plan.values['curated.mix'].why}"
        yield "rate", f"{plan.get('schedule.lr'):g}, {plan.get('schedule.kind')}: {plan.values['schedule.lr'].why}"
        size = f"{plan.get('budget.tokens'):,} tokens in {plan.get('budget.steps'):,} steps"
        time = "" if found.seconds is None else f", about {found.seconds / 60:,.0f} minutes here"
        yield "budget", f"{choice.epochs[0]:g} epochs: {size}{time}; {choice.epochs[1]}"
    for problem in found.problems:
        yield "refused", f"{problem}".replace("\n", " ")


def _expected(advice: Advice) -> Iterator[tuple[str, str]]:
    if advice.choice is None:
        return
    if advice.gain is None:
        yield "gain", "no rule bounds it; --measure predicts it"
    else:
        yield "gain", f"{advice.gain[0]:+.1%} to {advice.gain[1]:+.1%} domain loss ({advice.gain[2]})"
    if advice.forgetting is not None:
        low, high, source = advice.forgetting
        yield "forgetting", f"{low:+.1%} to {high:+.1%} general loss ({source})"


def _measured(found: Measured | None) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    full = f"{found.full:,} of the full run's tokens"
    yield "measured", f"{found.forks} forks took {found.spent:,} token passes, {found.cost:.2%} of {full}; {found.how}"
    for one in found.forecasts:
        yield "", _forecast(one)
    yield "chosen", found.why


def _forecast(one: Forecast) -> str:
    rise = "" if one.rise is None else f", general {_percent(one.rise)}"
    return f"{one.stage:16} {one.share:4.0%} data {one.begin:.3f} -> {_interval(one.domain)}{rise}"


def _interval(one: Interval) -> str:
    return f"{one.estimate:.3f} ({one.low:.3f} to {one.high:.3f})"


def _percent(one: Interval) -> str:
    return f"{one.estimate:+.1%} ({one.low:+.1%} to {one.high:+.1%})"


def as_json(advice: Advice) -> dict[str, Any]:
    """The advice as plain JSON: figures, reasons and the recipe."""
    look, choice, found = advice.look, advice.choice, advice.plan
    return {
        "family": advice.family,
        "kind": look.kind,
        "rows": look.rows,
        "tokens": look.tokens,
        "counted": look.exact,
        "repeated": look.twice,
        "distance": advice.distance,
        "stages": [
            {"stage": s.stage, "plasticity": s.start.plasticity, "domain": s.domain, "general": s.general}
            for s in advice.stages
        ],
        "first": advice.first or None,
        "start": choice and _told(choice.start),
        "method": choice and _told(choice.method),
        "share": choice and choice.share and _told(choice.share),
        "epochs": choice and _told(choice.epochs),
        "keep": choice and choice.keep,
        "rate": found.plan.get("schedule.lr") if found and found.plan else None,
        "problems": [str(problem) for problem in found.problems] if found else [],
        "gain": advice.gain and _bounds(advice.gain),
        "forgetting": advice.forgetting and _bounds(advice.forgetting),
        "measured": advice.measured and advice.measured.to_json(),
        "recipe": advice.recipe,
    }


def _told(pair: tuple[Any, str]) -> dict[str, Any]:
    return {"value": pair[0], "why": pair[1]}


def _bounds(found: tuple[float, float, str]) -> dict[str, Any]:
    return {"low": found[0], "high": found[1], "from": found[2]}
