"""The report: what one model gained and lost against another; `write.py` writes it in three forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bloomery.core.rows import Segment
from bloomery.evals.bootstrap import DRAWS, Interval, over_seeds
from bloomery.evals.compare import Comparison, compare
from bloomery.evals.curve import Curve, read_curve
from bloomery.evals.gate import Gate, gate
from bloomery.evals.ledger import RIGHT
from bloomery.evals.proof import CURATED_ONLY, Arm, Plasticity, Proof, prove
from bloomery.evals.results import EvalResult
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
class Seeds:
    """A group's change under each seed, and Student's t interval of the mean where there are three."""

    changes: tuple[float, ...]
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report shows."""

    title: str
    created: str
    comparison: Comparison
    gate: Gate
    proof: Proof | None
    """None where nothing was trained: two models were only compared."""
    arms: tuple[Arm, ...]
    against_control: Comparison | None
    seeds: Mapping[str, Seeds]
    evaluations: tuple[EvalResult, EvalResult]
    spent: Spent
    curve: Curve | None
    examples: tuple[Example, ...]

    @property
    def headline(self) -> str:
        """One sentence: gained, lost, verdict."""
        return headline(self.comparison, self.gate)

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
    seeds: Sequence[EvalResult] = (),
    spent: Mapping[str, Spent] | None = None,
    events: Path | None = None,
    segments: Sequence[Segment] = (),
    draws: int = DRAWS,
) -> Report:
    """Compare the result with its start, and with the arms trained beside it, by name (`domain-only`, ...).

    `plasticity` is that of the start checkpoint; without it nothing was trained and no proof is asked
    for. `seeds` are results of the same recipe under other seeds; `spent` is by arm name, the result's
    own under "". Raises `InputError` for a budget in `keep` that nothing measures.
    """
    arms, spent = dict(arms or {}), dict(spent or {})
    comparison = compare(start, result, draws=draws)
    control = compare(arms[CURATED_ONLY], result, draws=draws) if CURATED_ONLY in arms else None
    beside = [_arm(name, compare(start, arm, draws=draws), spent.get(name)) for name, arm in arms.items()]
    curve = read_curve(events, segments) if events is not None and events.is_file() else None
    own = spent.get("") or (Spent(curve.tokens, curve.seconds) if curve else Spent())
    return Report(
        title=title,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        comparison=comparison,
        gate=gate(keep or {}, [comparison, *([control] if control else [])]),
        proof=prove(start, result, arms, plasticity, draws) if plasticity else None,
        arms=tuple(beside),
        against_control=control,
        seeds=_over_seeds(start, [result, *seeds]) if seeds else {},
        evaluations=(start, result),
        spent=own,
        curve=curve,
        examples=tuple(moved_examples(start, result)),
    )


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


def _arm(name: str, from_start: Comparison, spent: Spent | None) -> Arm:
    return Arm(name, from_start, *((spent.tokens, spent.seconds) if spent else ()))


def _over_seeds(start: EvalResult, results: Sequence[EvalResult]) -> dict[str, Seeds]:
    groups = [compare(start, result, draws=1).groups for result in results]
    changes = {
        name: tuple(g[name].change.estimate for g in groups) for name in groups[0] if all(name in g for g in groups)
    }
    return {name: Seeds(values, over_seeds(values)) for name, values in changes.items()}
