"""A run that holds its forgetting budget: measures, asks `train/hold.py` what follows, and changes the blend.

    after every validation: how far has the model moved -> decision -> shares from a step on that nothing has read yet

All it must remember goes into the checkpoint, what the start said lies under `anchor/`: a resumed run decides as one
that never stopped. Every decision is an event `hold` in the run's log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.data.loader import AHEAD
from bloomery.data.portions import portions
from bloomery.lineage.provenance import model_hash
from bloomery.recipes.configure import train_config
from bloomery.recipes.feed import BlendSource
from bloomery.recipes.holdable import FAVOUR, highest
from bloomery.recipes.prepare import WATCHED, Prepared
from bloomery.recipes.slices import DOCUMENTS as SLICE
from bloomery.recipes.slices import spread
from bloomery.train.hold import Decision, Limits, Seen, decide
from bloomery.train.schedule import lr_at

if TYPE_CHECKING:
    from bloomery.core.rows import TokenRow
    from bloomery.recipes.training import ArmRun
    from bloomery.train.anchor import Anchor, Moved
    from bloomery.train.job import Steering, TrainState
    from bloomery.train.trainer import Trainer

FOLDER, EVENT, GENERAL = "anchor", "hold", "general"
DOCUMENTS = 100
"""Documents of general text, at least, that each measurement reads, where there are that many."""


def holding(prepared: Prepared, run: ArmRun, source: BlendSource) -> Steering:
    """What steers this arm: nothing but for the recipe's own blend, and only where it says `keep.hold`."""
    from bloomery.train.job import Unsteered

    if run.arm != "blend" or not prepared.plan.get("keep.hold"):
        return Unsteered()
    return Holding(prepared, run, source)


