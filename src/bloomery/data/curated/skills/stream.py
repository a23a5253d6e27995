"""The skills source: an endless deterministic stream of problems, as text or as chat."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.data.curated.skills import editing, following, lists, measures, numbers, reading
from bloomery.data.curated.skills.problem import Problem, Skill, is_heldout

SKILLS: Mapping[str, Skill] = {
    "addition": numbers.addition,
    "subtraction": numbers.subtraction,
    "multiplication": numbers.multiplication,
    "comparison": numbers.comparison,
    "sort_numbers": numbers.sort_numbers,
    "copy": lists.copy,
    "reverse": lists.reverse,
    "count_items": lists.count_items,
    "nth_item": lists.nth_item,
    "sort_words": lists.sort_words,
    "neighbour": lists.neighbour,
    "one_per_line": lists.one_per_line,
    "letter_case": editing.letter_case,
    "replace_word": editing.replace_word,
    "remove_word": editing.remove_word,
    "dates": measures.dates,
    "weekdays": measures.weekdays,
    "units": measures.units,
    "table": reading.table,
    "location": reading.location,
    "possession": reading.possession,
    "colour": reading.colour,
    "following": following.following,
}
STAGES = ("pre", "mid", "post")
PER_DOCUMENT = 6
"""Problems in one text document: enough that documents are not all boundary."""

QUESTION, WORK, ANSWER = "Q: ", "Work: ", "A: "


def generate(
    seed: int = 0,
    count: int | None = 20_000,
    stage: str = "post",
    split: str = "train",
    skills: Sequence[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield `count` rows (without end when None), a pure function of the arguments.

    `pre` and `mid` yield text rows of six questions and answers each, `mid` with worked steps for
    half of them; `post` yields one task row per problem. Train and held-out instances never meet,
    whatever the seed, stage and phrasing. Raises `InputError` for an unknown stage, split or skill.
    """
    names = list(skills) if skills is not None else list(SKILLS)
    _check(stage, split, names)
    for index in itertools.count() if count is None else range(count):
        rng = random.Random(f"skills/{seed}/{stage}/{split}/{index}")
        if stage == "post":
            name = names[index % len(names)]
            yield task_row(f"skill-{seed}-{index}", name, draw(rng, name, split))
        else:
            chosen = (rng.choice(names) for _ in range(PER_DOCUMENT))
            blocks = [text_block(draw(rng, name, split), stage == "mid" and rng.random() < 0.5) for name in chosen]
            yield {"id": f"skills-{stage}-{seed}-{index}", "text": "\n".join(blocks)}


def draw(rng: random.Random, skill: str, split: str) -> Problem:
    """One problem of the given split; instances of the other split are drawn again."""
    while True:
        problem = SKILLS[skill](rng)
        if is_heldout(skill, problem.key) == (split == "heldout"):
            return problem


def text_block(problem: Problem, worked: bool = False) -> str:
    """A problem as plain text: `Q: ...`, with `Work: ...` where asked and there are steps, `A: ...`."""
    work = f"{WORK}{problem.steps}\n" if worked and problem.steps else ""
    return f"{QUESTION}{problem.prompt}\n{work}{ANSWER}{problem.answer}\n"


def task_row(row_id: str, skill: str, problem: Problem) -> dict[str, Any]:
    """A problem as a row with its checker: `reference_answer` and the grader's arguments in `metadata`."""
    return {
        "id": row_id,
        "skill": skill,
        "prompt": problem.prompt,
        "response": problem.answer,
        "reference_answer": problem.answer,
        "metadata": dict(problem.metadata),
    }


def _check(stage: str, split: str, names: Sequence[str]) -> None:
    if stage not in STAGES:
        raise InputError(f"`stage: {stage}` is no stage{nearest(stage, STAGES)}", fix="set `options.stage`")
    if split not in ("train", "heldout"):
        raise InputError(f"`split: {split}` is not train or heldout", fix="set `options.split`")
    if not names:
        raise InputError("`skills` is an empty list", fix="leave `options.skills` out to take all of them")
    for name in names:
        if name not in SKILLS:
            raise InputError(f"`skills` names `{name}`{nearest(name, SKILLS)}", fix="set `options.skills`")
