"""What somebody's server or program is held to: each law with whether it held, or None where it could not be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHOWN = {True: "held", False: "BROKEN", None: "not seen"}


@dataclass(frozen=True, slots=True)
class Law:
    """A sentence that should be true, and what was seen."""

    name: str
    held: bool | None
    why: str = ""

    def row(self) -> list[str]:
        """A line of the table."""
        return [SHOWN[self.held], self.name, self.why]

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


def exit_status(laws: Sequence[Law]) -> int:
    """0 where every law held that could be seen, 1 where one was broken, 2 where nothing could be seen."""
    if not any(law.held for law in laws) and not any(law.held is False for law in laws):
        return 2
    return int(any(law.held is False for law in laws))
