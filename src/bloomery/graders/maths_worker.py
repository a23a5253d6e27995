"""The other side of `maths.py`: compares two mathematical texts with math-verify, in a process that can be killed."""

from __future__ import annotations

import logging
import signal
from typing import Any

import math_verify  # type: ignore[import-untyped]

logging.disable(logging.CRITICAL)


def equal(item: dict[str, Any]) -> dict[str, Any]:
    """{"equal", "why"} of {"wanted": [text], "answer": text, "seconds"}. Raises ValueError for an odd reference."""
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, item["seconds"])
    try:
        return _equal(item["wanted"], item["answer"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _equal(wanted: list[str], answer: str) -> dict[str, Any]:
    golds = [_parsed(text) or _parsed(f"${text}$") for text in wanted]
    if not any(golds):
        raise ValueError(f"the reference `{wanted[0][:80]}` is no mathematics")
    found = _parsed(answer)
    if not found:
        return {"equal": False, "why": "the answer holds no result"}
    right = any(_same(gold, found) for gold in golds if gold)
    return {"equal": right, "why": "" if right else f"the answer's result is {found[-1]}"[:200]}


def _same(gold: Any, found: Any) -> bool:
    return bool(math_verify.verify(gold, found, timeout_seconds=None))


def _parsed(text: str) -> Any:
    return math_verify.parse(text, parsing_timeout=None, raise_on_error=False)


class Late(BaseException):
    """Not an Exception: math-verify and sympy take those for "not equal"."""


def _late(*_: Any) -> None:
    raise Late("comparing took too long")
