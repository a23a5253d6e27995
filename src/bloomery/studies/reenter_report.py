"""What a re-entry found: a table, sentences that claim no more than was measured, and a page with both trades drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.files import write_json, write_text
from bloomery.core.table import html_table
from bloomery.studies.front import ABILITIES, Standing, choose, front, preferred
from bloomery.studies.reentry import REANNEAL, Reentry

if TYPE_CHECKING:
    from bloomery.evals.compare import Change
    from bloomery.evals.results import EvalResult

SHOWN = ("domain", "domain_answers", "general", *ABILITIES)


@dataclass(frozen=True, slots=True)
class ReenterResult:
    """A re-entry so far. `rows` are as people read them; `winner` is None where no candidate is kept."""

    reentry: Reentry
    folder: Path
    standings: tuple[Standing, ...]
    on_front: tuple[str, ...]
    winner: Standing | None
    said: tuple[str, ...]
    status: str

    @property
    def interrupted(self) -> bool:
        return self.status == "interrupted"

    @property
    def exit_status(self) -> int:
        """130 interrupted, 1 where the re-anneal stopped itself, 3 where no candidate stays within `keep`, else 0."""
        if self.status:
            return 130 if self.interrupted else 1
        return 0 if self.winner else 3

    @property
    def headings(self) -> list[str]:
        return ["model", *self._groups(), "front", "within"]

    @property
    def rows(self) -> list[list[str]]:
        """One row a model: the two it is between, then the candidates."""
        return [
            [
                one.name,
                *(_shown(one.groups.get(name), one is self.standings[0]) for name in self._groups()),
                "yes" if one.name in self.on_front else "",
                ("yes" if one.within(self.reentry.keep) else "no") + (" *" if one is self.winner else ""),
            ]
            for one in self.standings
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figures with their intervals, no rows of data."""
        return {
            "run": self.reentry.run.name,
            "to": self.reentry.later,
            "keep": self.reentry.keep,
            "status": self.status or "done",
            "winner": self.winner.name if self.winner else None,
            "said": list(self.said),
            "models": [_told(one, one.name in self.on_front, self.reentry.keep) for one in self.standings],
        }

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (self.headings, *self.rows)]
        return "\n".join([*lines, "", *self.said])

    def _repr_html_(self) -> str:
        return html_table(self.headings, self.rows)

    def write(self) -> None:
        """Write `table.txt`, `report.json`, `report.md` and `report.html` into the queue's folder; figures only."""
        from bloomery.studies.reenter_page import to_html

        write_text(self.folder / "table.txt", f"{self}\n")
        write_json(self.folder / "report.json", self.to_json())
        write_text(self.folder / "report.md", self._markdown())
        write_text(self.folder / "report.html", to_html(self))

    def _groups(self) -> list[str]:
        return [name for name in SHOWN if any(name in one.groups for one in self.standings)]

    def _markdown(self) -> str:
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"# {self.reentry.run.name} back to {self.reentry.later}\n\n{table}\n\n" + "\n\n".join(self.said) + "\n"


def result_of(
    reentry: Reentry, folder: Path, standings: Sequence[Standing], status: str, results: Mapping[str, EvalResult]
) -> ReenterResult:
    """The result from what was scored so far."""
    winner = choose(standings, reentry.keep)
    on_front = tuple(one.name for one in front(standings))
    unfinished = len(results) < len(reentry.candidates()) and status != "failed"
    verdict = ("So far: " if unfinished else "") + _verdict(reentry, standings, winner)
    said = [verdict, *_merges_said(reentry, standings, results, status)]
    if reentry.anneal is None and reentry.sft is not None:
        said.append(
            f"The re-anneal is fine-tuning alone: `{reentry.family.name}` has no open data of the stages before."
        )
    said.append(
        f"within: general text and the mean of graded scores at most {100 * reentry.keep:.3g} % and points behind "
        f"{reentry.later}; front: no other model is as good in domain, general text and mean score. The choice was "
        "made on these rows, which flatters it: `bloomery compare` on others says what it is worth."
    )
    return ReenterResult(reentry, folder, tuple(standings), on_front, winner, tuple(said), status)


def _verdict(reentry: Reentry, standings: Sequence[Standing], winner: Standing | None) -> str:
    if winner is not None:
        return f"Kept: {winner.name}. Against {reentry.later}: {_account(winner)}."
    candidates = [one for one in standings if not one.baseline]
    if not candidates:
        return "No candidate was scored."
    near = preferred(candidates, reentry.keep)
    limit = f"{100 * reentry.keep:.3g} %"
    if near.within(reentry.keep):
        reason = f"none within {limit} of {reentry.later} has both a better domain than it and a place on the front"
    else:
        reason = f"none stays within {limit} of {reentry.later}"
    return f"None is kept: {reason}. The nearest is {near.name}: {_account(near)}."


def _merges_said(
    reentry: Reentry, standings: Sequence[Standing], results: Mapping[str, EvalResult], status: str
) -> list[str]:
    """Whether merging was worth it, said only as it was measured: against the re-anneal, on the same rows."""
    from bloomery.evals.compare import compare

    if reentry.why_not:
        return [f"No re-anneal to compare with: {reentry.why_not}."]
    again = next((one for one in standings if one.name == REANNEAL), None)
    merges = [one for one in standings if not one.baseline and one is not again]
    if again is None or not merges:
        return ["The re-anneal stopped itself: see its log." if status == "failed" else "The re-anneal is not done."]
    best = preferred(merges, reentry.keep)
    moved = compare(results[again.name], results[best.name]).groups["domain"]
    against = f"against it {_moved(moved)} on the domain{_sure(moved)}"
    if preferred([again, best], reentry.keep) is best:
        return [f"On these rows {best.name} is to be preferred to the re-anneal: {against}."]
    return [f"No merge beats the re-anneal. The best of them is {best.name}: {against}; {_account(best)}."]


def _account(one: Standing) -> str:
    return (
        f"{_moved(one.groups['domain'])} on the domain{_sure(one.groups['domain'])}, general text "
        f"{100 * one.general:+.1f} % bits, graded scores {-100 * one.abilities:+.1f} points on average"
    )


def _moved(change: Change) -> str:
    unit = "% bits" if change.kind == "bpb" else "points"
    return f"{100 * change.change.estimate:+.1f} {unit}"


def _sure(change: Change) -> str:
    low, high = 100 * change.change.low, 100 * change.change.high
    return f" ({low:+.1f} to {high:+.1f})" if low == low and high == high else " (too few rows for an interval)"


def _shown(change: Change | None, reference: bool) -> str:
    if change is None:
        return ""
    value = f"{change.after:.4f}" if change.kind == "bpb" else f"{100 * change.after:.1f} %"
    if reference:
        return value
    unit = "%" if change.kind == "bpb" else "pt"
    return f"{value} ({100 * change.change.estimate:+.1f} {unit})"


def _told(one: Standing, on_front: bool, keep: float) -> dict[str, Any]:
    def bounds(change: Change) -> dict[str, float | None]:
        ends = {end: getattr(change.change, end) for end in ("estimate", "low", "high")}
        return {"value": change.after} | {end: x if x == x else None for end, x in ends.items()}

    return {
        "name": one.name,
        "baseline": one.baseline,
        "front": on_front,
        "within": one.within(keep),
        "groups": {name: bounds(change) for name, change in one.groups.items()},
    }
