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
    from bloomery.models.load import Loaded
    from bloomery.rl.loop import Collector

Say = Callable[[str], None]


def collecting(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """What collects rollouts as the section `rollouts` says, over the weights of `loaded`."""
    make = _outside if told["orchestrators"] else _stepping if told["environment"] else _inside
    return make(told, settings, loaded, folder, say)


def _inside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """Rollouts of one answer."""
    from bloomery.engine.native import NativeEngine
    from bloomery.rl.inside import Inside

    grader, drift = reward(told, folder, say)
    return Inside(NativeEngine(loaded), grader, settings, _decoder(loaded.tokenizer), drift)


def _stepping(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """Rollouts of several turns in environments."""
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.prompts import Prompter
    from bloomery.rl.bridge import Bridge
    from bloomery.rl.stepping import Stepping

    own = told["environment"]
    grader, _ = reward(told, folder, say) if told["reward"] else (None, None)
    steps = StepSettings(own["turns"], own["tokens"] or MOST_TOKENS, own["deadline"])
    bridge, decode = Bridge(Prompter(loaded.tokenizer, "auto")), _decoder(loaded.tokenizer)
    return Stepping(NativeEngine(loaded), host_of(own), bridge, settings, steps, decode, grader)


def _outside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path, say: Say) -> Collector:
    """The gateway over the weights in training; its journal lies in the run folder, readable by its owner only."""
    from bloomery.engine.service import NativeService
    from bloomery.evals.prompts import Prompter
    from bloomery.rl.forced import Forced
    from bloomery.rl.gateway import Gateway, Rights
    from bloomery.rl.journal import Journal
    from bloomery.rl.outside import Door, Outside, address
    from bloomery.serve.desk import Model

    host, port = address(told["orchestrators"])
    journal, service = Journal(folder / "journal.sqlite", pushing.terms(told)), NativeService(loaded)
    prompter = Prompter(loaded.tokenizer, "auto")
    model = Model("policy", prompter, loaded.tokenizer, int(time.time()), "fp_policy")
    rights = Rights(os.environ[KEY], signers=pushing.signers(told))
    forced = Forced(settings.temperature, settings.max_tokens, seed=settings.seed)
    service.start()
    door = Door(lambda: Gateway(service, model, prompter, journal, rights, forced=forced), host, port)
    return Outside(journal, service, door, settings, say, pushing.dispatcher(told, journal, folder.name, forced, say))


def _decoder(tokenizer: Any) -> Callable[[Any], str]:
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))
