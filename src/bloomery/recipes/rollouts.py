"""Reinforcement learning in a recipe: its settings as decided values, its batch, and what cannot work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from bloomery.core.errors import InputError, Where
from bloomery.launch.local import this_place
from bloomery.recipes import environments, pushing, vllm_rollouts
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.problem import Problem
from bloomery.recipes.proof_sections import whole_grader

RL = "rl"
TASK = "task"
"""The shape of rows without an answer."""
KEY = "BLOOMERY_TOKEN"
"""Environment variable with the key that orchestrators come with."""
LOSS = ("loss", "level", "clip_low", "clip_high", "correct", "proximal", "temperature")
"""Settings of the loss; the others are of sampling."""


def settings(loaded: Loaded, objective: str) -> dict[str, Value]:
    """The sections `reward` and `rollouts` as decided values; none for another objective."""
    if objective != RL:
        return {}
    told, given = loaded.recipe.rollouts, loaded.data.get("rollouts") or {}
    plain = told.model_dump(mode="json")
    values = {
        f"rollouts.{name}": Value(plain[name], "user" if name in given else "stage default")
        for name in type(told).model_fields
    }
    if told.staleness is None:
        beside = told.workers > 0 or told.engine == "vllm"
        why = "the next step is sampled while this one is trained" if beside else "sampled when it is trained"
        values["rollouts.staleness"] = Value(int(beside), "stage default", why)
    values["rollouts.environment"] = Value(environments.settled(loaded), values["rollouts.environment"].origin)
    return values | {"rollouts.reward": Value(_grader(loaded), "user")}


def refuse_tasks(objective: str, shapes: Mapping[str, str]) -> None:
    """Raise `InputError` where rows without an answer would be trained on, by the shapes that were read."""
    for name, shape in shapes.items():
        if shape == TASK and objective != RL:
            raise _no_answers(objective, name)


def _no_answers(objective: str, name: str) -> InputError:
    message = f"`objective: {objective}` trains answers, and the rows of `{name}` have none"
    return InputError(message, fix=f"give a column with answers (`columns`), or write `objective: {RL}`")


def _grader(loaded: Loaded) -> dict[str, Any] | None:
    """The grader of the recipe, whole; a file is read."""
    found, base = loaded.recipe.reward, loaded.base
    if isinstance(found, str):
        path = base / found
        if not path.is_file():
            raise InputError(f"`reward: {found}` is no file", where=loaded.place("reward"), fix="name a grader's file")
        found, base = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")), path.parent
        if not isinstance(found, dict):
            raise InputError("holds no grader", where=Where(path), fix="write `type:` and its keys")
    return None if found is None else whole_grader(found, base, loaded.recipe.trusted)


def batch(plan: Plan, share: float) -> Value:
    """Tokens of the blend in a step that has `rollouts.tasks` tasks, on average."""
    tasks, each = plan.get("rollouts.tasks"), plan.get("document_tokens")
    tokens = max(1, round(tasks * each / max(share, 1e-9)))
    return Value(tokens, "derived", f"{tasks} tasks a step of about {each:,.0f} tokens, {share:.0%} of all")


def asks_start(plan: Plan) -> bool:
    """Whether the start is asked about sampled tokens."""
    return plan.get("objective") == RL and bool(plan.get("rollouts.kl") or plan.get("rollouts.kl_every"))


def keeps_start(plan: Plan) -> bool:
    """Whether that needs its weights a second time: with adapters, the model without them is the start."""
    return asks_start(plan) and plan.get("method") == "full"


def trained_tokens(plan: Plan) -> tuple[int, int]:
    """(tokens of a group, tokens of a step): what is trained on is longer than what the blend draws, whose rows are
    tasks. A group goes through one forward pass; answers are taken to be as long as they may be."""
    prompt, answer, own = round(plan.get("document_tokens")), plan.get("rollouts.max_tokens"), plan.get("context")
    if played := plan.get("rollouts.environment"):  # several answers, and what is said between them
        answer = min(own - prompt, max(played["tokens"] or 0, 2 * played["turns"] * answer))
    group = plan.get("rollouts.group") * (prompt + answer)
    return group, plan.get("rollouts.tasks") * group + plan.get("optim.batch_tokens")


def _sampling(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """Lengths, workers, staleness and orchestrators that cannot go together."""
    outside = plan.get("rollouts.orchestrators")
    longest, context = plan.get("rollouts.max_tokens"), plan.get("context")
    if context and longest >= context and "max_tokens" in (loaded.data.get("rollouts") or {}):
        message = f"`rollouts.max_tokens: {longest}` leaves no room for a prompt in a context of {context:,}"
        yield Problem(message, loaded.place("rollouts.max_tokens"), f"set less than {context}")
    if plan.get("rollouts.workers") and plan.get("method") == "qlora":
        message = "`rollouts.workers` read whole weights from a folder, and `method: qlora` trains beside 4 bits"
        yield Problem(message, loaded.place("rollouts.workers"), "remove it, or write `method: lora`")
    if outside and plan.get("rollouts.workers"):
        message = "`rollouts.workers` sample what is asked here, and with `rollouts.orchestrators` they ask"
        yield Problem(message, loaded.place("rollouts.workers"), "remove one of the two")
    if not outside and plan.get("rollouts.staleness") > 1:
        message = f"`rollouts.staleness: {plan.get('rollouts.staleness')}`: steps that are sampled here come one by one"
        yield Problem(message, loaded.place("rollouts.staleness"), "set 0 or 1; more is for `orchestrators`")
    if outside and not os.environ.get(KEY):
        message = "`rollouts.orchestrators` needs a key that orchestrators come with, and BLOOMERY_TOKEN is not set"
        yield Problem(message, loaded.place("rollouts.orchestrators"), "set the variable BLOOMERY_TOKEN")


def _processes(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """What cannot go together with a run of several processes."""
    size, staleness = this_place().size, plan.get("rollouts.staleness")
    if size > 1 and plan.get("rollouts.workers"):
        message = f"`rollouts.workers`: each of the {size} processes of this run samples its own share already"
        fix = "remove it; `rollouts.staleness: 1` samples beside training in every process"
        yield Problem(message, loaded.place("rollouts.workers"), fix)
    elif size > 1 and staleness > 1:
        message = f"`rollouts.staleness: {staleness}`: the {size} processes of this run collect one step at a time"
        yield Problem(message, loaded.place("rollouts.staleness"), "set 0 or 1, or run it in one process")


def check(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A reward without the objective, the objective without a reward, and graders that cannot be made."""
    if plan.get("objective") != RL:
        for key in ("reward", "rollouts"):
            if loaded.data.get(key):
                message = f"`{key}` is set, but `objective` is {plan.get('objective')}"
                yield Problem(message, loaded.place(key), f"remove it, or write `objective: {RL}`")
        for source in plan.sources:
            if source.shape == TASK:
                error = _no_answers(plan.get("objective"), source.name)
                yield Problem(error.message, loaded.place("data"), str(error.fix))
        return
    outside = plan.get("rollouts.orchestrators")
    yield from environments.check(loaded, plan)
    if plan.get("rollouts.reward") is None and not outside and not plan.get("rollouts.environment"):
        message = f"`objective: {RL}` learns from rewards, and there is no `reward`"
        yield Problem(message, loaded.place("objective"), "add one, such as `reward: {type: string_check}`")
    yield from _sampling(loaded, plan)
    yield from _processes(loaded, plan)
    yield from pushing.check(loaded, plan)
    yield from vllm_rollouts.check(loaded, plan)
    if plan.get("start.kind") == "scaffold":
        message = f"`objective: {RL}` learns from its own answers, and a scaffold gives none worth a reward"
        yield Problem(message, loaded.place("start"), "start from a trained checkpoint")
    for source in plan.sources:
        if source.role == "domain" and source.shape in ("text", "preference", "judged"):
            message = f"`objective: {RL}` takes tasks, and `{source.name}` holds rows of the shape `{source.shape}`"
            yield Problem(message, loaded.place("data"), "give rows with a prompt and a reference answer")
