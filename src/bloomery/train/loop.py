"""The training loop: every stage, every method, one process or many.

    start or resume -> for each step: rows, learning rate, train_step, log -> validate -> checkpoint -> done

Where the rows come from (a blend, a preference set, rollouts) is the source's affair; the loop sees TokenRows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch

from bloomery.core.errors import DamagedError, TrainingError, Where
from bloomery.core.events import EventLog
from bloomery.core.rows import TokenRow
from bloomery.models.load import Loaded
from bloomery.train.average import Average
from bloomery.train.checkpoint import Checkpoint, check_disk, newest_whole, prune, save_checkpoint, sweep_unfinished
from bloomery.train.config import TrainConfig
from bloomery.train.module import TrainModule
from bloomery.train.optimiser import build_optimiser, optimiser_tensors, restore_optimiser
from bloomery.train.parallel import World, local_rows, sharded_as
from bloomery.train.place import place
from bloomery.train.precision import Masters, native_bf16
from bloomery.train.progress import Meter, Progress
from bloomery.train.randomness import random_states, set_random_states
from bloomery.train.schedule import lr_at, merged_steps
from bloomery.train.signals import stop_requests
from bloomery.train.step import StepResult, train_step
from bloomery.train.validate import HeldOut, held_out_loss


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of one step, the seconds spent waiting for them, and the source's state after them."""

    step: int
    rows: Sequence[TokenRow]
    waited: float
    state: dict[str, Any]


class RowSource(Protocol):
    """Where steps come from. `steps(first, last)` gives the steps `first <= step < last`, in order."""

    def steps(self, first: int, last: int) -> Iterator[StepRows]: ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step whose `StepRows.state` this was."""


@dataclass(slots=True)
class TrainJob:
    """All that the loop is given. `in_use`: whether another run starts from a checkpoint; `before` sees the start."""

    loaded: Loaded
    config: TrainConfig
    source: RowSource
    folder: Path
    world: World
    events: EventLog | None = None
    held_out: Sequence[HeldOut] = ()
    in_use: Callable[[Path], bool] = lambda path: False
    listeners: Sequence[Callable[[str, int, dict[str, float]], None]] = ()
    quiet: bool = False
    before: Callable[[Trainer], None] = lambda trainer: None


@dataclass(slots=True)
class TrainState:
    """What a checkpoint holds besides tensors."""

    step: int = 0
    tokens: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run of the loop ended: `finished` is False when a signal stopped it after a checkpoint; `signal` is its
    number, None where another process was asked."""

    finished: bool
    step: int
    tokens: int
    seconds: float
    checkpoint: Path
    last: StepResult | None
    signal: int | None


