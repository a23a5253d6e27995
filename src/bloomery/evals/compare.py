"""One evaluation against another: what changed, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.intervals import Interval, clopper_pearson, percentile
from bloomery.evals.bootstrap import DRAWS, Array, enough, resampled_sums
from bloomery.evals.ledger import Entry, Ledger, ledger
from bloomery.evals.results import BITS_PER_NAT, EvalResult, Record, SuiteResult


@dataclass(frozen=True, slots=True)
class Change:
    """One figure before and after. For bits per byte `change` is relative (+0.01 = one per cent more, worse);
    for scores it is the difference (+0.01 = one point more, better)."""

    name: str
    group: str
    kind: str
    examples: int
    before: float
    after: float
    change: Interval
    ledger: Ledger | None = None
    """For scores; None for bits per byte."""
    unscorable: int = 0
    """Pairs left out because one of the two could not be graded."""

    @property
    def worse(self) -> Interval:
        """The change turned so that more is worse, whatever the figure."""
        return self.change if self.kind == "bpb" else self.change.scaled(-1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Changes by suite and skill, and by group; group figures are means over skills, or pooled bits per byte."""

    before: str
    after: str
    changes: tuple[Change, ...]
    groups: dict[str, Change]
    """By group; `domain_answers`, `general_answers` and `skills_text` stand beside one that has both kinds."""
    draws: int = DRAWS


@dataclass(frozen=True, slots=True)
class _Cell:
    """Pairs of one suite and skill, all graded."""

    name: str
    group: str
    kind: str
    pairs: list[tuple[Record, Record]]

    def columns(self) -> Array:
        """[n, 3]: nats before, nats after and bytes; or scores before, after, and 1."""
        rows: list[tuple[float, float, float]]
        if self.kind == "bpb":  # another tokenizer may leave another first token unscored: count both on one text
            rows = [(b.nats, a.nats * b.bytes / max(a.bytes, 1), float(b.bytes)) for b, a in self.pairs]
        else:
            rows = [(b.score or 0.0, a.score or 0.0, 1.0) for b, a in self.pairs]
        return np.array(rows, dtype=np.float64)


