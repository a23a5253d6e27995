"""The access token that a recipe names: for its start on the Hub, and for every data set that names none itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bloomery.core.secret import Secret
from bloomery.data.config import SourceSpec
from bloomery.recipes.plan import Plan, Value


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


def _named(spec: Mapping[str, Any], token: Secret) -> dict[str, Any]:
    addresses = SourceSpec.model_validate(spec).remote
    wanted = any(address.startswith("hf://") for address in addresses) and not spec.get("token")
    return {**spec, "token": token.to_recipe()} if wanted else dict(spec)
