"""What a person sees while it trains: one bar with loss, tokens a second, MFU and time left."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import nn

from bloomery.train.parallel import World
from bloomery.train.step import StepResult

# Dense bf16 FLOP/s by the vendors' datasheets; None of them counts sparsity.
_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "B200": 2250e12, "4090": 165e12}


class Meter:
    """Figures of each step: loss, gradient norm, learning rate, tokens a second, share of peak, waiting."""

    def __init__(self, model: nn.Module, world: World) -> None:
        self._flops = 6.0 * sum(p.numel() for p in model.parameters())  # Kaplan et al., arXiv 2001.08361, section 2.1
        self._device, self._size = world.device, world.size
        self._peak, self._measured = _peak_flops(world.device) * world.size, 0
        self._last = time.monotonic()
        self._recent: deque[tuple[int, int, float]] = deque(maxlen=20)
        """Of each step its tokens, those that were read, and seconds."""

    def step(self, result: StepResult, lr: float, waited: float) -> dict[str, float]:
        """Numbers for the log; `tokens_per_second` is over the last 20 steps, `mfu` a fraction of the bf16 peak.

        What rows of a group share counts for each of them in the first, and once, as it is read, in the second.
        """
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._recent.append((result.tokens, result.read_tokens, seconds))
        rate, read = (sum(one[i] for one in self._recent) / max(sum(s for *_, s in self._recent), 1e-9) for i in (0, 1))
        self._measured += 1
        if read * self._flops > self._peak and self._measured > len(self._recent):
            # It was measured while others kept the machine busy: once more, now and then.
            self._peak, self._measured = max(self._peak, _peak_flops(self._device) * self._size), 0
        parts = {f"loss_{name}": value for name, value in result.parts.items() if len(result.parts) > 1}
        return {
            "loss": result.loss,
            **parts,
            **result.figures,
            "learning_rate": lr,
            "grad_norm": result.grad_norm,
            "step_tokens": result.tokens,
            "read_tokens": result.read_tokens,
            "trained_tokens": result.trained_tokens,
            "seconds": seconds,
            "waited": waited,
            "tokens_per_second": rate,
            "mfu": read * self._flops / self._peak,
        }


def _peak_flops(device: torch.device) -> float:
    """The datasheet's figure on a known GPU; elsewhere what a bf16 product of 1024 x 1024 reaches here and now."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((flops for part, flops in _PEAK.items() if part in name), None)
        if known:
            return known
    a = torch.ones(1024, 1024, device=device, dtype=torch.bfloat16)  # not random: the run's random state is its own
    seconds = []
    for _ in range(4):
        began = time.monotonic()
        (a @ a).sum().item()
        seconds.append(time.monotonic() - began)
    return 2 * 1024**3 / min(seconds)


class Progress:
    """A rich bar on a terminal, a line about every ten seconds elsewhere, nothing when quiet."""

    def __init__(self, steps: int, done: int, quiet: bool) -> None:
        console = Console(stderr=True)
        self._steps, self._done, self._quiet = steps, done, quiet
        self._said = time.monotonic()
        self._seconds: deque[float] = deque(maxlen=100)  # steps differ in length: the last alone says little
        self._bar: Bar | None = None
        if not quiet and console.is_terminal:
            self._bar = Bar(
                TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[say]}"),
                TimeRemainingColumn(), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task("train", total=steps, completed=done, say="")

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def settling(self, steps: int) -> None:
        """Say that steps come before the first that trains."""
        if not steps or self._quiet:
            return
        say = f"filling the optimiser's moments by {steps} steps"
        if self._bar:
            self._bar.update(self._task, say=say)
        else:
            print(say, file=sys.stderr, flush=True)

    def step(self, figures: dict[str, float]) -> None:
        """Show one step's figures."""
        self._done += 1
        self._seconds.append(figures["seconds"])
        say = f"loss {figures['loss']:.3f}  {figures['tokens_per_second']:,.0f} tok/s  MFU {figures['mfu']:.0%}"
        if "reward_accuracy" in figures:
            say = f"accuracy {figures['reward_accuracy']:.0%}  {say}"
        if self._bar:
            self._bar.update(self._task, advance=1, say=say)
        elif not self._quiet and (time.monotonic() - self._said > 10 or self._done == self._steps):
            self._said = time.monotonic()
            left = (self._steps - self._done) * sum(self._seconds) / len(self._seconds)
            print(f"step {self._done}/{self._steps}  {say}  {left / 60:,.1f} min left", file=sys.stderr, flush=True)