def compare(
    before: EvalResult, after: EvalResult, *, repeat: EvalResult | None = None, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compare the suites that both have, example by example.

    `repeat` is a second evaluation of the *before* model with another sampling seed: what moves between
    the two is chance. Raises `InputError` when the two share no suite, or hold different examples.
    """
    cells = _cells(before, after)
    noise = _noise(before, repeat) if repeat is not None else {}
    changes, drawn = [], {}
    for number, (cell, left_out) in enumerate(cells):
        columns = cell.columns()
        drawn[cell.name] = resampled_sums(columns, draws, seed + number)
        changes.append(_change(cell, columns, drawn[cell.name], left_out, noise.get(cell.name)))
    groups = {}
    for name, members in _grouped(changes).items():
        held = {member.name for member in members}
        pairs = [pair for cell, _ in cells if cell.name in held for pair in cell.pairs]
        groups[name] = _pooled(name, members, [drawn[m.name] for m in members], pairs, noise)
    return Comparison(before.model, after.model, tuple(changes), groups, draws)


def _grouped(changes: Sequence[Change]) -> dict[str, list[Change]]:
    """Changes by group. Bits and scores have no common mean: where a group has both, the ones that are not its
    measure (bits for the domain and general text, scores for the rest) get a group of their own beside it."""
    found: dict[str, list[Change]] = {}
    for group in dict.fromkeys(change.group for change in changes):
        bits = [c for c in changes if c.group == group and c.kind == "bpb"]
        scored = [c for c in changes if c.group == group and c.kind != "bpb"]
        in_bits = bool(bits) and (group in ("domain", "general") or not scored)
        main, other = (bits, scored) if in_bits else (scored, bits)
        found |= {group: main} | ({f"{group}_{'answers' if in_bits else 'text'}": other} if other else {})
    return found


def _cells(before: EvalResult, after: EvalResult) -> list[tuple[_Cell, int]]:
    """Cells with how many of their pairs could not be graded; cells left empty by that are dropped."""
    common = [name for name in before.suites if name in after.suites]
    if not common:
        raise InputError(
            f"`{before.model}` and `{after.model}` were not evaluated on one common suite",
            fix="evaluate both on the same suites",
        )
    cells = []
    for name in common:
        old, new = before.suites[name], after.suites[name]
        pairs = _paired(old, new)
        for part in dict.fromkeys(b.part for b, _ in pairs):
            own = [(b, a) for b, a in pairs if b.part == part]
            graded = [(b, a) for b, a in own if old.kind == "bpb" or (b.score is not None and a.score is not None)]
            label = f"{name}/{part}" if part and part != name else name
            if graded:
                cells.append((_Cell(label, old.group, old.kind, graded), len(own) - len(graded)))
    return cells


def _paired(old: SuiteResult, new: SuiteResult) -> list[tuple[Record, Record]]:
    different = [i for i, (b, a) in enumerate(zip(old.records, new.records, strict=False)) if b.id != a.id]
    if different or len(old.records) != len(new.records) or old.kind != new.kind:
        what = (
            f"differ at example {different[0] + 1}" if different else f"are {len(old.records)} and {len(new.records)}"
        )
        raise InputError(
            f"the examples of the suite `{old.name}` {what}: not the same rows", fix="evaluate both on the same rows"
        )
    return list(zip(old.records, new.records, strict=True))


def _change(cell: _Cell, columns: Array, drawn: Array, left_out: int, noise: int | None) -> Change:
    before, after, size = columns.sum(0)
    made = _values(cell.kind, before, after, size)
    book = None if cell.kind == "bpb" else _book(cell.pairs, noise)
    found = percentile(float(_moved(cell.kind, columns.sum(0)[None])[0]), _moved(cell.kind, drawn))
    change = _interval(cell.kind, columns, found, len(cell.pairs))
    return Change(cell.name, cell.group, cell.kind, len(cell.pairs), *made, change, book, left_out)


def _pooled(
    group: str, members: list[Change], drawn: list[Array], pairs: Sequence[tuple[Record, Record]], noise: dict[str, int]
) -> Change:
    """Bits per byte pool all bytes of the group, scores weigh every skill the same."""
    examples, left_out = sum(m.examples for m in members), sum(m.unscorable for m in members)
    if members[0].kind == "bpb":
        sums = np.sum(drawn, axis=0)
        cell = _Cell(group, group, "bpb", list(pairs))
        return _change(cell, cell.columns(), sums, left_out, None)
    before, after = float(np.mean([m.before for m in members])), float(np.mean([m.after for m in members]))
    moved = np.mean([_moved(m.kind, d) for m, d in zip(members, drawn, strict=True)], axis=0)
    book = _book(pairs, sum(noise[m.name] for m in members) if noise else None)
    kind, found = members[0].kind, percentile(after - before, moved)
    varied = sum(m.examples for m in members if m.examples > 1)  # a skill of one example is drawn alike every time
    found = _interval(kind, np.array([(b.score or 0.0, a.score or 0.0) for b, a in pairs]), found, varied)
    return Change(group, group, kind, examples, before, after, found, book, left_out)


def _interval(kind: str, columns: Array, found: Interval, examples: int) -> Interval:
    """The interval, but without bounds from too few examples, and never of no width because no score happened to move.

    Resampling pairs that all stood still draws stillness only. With n of them, moves in one direction
    rarer than Clopper and Pearson's bound, about 3.7 / n, would be missed once in forty times. What is no share, as a
    number of turns, has no such bound.
    """
    share = bool(np.all((columns >= 0) & (columns <= 1)))
    if kind == "bpb" or not share or np.any(columns[:, 0] != columns[:, 1]):
        return enough(found, examples)
    unseen = clopper_pearson(0, len(columns)).high
    return enough(Interval(found.estimate, found.estimate - unseen, found.estimate + unseen), examples)


def _values(kind: str, before: float, after: float, size: float) -> tuple[float, float]:
    unit = BITS_PER_NAT if kind == "bpb" else 1.0
    return float(before * unit / size), float(after * unit / size)


def _moved(kind: str, sums: Array) -> Array:
    """[draws, 3] sums -> the change of each draw: a ratio of sums less one, or a difference of means."""
    if kind == "bpb":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(sums[:, 1] / sums[:, 0] - 1)
    return np.asarray((sums[:, 1] - sums[:, 0]) / sums[:, 2])


def _book(pairs: Sequence[tuple[Record, Record]], noise: int | None) -> Ledger:
    return ledger([Entry(b.score or 0.0, a.score or 0.0, b.chance) for b, a in pairs], noise)


def _noise(before: EvalResult, repeat: EvalResult) -> dict[str, int]:
    """Right-to-wrong moves between two evaluations of one model, by cell."""
    return {cell.name: _book(cell.pairs, 0).lost for cell, _ in _cells(before, repeat) if cell.kind != "bpb"}
