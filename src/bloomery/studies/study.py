"""What studies of a blend have in common: what they need of a recipe, what stays equal in all their micro-runs, and
their result as a table with sentences and drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.files import write_text
from bloomery.core.table import html_table
from bloomery.evals.html import Markup, el
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan
from bloomery.recipes.ready import resolved
from bloomery.studies.micro import short_plan
from bloomery.studies.queue import Say

LEAST_STEPS = 20
"""Steps of the shortest micro-run: below, its schedule is a few jumps."""


@dataclass(frozen=True, slots=True)
class Study:
    """A recipe that can be studied: its full plan, the plan of its shortest micro-run, and where the runs go."""

    loaded: Loaded
    full: Plan
    short: Plan
    folder: Path

    @property
    def pinned(self) -> tuple[str, ...]:
        """Overrides that all micro-runs share: batch and rate of the shortest, which would else follow the length."""
        short = self.short
        return (f"optim.batch={short.get('optim.batch_tokens')}", f"schedule.lr={short.get('schedule.lr')}")

    def full_tokens(self, share: float) -> float:
        """Length of the recipe's full run at another domain share: a budget in epochs of the domain follows it."""
        tokens = float(self.full.get("budget.tokens"))
        if "epochs" not in self.full.get("asked.budget"):
            return tokens
        return tokens * float(self.full.get("data.share")) / share


def begin(loaded: Loaded, shortest: float, folder: Path, say: Say) -> Study:
    """Check that a recipe can be studied with micro-runs of `shortest` tokens.

    Raises `InputError` without domain, held-out rows, curated data or general text, where phases fix the share
    themselves, and where so few tokens make fewer than `LEAST_STEPS` steps.
    """
    for number, phase in enumerate(loaded.recipe.phases):
        if phase.share is not None or phase.curated is not None:
            raise InputError(
                f"the phase `{phase.name}` sets a blend of its own, and one blend is searched for the whole run",
                where=loaded.place(f"phases.{number}"),
                fix="remove `share` and `curated` from the phases; put them back into the recipe that is found",
            )
    full = resolved(loaded, say)
    _refuse_unmeasurable(loaded, full)
    short = short_plan(loaded, [f"budget={round(shortest)} tokens"], folder, say)
    steps, batch, longest = short.arm().steps, short.get("optim.batch_tokens"), short.get("context")
    if batch < longest:
        raise InputError(
            f"`optim.batch: {batch} tokens` is less than a row may have ({longest:,}), and a step takes whole rows: "
            "micro-runs would not have the tokens and shares that they are compared at",
            where=loaded.place("optim.batch"),
            fix=f"set `optim.batch` to {longest:,} tokens or more, or lower `data.context`",
        )
    if steps < LEAST_STEPS:
        raise InputError(
            f"a micro-run of {shortest:,.0f} tokens has {steps} steps of {batch:,}, fewer than {LEAST_STEPS}",
            fix=f"give `--tokens` of {LEAST_STEPS * batch:,} or more"
            + ("" if batch == longest else ", or lower `optim.batch`"),
        )
    return Study(loaded, full, short, folder)


def _refuse_unmeasurable(loaded: Loaded, plan: Plan) -> None:
    roles = {source.role for source in plan.sources}
    place = loaded.place("data")
    if "domain" not in roles:
        raise InputError("there is no domain data to blend", where=place, fix="name some under `data.domain`")
    if "curated" not in roles:
        raise InputError(
            "there is no curated data to blend with", where=place, fix="use a family, or list some in `data.curated`"
        )
    if plan.get("eval.domain") is None and not plan.get("data.holdout"):
        raise InputError(
            "no domain rows are held out to measure on",
            where=loaded.place("data.holdout"),
            fix="remove `data.holdout: 0`, or name rows under `eval.domain`",
        )
    if plan.get("eval.general") is None:
        raise InputError(
            "there is no general text to measure what is forgotten on",
            where=loaded.place("eval.suites"),
            fix="use a family with a general suite, or set `keep.general`: some of the curated text is then held out",
        )


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study's table, what follows from it, and its drawings. `recipe` is the file that was written, if any."""

    name: str
    folder: Path
    headings: list[str]
    rows: list[list[str]]
    said: list[str]
    figures: dict[str, Any]
    recipe: Path | None = None
    exit_status: int = 0
    drawings: Sequence[Markup] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: rows as mappings, and the figures behind the sentences."""
        runs = [dict(zip(self.headings, row, strict=True)) for row in self.rows]
        recipe = str(self.recipe) if self.recipe else None
        return {"name": self.name, "folder": str(self.folder), "runs": runs, "recipe": recipe, **self.figures}

    def write(self) -> StudyResult:
        """Write `table.txt` and `report.html` into the folder."""
        from bloomery.evals.page import document

        write_text(self.folder / "table.txt", f"{self}\n")
        head = el("header", el("p", "Bloomery", class_="overline"), el("h1", self.name))
        said = el("section", [el("p", line, class_="lead") for line in self.said])
        figures = el("section", [el("figure", drawing) for drawing in self.drawings])
        table = el("section", el("h2", "Micro-runs"), el("div", self._table(), class_="scroll"))
        write_text(self.folder / "report.html", document(f"{self.name} · Bloomery", head, said, figures, table))
        return self

    def _table(self) -> Markup:
        head = el("thead", el("tr", [el("th", text, scope="col") for text in self.headings]))
        rows = [el("tr", el("th", row[0], scope="row"), [el("td", text) for text in row[1:]]) for row in self.rows]
        return el("table", head, el("tbody", rows))

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (self.headings, *self.rows)]
        return "\n".join([*lines, "", *self.said])

    def _repr_html_(self) -> str:
        return html_table(self.headings, self.rows)
