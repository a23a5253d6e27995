"""Numbers and sentences of a report, in one voice for Markdown, HTML and the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bloomery.core.intervals import Interval
from bloomery.evals.bootstrap import FEWEST
from bloomery.evals.compare import Change, Comparison
from bloomery.evals.gate import Gate, Verdict
from bloomery.evals.rewards import Rewards
from bloomery.evals.seeds import Seeds

GROUPS = {
    "domain": "Domain",
    "domain_answers": "Domain answers",
    "general": "General text",
    "general_answers": "General tasks",
    "skills": "Skills",
    "skills_text": "Skills as text",
    "instruction": "Instruction following",
    "refusal": "Harmful requests refused",
    "over_refusal": "Safe requests answered",
    "bias": "Questions about people",
    "toxicity": "Continuations without toxicity",
    "truthfulness": "Truthful answers",
    "injection": "Hidden instructions resisted",
    "privacy": "Training rows kept private",
}
"""Group -> what the report calls it, in the order it shows them."""

STATUS = {"within": "within budget", "broken": "budget broken", "unproven": "not proven either way"}
MINUS, NARROW = "\u2212", "\u202f"


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """A number with a true minus; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    shown = f"{value:{'+' if sign else ''},.{digits}f}"
    zero = float(shown.replace(",", "")) == 0
    return (shown.lstrip("+-") if zero else shown).replace("-", MINUS)


def percent(value: float, digits: int = 1, sign: bool = False) -> str:
    """A fraction as per cent: 0.123 -> 12.3 %."""
    return f"{number(100 * value, digits, sign)}{NARROW}%"


def level(change: Change, value: float) -> str:
    """A figure in its unit: bits per byte, or per cent of the score."""
    return number(value, 3) if change.kind == "bpb" else percent(value)


def moved(change: Change) -> str:
    """The change in its unit: per cent of the bits, or points of the score."""
    estimate = change.change.estimate
    return percent(estimate, sign=True) if change.kind == "bpb" else f"{number(100 * estimate, 1, True)} points"


def bounds(interval: Interval, digits: int = 1) -> str:
    """[low, high] in hundredths."""
    return f"[{number(100 * interval.low, digits, True)}, {number(100 * interval.high, digits, True)}]"


def intervals(seeds: Mapping[str, Seeds]) -> str:
    """How the intervals were made."""
    method = "paired bootstrap over documents"
    if not seeds:
        return method
    many = len(next(iter(seeds.values())).changes)
    if many < 3:
        return f"{method}, the outer bounds over {many} seeds"
    return f"{method} of the mean over {many} seeds, and no narrower than Student's t over them"


def over_seeds(seeds: Seeds) -> str:
    """A figure under each seed, in hundredths, and the mean with its interval where there are three."""
    said = ", ".join(number(100 * value, 1, True) for value in seeds.changes)
    if seeds.interval is None:
        return said
    return f"{said}, mean {number(100 * seeds.interval.estimate, 1, True)} {bounds(seeds.interval)}"


def share(interval: Interval) -> str:
    """A share with its interval: 92.1 % (90.4 to 93.8)."""
    return f"{percent(interval.estimate)} ({number(100 * interval.low, 1)} to {number(100 * interval.high, 1)})"


REWARDS = ["Held-out preferences", "Examples", "Reward accuracy", "Reward margin, nats"]
"""Headings of the table that `reward_row` is a row of."""


def reward_row(found: Rewards) -> list[str]:
    """Implicit rewards of one suite; the start's are 50 % and 0."""
    low, high = (number(bound, 3, True) for bound in (found.margin.low, found.margin.high))
    margin = f"{number(found.margin.estimate, 3, True)} ({low} to {high})"
    return [found.suite, f"{found.examples:,}", share(found.accuracy), margin]


def reward_note(found: Rewards) -> str:
    """What a reward is, and where it began."""
    return f"A reward is {found.beta:g} × (log-probability − the start's), so the start has 50 % and 0."


def direction(change: Change) -> str:
    """`better`, `worse`, `unclear` where the interval holds zero, or `too few` documents to tell."""
    worse = change.worse
    if change.examples < FEWEST or not math.isfinite(worse.low):
        return "too few"
    return "worse" if worse.low > 0 else "better" if worse.high < 0 else "unclear"


