"""Recipe + family -> plan: every value decided, with who decided it and why.

What depends on token counts (`settle.py`) is first settled by estimate; the run settles it again once
the tokens are counted. What the recipe asked for stays in the plan under `asked.`, so that it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from bloomery.core.errors import InputError
from bloomery.families.registry import Family
from bloomery.families.rules import choose_start
from bloomery.recipes import defaults, preference
from bloomery.recipes.load import Loaded
from bloomery.recipes.mixing import check_names, curated_sources, domain_sources, spec_of
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.sample import Sample, document_tokens, kind_of, measured, sample_domain
from bloomery.recipes.sections import absolute, whole_grader
from bloomery.recipes.settle import settle
from bloomery.recipes.start import Start, family_of, from_family, from_model, left_by, named_start
from bloomery.recipes.trim import trimmed

Values = dict[str, Value]


def resolve(loaded: Loaded, samples: Mapping[str, Sample] | None = None, before: Plan | None = None) -> Plan:
    """Decide everything, with token counts by estimate.

    `samples` (by source name) tells the shape and rough size of the domain's sources; left out, the
    beginning of each file is read. `before` is the plan of the training that this one continues from, where that
    has not run yet. Raises `InputError` naming the recipe's line.
    """
    if samples is None:
        samples = sample_domain(loaded)
    family = family_of(loaded)
    values = _identity(loaded, family)
    kind = kind_of(samples)
    start, reason = _next(before, family) if before else _start(loaded, family, kind, samples)
    samples = measured(samples, Path(start.tokenizer) if start.tokenizer else None)
    values["document_tokens"] = document_tokens(samples)
    values |= _objective(loaded, kind) | _start_values(start, reason)
    objective: defaults.Objective = values["objective"].value
    values |= _data(loaded, family, start, objective, samples)
    values |= _budget(loaded, objective) | _schedule(loaded, start, objective) | _optim(loaded)
    values |= _hardware(loaded, start) | _proof(loaded, family, start, objective)
    values |= preference.settings(loaded, objective)
    plan = Plan(values)
    known = {source.name: float(source.tokens) for source in plan.sources if source.tokens}
    return trimmed(settle(plan, known | {name: sample.tokens for name, sample in samples.items()}, estimated=True))


def _identity(loaded: Loaded, family: Family | None) -> Values:
    recipe = loaded.recipe
    named = Value(loaded.name, "user" if recipe.name else "derived", "" if recipe.name else "the recipe's file name")
    return {
        "name": named,
        "base": Value(str(loaded.base), "derived", "relative paths begin here"),
        "family": Value(family.name if family else None, *_by_run(loaded)),
        "licence": Value(family.file.licence if family else None, "family"),
        "method": _set(loaded, "method", recipe.method),
        "seed": _set(loaded, "seed", recipe.seed),
        "seeds": _set(loaded, "seeds", recipe.seed_list()),
        "threads": _set(loaded, "threads", recipe.threads),
        "trusted": _set(loaded, "trusted", recipe.trusted),
        "report_to": _set(loaded, "report_to", list(recipe.report_to)),
        "steps": _set(loaded, "steps", [step.model_dump() for step in recipe.steps]),
        "asked.arms": _set(loaded, "arms", list(recipe.arms)),
    }


def _by_run(loaded: Loaded) -> tuple[Literal["user", "derived"], str]:
    named = loaded.recipe.family or loaded.recipe.model
    return ("user", "") if named else ("derived", f"that of the run `{loaded.recipe.start}`")


def _next(before: Plan, family: Family | None) -> tuple[Start, Value]:
    start = left_by(before, family)
    return start, Value(start.ref, "derived", "the training before it")


def _start(loaded: Loaded, family: Family | None, kind: str, samples: Mapping[str, Sample]) -> tuple[Start, Value]:
    recipe = loaded.recipe
    if recipe.start != "auto":
        start = named_start(loaded, family)
        return start, Value(start.ref, "user")
    if family is None:
        assert recipe.model is not None  # the schema asks for one of the three
        start = from_model(recipe.model, recipe.revision, loaded.base, loaded.place("model"))
        return start, Value(recipe.model, "user")
    if not samples:
        stage = family.file.default_start or list(family.file.checkpoints)[-1]
        return from_family(family, stage), Value(f"{family.name}/{stage}", "family", "no domain data to choose by")
    tokens = sum(sample.tokens for sample in samples.values())
    if kind in preference.AUTO:
        stage, _ = choose_start(family, "sft", 0)
        return from_family(family, stage), preference.start(family, stage)
    stage, why = choose_start(family, "sft" if kind == "sft" else "mixed" if kind == "mixed" else "text", tokens)
    return from_family(family, stage), Value(f"{family.name}/{stage}", "derived", f"about {tokens:,.0f} tokens: {why}")


def _objective(loaded: Loaded, kind: str) -> Values:
    chosen = loaded.recipe.objective
    if chosen != "auto":
        return {"objective": Value(chosen, "user")}
    if kind in preference.AUTO:
        return preference.objective(kind)
    if kind == "sft":
        return {"objective": Value("sft", "derived", "every domain row is a conversation or a pair")}
    why = "text and pairs together" if kind == "mixed" else "the domain rows are text"
    return {"objective": Value("text", "derived", why)}


def _start_values(start: Start, reason: Value) -> Values:
    fields = asdict(start)
    own = {key: Value(fields[key], "family") for key in fields if key not in ("ref", "context", "mix", "parameters")}
    own["parameters"] = Value(_parameters(start), "derived", "from the model's configuration")
    return {"start.ref": reason} | {f"start.{key}": value for key, value in own.items()}


def _parameters(start: Start) -> int | None:
    from bloomery.recipes.memory import shape_of

    shape = shape_of(start.config())
    return shape.parameters if shape else start.parameters


def _data(loaded: Loaded, family: Family | None, start: Start, objective: str, samples: Mapping[str, Sample]) -> Values:
    data = loaded.recipe.data
    domain = domain_sources(loaded, {name: sample.shape for name, sample in samples.items()})
    mix, curated = curated_sources(loaded, family, start, objective)
    check_names(loaded, [*domain, *curated])
    return {
        "context": _context(loaded, start),
        "sources": Value([asdict(source) for source in [*domain, *curated]], "user" if domain else "family"),
        "curated.mix": mix,
        "data.share": _domain_share(loaded, bool(domain), bool(curated)),
        "data.order": _set(loaded, "data.order", data.order),
        "data.holdout": _or_default(loaded, "data.holdout", data.holdout, defaults.HOLDOUT, "2 % of the documents"),
        "data.holdout_least": Value(defaults.HOLDOUT_LEAST, "stage default", "where there are that many"),
        "data.repetition_cap": _set(loaded, "data.repetition_cap", data.repetition_cap),
        "asked.phases": _set(loaded, "phases", [_phase(phase) for phase in loaded.recipe.phases]),
    }


def _phase(phase: Any) -> dict[str, Any]:
    length = {phase.length.unit: phase.length.value}
    return {"name": phase.name, "length": length, "share": phase.share, "curated": phase.curated}


def _context(loaded: Loaded, start: Start) -> Value:
    asked, own = loaded.recipe.data.context, start.context
    if asked is None:
        return defaults.context(own)
    if own is not None and start.kind in ("run", "step"):  # whose rows may have been shorter than what the model takes
        own = max(own, start.config().get("max_position_embeddings") or 0)
    if own is not None and asked > own:
        raise InputError(
            f"`data.context: {asked}` is longer than the {own} tokens that `{start.ref}` was made for",
            where=loaded.place("data.context"),
            fix=f"use at most {own}",
        )
    return Value(asked, "user")


def _domain_share(loaded: Loaded, domain: bool, curated: bool) -> Value:
    asked = loaded.recipe.data.share
    if not domain:
        return Value(0.0, "derived", "there is no domain data")
    if asked is not None:
        return Value(asked, "user")
    if not curated:
        return Value(1.0, "derived", "there is no curated data to mix in")
    return Value(defaults.DOMAIN_SHARE, "stage default", "half: general loss holds up to about here (arXiv 2407.17467)")


def _schedule(loaded: Loaded, start: Start, objective: defaults.Objective) -> Values:
    asked = loaded.recipe.schedule
    values = defaults.schedule_shape(start, objective)
    if asked.anneal_by == "merge":
        values["schedule.kind"] = Value("wsd", "derived", "a merge averages the end of a held rate")
    for key in ("lr", "kind", "shape", "final", "anneal_by"):
        if getattr(asked, key) is not None:
            values[f"schedule.{key}"] = Value(getattr(asked, key), "user")
    for key in ("warmup", "anneal"):
        if (piece := getattr(asked, key)) is not None:
            values[f"asked.{key}"] = Value({piece.unit: piece.value}, "user")
    return values


def _optim(loaded: Loaded) -> Values:
    optim = loaded.recipe.optim
    values = {
        f"optim.{key}": _set(loaded, f"optim.{key}", getattr(optim, key)) for key in ("eps", "weight_decay", "clip")
    }
    values["optim.betas"] = _set(loaded, "optim.betas", list(optim.betas))
    if optim.batch is not None:
        values["optim.batch_tokens"] = Value(optim.batch, "user")
    if optim.z_loss is not None:
        values["optim.z_loss"] = Value(optim.z_loss, "user")
    return values


def _budget(loaded: Loaded, objective: str) -> Values:
    asked = loaded.recipe.budget
    if asked is not None:
        return {"asked.budget": Value({asked.unit: asked.value}, "user")}
    if not loaded.recipe.data.domain:
        raise InputError(
            "`budget` is needed when there is no domain data", where=loaded.place("budget"), fix="add a budget"
        )
    epochs = 2.0 if objective == "sft" else 1.0
    why = "2 epochs of conversations (Olmo 3)" if objective == "sft" else "1 epoch of text"
    return {"asked.budget": Value({"epochs": epochs}, "stage default", why)}


def _hardware(loaded: Loaded, start: Start) -> Values:
    recipe = loaded.recipe
    hidden = start.config().get("hidden_size")
    rank = defaults.lora_rank(recipe.lora.rank, hidden)
    alpha = recipe.lora.alpha
    every = recipe.checkpoints.every
    memory = {f"memory.{k}": _set(loaded, f"memory.{k}", v) for k, v in recipe.memory.model_dump().items()}
    return memory | {
        "lora.rank": rank,
        "lora.alpha": Value(alpha, "user")
        if alpha is not None
        else Value(2.0 * rank.value, "derived", "twice the rank"),
        "lora.target": _set(loaded, "lora.target", recipe.lora.target),
        "lora.dropout": _set(loaded, "lora.dropout", recipe.lora.dropout),
        "asked.checkpoints_every": _set(loaded, "checkpoints.every", {every.unit: every.value} if every else None),
        "checkpoints.keep": _set(loaded, "checkpoints.keep", recipe.checkpoints.keep),
    }


def _proof(loaded: Loaded, family: Family | None, start: Start, objective: str) -> Values:
    recipe = loaded.recipe
    held = recipe.eval.domain
    every = recipe.eval.every
    domain = None if held is None else [absolute(spec_of(spec), loaded.base) for spec in held]
    return {
        "keep.general": _set(loaded, "keep.general", recipe.keep.general),
        "eval.domain": Value(domain, "user" if held else "derived", "" if held else "the held-out domain documents"),
        "eval.grader": _set(loaded, "eval.grader", _own_grader(loaded)),
        "asked.eval_every": _set(loaded, "eval.every", {every.unit: every.value} if every else None),
        "eval.suites": _suites(loaded, family, start, objective),
    }


def _own_grader(loaded: Loaded) -> dict[str, Any] | None:
    spec = loaded.recipe.eval.grader
    return spec and whole_grader(spec, loaded.base, loaded.recipe.trusted or spec.get("trusted") is True)


def _suites(loaded: Loaded, family: Family | None, start: Start, objective: str) -> Value:
    asked = loaded.recipe.eval.suites
    if family is None or asked == "none":
        return Value([], "user" if asked == "none" else "derived", "a model without a family has no suites")
    known = {suite.name: suite for suite in family.file.eval}
    if asked == "auto":
        stage = "post" if objective != "text" else start.stage
        names = [name for name, suite in known.items() if stage in suite.stages]
    else:
        names = list(asked)
    for name in names:
        if name not in known:
            raise InputError(
                f"`eval.suites`: the family `{family.name}` has no suite `{name}`; it has {', '.join(known)}",
                where=loaded.place("eval.suites"),
                fix="name one of them, or `auto`",
            )
    suites = [absolute(known[name].model_dump(mode="json"), family.folder) for name in names]
    for suite in suites:  # code of a family's is trusted by the recipe, never by the family itself
        suite["grader"] = suite["grader"] and whole_grader(suite["grader"], family.folder, loaded.recipe.trusted)
    return Value(suites, "family" if asked == "auto" else "user", "all that suit the stage" if asked == "auto" else "")


def _set(loaded: Loaded, key: str, value: Any) -> Value:
    """A value that the schema already has a default for."""
    return Value(value, "user" if _given(loaded.data, key) else "stage default")


def _or_default(loaded: Loaded, key: str, value: Any, default: Any, why: str) -> Value:
    return Value(value, "user") if _given(loaded.data, key) else Value(default, "stage default", why)


def _given(data: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True
