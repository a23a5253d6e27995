"""What a blend may not be, and what is worth saying of it: the floor of replay, licences, what stands in for what."""

from __future__ import annotations

from collections.abc import Iterator

from bloomery.core.errors import Where
from bloomery.families.licences import NOTES, forbids, terms
from bloomery.recipes.curated import MEANING, NONE
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.mixing import FLOOR, OWN
from bloomery.recipes.plan import Plan, Source
from bloomery.recipes.problem import Problem

EXACT = 1e-6
"""Shares that sum to within this of 1 do."""
FEW_SAMPLES = 1000
"""General samples below which fine-tuning forgets conversations: the ability saturates at about a thousand (Dong et
al., arXiv 2310.05492)."""
SAMPLE_TOKENS = 250
"""Tokens in a general conversation, roughly: tulu-3's have 300, ember's 35."""


def check_parts(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Parts of the domain, or of curated sources of one's own, that are no parts of a whole."""
    roles = ("domain", "curated") if plan.get("curated.mix") == OWN else ("domain",)
    for role in roles:
        sources = [source for source in plan.sources if source.role == role]
        given = [source.share for source in sources if source.share is not None]
        free, total = [source.name for source in sources if source.share is None], sum(given)
        if not given or (free and total < 1 - EXACT) or (not free and abs(total - 1) <= EXACT):
            continue
        said = f"the shares of the {role} sources sum to {total:.4g}"
        message = f"{said}, which leaves nothing to `{free[0]}`" if free and total <= 1 + EXACT else f"{said}, not 1"
        place = loaded.place(f"data.{role}.0.share") or loaded.place(f"data.{role}")
        yield Problem(message, place, "make them sum to 100 %, less what sources without a `share` are to get")


def check_floor(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A share that leaves less replay than stops forgetting, or that leaves it to nothing.

    `curated: none` says that none is wanted.
    """
    roles = {source.role for source in plan.sources}
    asked = plan.origin("data.share") == "user" and plan.get("data.share") < 1
    if roles == {"domain"} and asked and plan.origin("curated.mix") != "user":
        yield Problem(
            f"`data.share: {plan.get('data.share'):.4g}` leaves the rest to curated data, and there is none",
            loaded.place("data.share"),
            "add `curated` under `data`: proxy, embedded, self or a list of sources; or remove `share`",
        )
    if roles != {"domain", "curated"}:
        return
    phases = plan.get("asked.phases")
    asked = [(f"phases.{n}.share", phase["share"]) for n, phase in enumerate(phases) if phase["share"] is not None]
    asked += [("data.share", plan.get("data.share"))] if len(asked) < max(1, len(phases)) else []
    for key, share in asked:
        if share > 1 - FLOOR + 1e-9:
            yield Problem(
                f"`{key.split('.')[-1]}: {share:.4g}` leaves {1 - share:.2%} to curated data; below {FLOOR:.0%} a "
                "model forgets what it knew (arXiv 2502.06042)",
                loaded.place(key) or loaded.place("data.share"),
                f"use at most {1 - FLOOR:.0%}, or say `curated: none` under `data`",
            )


def check_licences(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A source whose licence forbids what the model is for."""
    use = plan.get("use")
    for source in plan.sources if use else ():
        if forbids(source.licence, use):
            yield Problem(
                f"`use: {use}` and the source `{source.name}`, which is licensed {source.licence}, do not go together",
                _place(loaded, source),
                f"leave it out ({_way_out(source)}), or change `use`",
            )


def _place(loaded: Loaded, source: Source) -> Where | None:
    found = loaded.place("data.curated" if source.role == "curated" else "data.domain")
    return found or loaded.place("use")


def _way_out(source: Source) -> str:
    return "take it out of `domain`" if source.role == "domain" else f"give `{source.kind}` 0 % under `data.curated`"


def notes(plan: Plan) -> list[str]:
    """What is worth knowing of a plan that is not refused, a line each."""
    said = stand_in(plan)
    return [*([said] if said else []), *_terms(plan), *_few(plan)]


def stand_in(plan: Plan) -> str | None:
    """What a blend can and cannot prove that is not made of the model's own data; None for one that is."""
    mix = plan.get("curated.mix")
    return MEANING[NONE] if mix is None and plan.origin("curated.mix") == "user" else MEANING.get(mix or "")


def _terms(plan: Plan) -> Iterator[str]:
    """Licences that nobody knows, once the use is said, and what the others ask for."""
    if not plan.get("use"):
        return
    for source in plan.sources:
        found = terms(source.licence)
        if source.licence is None:
            yield f"`{source.name}` states no licence: say it by `licence` on the source"
        elif found is None:
            yield f"the licence of `{source.name}` ({source.licence}) is not one we know: read it"
        elif found.note in ("share-alike", "mixed"):
            yield f"`{source.name}` ({source.licence}): {NOTES[found.note]}"


def _few(plan: Plan) -> Iterator[str]:
    """Fine-tuning with fewer general samples than keep a model conversational."""
    share, tokens = plan.get("data.share"), plan.get("budget.tokens")
    samples = (1 - share) * tokens / SAMPLE_TOKENS
    if plan.get("objective") != "text" and plan.get("curated.mix") and samples < FEW_SAMPLES:
        yield f"about {samples:,.0f} general samples are replayed; conversations need some {FEW_SAMPLES:,} (2310.05492)"
