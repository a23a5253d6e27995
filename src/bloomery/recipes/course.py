"""What a plan does over its steps, shown: the learning rate and the blend, as lines of text or as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.files import write_text
from bloomery.core.rows import Segment
from bloomery.recipes.configure import train_config
from bloomery.recipes.plan import Plan

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDE = 44
"""Characters of a line of blocks; with its name and a few words it fits 80 columns."""

POINTS = 400
"""Steps drawn at most: a line of 814 pixels shows no more."""

FORMS = (".svg", ".html")


def course_lines(plan: Plan) -> str:
    """Two lines of blocks over the run, the rate and the domain's share, and one for each phase where there are any."""
    config = train_config(plan)
    rates = [value for _, value in _rates(plan, WIDE)]
    top = max(rates) or 1.0
    domain = [_domain(plan, _at(_parts(plan), step)) for step, _ in _rates(plan, WIDE)]
    return "\n".join(
        [
            f"rate    {_blocks([value / top for value in rates])}  at most {config.schedule.lr:g}",
            f"domain  {_blocks(domain)}  {_spread(domain)}",
            *(f"        {note}" for note in _notes(plan, 0) if len(_parts(plan)) > 1),
        ]
    )


def draw(plans: Sequence[Plan], path: Path) -> None:
    """Write the drawing of trainings that follow each other, as `.svg` or `.html`, readable by its owner only."""
    from bloomery.evals.planned import as_page, as_svg, planned

    check_file(path)
    rates: list[tuple[float, float]] = []
    parts: list[Segment] = []
    notes: list[str] = []
    begin = 0
    for plan in plans:
        rates += [(begin + step, value) for step, value in _rates(plan, POINTS)]
        parts += [Segment(begin + part.start, part.share) for part in _parts(plan)]
        notes += _notes(plan, begin)
        begin += plan.arm().steps
    drawing = planned(rates, parts, notes)
    text = as_svg(drawing) if path.suffix == ".svg" else as_page(drawing, plans[-1].get("name"))
    write_text(path, text, 0o600)


def check_file(path: Path) -> None:
    """Raise `InputError` for a name that says neither form."""
    if path.suffix not in FORMS:
        raise InputError(f"`--plot {path}` is neither of {', '.join(FORMS)}", fix="give a file such as plan.svg")


def _rates(plan: Plan, most: int) -> list[tuple[int, float]]:
    """(step, rate) of at most so many steps, the first and the last among them."""
    from bloomery.train.schedule import lr_at

    schedule = train_config(plan).schedule
    last = schedule.steps - 1
    chosen = {round(last * place / max(1, most - 1)) for place in range(most)}
    return [(step, lr_at(step, schedule)) for step in sorted(chosen)]


def _parts(plan: Plan) -> list[Segment]:
    """The blend by phase; stages from easy to hard are inside a source."""
    return [Segment(part["start"], dict(part["share"])) for part in plan.arm().segments]


def _at(parts: Sequence[Segment], step: int) -> Segment:
    return [part for part in parts if part.start <= step][-1]


def _domain(plan: Plan, part: Segment) -> float:
    return sum(part.share.get(source.name, 0.0) for source in plan.sources if source.role == "domain")


def _blocks(values: Sequence[float]) -> str:
    """Values in [0, 1] as blocks, stretched to `WIDE`: what is above zero is seen."""
    heights = [min(8, max(1 if value > 0 else 0, round(8 * value))) for value in values]
    return "".join(BLOCKS[heights[place * len(heights) // WIDE]] for place in range(WIDE))


def _spread(shares: Sequence[float]) -> str:
    low, high = min(shares), max(shares)
    return f"{high:.0%}" if high - low < 0.005 else f"{low:.0%} to {high:.0%}"


def _notes(plan: Plan, begin: int) -> list[str]:
    """What each segment blends, with the name of its phase."""
    names, parts = [phase["name"] for phase in plan.get("asked.phases")], _parts(plan)
    found = []
    for number, part in enumerate(parts):
        name = f"{names[number]}, " if len(names) == len(parts) else f"{plan.get('name')}, " if begin else ""
        blend = ", ".join(f"{source} {share:.0%}" for source, share in part.share.items())
        found.append(f"{name}from step {begin + part.start:,}: {blend}")
    return found
