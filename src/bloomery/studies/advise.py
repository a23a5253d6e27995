"""`bloomery advise`: from data to a checkpoint, a method, a blend, a budget and a recipe, each with its reason.

    look_at (kind, volume) -> distances (under each checkpoint) -> rules -> [measured: forks of the stages] -> recipe

What comes from a rule and what from a measurement is told apart everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.files import write_text
from bloomery.core.table import html_table
from bloomery.families.registry import Family, load_family
from bloomery.families.rules import (
    Distance,
    Rule,
    choose_start,
    domain_share,
    forgetting,
    rule_for,
)
from bloomery.recipes.start import from_family
from bloomery.studies.advise_distance import StageDistance, distances, far_or_near, stages_of
from bloomery.studies.advise_look import Look, look_at
from bloomery.studies.advise_recipe import Choice, checked, recipe_text

if TYPE_CHECKING:
    from bloomery.recipes.explain import Explanation
    from bloomery.studies.advise_measure import Measured

KEEP = 0.01
"""Forgetting budget where none is given, as `bloomery init` proposes."""

FEWEST_ROWS = 20
"""Documents under which nothing is held out that could tell a gain from chance."""

FEWEST_TOKENS = 5_000
"""Tokens under which all of it fits into a prompt."""

LARGE_DOCUMENT = 20_000
"""Tokens a row, on average, from which few rows are whole books, not too little data."""

PASSES = (2.0, 1.0, 0.5, 0.25, 0.1)
"""Passes over the data that are tried where more cannot be blended."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with some data, and why. `recipe` and `plan` are None where it cannot, or should not, be trained on.

    `gain` is the relative change of domain bits per byte (low, high, where from), None where nothing bounds it.
    """

    family: str
    look: Look
    distance: Distance
    stages: tuple[StageDistance, ...]
    rule: Rule
    first: str
    choice: Choice | None = None
    recipe: str | None = None
    plan: Explanation | None = None
    gain: tuple[float, float, str] | None = None
    forgetting: tuple[float, float, str] | None = None
    measured: Measured | None = None

    def write(self, path: Path) -> Path:
        """Write the recipe. Raises `InputError` where there is none, and for a file that exists."""
        if self.recipe is None:
            raise InputError("there is no recipe for this data", fix=self.first)
        if path.exists():
            raise InputError(f"`{path}` exists already", fix="choose another --out")
        write_text(path, self.recipe)
        return path

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value."""
        from bloomery.studies.advise_show import as_json

        return as_json(self)

    def __str__(self) -> str:
        from bloomery.studies.advise_show import lines

        told = "\n".join(f"{label:11} {text}" for label, text in lines(self))
        return told if self.recipe is None else f"{told}\n\n{self.recipe}"

    def _repr_html_(self) -> str:
        from bloomery.studies.advise_show import lines

        return html_table((), lines(self)) + (f"<pre>{escape(self.recipe)}</pre>" if self.recipe else "")


def advise(
    data: Sequence[str],
    family: str = "ember",
    *,
    keep: float | None = KEEP,
    measure: bool = False,
    download: bool = False,
    columns: Mapping[str, str] | None = None,
    folder: Path | None = None,
    say: Say = lambda text: None,
) -> Advice:
    """Advice for files, folders, globs, `builtin:NAME` or `demo`, whose `columns` may be named by role.

    `keep` is the largest relative rise of general bits per byte, None for none; `download` allows weights and general
    text to be fetched; `measure` forks the stages; `folder` is where the recipe will lie (default: here). Raises
    `InputError` for data that no run could read and a family that is not there.
    """
    known = load_family(family)
    start = from_family(known, stages_of(known)[0]) if stages_of(known) else None
    if start is None:
        raise InputError(f"the family `{family}` has no trained checkpoint", fix="use `start: scaffold` in a recipe")
    here = start.tokenizer if start.tokenizer and (Path(start.tokenizer) / "tokenizer.json").is_file() else None
    look = look_at(data, here, start.chat_template, columns)
    stages = distances(known, look, download, say)
    distance = far_or_near(stages)
    rule = rule_for(look.kind, look.tokens, distance)
    few = "" if look.kind == "reward" else too_little(look)
    advice = Advice(family, look, distance, stages, rule, few or _first(look, rule))
    if look.kind == "reward" or few:
        return advice
    choice = _choice(known, look, rule, distance, keep)
    advice = _with_recipe(advice, choice, folder or Path())
    if not measure:
        return advice
    return _measured(advice, known, keep, folder or Path(), say)


