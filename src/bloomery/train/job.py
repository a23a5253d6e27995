"""What the training loop is given, and what it keeps: a job, the rows of a step, the state between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bloomery.core.events import EventLog
from bloomery.core.rows import TokenRow
from bloomery.models.load import Loaded
from bloomery.train.config import TrainConfig
from bloomery.train.parallel import World
from bloomery.train.validate import HeldOut

if TYPE_CHECKING:
    from bloomery.train.trainer import Trainer


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of one step, the seconds spent waiting for them, and the source's state after them.

    `coefficient` weighs parts of the loss otherwise in this step than in the run (`Optim.coefficient`).
    """

    step: int
    rows: Sequence[TokenRow]
    waited: float
    state: dict[str, Any]
    coefficient: Mapping[str, float] = field(default_factory=dict)


class RowSource(Protocol):
    """Where steps come from. `steps(first, last)` gives the steps `first <= step < last` in order, whenever asked."""

    def steps(self, first: int, last: int) -> Iterator[StepRows]: ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step whose `StepRows.state` this was."""


class Steering(Protocol):
    """Changes the course of a run by what it measures. Whatever it must remember it keeps in `TrainState.course`, so
    that a resumed run goes on as if it had not stopped; every process must come to the same."""

    def begin(self, trainer: Trainer) -> None:
        """Called once, with the start's weights in place, before a checkpoint is restored."""

    def rate(self, step: int, course: Mapping[str, Any]) -> float:
        """Factor on the learning rate of `step`."""

    def look(self, trainer: Trainer, state: TrainState) -> None:
        """Called after the validation that follows `state.step` steps; may change `state.course` and `state.source`."""


class Unsteered:
    """The schedule as it is."""

    def begin(self, trainer: Trainer) -> None:
        """Nothing."""

    def rate(self, step: int, course: Mapping[str, Any]) -> float:
        """1."""
        return 1.0

    def look(self, trainer: Trainer, state: TrainState) -> None:
        """Nothing."""


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
    steering: Steering = field(default_factory=Unsteered)
    stopping: Callable[[], None] = lambda: None
    """Called when the run is asked to stop: a source that waits for others ends its steps then."""


@dataclass(slots=True)
class TrainState:
    """What a checkpoint holds besides tensors."""

    step: int = 0
    tokens: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    course: dict[str, Any] = field(default_factory=dict)
