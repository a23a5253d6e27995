"""What a re-entry is about: a run from an early stage, the later checkpoint it is led back to, and the ways there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.quantity import parse_budget, parse_share
from bloomery.families.registry import Family, load_family
from bloomery.families.schema import Checkpoint
from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.defaults import PREFERENCES
from bloomery.recipes.load import Loaded, recipe_from
from bloomery.recipes.plan import Plan
from bloomery.recipes.start import RUNS

STRENGTHS = (0.3, 0.6, 1.0)
DOMAIN_SHARE = 0.1
"""Domain share of the re-anneal: replay of what the run learned, so that the stages after it do not undo it."""
KEEP = 0.02
"""How far a candidate may fall behind the published checkpoint where the run sets no `keep` of its own."""
ORDER = ("pre", "mid", "post")
REANNEAL = "re-anneal"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way back: the re-anneal, or a merge `by` a rule at a strength; `name` is what tables call it."""

    name: str
    by: str
    strength: float = 0.0


@dataclass(frozen=True, slots=True)
class Reentry:
    """A re-entry that can be run. `start` and `to` are stages of the family; `why_not` says why nothing is re-annealed.

    `anneal` and `sft` name the family's mixes for the two trainings, None where one is left out; `tokens` is for both.
    """

    run: RunFolder
    plan: Plan
    family: Family
    start: str
    to: str
    tokens: int
    strengths: tuple[float, ...]
    keep: float
    anneal: str | None
    sft: str | None
    why_not: str = ""

    @property
    def later(self) -> str:
        """The published checkpoint that everything is compared with."""
        return f"{self.family.name}/{self.to}"

    def candidates(self) -> list[Candidate]:
        """Every way that is tried, the cheap ones first."""
        found = [c for strength in self.strengths for c in _merges(strength)]
        return sorted(found, key=lambda c: RANK.index(c.by)) + ([] if self.why_not else [Candidate(REANNEAL, REANNEAL)])

    def asked(self) -> dict[str, Any]:
        """What makes a re-entry the same one when it is called again."""
        return {
            "run": self.run.name,
            "to": self.later,
            "tokens": self.tokens,
            "strengths": list(self.strengths),
            "keep": self.keep,
        }

    def recipe(self) -> Loaded:
        """Re-anneal on the family's own mix with a little of the domain, then its fine-tuning; half the tokens each."""
        mixes = [(mix, kind) for mix, kind in ((self.anneal, "text"), (self.sft, "sft")) if mix]
        budget = f"{self.tokens // len(mixes)} tokens"
        steps: list[Any] = [
            {
                "do": "train",
                "name": kind,
                "set": {"objective": kind, "data": {**self._data(kind), "curated": mix}, "budget": budget},
            }
            for mix, kind in mixes
        ]
        device, threads = self.plan.get("memory.device"), self.plan.get("threads")
        return recipe_from(
            {
                "name": REANNEAL,
                "family": self.family.name,
                "start": str(self.run.path.resolve()),
                "eval": {"suites": "none", **self._held_out()},
                "memory": {"device": device},
                "seed": self.plan.get("seed"),
                "steps": [*steps, "export"],
                **({"threads": threads} if threads else {}),
            },
            base=Path(self.plan.get("base")),
        )

    def _data(self, kind: str) -> dict[str, Any]:
        """The run's own domain, held out as the run held it out; fine-tuning takes only what has answers to train."""
        domain = [_source(s.spec, s.share) for s in self.plan.sources if s.role == "domain"]
        objective = self.plan.get("objective")
        if not domain or objective in PREFERENCES or (kind == "sft" and objective != "sft"):
            return {}
        return {"domain": domain, "share": DOMAIN_SHARE, "holdout": self.plan.get("data.holdout")}

    def _held_out(self) -> dict[str, Any]:
        own = self.plan.get("eval.domain")
        return {"domain": own} if own else {}


RANK = ("graft", "linear", "slerp", "task", "ties")


def _source(spec: Mapping[str, Any], share: float | None) -> dict[str, Any]:
    return {**spec, **({} if share is None else {"share": share})}


def _merges(strength: float) -> Iterator[Candidate]:
    """All rules at one strength, but for what another candidate is already.

    At 1, `linear` and `slerp` are the trained model itself, and `task` is the graft; at 0.5 `task` is `linear`.
    """
    for by in RANK:
        same = (strength == 1 and by in ("linear", "slerp", "task")) or (strength == 0.5 and by == "task")
        if not same:
            yield Candidate(f"{by} {strength:g}", by, strength)


