"""What a policy decides, and the contract between it and the endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a text, and why. `text`: what the reader gets instead (mask) or is told (block)."""

    action: Literal["allow", "warn", "mask", "review", "block"]
    category: str = ""
    reason: str = ""
    text: str = ""


class Watch(Protocol):
    """One answer, as it streams."""

    def feed(self, text: str) -> tuple[str, Decision | None]:
        """What may be released now (a tail is held back, masks are in place), and a decision if one fell.

        After a block nothing more is released.
        """
        ...

    def finish(self) -> tuple[str, Decision | None]:
        """The rest."""
        ...


class Guard(Protocol):
    """A policy at work. Calls may be slow (a judge, an endpoint); they come from any thread."""

    def check_input(self, messages: Sequence[Mapping[str, Any]]) -> Decision:
        """Whether a conversation may be answered."""
        ...

    def watch(self, messages: Sequence[Mapping[str, Any]]) -> Watch:
        """A watch over one answer to it."""
        ...
