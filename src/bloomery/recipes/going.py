"""Go or no go, before the first step: does the reward accept its own references, and is there anything to learn?

references   the reference answer of each of some tasks must get full marks (`graders/dry_run.py`)
base rate    of some tasks' answers by the start: none right teaches nothing, nearly all right leaves nothing
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.data.sources import iter_records
from bloomery.recipes.configure import source_specs
from bloomery.recipes.counts import cache_dir, remember_rollouts
from bloomery.recipes.held_rows import evaluation_rows
from bloomery.recipes.judges import Judges
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine, this_machine
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem
from bloomery.recipes.rewarding import is_remote, saying

if TYPE_CHECKING:
    from bloomery.graders.payload import Grader, Sample
    from bloomery.recipes.rolling import DomainTasks
    from bloomery.rl.loop import Collector
    from bloomery.rl.rollouts import Rollout
    from bloomery.train.trainer import Trainer

TRIED = 16
"""Tasks whose references are graded, and whose answers are sampled."""
NEARLY_ALL = 0.95
"""Share of right answers above which there is little left to learn."""
CHEAP = ("exact", "string_check", "number", "choice", "regex", "text_similarity", "json_schema")
"""Graders that are tried by `bloomery explain` too: they need no other process and no server."""
FORMS = ("regex", "constraint", "json_schema", "refusal")
"""Graders that look at an answer alone: the answer that a row ends with is an example to them, not the right one."""
BEFORE = 4_294_967_291
"""In place of a step where answers are sampled before the first: none has this number."""


@dataclass(frozen=True, slots=True)
class Base:
    """What the start made of some tasks: scores by task, and the share of full marks (None where nothing tells what
    these are) with its 95 % interval, as if each task had been answered once: its answers go together."""

    scores: tuple[tuple[float, ...], ...]
    right: float | None
    low: float = 0.0
    high: float = 1.0
    why: str = ""
    """Why most of those that could not be scored could not."""

    @property
    def differs(self) -> bool:
        """Whether any two answers to one task have different scores: what a policy learns from."""
        return any(max(one) - min(one) > 1e-12 for one in self.scores if one)

    @property
    def said(self) -> str:
        """For a person."""
        flat = [score for one in self.scores for score in one]
        mean = f"mean reward {fmean(flat):.3g}" if flat else "no answer could be scored"
        rate = "" if self.right is None else f"{self.right:.0%} right [{self.low:.0%}, {self.high:.0%}], "
        return f"{rate}{mean}, of {len(flat)} answers to {len(self.scores)} tasks"


def begun(folder: Path) -> bool:
    """Whether the run has a checkpoint: then it has gone already."""
    return any((folder / "checkpoints").glob("step-*"))


def go(plan: Plan, collector: Collector, tasks: DomainTasks, seed: int, trainer: Trainer) -> None:
    """Try the reward, and the start. Raises `InputError` where nothing would be learned and `rollouts.go` is `auto`."""
    spec, say = plan.get("rollouts.reward"), saying(trainer)
    few = tasks.fresh(seed, BEFORE, 0, TRIED)
    if spec is not None:
        _try_reward(spec, [task.row for task in few], say)
    groups, spent = collector.collect(few, BEFORE)
    found = base(groups, top_of(spec))
    trainer.log("base", 0, right=found.right, low=found.low, high=found.high, said=found.said)
    if each := cost_of(groups, spent):
        machine = this_machine(plan.get("memory.device"), plan.get("memory.precision"))
        remember_rollouts(plan, machine.name, each, cache_dir())  # `explain` has no model to ask
    say(f"the start: {found.said}")
    problem = refusal(found)
    if problem is None:
        return
    if plan.get("rollouts.go") == "auto":
        raise InputError(f"{problem.message} ({found.said})", fix=problem.fix)
    say(f"{problem.message}; it goes on by `rollouts.go: anyway`")


def _try_reward(spec: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], say: Callable[[str], None]) -> None:
    """Raise `InputError` where the reward does not accept reference answers; of a few without a score it is told."""
    from bloomery.graders.load import load_grader

    grader = load_grader(spec, given=Judges().given())
    samples = tried(grader, rows, spec)
    if not samples:
        why = "has no reference answers to be tried on" if grader.verified else "is judged"
        say(f"the reward `{grader.name}` {why}: it is not tried before the run")
        return
    problem, told = unaccepted(grader, samples, spec)
    if problem is not None:
        raise problem
    if told:
        say(f"{told}; such rows are in no baseline and are not trained on")


def check_references(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """The reference answers that the reward does not accept, where the reward is cheap to ask."""
    spec = plan.section("rollouts").get("reward")
    if spec is None or spec.get("type") not in CHEAP:
        return
    from bloomery.graders.load import load_grader

    specs, base = source_specs(plan), Path(plan.get("base"))
    rows: list[Any] = []
    try:
        grader = load_grader(spec)
        for source in plan.sources:
            if source.role == "domain" and source.spec.get("path"):
                found = evaluation_rows(iter_records(specs[source.name], base), specs[source.name])
                rows += islice(found, TRIED)
    except InputError:
        return  # a grader or rows that cannot be read are refused by their own checks
    samples = tried(grader, rows, spec)
    problem = unaccepted(grader, samples, spec)[0] if samples else None
    if problem is not None:
        yield Problem(problem.message, loaded.place("reward"), problem.fix)


def tried(grader: Grader, rows: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> list[Sample]:
    """Rows whose reference answers the grader must accept; none where its scores are judged."""
    from bloomery.evals.prompts import messages_of
    from bloomery.evals.rows import reference_of
    from bloomery.graders.payload import Sample

    found = []
    for row in rows if grader.verified else ():
        given = row.get("reference_answer", (row.get("metadata") or {}).get("reference_answer"))
        reference = given if spec["type"] in FORMS else reference_of(row)
        if reference is not None:
            asked = [*messages_of(row), {"role": "assistant", "content": ""}]
            found.append(Sample(str(row.get("id", "")), asked, reference, row.get("metadata") or {}))
    return found


def unaccepted(grader: Grader, samples: Sequence[Sample], spec: Mapping[str, Any]) -> tuple[InputError | None, str]:
    """(why the run is refused, what is told of the rows that it goes on without).

    A reference that gets less than full marks would teach what is wrong: it is refused. One without a score is in no
    baseline, as in the run, which stands still from a share of these on: above it, it is refused too.
    """
    from bloomery.graders.dry_run import dry_run
    from bloomery.rl.outage import SHARE

    rows = dry_run(grader, samples, [False] * len(samples), dict(spec)).rows
    wrong = [one for one in rows if one.problem]
    unscored = [one for one in wrong if one.reference and one.reference.aggregate_reward_score is None]
    lower = [one for one in wrong if one not in unscored]
    few = len(unscored) <= SHARE * len(rows)
    if not wrong:
        return None, ""
    first = (lower or unscored)[0]
    count = "" if lower else f"{len(unscored)} of {len(rows)} reference answers have no score: "
    said = f"`reward`: {count}of the row `{first.id}` {first.problem}"
    if few and not lower:
        return None, said
    fix = "repair the grader or the rows; `bloomery grade validate` tries it on others"
    fix = "see whether its server answers" if is_remote(spec) and "connect" in first.problem else fix
    return InputError(said, fix=fix), ""


def base(groups: Sequence[Sequence[Rollout]], top: float | None) -> Base:
    """The start's scores, and how often they are full marks."""
    scores = tuple(tuple(one.reward for one in group if one.reward is not None) for group in groups)
    flat, tasks = [score for one in scores for score in one], sum(map(bool, scores))
    reasons = Counter(one.reason for group in groups for one in group if one.reward is None)
    why = reasons.most_common(1)[0][0] if reasons else ""
    if top is None or not flat:
        return Base(scores, None, why=why)
    right = sum(score >= top - 1e-9 for score in flat) / len(flat)
    from bloomery.core.intervals import wilson

    bounds = wilson(round(right * tasks), tasks)
    return Base(scores, right, min(bounds.low, right), max(bounds.high, right), why)


