"""Types of the fixtures that write policies and guard with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bloomery.serve.policy.guard import PolicyGuard

Write = Callable[..., Path]
Guarded = Callable[..., tuple[PolicyGuard, list[dict[str, Any]]]]


def user(text: str) -> list[dict[str, Any]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def answered(guard: PolicyGuard, text: str, size: int = 7) -> tuple[str, str]:
    """(what is released of an answer that comes in pieces, the action)."""
    watch = guard.watch(user("hello"))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return "".join([watch.feed(piece)[0] for piece in pieces] + [watch.finish()[0]]), watch.decision.action