def seconds(value: float) -> str:
    """A time as people say it."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def count(value: float) -> str:
    """A large count with its letter: 1.2M."""
    for scale, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:g}"


def label(change: Change) -> str:
    """What a suite or skill is called: `skills/dates` is `dates`, `over_refusal` as its group."""
    return GROUPS.get(change.name, change.name.removeprefix(f"{change.group}/"))


def headline(comparison: Comparison, gate: Gate) -> str:
    """What was gained, what was lost, what did not clearly change, and the verdict."""
    shown = {name: comparison.groups[name] for name in GROUPS if name in comparison.groups}
    gained = [_said(name, change) for name, change in shown.items() if direction(change) == "better"]
    lost = [_said(name, change) for name, change in shown.items() if direction(change) == "worse"]
    clauses = ", but ".join(_listed(items) for items in (gained, lost) if items)
    held = _open(shown, "unclear", "no clear change in")
    few = _open(shown, "too few", "too few documents to tell of")
    sentence = "; ".join(part for part in (clauses, held, few) if part) or "no clear change in anything measured"
    return f"{sentence[0].upper()}{sentence[1:]}. {_verdict(gate)}."


def _open(shown: Mapping[str, Change], way: str, said: str) -> str:
    """The main figures that did not move either way, for one reason."""
    names = [name for name in ("general", "domain", "skills") if name in shown and direction(shown[name]) == way]
    return f"{said} {_listed([f'{_SHORT[name]} ({moved(shown[name])})' for name in names])}" if names else ""


_SHORT = {
    "domain": "domain text",
    "domain_answers": "domain answers",
    "general": "general text",
    "general_answers": "general tasks",
    "skills": "skills",
    "skills_text": "text of skills",
    "instruction": "instruction following",
    "refusal": "refusals",
    "over_refusal": "answers to safe requests",
    "bias": "questions about people",
    "toxicity": "continuations without toxicity",
    "truthfulness": "truthful answers",
    "injection": "hidden instructions resisted",
    "privacy": "privacy of training rows",
}


def _said(name: str, change: Change) -> str:
    size = abs(change.change.estimate)
    if change.kind == "bpb":
        return f"{_SHORT[name]} takes {percent(size)} {'more' if change.change.estimate > 0 else 'fewer'} bits"
    subject = "the domain score" if name == "domain" else _SHORT[name]
    if name == "general":
        subject = "general tasks"
    verb = "rise" if change.change.estimate > 0 else "fall"
    ending = "s" if name in ("domain", "instruction", "privacy") else ""
    return f"{subject} {verb}{ending} by {number(100 * size, 1)} points"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _verdict(gate: Gate) -> str:
    if not gate.verdicts:
        return "No forgetting budget was set"
    return explained(decisive(gate))


def decisive(gate: Gate) -> Verdict:
    """The budget that settles the gate's status; the gate must have one."""
    return next(verdict for verdict in gate.verdicts if verdict.status == gate.status)


def explained(verdict: Verdict) -> str:
    """One budget in words: what was measured against what was allowed, or what it would take to know."""
    measured = f"{_measured(verdict)} against {verdict.against}, {budget(verdict)} allowed"
    said = f"{STATUS[verdict.status].capitalize()} on {_SHORT[verdict.name]}: {measured}"
    if verdict.status != "unproven":
        return said
    need = f"about {verdict.needed:,} would settle it" if verdict.needed else "more are needed"
    need = f"at least {FEWEST} are needed" if verdict.documents < FEWEST else need
    return f"{said} (on {verdict.documents:,} examples; {need})"


def _measured(verdict: Verdict) -> str:
    if verdict.name == "general":
        return percent(verdict.worse.estimate, 2, True)
    return f"{number(-100 * verdict.worse.estimate, 1, True)} points"


def budget(verdict: Verdict) -> str:
    """The budget in its unit."""
    return percent(verdict.budget, 2) if verdict.name == "general" else f"{number(100 * verdict.budget, 1)} points"
