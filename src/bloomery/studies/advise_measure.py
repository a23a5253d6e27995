"""`bloomery advise --measure`: forks of the stages, a few steps each, and what they foretell of the full run.

Each fork is a micro-run of the recipe from one stage at one share, under that stage's own schedule over its own short
length; a smaller batch takes the square root of its part of the rate (arXiv 2205.10343), so that a fork of little has
steps enough. What it foretells goes by one law with the same exponent and floor for all of them:

    log (L(D) - E) / (L(0) - E)  =  -a D^v        D domain tokens, a the fork's own, E FLOOR x the family's general loss

The law of `law.py` is for lengths like those it was fitted on, and asks for three runs of a start; forks within 5 % of
the compute are fiftieths of the run and fewer, so here the exponents are given, with a width that the intervals carry.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.files import canonical_hash, read_json
from bloomery.core.intervals import Interval
from bloomery.data.config import SourceSpec
from bloomery.data.sources import source_files
from bloomery.lineage.provenance import model_hash
from bloomery.recipes.counts import cache_dir
from bloomery.recipes.explain import explain
from bloomery.recipes.load import Loaded, with_overrides
from bloomery.recipes.plan import Plan
from bloomery.studies.advise_recipe import Choice
from bloomery.studies.micro import POINTS, WATCHED, Point, micro_run

PART = 0.05
"""Of the full run's tokens: what all forks together may take, their held-out losses included."""

RATIOS = (0.3, 0.5, 0.75)
"""Domain shares tried beside the rule's own, where the forks stay long enough."""

LEAST = 1_000
"""Tokens of training under which a fork is not divided over several shares."""

SHORTEST, LEAST_SCORED = 256, 128
"""Tokens of training and of scoring that a fork never goes below, whatever part of a short run they are."""

STEPS = 4
"""Steps that a fork is given by making its batch smaller."""

SCORED = 0.2
"""Of what a fork may take: held-out tokens of each kind that are scored at its start and at its end."""

OVER = 100
"""Tokens that are scored beyond those, as rows are scored whole."""

FORWARD = 1 / 3
"""A forward pass against a training step, in tokens."""

DOMAIN = (0.6, 0.2)
"""Exponent v of the domain, and its width: 0.44 to 0.94 from forks of 1,000 tokens to runs of 50,000, from ember's four
stages into half workflow manual (0.61 to 0.71) and half medical text."""

GENERAL = (0.6, 0.2)
"""The same for the rise of general loss, whose law has no floor: a guess, since so short forks hardly move it."""

FLOOR = 0.5
"""Part of the general loss that no training gets below: a wide guess, the same for all stages."""

NOISE = (0.003, 0.07)
"""Error of a fork's log loss: of its seed, and of scoring one token (it falls with their square root)."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one fork foretells of the full run: domain loss from `begin`, and the relative rise of general loss.

    `bounds` are (low, estimate, high) of the domain loss at each exponent, which all
    forks share, so that they are told apart at each.
    """

    stage: str
    share: float
    begin: float
    domain: Interval
    rise: Interval | None
    bounds: tuple[tuple[float, float, float], ...]

    def below(self, other: Forecast) -> bool:
        """Whether this one ends below the other whatever the exponent is."""
        return all(mine[2] < its[0] for mine, its in zip(self.bounds, other.bounds, strict=True))


