"""What `eval` and `compare` found, printable: figures of one model, of two, or the standing of several."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloomery.core.intervals import Interval
    from bloomery.evals.beside import Standings
    from bloomery.evals.compare import Change, Comparison
    from bloomery.evals.measures import Difference
    from bloomery.evals.results import EvalResult
    from bloomery.evals.ungraded import Ungraded


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model, printable."""

    result: EvalResult
    ungraded: tuple[Ungraded, ...] = ()
    said: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row."""
        return self.result.figures()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        from bloomery.evals.measures import measures

        lines = [f"{self.result.model}"]
        for suite in self.result.suites.values():
            for number, one in enumerate(measures(suite)):
                name = f"  {suite.name:28}" if number == 0 else f"    {one.name:26}"
                unit = "bits per byte" if one.name == "bits_per_byte" else f"of {one.examples}"
                lines.append(f"{name} {_level(one.name, one.found.estimate)} {_range(one.name, one.found)} {unit}")
            if not any(record.score is not None for record in suite.records) and suite.kind not in ("bpb", "lm_eval"):
                lines.append(f"  {suite.name:28} {'-':>8}")
        return "\n".join([*lines, *(f"  {one.said()}" for one in self.ungraded), *(f"  {one}" for one in self.said)])


@dataclass(frozen=True, slots=True)
class Compared:
    """What the second model gained and lost, printable."""

    comparison: Comparison
    ungraded: tuple[Ungraded, ...] = ()
    differences: tuple[Difference, ...] = ()
    said: tuple[str, ...] = field(default=())
    tables: tuple[Standings, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row: changes by group, under `figures` every single one, under `pairs` standings."""
        from bloomery.evals.standings import to_json

        groups = {name: _told(change) for name, change in self.comparison.groups.items()}
        pairs = {"pairs": [to_json(one) for one in self.tables]} if self.tables else {}
        return groups | {"figures": [_figure(one) for one in self.differences]} | pairs

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        from bloomery.evals.standings import lines as standings

        lines = [f"{self.comparison.before} -> {self.comparison.after}"]
        for change in (*self.comparison.groups.values(), *self.comparison.changes):
            unit = "%" if change.kind == "bpb" else " points"
            low, mid, high = (100 * v for v in (change.change.low, change.change.estimate, change.change.high))
            sure = f"{low:+.2f} to {high:+.2f}" if math.isfinite(low) else "too few to tell"
            moved = f"{mid:+.2f}{unit} ({sure})"
            lines.append(f"  {change.name:28} {change.before:8.4f} {change.after:8.4f}  {moved}")
            if change.ledger is not None:
                lines.append(f"  {'':28} {_account(change)}")
        lines += [*_figures(self.differences), *standings(self.tables)]
        lines += [f"  {one.said()}" for one in self.ungraded]
        return "\n".join([*lines, *(f"  {one}" for one in self.said)])


@dataclass(frozen=True, slots=True)
class Ranked:
    """How three or more models stand on suites of pairs, printable."""

    results: tuple[EvalResult, ...]
    tables: tuple[Standings, ...]
    ungraded: tuple[Ungraded, ...] = ()
    said: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without any row: the standings of each suite, and each model's own figures."""
        from bloomery.evals.standings import to_json

        return {
            "pairs": [to_json(one) for one in self.tables],
            "models": [result.figures() for result in self.results],
        }

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        from bloomery.evals.standings import lines

        told = [*(f"  {one.said()}" for one in self.ungraded), *(f"  {one}" for one in self.said)]
        return "\n".join([*lines(self.tables), *told])


def _figures(differences: Sequence[Difference]) -> list[str]:
    """Every figure beside the suites' own."""
    lines = []
    for one in differences:
        if one.name in ("score", "bits_per_byte"):
            continue
        told = f"{one.change.estimate:+.4f} {_range('', one.change)} p {one.p_value:.3f} {one.said}"
        lines.append(f"  {f'{one.suite}: {one.name}':44} {one.before:8.4f} {one.after:8.4f}  {told}")
    return ["figures of single suites", *lines] if lines else []


def _level(name: str, value: float) -> str:
    shares = ("score", "pass@", "exact_match", "acc", "mc", "f1")
    if not math.isfinite(value):
        return f"{'-':>8}"
    return f"{value:8.1%}" if name.startswith(shares) else f"{value:8.4f}"


def _range(name: str, found: Interval) -> str:
    if not math.isfinite(found.low):
        return "(too few to tell)"
    return f"({_level(name, found.low).strip()} to {_level(name, found.high).strip()})"


def _account(change: Change) -> str:
    """What became of every graded answer."""
    book = change.ledger
    assert book is not None
    moves = f"right to wrong {book.lost}, wrong to right {book.gained} (by chance {book.by_chance:.1f})"
    return f"{moves}, stayed right {book.stayed_right}, stayed wrong {book.stayed_wrong}, p {book.p_value:.3f}"


def _told(change: Change) -> dict[str, Any]:
    """A change as plain JSON, with its account where answers were graded."""
    found = {"before": change.before, "after": change.after, "change": _bounds(change.change)}
    return found if change.ledger is None else found | {"ledger": asdict(change.ledger)}


def _figure(one: Difference) -> dict[str, Any]:
    found = asdict(one) | {"change": _bounds(one.change), "said": one.said}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def _bounds(interval: Interval) -> dict[str, float | None]:
    """An interval as strict JSON: null where too few documents give no bounds."""
    found = asdict(interval)
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
