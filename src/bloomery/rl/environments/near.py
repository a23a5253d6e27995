"""Our own environments in this process: their work is bounded, and they know nothing but their row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bloomery.rl.environments.interface import Answer, Call


class Near:
    """Hosts environments that `make` makes. What they raise leaves the rollout unscorable, as anywhere."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._seats: dict[int, Any] = {}

    def ask(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers in order."""
        return [self._answer(call) for call in calls]

    def clear(self) -> None:
        """No seat is taken any more."""
        self._seats.clear()

    def close(self) -> None:
        """Nothing runs."""

    def _answer(self, call: Call) -> Answer:
        try:
            return Answer(self._value(call.seat, call.do, call.given))
        except Exception as error:
            return Answer(fault=f"the environment failed: {type(error).__name__}: {error}"[:500])

    def _value(self, seat: int, do: str, given: Mapping[str, Any]) -> Any:
        if do == "reset":
            made = self._seats[seat] = self._make()
            return {"messages": made.reset(given["row"], given["seed"]), "tools": getattr(made, "tools", None)}
        if do == "step":
            return list(self._seats[seat].step(given["message"]))
        self._seats.pop(seat, None)
        return {"reward": None}