def _first(look: Look, rule: Rule) -> str:
    """What to do before training, or instead; where an answer may stand in a column of another name, that."""
    unnamed = [name for one in look.sources for name in one.unnamed]
    if look.kind != "reward" or not unnamed:
        return rule.first
    told = ", ".join(f"`{name}`" for name in dict.fromkeys(unnamed))
    return f"where one of {told} holds the answers, say so: --columns response={unnamed[0]}; else {rule.first}"


def too_little(look: Look) -> str:
    """What to do with data too small to train on; empty where it is not."""
    if look.rows < FEWEST_ROWS and look.tokens / max(1, look.rows) > LARGE_DOCUMENT:
        return f"split it into documents (chapters, say): of {look.rows} rows none can be held out to judge by"
    if look.rows >= FEWEST_ROWS and look.tokens >= FEWEST_TOKENS:
        return ""
    few = f"{look.rows} rows, {look.tokens:,} tokens are too few to train on: "
    if look.kind in ("text", "mixed"):
        return f"{few}put them into the prompt, or look them up (retrieval); to train, synthesise more from them"
    return f"{few}use them as examples in the prompt (few-shot); to train, collect or synthesise some hundreds"


def _choice(family: Family, look: Look, rule: Rule, distance: Distance, keep: float | None) -> Choice:
    stage, why = choose_start(family, look.kind, look.tokens, distance)
    adapters = "adapters forget less and are enough for little data (arXiv 2405.09673)"
    method = (rule.method, adapters if rule.method == "lora" else "full weights learn more (arXiv 2405.09673)")
    share = domain_share(keep, distance, family.file.parameters)
    repeated = f"{rule.epochs:g} passes: text repeated up to four times is nearly as good as fresh"
    usual = "one pass over your data" if rule.epochs == 1 else "two passes over conversations (Olmo 3)"
    return Choice(family.name, (stage, why), method, share, (rule.epochs, repeated if rule.epochs > 2 else usual), keep)


def _with_recipe(advice: Advice, choice: Choice, folder: Path) -> Advice:
    """The advice with its recipe; where the family brings no general data for it, without a share and a budget."""
    specs = [one.spec for one in advice.look.sources if one.kind != "reward" and one.rows > 1]
    choice, text, plan = _bearable(choice, specs, folder)
    if plan.plan is not None and plan.plan.get("curated.mix") is None:
        choice, text, plan = _bearable(replace(choice, share=None, keep=None), specs, folder)
    known = forgetting(choice.share[0] if choice.share else 1.0, _parameters(advice.family))
    bounds = (known.low, known.high, f"by rule, on record: {known.source}")
    return replace(
        advice, choice=choice, recipe=text, plan=plan, gain=_gain_by_rule(advice, choice.start[0]), forgetting=bounds
    )


def _bearable(choice: Choice, specs: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Choice, str, Explanation]:
    """The recipe, with fewer passes over the data where the curated data would have to be read too often for it."""
    fewer = f"fewer than {choice.epochs[0]:g}, so that the curated data beside it is not read too often"
    for epochs in (choice.epochs[0], *(one for one in PASSES if one < choice.epochs[0])):
        tried = choice if epochs == choice.epochs[0] else replace(choice, epochs=(epochs, fewer))
        text = recipe_text(tried, specs, folder)
        _, plan = checked(text, folder)
        if not any("epochs" in problem.message for problem in plan.problems):
            return tried, text, plan
    return tried, text, plan


def _parameters(family: str) -> int | None:
    return load_family(family).file.parameters


def _gain_by_rule(advice: Advice, stage: str) -> tuple[float, float, str] | None:
    """Between nothing and all of what the data needs beyond general text."""
    found = next((one for one in advice.stages if one.stage == stage), None)
    if found is None or found.ratio is None or found.ratio <= 1:
        return None
    return 1 / found.ratio - 1, 0.0, "by rule, a bound: from nothing to as few bits as general text needs"


def _measured(advice: Advice, family: Family, keep: float | None, folder: Path, say: Say) -> Advice:
    """The advice with stage and share by forks of the stages."""
    from bloomery.studies.advise_measure import measure

    assert advice.choice is not None and advice.recipe is not None
    loaded, _ = checked(advice.recipe, folder)
    found = measure(loaded, stages_of(family), advice.choice, keep, say)
    best = found.chosen
    share = None if advice.choice.share is None else (best.share, found.why)
    choice = replace(advice.choice, start=(best.stage, found.why), share=share)
    advice = _with_recipe(advice, choice, folder)
    low, high = (end / best.begin - 1 for end in (best.domain.low, best.domain.high))
    rise = None if best.rise is None else (best.rise.low, best.rise.high, "predicted by --measure")
    return replace(advice, measured=found, gain=(low, high, "predicted by --measure"), forgetting=rise)
