"""`report.md`: the report as text, for terminals, pull requests and model cards; no row of anybody's data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bloomery.evals import rolled_section, standings
from bloomery.evals.blended import NAMES
from bloomery.evals.compare import Change
from bloomery.evals.report import Report
from bloomery.evals.wording import (
    GROUPS,
    REWARDS,
    bounds,
    count,
    direction,
    explained,
    intervals,
    label,
    level,
    moved,
    number,
    over_seeds,
    percent,
    reward_note,
    reward_row,
    seconds,
    share,
)


def to_markdown(report: Report) -> str:
    """The whole report as Markdown tables."""
    start, result = report.evaluations
    lines = [
        f"# {_plain(report.title)}",
        "",
        f"**{_plain(report.headline)}**",
        "",
        f"{_plain(result.model)} against its start {_plain(start.model)}, {report.created}. "
        f"Intervals are 95 %, by {intervals(report.seeds)}.",
        "",
        *_groups(report),
        *(f"{_plain(one.said())}.\n" for one in report.ungraded),
        *(f"{_plain(one.said())}.\n" for one in report.judged),
        *_origin(report),
        *_budgets(report),
        *_held(report),
        *_proof(report),
        *_rolled(report),
        *_rewards(report),
        *_skills(report),
        *_pairs(report),
        *_blended(report),
        *_speed(report),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _groups(report: Report) -> Iterator[str]:
    yield from _table(
        ["", "Before", "After", "Change", "95 % interval", ""], [_row(report, n) for n in _present(report)]
    )
    if report.seeds:
        yield (
            "Over seeds: "
            + "; ".join(f"{GROUPS[name].lower()} {over_seeds(seeds)}" for name, seeds in report.seeds.items())
            + "."
        )
        yield ""


def _origin(report: Report) -> Iterator[str]:
    """What the whole recipe did, where this is one of its later trainings."""
    found = report.from_origin
    if found is None:
        return
    moves = "; ".join(f"{GROUPS[n].lower()} {moved(c)} {bounds(c.change)}" for n, c in found.groups.items())
    yield f"From the start of the whole recipe, {_plain(found.before)}: {moves}."
    yield ""


def _present(report: Report) -> list[str]:
    return [name for name in GROUPS if name in report.comparison.groups]


def _row(report: Report, name: str) -> list[str]:
    change = report.comparison.groups[name]
    unit = ", bits per byte" if change.kind == "bpb" else ""
    return [GROUPS[name] + unit, *_values(change), direction(change)]


def _values(change: Change) -> list[str]:
    return [level(change, change.before), level(change, change.after), moved(change), bounds(change.change)]


def _budgets(report: Report) -> Iterator[str]:
    if not report.gate.verdicts:
        return
    yield from ["## Forgetting budget", ""]
    yield from (
        f"- {_plain(explained(verdict))} (interval {bounds(verdict.worse, 2)})" for verdict in report.gate.verdicts
    )
    yield ""


def _held(report: Report) -> Iterator[str]:
    """Every decision of a run that held its budget."""
    if report.held is None:
        return
    yield from ["## Held while training", "", report.held.said(report.gate), ""]
    names = ["Steps", "Rise", "Noise", "Allowed", "KL", "Replay", "Rate", "Then"]
    rows = [
        [f"{k.step:,}", percent(k.rise, 2, True), percent(k.noise, 2), percent(k.allowed, 2), number(k.kl, 3),
         percent(k.replay), f"{k.rate:.2g} ×", k.did]
        for k in report.held.looks
    ]  # fmt: skip
    yield from _table(names, rows)


def _proof(report: Report) -> Iterator[str]:
    if report.proof is None:
        return
    yield from [
        "## Proof",
        "",
        "The figures stand." if report.proof.stands else "The figures do not stand alone yet:",
        "",
    ]
    marks = {True: "x", False: " ", None: "-"}
    yield from (f"- [{marks[c.met]}] {c.name}: {_plain(c.said)}" for c in report.proof.conditions)
    if report.proof.gain_kept is not None:
        kept = report.proof.gain_kept
        over = report.proof.gain_kept_seeds
        seeds = f"; over seeds: {over_seeds(over)}" if over else ""
        yield f"- domain gain kept: {share(kept)} of the domain-only arm's{seeds}"
    yield ""
    if report.arms:
        named = [("this model", report.comparison), *((arm.name, arm.from_start) for arm in report.arms)]
        groups = [name for name in ("domain", "general", "skills") if name in report.comparison.groups]
        rows = [[name, *(f"{moved(c.groups[g])} {bounds(c.groups[g].change)}" for g in groups)] for name, c in named]
        yield from _table(["Arm", *(GROUPS[g] for g in groups)], rows)
        yield from _arm_seeds(report)


def _blended(report: Report) -> Iterator[str]:
    if report.blended is None:
        return
    yield from ["## What was mixed in", ""]
    yield from _table(NAMES, [[_plain(cell) for cell in row] for row in report.blended.rows])
    yield from (f"{_plain(line)}\n" for line in report.blended.said)


def _arm_seeds(report: Report) -> Iterator[str]:
    """Every arm under each seed, and this model against the control of its own seed."""
    beside = [(arm.name, arm.seeds) for arm in report.arms]
    beside.append(("this model against curated-only", report.control_seeds))
    for name, found in beside:
        told = [f"{GROUPS[g].lower()} {over_seeds(found[g])}" for g in ("domain", "general", "skills") if g in found]
        if told:
            yield f"- {name} over seeds: {'; '.join(told)}"
    if report.seeds:
        yield ""


def _rolled(report: Report) -> Iterator[str]:
    if report.rolled is not None:
        said = [line for one in rolled_section.lines(report.rolled) for line in (_plain(one), "")]
        yield from ["## Learning from rewards", "", *said]
        rows = [[_plain(cell) for cell in row] for row in rolled_section.passed(report)]
        yield from _table(rolled_section.NAMES, rows) if rows else ()


def _rewards(report: Report) -> Iterator[str]:
    if report.rewards:
        yield from ["## Rewards", "", reward_note(report.rewards[0]), ""]
        yield from _table(REWARDS, [[_plain(one) for one in reward_row(found)] for found in report.rewards])


def _skills(report: Report) -> Iterator[str]:
    graded = [change for change in report.comparison.changes if change.ledger is not None]
    if not graded:
        return
    yield from ["## By skill" + (" (first seed)" if report.seeds else ""), ""]
    rows = []
    for change in graded:
        book = change.ledger
        assert book is not None
        moves = [str(book.lost), str(book.gained), number(book.by_chance, 1)]
        rows.append([_plain(label(change)), str(change.examples), *_values(change), *moves])
    names = [
        "Skill",
        "Examples",
        "Before",
        "After",
        "Change",
        "95 % interval",
        "Right→wrong",
        "Wrong→right",
        "By chance",
    ]
    yield from _table(names, rows)


def _pairs(report: Report) -> Iterator[str]:
    """How the answers of several models stand beside each other."""
    for found in report.pairs:
        yield from [f"## {_plain(found.suite)}: answers beside each other", ""]
        if table := standings.rows(found):
            yield from _table(standings.NAMES, [[_plain(cell) for cell in row] for row in table])
        yield from (f"{_plain(one[0].upper() + one[1:])}.\n" for one in standings.said(found))


def _speed(report: Report) -> Iterator[str]:
    yield from ["## Speed and cost", ""]
    rows = []
    for name, found in zip(("start", "this model"), report.evaluations, strict=True):
        wait = found.latency() or {}
        times = [seconds(wait[key]) if key in wait else "–" for key in ("p50", "p95")]
        rows.append([name, *times, count(found.tokens), seconds(found.seconds)])
    yield from _table(["", "Answer p50", "Answer p95", "Tokens evaluated", "Evaluation time"], rows)
    if report.spent.tokens is not None:
        took = f" in {seconds(report.spent.seconds)}" if report.spent.seconds is not None else ""
        seed = ", under the first seed" if report.seeds else ""
        yield f"Training: {count(report.spent.tokens)} tokens{took}{seed}."


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|" + "|".join(["---"] + ["---:"] * (len(names) - 1)) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def _plain(text: str) -> str:
    """Text that Markdown does not read as markup or as another cell."""
    for mark in "\\|`*_<>[]":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
