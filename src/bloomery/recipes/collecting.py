"""Where the rollouts of a recipe come from: this process, environments of several turns, or orchestrators outside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.recipes import pushing
from bloomery.recipes.environments import host_of
from bloomery.recipes.rewarding import reward
from bloomery.recipes.rollouts import KEY
from bloomery.rl.config import MOST_TOKENS, RolloutSettings, StepSettings

if TYPE_CHECKING:
    from bloomery.engine.native import NativeEngine
    from bloomery.models.load import Loaded
    from bloomery.rl.fleet import Fleet
    from bloomery.rl.loop import Collector
    from bloomery.rl.weights import Renew

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
    grader, _ = reward(told, folder, say) if told["reward"] else (None, None)
    steps = StepSettings(own["turns"], own["tokens"] or MOST_TOKENS, own["deadline"])
    bridge, decode = Bridge(Prompter(loaded.tokenizer, "auto")), _decoder(loaded.tokenizer)
    engine, renew, end = _engine(told, settings, loaded, folder)
    return Stepping(engine, host_of(own), bridge, settings, steps, decode, grader, renew, end)


def _engine(
    told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path
) -> tuple[NativeEngine | Fleet, Renew, Callable[[], None]]:
    """What samples: workers of their own, an engine over a copy of the weights, or over those in training."""
    from bloomery.engine.native import NativeEngine
    from bloomery.rl.fleet import Fleet
    from bloomery.rl.weights import copied, shared

    if told["workers"]:
        fleet = Fleet(loaded, folder / "policy", told["workers"])
        return fleet, fleet.renew, fleet.close
    if settings.staleness:
        own, renew = copied(loaded)
        return NativeEngine(own), renew, _nothing
    return NativeEngine(loaded), shared, _nothing


def _outside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """The gateway over the weights in training; its journal lies in the run folder, readable by its owner only."""
    from bloomery.engine.service import NativeService
    from bloomery.evals.prompts import Prompter
    from bloomery.rl.forced import Forced
    from bloomery.rl.gateway import Gateway, Rights
    from bloomery.rl.journal import Journal
    from bloomery.rl.outside import Door, Outside, address
    from bloomery.rl.weights import copied
    from bloomery.serve.desk import Model

    host, port = address(told["orchestrators"])
    own, renew = copied(loaded) if settings.staleness else (loaded, None)
    journal, service = Journal(folder / "journal.sqlite", pushing.terms(told)), NativeService(own)
    grader, _ = reward(told, folder, say) if told["reward"] else (None, None)
    prompter = Prompter(loaded.tokenizer, "auto")
    model = Model("policy", prompter, loaded.tokenizer, int(time.time()), "fp_policy")
    rights = Rights(os.environ[KEY], sessions_reward=grader is None, signers=pushing.signers(told))
    forced = Forced(settings.temperature, settings.max_tokens, seed=settings.seed)
    service.start()
    door = Door(lambda: Gateway(service, model, prompter, journal, rights, forced=forced), host, port)
    push = pushing.dispatcher(told, journal, folder.name, forced, say)
    return Outside(journal, service, door, settings, say, push, grader, renew)


def _decoder(tokenizer: Any) -> Callable[[Any], str]:
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))


def _nothing() -> None:
    """An engine of this process ends with it."""