class Holding:
    """Steers by `Steering`'s two calls; `begin` comes first, with the start's weights in place."""

    def __init__(self, prepared: Prepared, run: ArmRun, source: BlendSource) -> None:
        plan = prepared.plan
        self._plan, self._source, self._folder = plan, source, run.folder / FOLDER
        self._config = train_config(plan, run.arm, run.seed)
        self._limits = Limits(plan.get("keep.general"), tuple(plan.get("keep.replay")), plan.get("keep.rate"))
        self._asked = dict(plan.arm(run.arm).segments[0]["share"])
        self._domain = {s.name for s in plan.sources if s.role == "domain"} & set(self._asked)
        self._sets, self._known = _sets(prepared)
        self._anchor: Anchor | None = None

    def begin(self, trainer: Trainer) -> None:
        """Take up what the start says of the held-out rows, or ask it."""
        from bloomery.train.anchor import anchor

        start = model_hash(Path(self._plan.get("start.folder")))
        micro = trainer.config.micro_tokens
        self._anchor = anchor(self._folder, start, self._sets, trainer.module, micro, trainer.world)

    def rate(self, step: int, course: Mapping[str, Any]) -> float:
        """Factor of the learning rate, 1 until a decision lowers it."""
        return float(next((factor for start, factor in reversed(course.get("rates", [])) if start <= step), 1.0))

    def look(self, trainer: Trainer, state: TrainState) -> None:
        """Measure, decide, change shares and rate, note it."""
        assert self._anchor is not None
        moved, kl = self._anchor.moved(trainer.module, trainer.config.micro_tokens, trainer.world)
        general = moved.pop(GENERAL)
        course = {"replay": self._replay(self._asked), "rates": [], "seen": [], **state.course}
        seen = [Seen(**one) for one in course["seen"]] + [self._seen(state, course, general, kl)]
        bounds = self._bounds(state)
        rate, whole = self.rate(self._config.schedule.steps, course), self._spent(self._config.schedule.steps, course)
        relative = [replace(one, spent=one.spent / whole) for one in seen]
        limits = replace(self._limits, replay=bounds)
        found = decide(course["replay"], rate, relative, limits)
        share = self._shares(found.replay, moved, state)
        start = self._change(state, course, found, share)
        state.course["seen"] = [asdict(one) for one in seen]
        told = {"rise": general.rise, "noise": general.noise, "kl": kl, "bounds": list(bounds), **asdict(found)}
        told |= {"budget": self._limits.budget, "replay_before": course["replay"], "rate_before": rate, "start": start}
        told |= {"replay": self._replay(share), "capped": self._capped(state)}
        if start is None:
            share = dict(self._source.blend.segments[-1].share)
            told |= {"replay": course["replay"], "rate": rate, "did": "end"}
        lost = {name: [one.rise, one.noise] for name, one in moved.items()}
        trainer.log(EVENT, state.step, **told, share=share, sources=lost)

    def _change(
        self, state: TrainState, course: dict[str, Any], found: Decision, share: dict[str, float]
    ) -> int | None:
        """Make the decision part of the run; the step it begins at, None where too few are left or nothing changes."""
        state.course = {**course}
        start = state.step + AHEAD
        if start >= self._config.schedule.steps:
            return None
        if found.rate != self.rate(start, course):
            state.course["rates"] = [*course["rates"], [start, found.rate]]
        if share != self._source.blend.segments[-1].share:
            _, state.source = self._source.change(state.step, share)
        state.course["replay"] = self._replay(share)
        return start

    def _seen(self, state: TrainState, course: Mapping[str, Any], general: Moved, kl: float) -> Seen:
        """The measurement; `spent` in sums of rates, to be divided by that of the whole run."""
        documents = len(general.before)
        proven = general.noise * (documents / max(documents, self._known)) ** 0.5
        drift = kl / (general.before.sum() / sum(row.trained() for row in self._sets[GENERAL]))
        rates = [self._rate_at(step, course) for step in range(self._config.schedule.steps)]
        now, last = (rates[min(step, len(rates) - 1)] / max(rates) for step in (state.step, len(rates)))
        spent = self._spent(state.step, course)
        return Seen(state.step, spent, general.rise, general.noise, float(drift), proven, now, last)

    def _spent(self, step: int, course: Mapping[str, Any]) -> float:
        return sum(self._rate_at(k, course) for k in range(step))

    def _rate_at(self, step: int, course: Mapping[str, Any]) -> float:
        return lr_at(step, self._config.schedule) * self.rate(step, course)

    def _replay(self, share: Mapping[str, float]) -> float:
        return sum(part for name, part in share.items() if name not in self._domain)

    def _bounds(self, state: TrainState) -> tuple[float, float]:
        """The least and the most replay: what the recipe allows, and no source read more often than its cap."""
        low, high = self._limits.replay
        most = self._most(state)
        inside, curated = self._replay(self._asked), self._curated()
        high = highest(high, curated, most)
        domain = min(most[name] * (1 - inside) / self._asked[name] for name in self._domain)
        return min(max(low, 1 - domain), high), high

    def _curated(self) -> dict[str, float]:
        """What the recipe gives each curated source, in parts of the replay."""
        inside = self._replay(self._asked)
        return {name: part / inside for name, part in self._asked.items() if name not in self._domain}

    def _capped(self, state: TrainState) -> list[str]:
        """Curated sources of which the repetition cap leaves less than the most replay would take."""
        most, high = self._most(state), self._limits.replay[1]
        return [name for name, part in self._curated().items() if most[name] < part * high]

    def _most(self, state: TrainState) -> dict[str, float]:
        """Largest share of each source for the rest of the run: what its repetition cap leaves of it."""
        batch, cap = self._plan.get("optim.batch_tokens"), self._plan.get("data.repetition_cap")
        left = max(1, self._config.schedule.steps - state.step - AHEAD) * batch
        found = {}
        for name, cursor in state.source["cursors"].items():
            parts = [segment["share"].get(name, 0.0) for segment in state.source["segments"][-2:]]
            taken = cursor["tokens"] + max(parts) * (AHEAD + 1) * batch
            found[name] = min(1.0, max(0.0, cap * cursor["supply"] - taken) / left)
        return found

    def _shares(self, replay: float, moved: Mapping[str, Moved], state: TrainState) -> dict[str, float]:
        """The replay divided by what is being lost of each source, the rest of the tokens among the domain's own."""
        inside, most = self._replay(self._asked), self._most(state)
        usual = {name: replay * part for name, part in self._curated().items()}
        weights = {name: part * self._favour(moved.get(name)) for name, part in usual.items()}
        upper = {name: min(FAVOUR[1] * part, most[name]) for name, part in usual.items()}
        lower = {name: min(FAVOUR[0] * part, upper[name]) for name, part in usual.items()}
        curated = {name: round(part, 4) for name, part in portions(replay, weights, lower, upper).items()}
        rest = 1 - sum(curated.values())
        domain = {name: rest * self._asked[name] / (1 - inside) for name in sorted(self._domain)}
        return {name: part for name, part in (curated | domain).items() if part > 0}

    def _favour(self, moved: Moved | None) -> float:
        """1 for a source that is kept; more by each budget that it has lost beyond the noise."""
        if moved is None:
            return 1.0
        return 1 + max(0.0, moved.rise - moved.noise) / self._limits.budget


def _sets(prepared: Prepared) -> tuple[dict[str, list[TokenRow]], int]:
    """(rows to measure on: of general text and each slice; documents of general text that there are in all)."""
    plan = prepared.plan
    general = [one for one in prepared.held if one.role == "general"]
    documents = {one.name: one.table.n_documents for one in general}
    known, length = sum(documents.values()), sum(one.table.n_tokens for one in general)
    times = plan.arm().steps // plan.get("eval.every") + 1
    affordable = WATCHED * 3 * plan.get("budget.tokens") / times * known / max(length, 1)
    part = min(1.0, max(DOCUMENTS, affordable) / known)
    rows = [row for one in general for row in spread(one.table, max(1, round(part * documents[one.name])))]
    curated = {source.name for source in plan.sources if source.role == "curated"}
    apart = {one.name: one.table for one in general if one.name in curated} | dict(prepared.slices)
    sets = {GENERAL: rows} | {name: spread(table, SLICE) for name, table in apart.items()}
    return {name: own for name, own in sets.items() if any(row.trained() for row in own)}, known
