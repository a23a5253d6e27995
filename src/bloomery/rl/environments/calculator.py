"""Sums that are worked out by calling a calculator: a tool in the form that the model's chat template gives it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "calculate",
        "description": "Work out a sum of two numbers.",
        "parameters": {
            "type": "object",
            "properties": {
                "left": {"type": "number"},
                "operator": {"enum": ["+", "-", "*"]},
                "right": {"type": "number"},
            },
            "required": ["left", "operator", "right"],
        },
    },
}
_WORK = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Calculator:
    """1 for the right number in an answer that calls nothing; a call that can be worked out earns `call` once."""

    def __init__(self, call: float = 0.0) -> None:
        self.tools = [TOOL]
        self._for_call, self._called = call, False
        self._wanted = 0.0

    @classmethod
    def tasks(cls, rows: int, call: float = 0.0) -> Iterator[dict[str, Any]]:
        """Products, sums and differences of numbers up to 999."""
        for number in range(rows):
            rng = random.Random(f"calculator:{number}")
            left, right, operator = rng.randint(10, 999), rng.randint(10, 999), rng.choice("+-*")
            content = f"What is {left} {operator} {right}?"
            wanted = _WORK[operator](left, right)
            yield {"id": f"calculator:{number}", "prompt": content, "reference_answer": str(wanted)}

    def reset(self, row: Mapping[str, Any], seed: int) -> None:
        """The row's own question."""
        self._wanted, self._called = float(row["reference_answer"]), False

    def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, Any]], float, bool, dict[str, Any]]:
        """Work calls out; an answer without any ends the rollout."""
        calls = message.get("tool_calls") or []
        if not calls:
            said = _NUMBER.findall(str(message["content"]))
            return [], float(bool(said) and float(said[-1]) == self._wanted), True, {}
        told = []
        for call in calls:
            result = _worked_out(call["function"]["arguments"])
            told.append({"role": "tool", "tool_call_id": call["id"], "name": "calculate", "content": result})
        earned = any(not one["content"].startswith("error") for one in told) and not self._called
        self._called |= earned
        return told, self._for_call if earned else 0.0, False, {}


def _worked_out(given: Any) -> str:
    """The result as text, or what is wrong with the arguments."""
    try:
        value = _WORK[given["operator"]](float(given["left"]), float(given["right"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return "error: give `left` and `right` as numbers and `operator` as one of + - *"
    return str(int(value)) if value == value // 1 and abs(value) < 1e15 else str(value)
