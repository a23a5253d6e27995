"""The report: what one model gained and lost against another; `write.py` writes it in three forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bloomery.core.rows import Segment
from bloomery.evals.beside import Standings
from bloomery.evals.blended import Blended
from bloomery.evals.bootstrap import DRAWS
from bloomery.evals.compare import Comparison, compare
from bloomery.evals.curve import Curve, read_curve
from bloomery.evals.gate import Gate, all_of, gate
from bloomery.evals.held import Held, read_held
from bloomery.evals.judged import Judged, judged
from bloomery.evals.ledger import RIGHT
from bloomery.evals.proof import CURATED_ONLY, Arm, Plasticity, Proof, prove
from bloomery.evals.results import EvalResult
from bloomery.evals.rewards import Rewards, rewards
from bloomery.evals.rolled import Rolled, read_rolled
from bloomery.evals.seeds import Seeded, Seeds, mean_over_seeds, seeds_by_group
from bloomery.evals.ungraded import Ungraded, ungraded
from bloomery.evals.wording import headline

EXAMPLES = 4
"""Examples shown of each skill and direction, at most."""


@dataclass(frozen=True, slots=True)
class Example:
    """One answer that moved; a user's row, for the private page only."""

    suite: str
    moved: str
    """`lost` or `gained`."""
    prompt: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a model cost to train and to evaluate; None where it is not known."""

    tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The start of a whole recipe of several trainings, and what the last model may lose against it."""

    result: EvalResult
    keep: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report shows. With several seeds, figures of groups are means over them."""

    title: str
    created: str
    comparison: Comparison
    gate: Gate
    proof: Proof | None
    """None where nothing was trained: two models were only compared."""
    arms: tuple[Arm, ...]
    against_control: Comparison | None
    from_origin: Comparison | None
    """Against the start of the whole recipe, where this is a later training of it."""
    seeds: Mapping[str, Seeds]
    control_seeds: Mapping[str, Seeds]
    """The change of each group against the curated-only control of the same seed."""
    evaluations: tuple[EvalResult, EvalResult]
    spent: Spent
    curve: Curve | None
    examples: tuple[Example, ...]
    ungraded: tuple[Ungraded, ...]
    held: Held | None = None
    """How the run held its forgetting budget, where it was to."""
    rolled: Rolled | None = None
    """The course of its rewards, where it learned by any."""
    rewards: tuple[Rewards, ...] = ()
    """Of held-out preferences, under the first seed."""
    blended: Blended | None = None
    """What was mixed in, from the data receipt."""
    pairs: tuple[Standings, ...] = ()
    """How the answers of start and arms stand beside each other, by suite of pairs."""
    judged: tuple[Judged, ...] = ()
    """Which models judged answers."""

    @property
    def headline(self) -> str:
        """Gained, lost, verdict; how the budget was held, or why not; what was to be graded and could not be at all."""
        lost = [f"{one.said()}." for one in self.ungraded if one.answers == one.of]
        held = [self.held.said(self.gate)] if self.held else []
        return " ".join([headline(self.comparison, self.gate), *held, *lost])

    @property
    def status(self) -> str:
        """The gate's, or `done` where no budget was set."""
        return self.gate.status if self.gate.verdicts else "done"

    @property
    def exit_status(self) -> int:
        """0 within the budgets (or none set), 3 broken, 4 not proven either way."""
        return self.gate.exit_status


