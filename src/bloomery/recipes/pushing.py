"""`rollouts.push` and `rollouts.aws_keys` of a recipe: what cannot work, and the dispatcher and signers they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.http import check_url
from bloomery.core.secret import Secret
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem
from bloomery.rl.config import PushSettings

if TYPE_CHECKING:
    from bloomery.rl.dispatch import Dispatcher
    from bloomery.rl.forced import Forced
    from bloomery.rl.journal import Journal
    from bloomery.rl.leases import Terms
    from bloomery.rl.sigv4 import Signers


def check(loaded: Loaded, plan: Plan) -> Iterator[Problem]:
    """A server without a gateway that it can call, addresses that are none, and secrets that are not set."""
    push, keys = plan.get("rollouts.push"), plan.get("rollouts.aws_keys") or {}
    for name, told in (("push", push), ("aws_keys", keys)):
        if told and not plan.get("rollouts.orchestrators"):
            message = f"`rollouts.{name}` is for rollouts made outside, and there is no gateway that they could call"
            yield Problem(message, loaded.place(f"rollouts.{name}"), "add `orchestrators: 127.0.0.1:8100`")
    secrets = [*keys.values(), *([push["token"]] if push and push["token"] else [])]
    addresses = [push[name] for name in ("url", "endpoint") if push[name]] if push else []
    for problem in (*map(_unset, secrets), *map(_odd, addresses)):
        if problem is not None:
            yield replace(problem, where=loaded.place("rollouts"))


def _unset(secret: Any) -> Problem | None:
    try:
        Secret.parse(secret).reveal()
    except InputError as error:
        return Problem.of(error)
    return None


def _odd(url: str) -> Problem | None:
    try:
        check_url(url)
    except InputError as error:
        return Problem.of(error)
    return None


def signers(told: Mapping[str, Any]) -> Signers:
    """Who may sign, with their secrets read from the environment."""
    from bloomery.rl.sigv4 import Signers

    return Signers({access: _secret(secret) for access, secret in told["aws_keys"].items()})


def _secret(told: Any) -> str:
    """The secret that a recipe names. Raises `InputError` where its variable is not set."""
    return Secret.parse(told).reveal()


def terms(told: Mapping[str, Any]) -> Terms:
    """How long orchestrators, or the server that tasks are pushed to, may be silent."""
    from bloomery.rl.dispatch import terms_of
    from bloomery.rl.leases import Terms

    return terms_of(_settings(told)) if told["push"] else Terms(lease=told["lease"], attempts=told["attempts"])


def dispatcher(
    told: Mapping[str, Any], journal: Journal, job: str, forced: Forced, say: Callable[[str], None]
) -> Dispatcher | None:
    """The dispatcher, at work; None where nothing is pushed."""
    from bloomery.rl.dispatch import Dispatcher

    if not told["push"]:
        return None
    made = Dispatcher(journal, _settings(told), job, forced.to_json(), say=say)
    made.start()
    return made


def _settings(told: Mapping[str, Any]) -> PushSettings:
    push = dict(told["push"])
    endpoint = push.pop("endpoint") or f"http://{told['orchestrators']}"
    return PushSettings(**push | {"hosts": tuple(push["hosts"])}, endpoint=endpoint)
