"""What the Hub asks for: a network for a start that is not here, and the token named for it and for its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.hub import forbidden, offline
from bloomery.core.secret import Secret
from bloomery.data.config import SourceSpec
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.problem import Problem


def with_token(plan: Plan, token: Secret | None) -> Plan:
    """The plan with the name of the token's variable, which also stands on its Hub data; never the token itself."""
    if token is None:
        return plan
    values = {"token": Value(token.to_recipe(), "user")}
    sources = [{**source, "spec": _named(source["spec"], token)} for source in plan.get("sources")]
    held = plan.get("eval.domain")
    values["sources"] = replace(plan.values["sources"], value=sources)
    values["eval.domain"] = replace(plan.values["eval.domain"], value=held and [_named(one, token) for one in held])
    return plan.updated(values)


def hub_token(plan: Plan) -> Secret | None:
    """The token that the plan's start is fetched with; None for that of `HF_TOKEN` or `hf auth login`."""
    return Secret.parse(plan.get("token")) if "token" in plan.values else None


def check_access(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """A start that has yet to be fetched, where the network is forbidden or its token's variable is empty."""
    repo, token = plan.get("start.repo"), hub_token(plan)
    if not repo or plan.get("start.folder"):
        return
    if forbidden():
        key = "model" if loaded.recipe.model else "start"
        yield replace(Problem.of(offline("model", repo, plan.get("start.revision"))), where=loaded.place(key))
    elif token is not None:
        yield from unset(loaded, token)


def unset(loaded: Loaded, token: Secret) -> Iterator[Problem]:
    """A refusal of a token whose variable holds nothing; it is not read further."""
    try:
        token.reveal()
    except InputError as error:
        yield replace(Problem.of(error), where=loaded.place("token"))


def _named(spec: Mapping[str, Any], token: Secret) -> dict[str, Any]:
    addresses = SourceSpec.model_validate(spec).remote
    wanted = any(address.startswith("hf://") for address in addresses) and not spec.get("token")
    return {**spec, "token": token.to_recipe()} if wanted else dict(spec)
