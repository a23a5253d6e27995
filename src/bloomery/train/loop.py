"""The training loop: every stage, every method, one process or many.

    start or resume -> for each step: rows, learning rate, train_step, log -> validate -> checkpoint -> done

Where the rows come from (a blend, a preference set, rollouts) is the source's affair; the loop sees TokenRows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

from bloomery.core.errors import DamagedError
from bloomery.train.checkpoint import Checkpoint, check_disk, newest_whole, sweep_unfinished
from bloomery.train.job import TrainJob, TrainState
from bloomery.train.parallel import World
from bloomery.train.progress import Meter, Progress
from bloomery.train.schedule import lr_at
from bloomery.train.signals import Stop, stop_requests
from bloomery.train.step import StepResult
from bloomery.train.trainer import Trainer
from bloomery.train.validate import held_out_loss


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run of the loop ended: `finished` is False when a signal stopped it after a checkpoint; `signal` is its
    number, None where another process was asked; `state` is what the last checkpoint holds beside tensors."""

    finished: bool
    step: int
    tokens: int
    seconds: float
    checkpoint: Path
    last: StepResult | None
    signal: int | None
    state: TrainState


def train(job: TrainJob) -> TrainResult:
    """Train to the end of the schedule, or until SIGTERM or SIGINT, resuming from the newest whole checkpoint.

    Raises `TrainingError` on a non-finite loss, gradient or weight; `DamagedError` when checkpoints exist and
    none is whole; `InputError` when the disk cannot hold what the run will write.
    """
    trainer = Trainer(job)
    job.before(trainer)
    job.steering.begin(trainer)
    state, path = _start(trainer)
    steps, began, result = job.config.schedule.steps, monotonic(), None
    stopping, quiet = False, job.quiet or not job.world.first
    with stop_requests(job.stopping) as stop, Progress(steps, state.step, quiet=quiet) as progress:
        if path is None:
            progress.settling(job.config.settle)
            trainer.settle(partial(_asked, job.world, stop))
        meter = Meter(trainer.module.model, job.world)
        for batch in job.source.steps(state.step, steps):
            lr = lr_at(batch.step, job.config.schedule) * job.steering.rate(batch.step, state.course)
            result = trainer.step(batch, lr)
            state.step, state.tokens, state.source = batch.step + 1, state.tokens + result.tokens, batch.state
            trainer.average.add(state.step)
            figures = meter.step(result, lr, batch.waited)
            if state.step % job.config.log_every == 0:
                trainer.log("step", state.step, tokens=state.tokens, **figures)
            progress.step(figures)
            stopping = _asked(job.world, stop)
            path = _looked_and_saved(trainer, state, stopping) or path
            if stopping:
                break
        if state.step < steps and not stopping:  # its source waited for others when it was asked to stop
            path = _stopped_waiting(trainer, state, path)
    assert path is not None
    seconds = monotonic() - began
    return TrainResult(state.step == steps, state.step, state.tokens, seconds, path, result, stop.number, state)


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


def _looked_and_saved(trainer: Trainer, state: TrainState, stopping: bool) -> Path | None:
    """What is due after a step: the held-out loss, a look at the course, a checkpoint, whose folder is returned."""
    job, end = trainer.job, state.step == trainer.config.schedule.steps
    last = stopping or end
    saving = _due(state.step, job.config.checkpoint_every, last)
    if saving or _due(state.step, job.config.validate_every, last):
        _validate(trainer, state, saving)
    if _due(state.step, job.config.validate_every, end):  # whether it is stopping or not
        job.steering.look(trainer, state)
    return trainer.save(state) if saving else None


def _stopped_waiting(trainer: Trainer, state: TrainState, path: Path | None) -> Path:
    """The checkpoint of the steps that were done. Raises `KeyboardInterrupt` where there was none to keep."""
    if state.step == 0:
        raise KeyboardInterrupt
    saved = path is not None and path.name == f"step-{state.step:08d}"
    return path if path is not None and saved else trainer.save(state)


def _asked(world: World, stop: Stop) -> bool:
    """Whether any process was asked to stop; all of them call this together."""
    return world.any(stop.requested) if world.size > 1 else stop.requested


def _due(step: int, every: int, last: bool) -> bool:
    return last or (every > 0 and step % every == 0)
