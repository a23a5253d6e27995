"""`rollouts.engine: vllm` in a recipe: what cannot work, and the sampler that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.core.http import check_url
from bloomery.core.secret import Secret
from bloomery.launch.local import this_place
from bloomery.recipes.load import Loaded as Recipe
from bloomery.recipes.plan import Plan
from bloomery.recipes.problem import Problem

if TYPE_CHECKING:
    from bloomery.models.load import Loaded
    from bloomery.rl.vllm_sampler import VllmSampler

KEY = "rollouts.engine"


def check(recipe: Recipe, plan: Plan) -> Iterator[Problem]:
    """A method whose weights vLLM cannot take, a server that is not there, and keys that would have no effect."""
    told = plan.section("rollouts")
    if told["engine"] != "vllm":
        if told["server"]:
            message = "`rollouts.server` is a vLLM server, and `rollouts.engine` is native"
            yield Problem(message, recipe.place("rollouts.server"), "write `engine: vllm`, or remove it")
        return
    if plan.get("method") != "lora":
        message = f"`{KEY}: vllm` samples with adapters over the start, and `method` is {plan.get('method')}"
        workers = " with `workers`" if plan.get("method") == "full" else ""
        fix = f"write `method: lora`, or `engine: native`{workers}"
        yield Problem(message, recipe.place("method") or recipe.place(KEY), fix)
    if told["workers"]:
        message = f"`rollouts.workers` are processes of the native engine, and `{KEY}` is vllm"
        yield Problem(message, recipe.place("rollouts.workers"), "remove one of the two")
    if (size := this_place().size) > 1:
        message = f"`{KEY}: vllm`: each of the {size} processes of this run samples its own share already"
        yield Problem(message, recipe.place(KEY), "remove it, or run it in one process")
    server = told["server"] or {}
    if server.get("arguments") and not recipe.recipe.trusted:
        message = "`rollouts.server.arguments` may have vLLM run any code, with your rights"
        yield Problem(message, recipe.place("rollouts.server"), "read them, then set `trusted: true`")
    yield from (replace(problem, where=recipe.place(KEY)) for problem in _server(server, plan))


def _server(told: Mapping[str, Any], plan: Plan) -> Iterator[Problem]:
    """What keeps the server from being reached, or started."""
    from bloomery.engine.vllm_command import HOTTEST, RANKS, vllm_command

    try:
        if not told.get("url"):
            vllm_command()
        else:
            check_url(told["url"])
        if told.get("token"):
            Secret.parse(told["token"]).reveal()
    except InputError as error:
        yield Problem.of(error)
    for name in ("token", "model"):
        if told.get(name) and not told.get("url"):
            message = f"`rollouts.server.{name}` is of a server that runs, and there is no `url`"
            yield Problem(message, fix=f"add `url`, or remove `{name}`")
    if told.get("arguments") and told.get("url"):
        message = "`rollouts.server.arguments` start a server, and `url` names one that runs"
        yield Problem(message, fix="remove one of the two")
    if (heat := plan.get("rollouts.temperature")) > HOTTEST:
        yield Problem(f"`rollouts.temperature: {heat:g}` is more than vLLM takes", fix=f"set {HOTTEST:g} or less")
    rank = plan.section("lora").get("rank") or 0
    if rank > RANKS[-1]:
        yield Problem(f"`lora.rank: {rank}` is more than vLLM takes", fix=f"set {RANKS[-1]} or less")


def vllm_sampler(told: Mapping[str, Any], temperature: float, loaded: Loaded, folder: Path) -> VllmSampler:
    """The sampler over the server that the section names, or over one of ours, whose log lies in the run's folder."""
    from bloomery.engine.vllm import VllmEngine
    from bloomery.engine.vllm_server import VllmServer
    from bloomery.models.lora import rank_of
    from bloomery.rl.published import Published
    from bloomery.rl.vllm_sampler import VllmSampler

    server, published = told["server"] or {}, Published(loaded, folder / "policy")
    if not server.get("url"):
        arguments = ["--dtype", published.dtype, *server.get("arguments", ())]
        rank, base = rank_of(loaded.model), Path(str(loaded.folder))
        ours = VllmServer(base, folder / "vllm.log", arguments=arguments, adapters=rank)
        return VllmSampler(ours.engine(), published, loaded, temperature, ours.stop)
    token = Secret.parse(server["token"]).reveal() if server["token"] else ""
    engine = VllmEngine(server["url"], token, model=server["model"], scores=False)
    engine.mode = engine.find_mode()
    return VllmSampler(engine, published, loaded, temperature)
