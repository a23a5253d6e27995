"""Recipe + family -> plan: every value decided, with who decided it and why.

What depends on token counts (`settle.py`) is first settled by estimate; the run settles it again once
the tokens are counted. What the recipe asked for stays in the plan under `asked.`, so that it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from bloomery.core.errors import InputError
from bloomery.families.registry import Family
from bloomery.families.rules import choose_start
from bloomery.families.scaffold import TOKENS_PER_PARAMETER, horizon
from bloomery.recipes import defaults, preference, rollouts
from bloomery.recipes.access import with_token
from bloomery.recipes.given import as_set
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.resolve_data import data_values
from bloomery.recipes.resolve_proof import general_text, proof_values
from bloomery.recipes.sample import Sample, document_tokens, kind_of, measured, sample_domain
from bloomery.recipes.scaffold import made_scaffold
from bloomery.recipes.settle import settle
from bloomery.recipes.start import Start, family_of, from_family, from_model, left_by, named_start
from bloomery.recipes.streaming import limited
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
    made = None if before else made_scaffold(loaded, family)
    if made:
        start, reason = made.start, Value(made.start.ref, "user")
    else:
        start, reason = _next(before, family) if before else _start(loaded, family, kind, samples)
    samples = measured(samples, Path(start.tokenizer) if start.tokenizer else None)
    values["document_tokens"] = document_tokens(samples)
    values |= _objective(loaded, kind) | _start_values(start, reason)
    objective: defaults.Objective = values["objective"].value
    values |= data_values(loaded, family, start, objective, samples)
    values |= made.values if made else {}
    values |= _budget(loaded, objective, start) | _schedule(loaded, start, objective) | _optim(loaded, start, objective)
    values |= _hardware(loaded, start) | proof_values(loaded, family, start, objective)
    values |= preference.settings(loaded, objective) | rollouts.settings(loaded, objective)
    values |= {"eval.general": general_text(values)}
    plan = with_token(Plan(values), loaded.recipe.token)
    known = {source.name: float(source.tokens) for source in plan.sources if source.tokens}
    tokens = known | {name: sample.tokens for name, sample in samples.items()}
    return limited(trimmed(settle(plan, tokens, estimated=True)))


def _identity(loaded: Loaded, family: Family | None) -> Values:
    recipe = loaded.recipe
    named = Value(loaded.name, "user" if recipe.name else "derived", "" if recipe.name else "the recipe's file name")
    return {
        "name": named,
        "base": Value(str(loaded.base), "derived", "relative paths begin here"),
        "family": Value(family.name if family else None, *_by_run(loaded)),
        "licence": Value(family.file.licence if family else None, "family"),
        "use": as_set(loaded, "use", recipe.use),
        "method": as_set(loaded, "method", recipe.method),
        "seed": as_set(loaded, "seed", recipe.seed),
        "seeds": as_set(loaded, "seeds", recipe.seed_list()),
        "threads": as_set(loaded, "threads", recipe.threads),
        "trusted": as_set(loaded, "trusted", recipe.trusted),
        "report_to": as_set(loaded, "report_to", list(recipe.report_to)),
        "steps": as_set(loaded, "steps", [step.model_dump() for step in recipe.steps]),
        "asked.arms": as_set(loaded, "arms", list(recipe.arms)),
    }


def _by_run(loaded: Loaded) -> tuple[Literal["user", "derived"], str]:
    named = loaded.recipe.family or loaded.recipe.model or loaded.recipe.scaffold
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
    known: Literal["family", "derived"] = "derived" if start.configuration else "family"
    own = {key: Value(fields[key], known) for key in fields if key not in ("ref", "context", "mix", "parameters")}
    own["parameters"] = Value(_parameters(start), "derived", "from the model's configuration")
    return {"start.ref": reason} | {f"start.{key}": value for key, value in own.items()}


def _parameters(start: Start) -> int | None:
    from bloomery.recipes.memory import shape_of

    shape = None if start.configuration else shape_of(start.config())
    return shape.parameters if shape else start.parameters


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


def _optim(loaded: Loaded, start: Start, objective: defaults.Objective) -> Values:
    optim = loaded.recipe.optim
    values = {
        f"optim.{key}": as_set(loaded, f"optim.{key}", getattr(optim, key)) for key in ("eps", "weight_decay", "clip")
    }
    values["optim.betas"] = defaults.betas(optim.betas, start, objective)
    if optim.settle is not None:
        values["optim.settle"] = Value(optim.settle, "user")
    if optim.batch is not None:
        values["optim.batch_tokens"] = Value(optim.batch, "user")
    if optim.z_loss is not None:
        values["optim.z_loss"] = Value(optim.z_loss, "user")
    return values


def _budget(loaded: Loaded, objective: str, start: Start) -> Values:
    asked = loaded.recipe.budget
    if asked is not None:
        return {"asked.budget": Value({asked.unit: asked.value}, "user")}
    if start.configuration and start.kind == "scaffold":
        why = f"{TOKENS_PER_PARAMETER} tokens a parameter (Chinchilla, arXiv 2203.15556)"
        return {"asked.budget": Value({"tokens": horizon(start.parameters or 0)}, "derived", why)}
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
    every = recipe.checkpoints.every
    memory = {f"memory.{k}": as_set(loaded, f"memory.{k}", v) for k, v in recipe.memory.model_dump().items()}
    return memory | {
        "lora.rank": rank,
        "lora.alpha": defaults.lora_alpha(recipe.lora.alpha, rank.value, recipe.lora.rslora),
        "lora.rslora": as_set(loaded, "lora.rslora", recipe.lora.rslora),
        "lora.plus": as_set(loaded, "lora.plus", recipe.lora.plus),
        "lora.target": as_set(loaded, "lora.target", recipe.lora.target),
        "lora.dropout": as_set(loaded, "lora.dropout", recipe.lora.dropout),
        "asked.checkpoints_every": as_set(loaded, "checkpoints.every", {every.unit: every.value} if every else None),
        "checkpoints.keep": as_set(loaded, "checkpoints.keep", recipe.checkpoints.keep),
    }
