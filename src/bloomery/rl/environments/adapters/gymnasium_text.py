"""gymnasium's toy games as text: the model sees what the game shows, and answers with the name of an action.

Run by path in an interpreter that has gymnasium; it imports nothing else but the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium

ACTIONS = {
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "Blackjack": ("stick", "hit"),
    "Taxi": ("south", "north", "east", "west", "pickup", "dropoff"),
}
"""By the game's name without its version; those of any other game are numbers, or `actions` of the recipe."""
GOALS = {
    "FrozenLake": "Walk over the ice from S to G without falling into a hole H.",
    "CliffWalking": "Walk from x to T without falling off the cliff C.",
    "Blackjack": "Get closer to 21 than the dealer, and not above it.",
    "Taxi": "Bring the passenger to the goal.",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Gymnasium:
    """The game `name`, made with `options`. An answer that names no action earns `invalid` and changes nothing.

    `picture` shows the game as it draws itself in text, where it does; else the model sees the observation.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        actions: Sequence[str] | None = None,
        invalid: float = 0.0,
        picture: bool | None = None,
    ) -> None:
        kind = name.rpartition("-v")[0] or name
        shows = kind in ("FrozenLake", "CliffWalking", "Taxi") if picture is None else picture
        self._game = gymnasium.make(name, **({"render_mode": "ansi"} if shows else {}), **dict(options or {}))
        if not isinstance(self._game.action_space, gymnasium.spaces.Discrete):
            raise ValueError(f"{name} has actions of the kind {self._game.action_space}, which no word names")
        count = int(self._game.action_space.n)
        self._names = tuple(actions or ACTIONS.get(kind) or map(str, range(count)))
        if len(self._names) != count:
            raise ValueError(f"{name} has {count} actions, and `actions` names {len(self._names)}")
        self._kind, self._shows, self._invalid = kind, shows, invalid
        self._find = re.compile("|".join(rf"\b{re.escape(one)}\b" for one in self._names), re.IGNORECASE)

    @classmethod
    def tasks(cls, rows: int, name: str, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """Games that differ by their seed."""
        game = cls(name, **kwargs)
        for seed in range(rows):
            row = {"id": f"{name}:{seed}", "metadata": {"seed": seed}}
            yield {**row, "messages": game.reset(row, seed)}

    def reset(self, row: Mapping[str, Any], seed: int) -> list[dict[str, str]]:
        """Begin the game of the row's own seed, else of the step's."""
        seen, _ = self._game.reset(seed=(row.get("metadata") or {}).get("seed", seed))
        goal = GOALS.get(self._kind, f"Play {self._kind}.")
        return [{"role": "user", "content": f"{goal} Answer with {self._listed()}.\n{self._shown(seen)}"}]

    def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, str]], float, bool, dict[str, Any]]:
        """Do the first action that an answer names."""
        found = self._find.search(str(message["content"]))
        if found is None:
            return [{"role": "user", "content": f"Answer with {self._listed()}."}], self._invalid, False, {}
        action = [one.lower() for one in self._names].index(found[0].lower())
        seen, reward, ended, cut, _ = self._game.step(action)
        return [{"role": "user", "content": self._shown(seen)}], float(reward), bool(ended or cut), {}

    def close(self) -> None:
        """End the game."""
        self._game.close()

    def _listed(self) -> str:
        return ", ".join(self._names[:-1]) + f" or {self._names[-1]}"

    def _shown(self, seen: Any) -> str:
        """The game's own picture, what it colours in brackets; else what is observed."""
        if not self._shows:
            return str(tuple(int(one) for one in seen) if isinstance(seen, tuple) else seen)
        drawn = _COLOUR.sub(lambda mark: "]" if mark[0] == "\x1b[0m" else "[", self._game.render())
        return "\n".join(line.rstrip() for line in drawn.strip("\n").split("\n"))
