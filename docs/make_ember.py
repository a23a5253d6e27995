"""Writes the generated parts of docs/ember.md.

    python docs/make_ember.py              stages and mixes, from the family's files
    python docs/make_ember.py --figures    figures too: evaluates every stage whose weights are there (minutes)

A test compares the first part with the files; the figures say which weights they belong to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery.families.registry import Family, load_family

if TYPE_CHECKING:
    from bloomery.evals.results import EvalResult

PAGE = Path(__file__).with_name("ember.md")
END = "<!-- end -->"
STAGES = "<!-- stages: written by docs/make_ember.py -->"
MIXES = "<!-- mixes: written by docs/make_ember.py -->"
FIGURES = "<!-- figures: written by docs/make_ember.py --figures -->"


def stages(family: Family) -> str:
    """A row for each checkpoint."""
    rows = [
        [
            f"`{name}`",
            stage.stage if not stage.empty else "none",
            stage.heat() if not stage.empty else "",
            "" if stage.empty else f"{stage.tokens / 1e6:g}M",
            "" if stage.saved_lr() is None else f"{stage.saved_lr():g}",
            f"{stage.batch_tokens:,}",
        ]
        for name, stage in family.file.checkpoints.items()
    ]
    return table(["Checkpoint", "Stage", "Class", "Tokens seen", "Rate at the end", "Batch"], rows)


def mixes(family: Family) -> str:
    """A row for each curated mix."""
    rows = [
        [f"`{name}`", ", ".join(f"{source.name} {source.share:.0%}" for source in sources), _tokens(sources)]
        for name, sources in family.mixes.items()
    ]
    return table(["Mix", "Shares", "Tokens, one epoch"], rows)


def figures(family: Family) -> str:
    """What every stage with weights does on the family's suites, and the last one skill by skill."""
    import bloomery

    found = {
        name: bloomery.evaluate(f"{family.name}/{name}").result
        for name, stage in family.file.checkpoints.items()
        if stage.folder and (family.folder / stage.folder / "model.safetensors").is_file()
    }
    if not found:
        raise SystemExit(f"no stage of {family.name} has weights in {family.folder}")
    names = [suite.name for suite in family.file.eval]
    rows = [[f"`{stage}`", *(_figure(result, name) for name in names)] for stage, result in found.items()]
    last = list(found)[-1]
    skills = found[last].suites.get("skills")
    if skills is None:
        return table(["Checkpoint", *names], rows)
    parts = sorted({record.part for record in skills.records})
    by_skill = [[part, *_right([r.score for r in skills.records if r.part == part])] for part in parts]
    shown = table(["Skill", "Instances", "Right"], by_skill)
    return f"{table(['Checkpoint', *names], rows)}\n\n`{last}`, by skill:\n\n{shown}"


def _figure(result: EvalResult, name: str) -> str:
    if name not in result.suites:
        return ""
    suite = result.suites[name]
    return f"{suite.value:.3f}" if suite.kind == "bpb" else f"{suite.value:.1%}"


def _right(scores: Sequence[float | None]) -> list[str]:
    graded = [score for score in scores if score is not None]
    return [str(len(graded)), f"{sum(graded) / max(len(graded), 1):.0%}"]


def _tokens(sources: Iterable[object]) -> str:
    return f"{sum(getattr(source, 'tokens', 0) or 0 for source in sources) / 1e6:.1f}M"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def replaced(page: str, mark: str, text: str) -> str:
    """The page with what stands between `mark` and the next end mark written anew."""
    before, _, rest = page.partition(mark)
    _, _, after = rest.partition(END)
    return f"{before}{mark}\n\n{text}\n\n{END}{after}"


def updated(page: str) -> str:
    """The page with the parts that follow from the family's files written anew."""
    family = load_family("ember")
    return replaced(replaced(page, STAGES, stages(family)), MIXES, mixes(family))


if __name__ == "__main__":
    text = updated(PAGE.read_text(encoding="utf-8"))
    if "--figures" in sys.argv:
        text = replaced(text, FIGURES, figures(load_family("ember")))
    PAGE.write_text(text, encoding="utf-8")