def cost_of(groups: Sequence[Sequence[Rollout]], spent: Mapping[str, float]) -> tuple[float, float] | None:
    """(tokens sampled in, seconds taken by) a rollout, on average; None where nothing was sampled."""
    counts = [one.tree.sampled_tokens for group in groups for one in group]
    took = sum(seconds for name, seconds in spent.items() if name.endswith("_s"))
    return (fmean(counts), took / len(counts)) if any(counts) else None


def refusal(found: Base) -> InputError | None:
    """Why nothing would be learned, and what to do instead; None where something would."""
    if not any(found.scores):
        fix = "mend that; `bloomery grade validate` tries a grader, `bloomery explain` an environment"
        return InputError(f"no answer of the start could be scored: {found.why or 'none was sampled'}", fix=fix)
    if found.right is not None and found.right > NEARLY_ALL:
        fix = "give harder tasks, or set `rollouts.go: anyway`"
        return InputError("the start gets nearly all tasks right: rewards are not needed", fix=fix)
    if found.differs:
        return None
    fix = "fine-tune it first (`objective: sft` on some answers), or set `rollouts.go: anyway`"
    none = found.right == 0
    what = "gets no task right" if none else "gets the same reward for every answer to a task"
    return InputError(f"the start {what}: there is no difference to learn from", fix=fix)


def top_of(spec: Mapping[str, Any] | None) -> float | None:
    """The highest score, where the grader's description tells it; an environment tells none."""
    from bloomery.graders.dry_run import OPEN_ENDED

    if spec is None:
        return None
    if "scale" in spec:
        return 1.0
    if spec.get("range") is not None:
        return float(spec["range"][1])
    return None if spec["type"] in OPEN_ENDED else 1.0