def make_report(
    title: str,
    start: EvalResult,
    result: EvalResult,
    *,
    keep: Mapping[str, float] | None = None,
    arms: Mapping[str, EvalResult] | None = None,
    plasticity: Plasticity | None = None,
    seeds: Sequence[Seeded] = (),
    origin: Origin | None = None,
    spent: Mapping[str, Spent] | None = None,
    events: Path | None = None,
    segments: Sequence[Segment] = (),
    beta: float | None = None,
    receipt: Mapping[str, Any] | None = None,
    pairs: Sequence[Standings] = (),
    draws: int = DRAWS,
) -> Report:
    """Compare the result with its start, and with the arms trained beside it, by name (`domain-only`, ...).

    `plasticity` is that of the start checkpoint; without it nothing was trained and no proof is asked for. `seeds` are
    the result and its arms under others: comparisons are made within each, their mean reported and judged. `beta` is
    that of a training that compared answers with the start's. `origin` is judged against too. `spent` is by arm name,
    the result's own under "". `receipt` is the run's data receipt, `pairs` what came of suites of pairs. Raises
    `InputError` for a budget in `keep` that nothing measures.
    """
    every, spent = [Seeded(result, dict(arms or {})), *seeds], dict(spent or {})
    curve, held = _course(events, segments)
    return Report(
        title=title,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **_compared(start, every, origin, keep or {}, draws),
        proof=prove(start, result, every[0].arms, plasticity, draws, seeds) if plasticity else None,
        arms=tuple(_arm(name, start, every, spent.get(name), draws) for name in every[0].arms),
        **_answers(start, every),
        spent=spent.get("") or (Spent(curve.tokens, curve.seconds) if curve else Spent()),
        curve=curve, held=held, rewards=rewards(start, result, beta, draws) if beta else (), pairs=tuple(pairs),
        rolled=read_rolled(events) if events and events.is_file() else None,
        blended=Blended.of(receipt) if receipt else None,
    )  # fmt: skip


def _answers(start: EvalResult, every: Sequence[Seeded]) -> dict[str, Any]:
    """The report's evaluations, and what is to be said of single answers."""
    return {
        "evaluations": (start, every[0].result),
        "examples": tuple(moved_examples(start, every[0].result)),
        "ungraded": ungraded([start, *(one.result for one in every)]),
        "judged": judged([start, *(one.result for one in every)]),
    }


def _course(events: Path | None, segments: Sequence[Segment]) -> tuple[Curve | None, Held | None]:
    """The training's curve and how its budget was held, by its event log; None for what that does not tell."""
    if events is None or not events.is_file():
        return None, None
    held = read_held(events)
    return read_curve(events, [*segments, *(held.segments() if held else ())]), held


def _compared(
    start: EvalResult, every: Sequence[Seeded], origin: Origin | None, keep: Mapping[str, float], draws: int
) -> dict[str, Any]:
    """The report's comparisons of the result: with the start, the controls and the first start; and their gate."""
    own = [compare(start, one.result, draws=draws) for one in every]
    controls = [compare(one.arms[CURATED_ONLY], one.result, draws=draws) for one in every if CURATED_ONLY in one.arms]
    comparison, control = mean_over_seeds(own), mean_over_seeds(controls) if controls else None
    if control and len(controls) > 1:
        control = replace(control, before=CURATED_ONLY)  # not the one of the first seed
    first = mean_over_seeds([compare(origin.result, one.result, draws=draws) for one in every]) if origin else None
    gates = [gate(keep, [comparison, *([control] if control else [])])]
    return {
        "comparison": comparison,
        "gate": all_of([*gates, *([gate(origin.keep, [first])] if origin and first else [])]),
        "against_control": control,
        "from_origin": first,
        "seeds": seeds_by_group(own),
        "control_seeds": seeds_by_group(controls),
    }


def moved_examples(start: EvalResult, result: EvalResult, most: int = EXAMPLES) -> list[Example]:
    """Answers that went from right to wrong and back, a few of each skill, lost ones first."""
    found: list[Example] = []
    taken: dict[tuple[str, str], int] = {}
    for name in (n for n, suite in start.suites.items() if suite.kind != "bpb" and n in result.suites):
        for old, new in zip(start.suites[name].records, result.suites[name].records, strict=True):
            if old.score is None or new.score is None or (old.score >= RIGHT) == (new.score >= RIGHT):
                continue
            moved = "lost" if old.score >= RIGHT else "gained"
            label = f"{name}/{old.part}" if old.part and old.part != name else name
            taken[label, moved] = taken.get((label, moved), 0) + 1
            if taken[label, moved] <= most:
                found.append(Example(label, moved, old.prompt, old.reference, old.answer, new.answer))
    return sorted(found, key=lambda example: (example.suite, example.moved != "lost"))


def _arm(name: str, start: EvalResult, every: Sequence[Seeded], spent: Spent | None, draws: int) -> Arm:
    from_start = [compare(start, one.arms[name], draws=draws) for one in every if name in one.arms]
    cost = spent or Spent()
    return Arm(name, mean_over_seeds(from_start), cost.tokens, cost.seconds, seeds_by_group(from_start))
