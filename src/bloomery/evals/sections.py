"""The sections of the page below its figures; each is left out where there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bloomery.evals import standings
from bloomery.evals.blended import NAMES
from bloomery.evals.bootstrap import FEWEST
from bloomery.evals.charts import Bar, arms_chart, dumbbell, shares
from bloomery.evals.compare import Change, Comparison
from bloomery.evals.course import course
from bloomery.evals.hold_chart import hold_chart
from bloomery.evals.html import Child, Markup, el
from bloomery.evals.ledger import Ledger
from bloomery.evals.proof import DOMAIN_ONLY, Arm
from bloomery.evals.report import Example, Report
from bloomery.evals.seeds import Seeds
from bloomery.evals.wording import (
    GROUPS,
    REWARDS,
    bounds,
    count,
    direction,
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

TONES = {"better": "good", "worse": "bad", "unclear": "flat", "too few": "flat"}
ARMS = {
    DOMAIN_ONLY: "domain only",
    "curated-only": "curated only",
    "domain-only-equal-total": "domain only, equal total",
}


def arms(report: Report) -> Markup | None:
    """This model and the arms beside it, and the conditions under which the figures stand."""
    if report.proof is None:
        return None
    every = [("this model", report.comparison, True)]
    every += [(ARMS.get(arm.name, arm.name), arm.from_start, False) for arm in report.arms]
    limit = next((v.budget for v in report.gate.verdicts if v.name == "general"), None)
    charts = [
        arms_chart(f"{GROUPS[name]}: {_unit(every[0][1].groups[name])} against the start", _bars(every, name),
                   limit if name == "general" else None, f"budget {percent(limit or 0, 2)}")
        for name in ("domain", "general") if name in report.comparison.groups
    ]  # fmt: skip
    return el(
        "section", el("h2", "Proof"), _conditions(report), [el("figure", chart) for chart in charts], _arm_table(report)
    )


def _unit(change: Change) -> str:
    return "change of bits per byte" if change.kind == "bpb" else "change of the score"


def _bars(every: Sequence[tuple[str, Comparison, bool]], group: str) -> list[Bar]:
    found = [
        (name, comparison.groups[group], strong) for name, comparison, strong in every if group in comparison.groups
    ]
    return [Bar(name, c.change, moved(c), TONES[direction(c)], strong) for name, c, strong in found]


def _conditions(report: Report) -> Markup:
    assert report.proof is not None
    marks = {True: ("✓", "good", "met"), False: ("✕", "bad", "not met"), None: ("–", "flat", "not asked for")}
    rows = []
    for condition in report.proof.conditions:
        mark, tone, said = marks[condition.met]
        icon = el("span", mark, class_=f"mark tone-{tone}", role="img", aria_label=said)
        rows.append(el("li", icon, el("span", el("strong", condition.name), ": ", condition.said)))
    kept = report.proof.gain_kept
    if kept is not None:
        over = report.proof.gain_kept_seeds
        seeds = f"; over seeds {over_seeds(over)}" if over else ""
        said = f"{share(kept)} of the domain-only arm's gain, at equal domain tokens{seeds}"
        icon = el("span", "→", class_="mark tone-flat", aria_hidden="true")
        rows.append(el("li", icon, el("span", el("strong", "domain gain kept"), ": ", said)))
    return el("ul", rows, class_="conditions")


def _arm_table(report: Report) -> Markup | None:
    """Arms as columns, so that the table keeps its width however much is measured."""
    if not report.arms:
        return None
    columns = [Arm("this model", report.comparison, report.spent.tokens, report.spent.seconds, report.seeds)]
    columns += [replace(arm, name=ARMS.get(arm.name, arm.name)) for arm in report.arms]
    if report.against_control is not None:
        beside = Arm("this model, against curated only", report.against_control, seeds=report.control_seeds)
        columns.insert(1, beside)
    rows: list[list[Child]] = [
        [GROUPS[group], *(_with_interval(c.from_start.groups.get(group), c.seeds.get(group)) for c in columns)]
        for group in GROUPS if group in report.comparison.groups
    ]  # fmt: skip
    rows.append(["Tokens trained", *("–" if c.tokens is None else count(c.tokens) for c in columns)])
    rows.append(["Training time", *("–" if c.seconds is None else seconds(c.seconds) for c in columns)])
    return table("Change from the start, by arm", ["Change from the start", *(c.name for c in columns)], rows)


def _with_interval(change: Change | None, over: Seeds | None = None) -> Child:
    if change is None:
        return "–"
    seeds = el("small", f"seeds: {over_seeds(over)}") if over else None
    said = el("span", moved(change), class_=f"tone-{TONES[direction(change)]}")
    return [said, el("small", bounds(change.change)), seeds]


def rewards(report: Report) -> Markup | None:
    """Implicit rewards on held-out preferences."""
    if not report.rewards:
        return None
    rows: list[list[Child]] = [[*reward_row(found)] for found in report.rewards]
    lead = el("p", reward_note(report.rewards[0]), class_="lead")
    return el("section", el("h2", "Rewards"), lead, table("Rewards on held-out preferences", REWARDS, rows))


def skills(report: Report) -> Markup | None:
    """Every graded suite or skill, the worst change first."""
    graded = [c for c in report.comparison.changes if c.ledger is not None]
    if not graded:
        return None
    rows = [_skill(change) for change in sorted(graded, key=lambda c: (c.change.estimate, c.name))]
    names = ["Skill", "Examples", "Before", "After", "○ before, ● after", "Change", "Lost", "Gained", "By chance", "p"]
    caption = "Scores before and after, by skill" + (", under the first seed" if report.seeds else "")
    return el("section", el("h2", "Skill by skill"), table(caption, names, rows))


def _skill(change: Change) -> list[Child]:
    book, tone = change.ledger, TONES[direction(change)]
    assert book is not None
    before, after = percent(change.before, 0), percent(change.after, 0)
    drawing = dumbbell(change.before, change.after, tone, f"{change.name}: {before} to {after}")
    counted = f"{change.examples:,}" + (f" ({change.unscorable} ungraded)" if change.unscorable else "")
    chance, p = number(book.by_chance, 1), number(book.p_value, 3)
    return [
        label(change),
        counted,
        before,
        after,
        drawing,
        _with_interval(change),
        str(book.lost),
        str(book.gained),
        chance,
        p,
    ]


def pairs(report: Report) -> list[Markup]:
    """How the answers of start and arms stand beside each other, by suite of pairs."""
    found = []
    for one in report.pairs:
        rows: list[list[Child]] = [[*row] for row in standings.rows(one)]
        lead = [el("p", f"{text[0].upper()}{text[1:]}.", class_="lead") for text in standings.said(one)]
        drawn = table(f"{one.suite}: who beats whom", standings.NAMES, rows) if rows else None
        found.append(el("section", el("h2", f"{one.suite}: answers beside each other"), lead, drawn))
    return found


def ledgers(report: Report) -> Markup | None:
    """What became of every graded answer, and examples of those that moved."""
    graded = {name: c for name, c in report.comparison.groups.items() if c.ledger is not None}
    if not graded:
        return None
    bars = [_ledger(GROUPS[name], change.ledger) for name, change in graded.items() if change.ledger is not None]
    lead = "An average can stand still while answers are lost and others found. Every example is accounted for here."
    return el("section", el("h2", "Ledger"), el("p", lead, class_="lead"), bars, _examples(report.examples))


def _ledger(name: str, book: Ledger) -> Markup:
    parts = [
        ("stayed right", book.stayed_right, "stayed-right"),
        ("wrong → right", book.gained, "gained"),
        ("right → wrong", book.lost, "lost"),
        ("stayed wrong", book.stayed_wrong, "stayed-wrong"),
    ]
    key = [el("span", el("i", class_=f"key {class_}"), f"{said} {n:,}") for said, n, class_ in parts]
    net = f"beyond chance: {number(book.gained_beyond_chance, 1)} gained, {number(book.lost_beyond_chance, 1)} lost"
    said = f"{name}: " + ", ".join(f"{said} {n}" for said, n, _ in parts)
    return el("div", el("h3", name), shares(parts, said), el("p", key, el("span", net), class_="keys"), class_="ledger")


def _examples(examples: Sequence[Example]) -> list[Markup]:
    suites = dict.fromkeys(example.suite for example in examples)
    return [_suite_examples(suite, [e for e in examples if e.suite == suite]) for suite in suites]


def _suite_examples(suite: str, examples: Sequence[Example]) -> Markup:
    lost = sum(example.moved == "lost" for example in examples)
    title = f"{suite}: {lost} lost, {len(examples) - lost} gained shown"
    return el("details", el("summary", title), [_example(example) for example in examples])


def _example(example: Example) -> Markup:
    lost = example.moved == "lost"
    fields = [
        ("Asked", example.prompt),
        ("Expected", example.reference),
        ("Before", example.before),
        ("After", example.after),
    ]
    listed = [(el("dt", name), el("dd", el("pre", text or "(nothing)", dir="auto"))) for name, text in fields]
    moved_said = el("p", "right → wrong" if lost else "wrong → right", class_=f"tone-{'bad' if lost else 'good'} way")
    return el("article", moved_said, el("dl", listed), class_="example")


def run(report: Report) -> Markup | None:
    """Loss, learning rate and blend of the training run."""
    if report.curve is None:
        return None
    lead = "The smoothed line is an exponential mean; dots are the loss on held-out rows."
    return el("section", el("h2", "Training"), el("p", lead, class_="lead"), el("figure", course(report.curve)))


def held(report: Report) -> Markup | None:
    """How the forgetting budget was held: every measurement, and what followed from it."""
    if report.held is None:
        return None
    seed = " The figure is of the first seed." if report.seeds else ""
    lead = f"{report.held.said(report.gate)}{seed}"
    chart = el("figure", hold_chart(report.held))
    return el("section", el("h2", "Held while training"), el("p", lead, class_="lead"), chart)


def blend(report: Report) -> Markup | None:
    """What was really mixed in, by source."""
    if report.blended is None:
        return None
    said = [el("p", line, class_="lead") for line in report.blended.said]
    return el("section", el("h2", "What was mixed in"), said, table("By source", NAMES, report.blended.rows))


def cost(report: Report) -> Markup:
    """Latency, tokens and time."""
    rows: list[list[Child]] = []
    for name, found in zip(("start", "this model"), report.evaluations, strict=True):
        wait = found.latency() or {}
        times = [seconds(wait[key]) if key in wait else "–" for key in ("p50", "p95")]
        rows.append([name, *times, count(found.tokens), seconds(found.seconds)])
    names = ["", "Answer p50", "Answer p95", "Tokens evaluated", "Evaluation time"]
    spent = report.spent
    took = f" in {seconds(spent.seconds)}" if spent.seconds is not None else ""
    seed = ", under the first seed" if report.seeds else ""
    trained = (
        None
        if spent.tokens is None
        else el("p", f"Training took {count(spent.tokens)} tokens{took}{seed}.", class_="lead")
    )
    return el("section", el("h2", "Speed and cost"), trained, table("Latency and cost", names, rows))


def method(report: Report) -> Markup:
    """How the figures were made, in a few lines."""
    general = report.comparison.groups.get("general")
    unit = level(general, general.before) if general else None
    lines = [
        f"Intervals are 95 %, by {intervals(report.seeds)}: both models on the same "
        f"{report.comparison.draws:,} resamples. Fewer than {FEWEST} documents give none.",
        "Bits per byte are sums over all documents divided by their bytes; a change of them is relative."
        + (f" General text began at {unit}." if unit else ""),
        "Scores are means over examples; a group of skills weighs every skill the same. Changes are in points.",
        "Lost: right before, wrong after; gained: the reverse; by chance: moves expected where both models guess.",
        "p: exact sign test of lost against gained, how often equal models would differ as much.",
        "An answer that could not be graded has no score and is left out of both sides, in pairs.",
        "Latency is from the start of an answer's batch to its last token.",
    ]
    return el("footer", el("h2", "How this was measured"), el("ul", [el("li", line) for line in lines]))


def table(caption: str, names: Sequence[str], rows: Sequence[Sequence[Child]]) -> Markup:
    """A table that scrolls by itself where it is too wide."""
    head = el("tr", [el("th", name, scope="col") for name in names])
    body = [el("tr", el("th", row[0], scope="row"), [el("td", cell) for cell in row[1:]]) for row in rows]
    inner = el("table", el("caption", caption), el("thead", head), el("tbody", body))
    return el("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
