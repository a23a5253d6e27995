"""Environments that misbehave in every way that a real one might; also run by path in a process of their own."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from pathlib import Path
from typing import Any

ASK = [{"role": "user", "content": "And now?"}]


class Odd:
    """Its row says in `metadata` what it does at which turn: `{"does": ..., "at": turn}`."""

    def __init__(self, nap: float = 30.0) -> None:
        self.nap, self.turn, self.told = nap, 0, {}
        self.closed = False

    @classmethod
    def tasks(cls, rows: int, nap: float = 30.0) -> Any:
        return ({"id": str(number), "prompt": "x"} for number in range(rows * 2))

    async def reset(self, row: Any, seed: int) -> Any:
        self.told, self.seed = row.get("metadata") or {}, seed
        return None

    def step(self, message: Any) -> Any:
        self.turn += 1
        does = self.told.get("does", "") if self.turn == self.told.get("at", 1) else ""
        value: Any = {
            "nan": float("nan"), "bool": True, "text": "1.0", "reward": 0.25, "unscorable": 1.0, "end": 1.0,
        }.get(does, 0.0)  # fmt: skip
        if does == "hang":
            time.sleep(self.nap)
        if does == "raise":
            raise ValueError("out of order")
        if does == "die":
            os._exit(7)
        info = {"unscorable": "a sensor was off"} if does == "unscorable" else {"metrics": {"turns": self.turn}}
        return ([] if does == "mute" else ASK), value, does in ("end", "reward"), info


class Slow(Odd):
    """Answers after a while, without holding anybody else up."""

    async def step(self, message: Any) -> Any:
        await asyncio.sleep(0.3)
        return [], 1.0, True, {}


class Worth:
    """Tells what a rollout is worth when it is over."""

    def reset(self, row: Any, seed: int) -> Any:
        return [{"role": "user", "content": f"seed {seed}"}]

    def step(self, message: Any) -> Any:
        return ASK, None, False, None

    def reward(self) -> float:
        return 0.5


class Leaving:
    """Says in the file `mark` that it is there, and when its process has ended in order."""

    def __init__(self, mark: str) -> None:
        atexit.register(Path(mark).write_text, "ended")
        Path(mark).write_text("made")

    def run(self, task: Any, base_url: str, api_key: str) -> float:
        return 0.0


class Broken:
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no licence")


class Wallet:
    """As TRL's `environment_factory` wants it: public methods are tools."""

    def reset(self, start: int = 0, **row: Any) -> str:
        self.reward, self._has = 0.0, start
        return f"You have {start}."

    def earn(self, amount: int, why: str = "") -> str:
        """
        Add to what is there.

        Args:
            amount: How much.
            why (str): For what.
        """
        if amount < 0:
            raise ValueError("less than nothing")
        self._has += amount
        self.reward = float(self._has)
        return f"{self._has} now"
