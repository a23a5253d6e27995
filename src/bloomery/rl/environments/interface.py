"""What an environment is, and what it may answer: plain data on both sides of a pipe.

    class Guess:                                    # a file of your own, or one of ours
        tools = []                                  # optional: functions that the model may call, as OpenAI writes them
        def __init__(self, **kwargs): ...           # what the recipe says beside `type`; one instance for each rollout
        def reset(self, row, seed): ...             # -> messages that begin the conversation; None: the row's own
        def step(self, message): ...                # -> (messages, reward or None, done, info)
        def reward(self): ...                       # optional: what the whole rollout is worth, asked at its end
        def close(self): ...                        # optional

All of them may be `async`. Rollouts of one task get the same row and seed. A class method `tasks(rows, **kwargs)`
yields the rows that it has tasks for (`bloomery rl tasks`). What it raises is no fault of the model's: the rollout is
unscorable. A model that answers badly gets a reward, and is told so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from bloomery.graders.payload import number_or_reason, writable

Message = Mapping[str, Any]
Do = Literal["reset", "step", "end"]
ROLES = ("system", "user", "tool", "assistant")


@dataclass(frozen=True, slots=True)
class Call:
    """Something asked of the environment of rollout `seat`; `given` is JSON."""

    seat: int
    do: Do
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: JSON, or the reason why nothing did, which leaves the rollout unscorable."""

    value: Any = None
    fault: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fault", writable(self.fault))


class Host(Protocol):
    """Where environments run."""

    def ask(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to calls of different seats, in order; each is waited for no longer than the host allows."""
        ...

    def clear(self) -> None:
        """Between steps: no seat is used any more, and what hangs or died is started afresh when it is needed."""
        ...

    def close(self) -> None:
        """End what runs."""
        ...


class Malformed(ValueError):
    """An answer that is none; its text says why."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How a conversation begins: `messages`, None for the row's own, and the functions that may be called."""

    messages: tuple[Message, ...] | None
    tools: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Stepped:
    """What an answer led to. `unscorable` is a reason that the environment itself gives to leave the rollout out."""

    messages: tuple[Message, ...]
    reward: float | None
    done: bool
    metrics: Mapping[str, float]
    unscorable: str = ""


def opened(value: Any) -> Opened:
    """`reset`'s answer `{"messages", "tools"}`, checked. Raises `Malformed`."""
    from bloomery.serve.wire.chat import Tool  # it brings numpy, and recipes are read without

    if not isinstance(value, Mapping):
        raise Malformed(f"reset returned {_shown(value)}")
    _refuse_half(value, "reset")
    told, tools = value.get("messages"), value.get("tools") or []
    try:
        for one in tools:
            Tool.model_validate(one)
    except (TypeError, ValidationError):
        said = "`tools` is no list of `{type: function, function: {name, description, parameters}}`"
        raise Malformed(said) from None
    return Opened(tuple(_messages(told, "reset")) if told else None, tuple(tools))


def stepped(value: Any) -> Stepped:
    """`step`'s answer, a list of four, checked: nothing is coerced. Raises `Malformed`."""
    if not isinstance(value, list) or len(value) != 4:
        raise Malformed(f"step returned {_shown(value)}, not (messages, reward, done, info)")
    _refuse_half(value, "step")
    told, reward, done, info = value
    if not isinstance(done, bool):
        raise Malformed(f"step returned `done` as {_shown(done)}, not as True or False")
    if not isinstance(info, Mapping | None):
        raise Malformed(f"step returned `info` as {_shown(info)}, not as a mapping")
    info = info or {}
    given = info.get("metrics") or {}
    if not isinstance(given, Mapping):
        raise Malformed(f"step returned `info.metrics` as {_shown(given)}, not as a mapping")
    numbers = {str(name): number(found, f"info.metrics.{name}") for name, found in given.items()}
    metrics = {name: found for name, found in numbers.items() if found is not None}
    messages = tuple(_messages(told or [], "step"))
    if not done and not messages:
        raise Malformed("step is not done, and returned no message that the model could answer")
    return Stepped(messages, number(reward, "reward"), done, metrics, str(info.get("unscorable") or ""))


def number(value: Any, what: str) -> float | None:
    """A finite number, or None for None. Raises `Malformed` for a bool, text, NaN and everything else."""
    if value is None:
        return None
    found, reason = number_or_reason(value)
    if found is None:
        raise Malformed(f"{what}: {reason.replace('the grader', 'the environment')}")
    return found


def _messages(value: Any, what: str) -> Iterator[Message]:
    if not isinstance(value, list):
        raise Malformed(f"{what} returned messages as {_shown(value)}, not as a list")
    for one in value:
        if not isinstance(one, Mapping) or one.get("role") not in ROLES or not isinstance(one.get("content"), str):
            raise Malformed(f"{what} returned {_shown(one)}, not a message with `role` and a text as `content`")
        yield one


def _refuse_half(value: Any, what: str) -> None:
    """Raise `Malformed` where half of a surrogate pair is in it, which no tokenizer reads and no file holds."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise Malformed(f"{what} returned half of a surrogate pair ({half}), which is no text") from None


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}" if value is not None else "nothing"
