"""A training by rewards, wired: tasks behind the blend's rows, the grader, an engine over the weights in training."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloomery.core.errors import InputError
from bloomery.core.rows import TokenRow
from bloomery.data.rows import RowTable
from bloomery.data.sources import iter_records
from bloomery.recipes.configure import source_specs
from bloomery.recipes.environments import host_of
from bloomery.recipes.held_rows import evaluation_rows
from bloomery.recipes.judges import Judges
from bloomery.recipes.prepare import Prepared
from bloomery.recipes.rollouts import KEY, RL
from bloomery.rl.config import MOST_TOKENS, RolloutSettings, StepSettings
from bloomery.rl.log import RolloutLog

if TYPE_CHECKING:
    from bloomery.models.load import Loaded
    from bloomery.recipes.feed import BlendSource
    from bloomery.recipes.training import ArmRun
    from bloomery.rl.loop import Collector, RolloutSource
    from bloomery.rl.rollouts import Task
    from bloomery.train.trainer import Trainer

SAMPLING = ("group", "max_tokens", "advantage", "norm", "overlong")


class DomainTasks:
    """The rows of the plan's domain as tasks: what a row of the blend stands for, with all that graders read."""

    def __init__(self, prepared: Prepared, tokenizer: Any) -> None:
        from bloomery.evals.prompts import Prompter

        plan = prepared.plan
        self._tables: dict[str, RowTable] = {
            source.name: prepared.tables[source.name] for source in plan.sources if source.role == "domain"
        }
        self._specs, self._base = source_specs(plan), Path(plan.get("base"))
        self._prompter = Prompter(tokenizer, "auto")

    @property
    def sources(self) -> frozenset[str]:
        """Names of the domain's sources."""
        return frozenset(self._tables)

    def of(self, row: TokenRow) -> Task:
        """The task of a drawn row: its row id ends with its place in the source's table."""
        from bloomery.evals.prompts import messages_of
        from bloomery.rl.rollouts import Task

        group, _, index = row.row_id.rpartition(":")
        table = self._tables[row.source]
        record = int(table.store.records[int(table.documents()[int(index)])])
        found = self._rows[row.source][record]
        return Task(
            row.source, f"{group}:{index}", found, np.array(self._prompter.prompt(messages_of(found)), np.int32)
        )

    @cached_property
    def _rows(self) -> Mapping[str, list[dict[str, Any]]]:
        """Every row of the sources, read once more: a token store holds no metadata."""
        return {
            name: [*evaluation_rows(iter_records(self._specs[name], self._base), self._specs[name])]
            for name in self._tables
        }


def rolling(
    prepared: Prepared, run: ArmRun, source: BlendSource, loaded: Loaded
) -> tuple[RolloutSource, Callable[[Trainer], None]] | None:
    """The source of steps, and what is done when the weights are in place; None for another objective."""
    plan = prepared.plan
    if plan.get("objective") != RL:
        return None
    from bloomery.rl.loop import RolloutSource

    told = plan.section("rollouts")
    tasks = DomainTasks(prepared, loaded.tokenizer)
    settings = RolloutSettings(seed=run.seed, **{name: told[name] for name in SAMPLING})
    rolled = RolloutSource(source, tasks, settings, RolloutLog(run.folder))

    def before(trainer: Trainer) -> None:
        if trainer.world.size > 1:
            raise InputError("`objective: rl` trains in one process so far", fix="run it without torchrun")
        make = _outside if told["orchestrators"] else _stepping if told["environment"] else _inside
        rolled.begin(make(told, settings, loaded, run.folder))
        rolled.told = lambda step, figures: trainer.log("rollouts", step, **figures)

    return rolled, before


def _inside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path) -> Collector:
    from bloomery.engine.native import NativeEngine
    from bloomery.graders.load import load_grader
    from bloomery.rl.inside import Inside

    grader = load_grader(told["reward"], given=Judges().given())
    return Inside(NativeEngine(loaded), grader, settings, _decoder(loaded.tokenizer))


def _stepping(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path) -> Collector:
    """Rollouts of several turns in environments."""
    from bloomery.engine.native import NativeEngine
    from bloomery.evals.prompts import Prompter
    from bloomery.graders.load import load_grader
    from bloomery.rl.bridge import Bridge
    from bloomery.rl.stepping import Stepping

    own = told["environment"]
    grader = load_grader(told["reward"], given=Judges().given()) if told["reward"] else None
    steps = StepSettings(own["turns"], own["tokens"] or MOST_TOKENS, own["deadline"])
    bridge, decode = Bridge(Prompter(loaded.tokenizer, "auto")), _decoder(loaded.tokenizer)
    return Stepping(NativeEngine(loaded), host_of(own), bridge, settings, steps, decode, grader)


def _outside(told: Mapping[str, Any], settings: RolloutSettings, loaded: Loaded, folder: Path) -> Collector:
    """The gateway over the weights in training; its journal lies in the run folder, readable by its owner only."""
    from bloomery.engine.service import NativeService
    from bloomery.evals.prompts import Prompter
    from bloomery.rl.forced import Forced
    from bloomery.rl.gateway import Gateway, Rights
    from bloomery.rl.journal import Journal
    from bloomery.rl.outside import Door, Outside, address
    from bloomery.serve.desk import Model

    host, port = address(told["orchestrators"])
    journal, service = Journal(folder / "journal.sqlite"), NativeService(loaded)
    prompter = Prompter(loaded.tokenizer, "auto")
    model = Model("policy", prompter, loaded.tokenizer, int(time.time()), "fp_policy")
    rights, forced = Rights(os.environ[KEY]), Forced(max_tokens=settings.max_tokens, seed=settings.seed)
    service.start()
    door = Door(lambda: Gateway(service, model, prompter, journal, rights, forced=forced), host, port)
    return Outside(journal, service, door, settings, lambda text: print(text, file=sys.stderr, flush=True))


def _decoder(tokenizer: Any) -> Callable[[Any], str]:
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))