class Trainer:
    """A module, its masters and its optimiser, and how they go to and come from disk."""

    def __init__(self, job: TrainJob) -> None:
        self.job, self.config, self.world = job, job.config, job.world
        torch.manual_seed(job.config.seed)
        bf16 = job.config.precision == "bf16" or (job.config.precision == "auto" and native_bf16(job.world.device))
        if job.config.activation_checkpointing:
            job.loaded.model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        self.module = TrainModule(job.loaded)
        self.bytes_read = place(self.module, job.loaded, job.world, bf16)
        self.masters = Masters(self.module.model, bf16 and job.world.size == 1)
        self.optimiser = build_optimiser(self.masters.parameters, job.config.optim)
        self.average = Average(self.masters.parameters, merged_steps(job.config.schedule))
        self.module.train()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything a resume needs, by name."""
        weights = {f"weight/{name}": p for name, p in self.masters.parameters.items()}
        moments = optimiser_tensors(self.optimiser, self.masters.parameters)
        return {**weights, **moments, **self.average.tensors(), **random_states(self.world.device)}

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> TrainState:
        """Load a verified checkpoint into place."""
        parameters = self.masters.parameters
        for name, parameter in parameters.items():
            local_rows(parameter).copy_(checkpoint.read_like(f"weight/{name}", parameter))
        like = {name: parameters[name.split("/", 1)[1]] for name in checkpoint.names() if name[:7] != "weight/"}
        others = {name: sharded_as(as_is, checkpoint.read_like(name, as_is)) for name, as_is in like.items()}
        restore_optimiser(self.optimiser, parameters, others, checkpoint.step)
        self.average.restore(others, checkpoint.step)
        self.masters.refresh()
        set_random_states(checkpoint.rng(self.world.rank))
        saved = checkpoint.state
        return TrainState(saved["step"], saved["tokens"], saved["source"], saved["best"])

    def step(self, batch: StepRows, lr: float) -> StepResult:
        """One step of the optimiser. Raises `TrainingError` naming run, step and rows where it is not finite."""
        try:
            return train_step(self.module, self.masters, self.optimiser, batch.rows, lr, self.config, self.world)
        except TrainingError as error:
            fix = f"look at these rows (`bloomery data show RUN --step {batch.step}`), or lower schedule.lr"
            raise TrainingError(f"step {batch.step}: {error.message}", where=Where(self.job.folder), fix=fix) from None

    def save(self, state: TrainState) -> Path:
        """Publish a checkpoint, then drop old ones. Raises `TrainingError` rather than save non-finite weights."""
        for name, parameter in self.masters.parameters.items():
            own = local_rows(parameter)
            if not torch.isfinite(own.sum()) and not torch.isfinite(own).all():
                raise TrainingError(
                    f"weight `{name}` is not finite after {state.step} steps; no checkpoint was published",
                    where=Where(self.job.folder),
                    fix="lower schedule.lr",
                )
        about = {"tokens": state.tokens, "source": state.source, "best": state.best, "config": self.config.to_json()}
        path = save_checkpoint(self.job.folder / "checkpoints", state.step, self.tensors(), about, self.world)
        self.drop_old(state)
        self.log("checkpoint", state.step, path=path.name)
        return path

    def drop_old(self, state: TrainState) -> None:
        """Remove old checkpoints, but not the best one by `state` and none that another run starts from."""
        if not self.world.first:
            return
        folder, best = self.job.folder / "checkpoints", state.best.get("checkpoint")
        for gone in prune(folder, self.config.keep_last, lambda p: p.name == best or self.job.in_use(p)):
            self.log("checkpoint removed", state.step, path=gone.name)

    def log(self, event: str, step: int, **fields: Any) -> None:
        """Write one event, on the first process only; listeners get its numbers, of later held-out rows by name."""
        if not self.world.first:
            return
        if self.job.events:
            self.job.events.write(event, step=step, **fields)
        other = "held_out" in fields and fields["held_out"] != self.job.held_out[0].name
        named = f"{event} {fields['held_out']}" if other else event
        for listener in self.job.listeners:
            listener(named, step, {k: float(v) for k, v in fields.items() if isinstance(v, int | float)})


def train(job: TrainJob) -> TrainResult:
    """Train to the end of the schedule, or until SIGTERM or SIGINT, resuming from the newest whole checkpoint.

    Raises `TrainingError` on a non-finite loss, gradient or weight; `DamagedError` when checkpoints exist and
    none is whole; `InputError` when the disk cannot hold what the run will write.
    """
    trainer = Trainer(job)
    job.before(trainer)
    state, path = _start(trainer)
    steps, began, result = job.config.schedule.steps, monotonic(), None
    meter = Meter(trainer.module.model, job.world)
    with stop_requests() as stop, Progress(steps, state.step, quiet=job.quiet or not job.world.first) as progress:
        for batch in job.source.steps(state.step, steps):
            lr = lr_at(batch.step, job.config.schedule)
            result = trainer.step(batch, lr)
            state.step, state.tokens, state.source = batch.step + 1, state.tokens + result.tokens, batch.state
            trainer.average.add(state.step)
            figures = meter.step(result, lr, batch.waited)
            if state.step % job.config.log_every == 0:
                trainer.log("step", state.step, tokens=state.tokens, **figures)
            progress.step(figures)
            stopping = job.world.any(stop.requested) if job.world.size > 1 else stop.requested
            last = stopping or state.step == steps
            saving = _due(state.step, job.config.checkpoint_every, last)
            if saving or _due(state.step, job.config.validate_every, last):
                _validate(trainer, state, saving)
            if saving:
                path = trainer.save(state)
            if stopping:
                break
    assert path is not None
    return TrainResult(state.step == steps, state.step, state.tokens, monotonic() - began, path, result, stop.number)


def _start(trainer: Trainer) -> tuple[TrainState, Path | None]:
    job, folder = trainer.job, trainer.job.folder / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    if job.world.first:
        sweep_unfinished(folder)
    job.world.barrier()

    def report(error: DamagedError) -> None:
        trainer.log("checkpoint damaged", -1, error=str(error))

    newest = newest_whole(folder, report) if job.world.first else None
    name = job.world.share_text(newest.name if newest else "")
    found = Checkpoint(folder / name) if name else None
    if found is None:
        parameters = sum(p.numel() for p in trainer.masters.parameters.values())
        check_disk(folder, parameters * (16 if trainer.average.steps else 12), job.config.keep_last, parameters * 4)
        about = {"packing": job.loaded.packing, "why": job.loaded.why, "bytes_read": trainer.bytes_read}
        trainer.log("start", 0, parameters=parameters, **about)
        _validate(trainer, TrainState())
        return TrainState(), None
    state = trainer.restore(found)
    job.source.restore(state.source)
    trainer.log("resume", state.step, path=found.path.name)
    trainer.drop_old(state)  # a kill may have come between the newest one and this
    return state, found.path


def _validate(trainer: Trainer, state: TrainState, saving: bool = False) -> None:
    """Log the loss on everything held out. What is about to be saved can be the best, by the first of them."""
    for held_out in trainer.job.held_out:
        found = held_out_loss(trainer.module, held_out, trainer.config, trainer.world)
        trainer.log("validate", state.step, held_out=held_out.name, **found)
        if saving and held_out is trainer.job.held_out[0] and found["loss"] < state.best.get("loss", float("inf")):
            state.best = {"loss": found["loss"], "checkpoint": f"step-{state.step:08d}"}


def _due(step: int, every: int, last: bool) -> bool:
    return last or (every > 0 and step % every == 0)