@dataclass(frozen=True, slots=True)
class Measured:
    """The forecasts and the choice. `spent` and `full` are in tokens of training; a token scored counts a third."""

    forecasts: tuple[Forecast, ...]
    chosen: Forecast
    why: str
    how: str
    forks: int
    spent: int
    full: int

    @property
    def cost(self) -> float:
        """Part of the full run's compute that the forks took."""
        return self.spent / self.full

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value."""
        return {
            "forecasts": [{k: v for k, v in asdict(one).items() if k != "bounds"} for one in self.forecasts],
            "chosen": {"stage": self.chosen.stage, "share": self.chosen.share, "why": self.why},
            "how": self.how,
            "forks": self.forks,
            "spent": self.spent,
            "full": self.full,
            "cost": self.cost,
        }


@dataclass(frozen=True, slots=True)
class Fork:
    """One short run: training tokens, batch, rate, and tokens of each held-out kind."""

    stage: str
    share: float
    tokens: int
    batch: int
    lr: float
    scored: int

    def overrides(self) -> list[str]:
        """What it changes in the recipe."""
        return [
            f"start={self.stage}",
            f"data.share={self.share}",
            f"budget={self.tokens} tokens",
            f"optim.batch={self.batch} tokens",
            f"schedule.lr={self.lr:g}",
        ]


def measure(loaded: Loaded, stages: Sequence[str], choice: Choice, keep: float | None, say: Say) -> Measured:
    """Fork the recipe at every stage, and at several shares where that is affordable; forecast and choose.

    Raises `InputError` for a stage whose weights are not on this machine, and what a run of the recipe would refuse.
    """
    wholes = {stage: _whole(loaded, stage) for stage in stages}
    full = int(wholes[choice.start[0]].get("budget.tokens"))
    own = choice.share[0] if choice.share else 1.0
    forks = planned(wholes, own, PART * full, several=choice.share is not None)
    points: dict[Fork, list[Point]] = {}
    spent = 0.0
    for number, fork in enumerate(forks, 1):
        say(f"fork {number} of {len(forks)}: {fork.stage} at {fork.share:.0%}, {fork.tokens:,} tokens")
        folder = _folder(loaded, wholes[fork.stage], fork)
        points[fork] = micro_run(loaded, fork.overrides(), folder, watched=fork.scored, every="1 epochs")
        spent += points[fork][-1].tokens + FORWARD * read_json(folder / POINTS)["scored"]
    forecasts = tuple(
        forecast(one, points[one], _target(wholes[one.stage], one.share, own), _floor(points)) for one in forks
    )
    chosen, why = choose(forecasts, choice.start[0], own, keep)
    how = f"exponent {DOMAIN[0]:g} +- {DOMAIN[1]:g}"
    return Measured(forecasts, chosen, why, how, len(forks), round(spent), full)


def planned(wholes: dict[str, Plan], own: float, allowed: float, several: bool) -> list[Fork]:
    """The forks that `allowed` tokens of compute pay for: every stage at the share `own`, at others too if it can."""
    shares = sorted({own, *RATIOS}) if several else [own]
    if _training(allowed / len(wholes) / len(shares))[0] < LEAST:
        shares = [own]
    each = allowed / len(wholes) / len(shares)
    return [_fork(stage, plan, share, each) for stage, plan in wholes.items() for share in shares]


def _training(each: float) -> tuple[int, int]:
    """(training tokens, scored tokens of a kind) of a fork that may take `each`; it scores two kinds twice."""
    scored = min(WATCHED, max(LEAST_SCORED, round(SCORED * each)))
    return max(SHORTEST, round(each - 4 * FORWARD * (scored + OVER))), scored


def _fork(stage: str, plan: Plan, share: float, each: float) -> Fork:
    tokens, scored = _training(each)
    usual = int(plan.get("optim.batch_tokens"))
    batch = min(usual, max(1, tokens // STEPS))
    rate = float(plan.get("schedule.lr")) * math.sqrt(batch / usual)
    return Fork(stage, share, tokens, batch, float(f"{rate:.6g}"), scored)


def _whole(loaded: Loaded, stage: str) -> Plan:
    """The plan of the full run from a stage, its tokens counted: the stores are those that forks and run take up."""
    from bloomery.recipes.prepare import prepare

    found = explain(with_overrides(loaded, [f"start={stage}"]))
    if found.plan is None:
        raise found.problems[0].error()
    if found.plan.get("start.folder") is None:
        raise InputError(
            f"`{stage}` cannot be measured: its weights are not on this machine",
            fix="add --download to fetch them, or leave --measure out for advice by rule",
        )
    with tempfile.TemporaryDirectory() as folder:
        return prepare(found.plan, Path(folder), lambda text: None).plan


def _folder(loaded: Loaded, plan: Plan, fork: Fork) -> Path:
    """Where a fork of these weights, rows and settings lies, so that asking again costs nothing."""
    specs = [SourceSpec.model_validate(source.spec) for source in plan.sources if source.role == "domain"]
    files = [file for spec in specs if not spec.builtin for file in source_files(spec, Path())]
    stats = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    weights = model_hash(Path(plan.get("start.folder")))
    key = canonical_hash([loaded.text(), fork.overrides(), fork.scored, stats, weights])
    return cache_dir() / "advise" / key[:24]


def _target(plan: Plan, share: float, own: float) -> float:
    """Domain tokens of the full run: the same at every share, since its budget is in passes over them."""
    return float(plan.get("budget.tokens")) * own


def _floor(points: dict[Fork, list[Point]]) -> float:
    """The loss that no stage gets below; under all that was measured."""
    seen = [point for found in points.values() for point in found]
    general = [point.general for point in seen if math.isfinite(point.general)]
    return min(FLOOR * min(general or [point.domain for point in seen]), 0.9 * min(point.domain for point in seen))


def forecast(fork: Fork, points: Sequence[Point], target: float, floor: float) -> Forecast:
    """What a fork's first and last point foretell after `target` domain tokens, by the law of this file."""
    begin, end = points[0], points[-1]
    times = target / max(1.0, end.share * end.tokens)
    error = math.hypot(NOISE[0], NOISE[1] / math.sqrt(fork.scored))
    fell = math.log((begin.domain - floor) / (end.domain - floor))
    bounds = []
    for exponent in (DOMAIN[0] - DOMAIN[1], DOMAIN[0], DOMAIN[0] + DOMAIN[1]):
        ends = [
            floor + (begin.domain - floor) * math.exp(-max(-1.0, (fell + off) * times**exponent))
            for off in (error, 0.0, -error)
        ]
        bounds.append((ends[0], ends[1], ends[2]))
    whole = Interval(bounds[1][1], min(b[0] for b in bounds), max(b[2] for b in bounds))
    return Forecast(fork.stage, fork.share, begin.domain, whole, _rise(begin, end, times, error), tuple(bounds))


