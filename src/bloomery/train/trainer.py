"""A model in training: its module, masters, optimiser and mean, one step of them, and their way to and from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from bloomery.core.errors import TrainingError, Where
from bloomery.train.average import Average
from bloomery.train.checkpoint import Checkpoint, prune, save_checkpoint
from bloomery.train.job import StepRows, TrainJob, TrainState
from bloomery.train.module import TrainModule
from bloomery.train.optimiser import build_optimiser, optimiser_tensors, restore_optimiser
from bloomery.train.parallel import local_rows, sharded_as
from bloomery.train.place import place
from bloomery.train.precision import Masters, native_bf16
from bloomery.train.randomness import random_states, set_random_states
from bloomery.train.schedule import merged_steps
from bloomery.train.step import StepResult, train_step


class Trainer:
    """A module, its masters and its optimiser, and how they go to and come from disk."""

    def __init__(self, job: TrainJob) -> None:
        self.job, self.config, self.world = job, job.config, job.world
        torch.manual_seed(job.config.seed)
        bf16 = job.config.precision == "bf16" or (job.config.precision == "auto" and native_bf16(job.world.device))
        self.bf16 = bf16
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
        restore_optimiser(self.optimiser, parameters, others, self.config.settle + checkpoint.step)
        self.average.restore(others, checkpoint.step)
        self.masters.refresh()
        set_random_states(checkpoint.rng(self.world.rank))
        saved = checkpoint.state
        return TrainState(saved["step"], saved["tokens"], saved["source"], saved["best"], saved.get("course", {}))

    def step(self, batch: StepRows, lr: float) -> StepResult:
        """One step of the optimiser. Raises `TrainingError` naming run, step and rows where it is not finite."""
        optim = self.config.optim
        weighed = replace(optim, coefficient={**optim.coefficient, **batch.coefficient})
        config = replace(self.config, optim=weighed) if batch.coefficient else self.config
        try:
            return train_step(self.module, self.masters, self.optimiser, batch.rows, lr, config, self.world)
        except TrainingError as error:
            fix = f"look at these rows (`bloomery data show RUN --step {batch.step}`), or lower schedule.lr"
            raise TrainingError(f"step {batch.step}: {error.message}", where=Where(self.job.folder), fix=fix) from None

    def settle(self, stopping: Callable[[], bool]) -> None:
        """Fill the optimiser's moments from the first steps' rows, at rate zero: the weights stay as they are.

        AdamW that begins at a trained checkpoint's rate with empty moments takes steps of full size in every direction,
        where those of the run that led there were a quarter of it: from a hot checkpoint general loss rises at once.
        Raises `KeyboardInterrupt` where it should stop: nothing is trained yet, so there is nothing to save.
        """
        began, tokens = monotonic(), 0
        for batch in self.job.source.steps(0, self.config.settle):
            if stopping():
                raise KeyboardInterrupt
            tokens += self.step(batch, 0.0).tokens
        if self.config.settle:
            self.log("settle", 0, steps=self.config.settle, tokens=tokens, seconds=monotonic() - began)

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
        about = {"tokens": state.tokens, "source": state.source, "best": state.best, "course": state.course}
        about["config"] = self.config.to_json()
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
