"""Held-out tasks that a training by rewards watches: those that can be attempted and graded; others are named.

A row that the chat template refuses, whose prompt leaves no room for an answer, or whose own reference has no score
tells nothing of the policy, at any step. A few are counted and named; many are a fault of the data or the reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.recipes.going import CHEAP
from bloomery.recipes.held import Held
from bloomery.recipes.judges import Judges
from bloomery.recipes.rewarding import checked_reward, saying

if TYPE_CHECKING:
    from bloomery.evals.prompts import Prompter
    from bloomery.evals.suites import Row
    from bloomery.rl.rollouts import Task
    from bloomery.train.trainer import Trainer

MOST = 0.1
"""Share of the tasks that may be left out."""
NAMED = 3
"""Of those left out, how many are named."""


def watched(
    told: Mapping[str, Any], held: Iterable[Held], prompter: Prompter, context: int, trainer: Trainer
) -> list[Task]:
    """The first held-out rows of each source in turn, `rollouts.watch` together, as tasks that are not trained on.

    Those left out are told. Raises `InputError` where they are all of them, or more than a tenth.
    """
    from bloomery.evals.suites import read_jsonl

    sources = [[(one.name, row) for row in read_jsonl(one.path)] for one in held if one.role == "domain"]
    rows = [row for turn in zip_longest(*sources) for row in turn if row is not None][: told["watch"]]
    reward = None if told["environment"] else told["reward"]  # a transcript's, which no reference is
    tasks, left = sorted_out(rows, prompter, context, reward)
    if left:
        said = named(left, len(rows))
        if len(left) > MOST * len(rows) or not tasks:
            fix = "mend the rows or the reward (`bloomery grade validate` tries it), or set `rollouts.watch: 0`"
            raise InputError(f"`rollouts.watch`: {said}", fix=fix)
        trainer.log("left_out", 0, tasks=[name for name, _ in left], of=len(rows))
        saying(trainer)(said)
    return tasks


def sorted_out(
    rows: Sequence[tuple[str, Row]], prompter: Prompter, context: int, reward: dict[str, Any] | None
) -> tuple[list[Task], list[tuple[str, str]]]:
    """(tasks, (id, reason) of each row that is none) of (source, row)."""
    from bloomery.evals.rows import ident
    from bloomery.rl.rollouts import Task
    from bloomery.rl.watching import AGAIN

    tasks, left = [], []
    unscored = list(_unscored([row for _, row in rows], reward))
    for number, ((source, row), reason) in enumerate(zip(rows, unscored, strict=True)):
        prompt, why = prompter.asked(row, context)
        if reason or why:
            left.append((ident(row, number), why or reason))
        else:
            tasks.append(Task(source, f"{source}:held:{number}", row, np.array(prompt, np.int32), AGAIN))
    return tasks, left


def named(left: Sequence[tuple[str, str]], of: int) -> str:
    """One line that counts them and names the first."""
    first = "; ".join(f"`{name}` ({reason})" for name, reason in left[:NAMED])
    more = f" and {len(left) - NAMED:,} more" if len(left) > NAMED else ""
    return f"{len(left):,} of {of:,} held-out tasks cannot be attempted or graded: {first}{more}"


def _unscored(rows: Sequence[Row], reward: dict[str, Any] | None) -> Iterator[str]:
    """Why not even the row's own reference has a score, for each row; a reward that is judged, or a server's, is not
    asked, nor code about rows without one."""
    from bloomery.evals.rows import reference_of
    from bloomery.evals.runner import answered
    from bloomery.graders.load import load_grader

    spec = checked_reward(reward)
    if spec is None:
        yield from ("" for _ in rows)
        return
    grader = load_grader(spec, given=Judges().given())
    tried = [spec["type"] in CHEAP or reference_of(row) is not None for row in rows]
    samples = [answered(row, number) for number, row in enumerate(rows) if tried[number]]
    scores = iter(grader.grade(samples) if samples else ())
    for one in tried:
        score = next(scores) if one else None
        yield (score.reason or "no score") if score and score.aggregate_reward_score is None else ""