def _rise(begin: Point, end: Point, times: float, error: float) -> Interval | None:
    """The relative rise of general loss; None where there is no general text."""
    if not math.isfinite(begin.general + end.general):
        return None
    rose = math.log(end.general / begin.general)
    ends = [
        math.expm1(min(1.0, max(-1.0, (rose + off) * times**exponent)))
        for exponent in (GENERAL[0] - GENERAL[1], GENERAL[0], GENERAL[0] + GENERAL[1])
        for off in (-error, 0.0, error)
    ]
    return Interval(ends[4], min(ends), max(ends))


def choose(forecasts: Sequence[Forecast], stage: str, share: float, keep: float | None) -> tuple[Forecast, str]:
    """The forecast with the lowest domain loss that `keep` does not rule out, and why.

    Where others cannot be told from it, the rule's own `stage` and `share` go first, then the smaller rise.
    """
    allowed = [one for one in forecasts if keep is None or one.rise is None or one.rise.low <= keep]
    if not allowed:
        safest = min(forecasts, key=lambda one: one.rise.estimate if one.rise else 0.0)
        return (
            safest,
            f"no fork is likely to stay within {keep:.1%}: the one that rises least; lower the share, or `hold`",
        )
    best = min(allowed, key=lambda one: one.domain.estimate)
    tied = [one for one in allowed if not best.below(one)]
    usual = [one for one in tied if one.share == share] or tied
    mine = [one for one in usual if one.stage == stage]
    names = list(dict.fromkeys(one.stage for one in tied))
    if len(names) == 1:
        chosen = next((one for one in usual if one.stage == best.stage), best)
        return chosen, f"measured: the lowest domain loss foretold, {_unsure(chosen, keep)}"
    chosen = mine[0] if mine else min(usual, key=lambda one: one.rise.estimate if one.rise else one.domain.estimate)
    by = "the rule's own" if mine else "the one that rises least"
    return chosen, f"measured: {' and '.join(names)} cannot be told apart, so {by}; {_unsure(chosen, keep)}"


def _unsure(chosen: Forecast, keep: float | None) -> str:
    if keep is None or chosen.rise is None:
        return "without a forgetting budget"
    sure = chosen.rise.high <= keep
    return f"general loss {'stays within' if sure else 'may pass'} {keep:.1%}"
