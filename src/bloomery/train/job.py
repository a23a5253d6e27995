"""What the training loop is given, and what it keeps: a job, the rows of a step, the state between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
