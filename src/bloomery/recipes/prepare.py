"""A plan's sources as token stores, held-out documents and rows: everything before the first step but the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bloomery.core.rows import Segment, TokenRow
from bloomery.data.blend import Blend, check_supply
from bloomery.data.config import SourceSpec
from bloomery.data.contamination import Touched, contamination
from bloomery.data.curriculum import Stage
from bloomery.data.overlap import refuse_overlap
from bloomery.data.pairs import row_table
from bloomery.data.receipt import by_category, data_receipt
from bloomery.data.remote import pins
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.shapes import guess
from bloomery.data.store import TokenStore, build_store
from bloomery.recipes.apart import evaluated_rows, give_way, measured
from bloomery.recipes.blend_checks import stand_in
from bloomery.recipes.configure import segments, source_specs
from bloomery.recipes.counts import cache_dir, remember, remember_stages
from bloomery.recipes.curriculum import with_stages
from bloomery.recipes.difficulty import stages_by_source
from bloomery.recipes.feed import BlendSource
from bloomery.recipes.held import Held, held_table, hold_out, hold_out_replayed, refuse_one, suite_rows
from bloomery.recipes.long_context import context_of
from bloomery.recipes.plan import Plan
from bloomery.recipes.preference import refuse_unused
from bloomery.recipes.rollouts import TASK, refuse_tasks
from bloomery.recipes.settle import settle
from bloomery.recipes.slices import slices
from bloomery.recipes.streaming import fetched, receipt
from bloomery.recipes.suites import plan_with_rows

if TYPE_CHECKING:
    from bloomery.train.validate import HeldOut

Say = Callable[[str], None]

WATCHED = 0.05
"""Share of a run's computing that following the held-out loss may take; the report then scores every document."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A settled plan and the rows behind it, by source name; `gone` are documents that gave way to evaluation rows.

    `stages` are what the blend draws from in place of a source whose rows go from easy to hard.
    """

    plan: Plan
    stores: Mapping[str, TokenStore]
    tables: Mapping[str, RowTable]
    held: tuple[Held, ...]
    gone: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    stages: Mapping[str, tuple[Stage, ...]] = field(default_factory=dict)
    slices: Mapping[str, RowTable] = field(default_factory=dict)
    """Held out of each curated source, where the run holds its budget."""
    shared: Mapping[str, Mapping[str, Touched]] = field(default_factory=dict)
    """What each source has in common with each evaluation set."""

    @property
    def drawn(self) -> dict[str, RowTable]:
        """Every table that the blend draws from, by its name in the segments."""
        staged = {stage.table.name: stage.table for own in self.stages.values() for stage in own}
        return {name: table for name, table in self.tables.items() if name not in self.stages} | staged

    def source(self, arm: str, seed: int) -> BlendSource:
        """Steps of one arm, checked to have enough rows. Raises `InputError` where a source would repeat too often."""
        parts, drawn = self._segments(arm), self.drawn
        used = {name: drawn[name] for part in parts for name in part.share}
        batch, cap = self.plan.get("optim.batch_tokens"), self.plan.get("data.repetition_cap")
        check_supply(used, parts, self.plan.arm(arm).steps, batch, cap)
        late = {name for name, table in used.items() if table.context > self.plan.get("context")}
        return BlendSource(Blend(used, parts, batch, seed, cap, late), used)

    def receipt(self, blend: Blend | None = None) -> dict[str, Any]:
        """What was read, kept, dropped and cut, what was held out, and what `blend` has taken so far."""
        tables = {one.name: one.table for one in self.held} | {f"{n} (slice)": t for n, t in self.slices.items()}
        held = {name: {"documents": table.n_documents, "tokens": table.n_tokens} for name, table in tables.items()}
        told = data_receipt(self.tables, blend, self.gone, self.stages)
        sources, specs = told["sources"], source_specs(self.plan)
        for source in self.plan.sources:
            spec, name = specs[source.name], source.name
            sources[name] |= {"role": source.role, "category": source.kind, "licence": source.licence}
            sources[name] |= {"remote": spec.remote} if spec.remote else {}
            sources[name] |= receipt(spec, source.licence)
            sources[name]["contamination"] = {of: one.to_json() for of, one in self.shared.get(name, {}).items()}
        mix = {"mix": self.plan.get("curated.mix"), "note": stand_in(self.plan)} | self.plan.section("curated")
        return {**told, "categories": by_category(sources), "curated": mix, "held_out": held}

    def watched(self) -> list[HeldOut]:
        """What the loss is followed on during training: the first documents of everything held out."""
        from bloomery.train.validate import HeldOut

        steps, often = self.plan.arm().steps, (self.plan.get("eval.every"), self.plan.get("checkpoints.every"))
        times = len({step for every in often for step in range(every, steps + 1, every)}) + 1
        # a forward pass costs a third of a training step
        affordable = WATCHED * 3 * self.plan.get("budget.tokens") / (times * max(1, len(self.held)))
        tokens = self.plan.get("eval.watch") or affordable
        found = []
        for one in (one for one in self.held if one.table.store.shape != TASK):  # no answers have a loss
            rows = _first_documents(one.table, tokens)
            size = int(one.table.store.text_bytes[np.unique(one.table.documents()[: len(rows)])].sum())
            found.append(HeldOut(one.name, rows, size if one.table.store.shape == "text" else 0))
        return found

    def _segments(self, arm: str) -> list[Segment]:
        whole = segments(self.plan, arm)
        return [Segment(part.start, {name: s for name, s in part.share.items() if s > 0}) for part in whole]


def _first_documents(table: RowTable, tokens: float) -> list[TokenRow]:
    """Rows of the first documents, whole ones, until they hold `tokens`; at least one document."""
    rows: list[TokenRow] = []
    documents, total = table.documents(), 0
    for i in range(table.n_rows):
        if total >= tokens and documents[i] != documents[i - 1]:
            break
        rows += table.rows(i)
        total += int(table.lengths[i])
    return rows


def prepare(plan: Plan, folder: Path, say: Say) -> Prepared:
    """Tokenise what is not stored yet, hold documents out, cut rows, settle the plan by the tokens there are.

    Held-out rows are written under `folder/eval`, readable by their owner only. Raises `InputError` naming file and
    row of what cannot be trained on, and for a row that would be trained and evaluated on at once.
    """
    renderer = Renderer(Path(plan.get("start.tokenizer")), _template(plan))
    asked, plan = plan, plan_with_rows(_pinned(plan), folder)
    stores = _read(plan, "domain", renderer, say)
    plan = fetched(_sized(plan, stores), say)
    stores |= _read(plan, "curated", renderer, say)
    specs = source_specs(plan)
    held, training = hold_out(plan, stores, specs, folder)
    general, replayed = hold_out_replayed(plan, stores, specs, folder)
    held, training = [*held, *general], training | replayed
    held += suite_rows(plan, renderer, folder)
    refuse_one(plan, held, say)
    evaluated = evaluated_rows(plan, held)
    aside = slices(plan, stores)
    training |= aside.stay
    stay, gone = give_way(plan, stores, evaluated | aside.evaluated(stores), training)
    training |= stay
    objective = plan.get("objective")
    for refuse in (refuse_unused, refuse_tasks):
        refuse(objective, {name: store.shape for name, store in stores.items()})
    tables = {
        name: row_table(
            store, context_of(plan, name), specs[name].overlong, specs[name].drop_limit, training.get(name), objective
        )
        for name, store in stores.items()
    }
    refuse_overlap(tables.values(), evaluated)
    counts = {name: table.n_tokens for name, table in tables.items()}
    remember(asked, {name: count for name, count in counts.items() if not specs[name].take}, cache_dir())
    stages = stages_by_source(plan, specs, tables, say)
    remember_stages(with_stages(asked, stages), cache_dir())
    settled = settle(with_stages(plan, stages), {name: float(count) for name, count in counts.items()})
    sliced = {name: held_table(plan, stores[name], docs) for name, docs in aside.held.items()}
    shared = contamination(tables.values(), measured(plan, held, renderer))
    return Prepared(settled, stores, tables, tuple(held), gone, stages, sliced, shared)


def _read(plan: Plan, role: str, renderer: Renderer, say: Say) -> dict[str, TokenStore]:
    """The token stores of one role's sources."""
    specs, stores = source_specs(plan), {}
    for name in (source.name for source in plan.sources if source.role == role):
        say(f"reading {name}")
        stores[name] = build_store(name, specs[name], Path(plan.get("base")), renderer, cache_dir())
        if not specs[name].builtin and (line := guess(name, stores[name].columns)):
            say(line)
    return stores


def _sized(plan: Plan, stores: Mapping[str, TokenStore]) -> Plan:
    """The plan settled by what the domain was found to hold: what is taken of curated sources follows from it."""
    known = plan.get("source_tokens") | {name: store.n_tokens for name, store in stores.items()}
    return settle(plan, {name: float(count) for name, count in known.items()}, estimated=True)


def _pinned(plan: Plan) -> Plan:
    """The plan with Hub data at the commit it has now: a resumed run reads the same rows, whatever was pushed since.

    Curated data is pinned when it is fetched.
    """
    own = plan.get("eval.domain")
    values = {
        "sources": [{**asdict(s), "spec": _with_pins(s.spec) if s.role == "domain" else s.spec} for s in plan.sources]
    }
    values["eval.domain"] = own and [_with_pins(spec) for spec in own]
    return plan.updated({key: replace(plan.values[key], value=value) for key, value in values.items()})


def _with_pins(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec, **pins(SourceSpec.model_validate(spec))}


def _template(plan: Plan) -> str | None:
    path = plan.get("start.chat_template")
    return Path(path).read_text(encoding="utf-8") if path else None