def read_reentry(
    name: str,
    to: str | None = None,
    tokens: int | None = None,
    strengths: Sequence[float] = STRENGTHS,
    keep: float | None = None,
) -> Reentry:
    """Look at a finished run and its family. `tokens` defaults to as many as the run itself took.

    Raises `InputError` for a run without model, family or published start, and for a family without a later stage.
    """
    folder = next((p for p in (RUNS / name, Path(name)) if (p / "recipe.yaml").is_file()), None)
    if folder is None:
        raise InputError(f"there is no run `{name}`", fix="see `bloomery runs`")
    run = RunFolder.open(folder)
    if not run.model.is_dir():
        raise InputError(f"the run `{name}` has no model yet", where=Where(folder), fix=f"bloomery resume {name}")
    plan = Plan.read(run.plan)
    family, start = _published_start(plan, name)
    stage = _later(family, start, to)
    _check(strengths, tokens)
    anneal, sft, why_not = _mixes(family, start, stage)
    limit = plan.get("keep.general") if keep is None else keep
    length = plan.get("budget.tokens") if tokens is None else tokens
    return Reentry(
        run,
        plan,
        family,
        start,
        stage,
        length,
        tuple(strengths),
        KEEP if limit is None else limit,
        anneal,
        sft,
        why_not,
    )


def _check(strengths: Sequence[float], tokens: int | None) -> None:
    if not strengths or not all(0 < strength <= 1 for strength in strengths):
        told = ",".join(f"{strength:g}" for strength in strengths)
        raise InputError(f"`--strengths {told}`: a strength is above 0 and at most 1", fix="change --strengths")
    if len(set(strengths)) != len(strengths):
        raise InputError("`--strengths` names one twice", fix="change --strengths")
    if tokens is not None and tokens < 2:
        raise InputError(f"`--budget {tokens}` is too short to train on", fix="change --budget")


def _published_start(plan: Plan, name: str) -> tuple[Family, str]:
    """The family and the stage that a run began from, through the runs between."""
    kind = plan.get("start.kind")
    while kind == "run":
        plan = Plan.read(Path(plan.get("start.folder")).parent / "plan.json")
        kind = plan.get("start.kind")
    family, _, stage = str(plan.get("start.ref")).partition("/")
    if kind == "checkpoint":
        return load_family(family), stage
    if kind == "scaffold":
        fix = "fine-tune it by a recipe of your own: `start:` with its name, `objective: sft`"
        raise InputError(f"the run `{name}` began with an empty scaffold: no published model has its weights", fix=fix)
    began = plan.get("start.ref")
    raise InputError(
        f"the run `{name}` began with `{began}`, which is no stage of a family, so no later one is known",
        fix="merge it with a later checkpoint by hand: bloomery merge LATER RUN FOLDER --by graft --base START",
    )


def _later(family: Family, start: str, to: str | None) -> str:
    known = family.file.checkpoints
    after = [name for name, one in known.items() if _rank(one) > _rank(known[start])]
    if not after:
        raise InputError(
            f"the family `{family.name}` has no stage after `{start}`, so there is nothing to go back to",
            fix="use the run as it is, or fine-tune it on data of your own: `start:` with its name, `objective: sft`",
        )
    if to is None:
        return after[-1]
    family.checkpoint(to, "--to ")
    if to not in after:
        raise InputError(f"`--to {to}` is no later stage than `{start}`", fix=f"use one of {', '.join(after)}")
    return to


def _rank(checkpoint: Checkpoint) -> int:
    return ORDER.index(checkpoint.stage)


def _mixes(family: Family, start: str, to: str) -> tuple[str | None, str | None, str]:
    """(mix of the anneal, mix of the fine-tuning, why there is no re-anneal)."""
    known = family.file.checkpoints
    mids = [family.mix_name(name) for name, one in known.items() if one.stage == "mid"]
    anneal = next((mix for mix in [*mids, family.mix_name(start)] if mix), None)
    if known[to].stage != "post":
        return anneal, None, "" if anneal else f"the family `{family.name}` has no open data of its stages: merges only"
    sft = family.mix_name(to)
    if sft is None:
        return None, None, f"the family `{family.name}` has no open fine-tuning data: merges and grafts only"
    return anneal, sft, ""


def read_options(
    budget: str | None, strengths: str, keep: str | None
) -> tuple[int | None, tuple[float, ...], float | None]:
    """Budget, strengths and keep as people write them: "200k tokens", "0.3,0.6" and "2%"."""
    asked = parse_budget(budget, "--budget") if budget else None
    if asked is not None and asked.unit != "tokens":
        raise InputError(f"`--budget {budget}`: the budget of a re-entry is in tokens", fix="write `200k tokens`")
    try:
        found = tuple(float(one) for one in strengths.split(","))
    except ValueError:
        raise InputError(f"`--strengths {strengths}` is no list of numbers", fix="write `0.3,0.6,1.0`") from None
    return int(asked.value) if asked else None, found, None if keep is None else parse_share(keep, "--keep")
