"""Where the rollouts of a recipe come from: this process, environments of several turns, or orchestrators outside."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError
from bloomery.recipes import pushing
from bloomery.recipes.environments import host_of, program_of
from bloomery.recipes.rewarding import reward
from bloomery.recipes.rollouts import KEY
from bloomery.recipes.vllm_rollouts import vllm_sampler
from bloomery.rl.config import MOST_TOKENS, RolloutSettings, StepSettings

if TYPE_CHECKING:
    from bloomery.engine.native import NativeEngine
    from bloomery.engine.service import NativeService
    from bloomery.models.load import Loaded
    from bloomery.rl.fleet import Fleet
    from bloomery.rl.forced import Forced
    from bloomery.rl.gateway import Rights
    from bloomery.rl.leases import Terms
    from bloomery.rl.loop import Collector
    from bloomery.rl.outside import Outside
    from bloomery.rl.vllm_sampler import SamplingService, VllmSampler
    from bloomery.rl.weights import Renew

PLACES = 64
"""Rollouts that an environment drives at once."""
Say = Callable[[str], None]


def collecting(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """What collects rollouts as the section `rollouts` says, over the weights of `loaded`."""
    make = _outside if told["orchestrators"] else _stepping if told["environment"] else _inside
    return make(told, settings, loaded, folder, say)


def _inside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """Rollouts of one answer."""
    from bloomery.rl.inside import Inside

    grader, drift = reward(told, folder, say)
    engine, renew, end = _engine(told, settings, loaded, folder)
    return Inside(engine, grader, settings, _decoder(loaded.tokenizer), drift, renew, end)


def _stepping(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """Rollouts of several turns in environments."""
    from bloomery.evals.prompts import Prompter
    from bloomery.rl.bridge import Bridge
    from bloomery.rl.stepping import Stepping

    own = told["environment"]
    host = host_of(own)
    if host is None:
        return _driven(told, settings, loaded, folder, say)
    grader, _ = reward(told, folder, say) if told["reward"] else (None, None)
    steps = StepSettings(own["turns"], own["tokens"] or MOST_TOKENS, own["deadline"], own["at_once"])
    bridge, decode = Bridge(Prompter(loaded.tokenizer, "auto")), _decoder(loaded.tokenizer)
    engine, renew, end = _engine(told, settings, loaded, folder)
    return Stepping(engine, host, bridge, settings, steps, decode, grader, renew, end)


def _engine(
    told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path
) -> tuple[NativeEngine | Fleet | VllmSampler, Renew, Callable[[], None]]:
    """What samples: a vLLM server, workers, an engine over a copy of the weights, or over those in training."""
    from bloomery.engine.native import NativeEngine
    from bloomery.rl.fleet import Fleet
    from bloomery.rl.weights import copied, shared

    if told["engine"] == "vllm":
        sampler = vllm_sampler(told, settings.temperature, loaded, folder)
        return sampler, sampler.renew, sampler.close
    keep = bool(told["environment"])  # whose turns go on from each other
    if told["workers"]:
        fleet = Fleet(loaded, folder / "policy", told["workers"], keep=keep)
        return fleet, fleet.renew, fleet.close
    own, renew = copied(loaded) if settings.staleness else (loaded, shared)
    engine = NativeEngine(own, keep=keep)

    def changed(version: int) -> None:
        renew(version)
        engine.forget()

    return engine, changed, _nothing


def _driven(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """Rollouts that environments drive themselves, in a process of ours, through a gateway that only it knows."""
    from bloomery.rl.environments.driving import Driving
    from bloomery.rl.gateway import Rights
    from bloomery.rl.leases import Terms

    if told["workers"]:
        said = "`rollouts.workers` sample what is asked here, and this environment asks by itself"
        raise InputError(said, fix="remove `workers`, or write `engine: vllm`")
    own, token, port = told["environment"], secrets.token_urlsafe(32), free_port()
    terms = Terms(deadline=own["deadline"] + 60, turns=own["turns"], tokens=own["tokens"] or Terms().tokens)
    outer = Outer("127.0.0.1", port, Rights(token), terms)
    found = _gateway(outer, told, settings, loaded, folder, say)
    job = {
        "gateway": f"http://127.0.0.1:{port}",
        "token": token,
        "places": own["at_once"] or PLACES,
        "seconds": own["deadline"],
    }
    found.push = Driving(program_of(own), job | {"graded": found.grader is not None}, found.journal)
    return found


def _outside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """Rollouts of whoever comes with the key."""
    from bloomery.rl.gateway import Rights
    from bloomery.rl.outside import address

    rights = Rights(os.environ[KEY], sessions_reward=not told["reward"], signers=pushing.signers(told))
    outer = Outer(*address(told["orchestrators"]), rights, pushing.terms(told))
    found = _gateway(outer, told, settings, loaded, folder, say)
    found.push = pushing.dispatcher(told, found.journal, folder.name, _forced(settings), say)
    return found


@dataclass(frozen=True)
class Outer:
    """Where a gateway is, who may come, and how long they may take."""

    host: str
    port: int
    rights: Rights
    terms: Terms | None


def _gateway(
    outer: Outer, told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say
) -> Outside:
    """The gateway over the weights in training; its journal lies in the run folder, readable by its owner only."""
    from bloomery.evals.prompts import Prompter
    from bloomery.rl.gateway import Gateway
    from bloomery.rl.journal import Journal
    from bloomery.rl.outside import Door, Outside
    from bloomery.serve.desk import Model

    service, renew = _service(told, settings, loaded, folder)
    journal = Journal(folder / "journal.sqlite", outer.terms)
    grader, _ = reward(told, folder, say) if told["reward"] else (None, None)
    prompter, forced = Prompter(loaded.tokenizer, "auto"), _forced(settings)
    model = Model("policy", prompter, loaded.tokenizer, int(time.time()), "fp_policy")
    service.start()
    made = partial(Gateway, service, model, prompter, journal, outer.rights, forced=forced)
    door = Door(made, outer.host, outer.port, shut=True)  # until the weights of the newest checkpoint are in place
    return Outside(journal, service, door, settings, say, None, grader, renew)


def _service(
    told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path
) -> tuple[NativeService | SamplingService, Renew | None]:
    """What answers a gateway's calls, and what renews its weights, where they are not those in training themselves."""
    from bloomery.engine.service import NativeService
    from bloomery.rl.weights import copied

    if told["engine"] == "vllm":
        sampler = vllm_sampler(told, settings.temperature, loaded, folder)
        return sampler.service(), sampler.renew
    own, renew = copied(loaded) if settings.staleness else (loaded, None)
    return NativeService(own), renew


def _forced(settings: RolloutSettings) -> Forced:
    from bloomery.rl.forced import Forced

    return Forced(settings.temperature, settings.max_tokens, seed=settings.seed)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _decoder(tokenizer: Any) -> Callable[[Any], str]:
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))


def _nothing() -> None:
    """An engine of this process ends with it."""
