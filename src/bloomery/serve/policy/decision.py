"""What a policy decides about a text, and what guards an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Action = Literal["allow", "warn", "mask", "review", "block"]
ACTIONS: tuple[Action, ...] = ("allow", "warn", "mask", "review", "block")
"""From the weakest to the strongest. A stronger one wins; among equal ones the floor's is told."""
RANK: Mapping[str, int] = {action: rank for rank, action in enumerate(ACTIONS)}


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a text, because of which category and why.

    `text` is what the reader gets instead: the masked text where `action` is mask, the message where it is warn or
    block.
    """

    action: Action
    category: str = ""
    reason: str = ""
    text: str = ""


class Watch(Protocol):
    """Guards one answer as it streams. The texts it releases, joined, do not depend on how the answer was cut."""

    def feed(self, text: str) -> tuple[str, Decision | None]:
        """The text that may be released now, masked, and a decision where a stronger one than before fell.

        After a block nothing more is released.
        """
        ...

    def finish(self) -> tuple[str, Decision | None]:
        """The rest, once the answer has ended."""
        ...


class Guard(Protocol):
    """Checks what goes into a model and what comes out. Calls may be slow: a judge may be asked."""

    def check_input(self, messages: Sequence[Mapping[str, Any]]) -> Decision:
        """What becomes of a conversation that is to be answered."""
        ...

    def watch(self, messages: Sequence[Mapping[str, Any]]) -> Watch:
        """A watch over the answer to `messages`."""
        ...
