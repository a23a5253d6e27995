"""A training by rewards, wired: tasks behind the blend's rows, the grader, an engine over the weights in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloomery.core.rows import TokenRow
from bloomery.data.rows import RowTable
from bloomery.recipes.collecting import collecting
from bloomery.recipes.configure import source_specs
from bloomery.recipes.going import begun, go, top_of
from bloomery.recipes.held_rows import evaluation_rows, own_records
from bloomery.recipes.prepare import Prepared
from bloomery.recipes.pulling import pull
from bloomery.recipes.ranks import across
from bloomery.recipes.rewarding import saying, told_to
from bloomery.recipes.rollouts import RL
from bloomery.recipes.watched import watched
from bloomery.rl.config import RolloutSettings
from bloomery.rl.log import RolloutLog

if TYPE_CHECKING:
    from bloomery.models.load import Loaded
    from bloomery.recipes.feed import BlendSource
    from bloomery.recipes.training import ArmRun
    from bloomery.rl.loop import Collector, RolloutSource
    from bloomery.rl.rollouts import Task
    from bloomery.train.parallel import World
    from bloomery.train.trainer import Trainer

SAMPLING = (
    "group", "max_tokens", "advantage", "norm", "overlong", "overlong_buffer", "temperature", "resample",
    "staleness",
)  # fmt: skip


class DomainTasks:
    """The rows of the plan's domain as tasks: what a row of the blend stands for, with all that graders read."""

    def __init__(self, prepared: Prepared, tokenizer: Any) -> None:
        from bloomery.evals.prompts import Prompter

        plan = prepared.plan
        self._tables: dict[str, RowTable] = {
            source.name: prepared.tables[source.name] for source in plan.sources if source.role == "domain"
        }
        self._specs, self._base = source_specs(plan), Path(plan.get("base"))
        self.prompter = Prompter(tokenizer, "auto")

    @property
    def sources(self) -> frozenset[str]:
        """Names of the domain's sources."""
        return frozenset(self._tables)

    def of(self, row: TokenRow) -> Task:
        """The task of a drawn row: its row id ends with its place in the source's table."""
        return self._task(row.source, int(row.row_id.rpartition(":")[2]), row.row_id)

    def fresh(self, seed: int, step: int, again: int, count: int) -> list[Task]:
        """`count` tasks beside those of the blend, each at most once, drawn evenly; the same for the same numbers."""
        places = [(name, index) for name, table in self._tables.items() for index in range(table.n_rows)]
        drawn = np.random.default_rng([seed, step, again]).choice(len(places), min(count, len(places)), replace=False)
        chosen = [places[int(one)] for one in drawn]
        return [self._task(name, index, f"{name}:again{again}:{index}", again) for name, index in chosen]

    def _task(self, source: str, index: int, group: str, again: int = 0) -> Task:
        from bloomery.evals.prompts import messages_of
        from bloomery.rl.rollouts import Task

        table = self._tables[source]
        row = self._rows[source][int(table.store.records[int(table.documents()[index])])]
        return Task(source, group, row, np.array(self.prompter.prompt(messages_of(row)), np.int32), again)

    @cached_property
    def _rows(self) -> Mapping[str, list[dict[str, Any]]]:
        """Every row of the sources, read once more: a token store holds no metadata."""
        return {
            name: [*evaluation_rows(own_records(self._specs[name], self._base), self._specs[name])]
            for name in self._tables
        }


def rolling(
    prepared: Prepared, run: ArmRun, source: BlendSource, loaded: Loaded, world: World
) -> tuple[RolloutSource, Callable[[Trainer], None]] | None:
    """The source of steps, and what is done when the weights are in place; None for another objective."""
    plan = prepared.plan
    if plan.get("objective") != RL:
        return None
    from bloomery.rl.loop import RolloutSource
    from bloomery.rl.resample import Resampling
    from bloomery.rl.watching import Watching

    told = plan.section("rollouts")
    tasks = DomainTasks(prepared, loaded.tokenizer)
    settings = RolloutSettings(seed=run.seed, **{name: told[name] for name in SAMPLING})
    rolled = RolloutSource(source, tasks, settings, RolloutLog(run.folder) if world.first else None)

    def before(trainer: Trainer) -> None:
        if world.size > 1:
            collector: Collector = across(plan, run, settings, trainer)
        else:
            collector = collecting(told, settings, loaded, run.folder, saying(trainer))
        plain = collector
        rolled.begin(collector)  # whatever comes now, it is closed
        context = int(getattr(loaded.config, "max_position_embeddings", 0) or 1 << 30)
        held = [] if told["orchestrators"] else watched(told, prepared.held, tasks.prompter, context, trainer)
        if not told["orchestrators"] and not begun(run.folder):
            go(plan, collector, tasks, run.seed, trainer)
        if settings.resample:
            collector = Resampling(collector, partial(tasks.fresh, run.seed), settings.resample)
        if held:
            top = told["environment"]["right"] if told["environment"] else top_of(told["reward"])
            collector = Watching(collector, plain, held, plan.get("eval.every"), top)
        rolled.begin(collector)
        rolled.pull = pull(plan, trainer, run.seed)
        rolled.told = told_to(trainer)

    return rolled, before
