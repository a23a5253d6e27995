"""Chat templates are programs: each is rendered in a process of its own, under 1 s and 256 MB a conversation.

Attribute tricks are stopped by jinja's sandbox, which transformers uses too; nested loops and giant strings are not.
The process stays for the next conversations: starting it for each would cost more than all else done with them. As it
is, 20,000 conversations of four turns are rendered and tokenised in 5 to 10 % more time than without limits (CPU).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import IO, Any

from bloomery.core import template_worker
from bloomery.core.errors import InputError
from bloomery.core.sandbox_level import PASSED_ENVIRONMENT
from bloomery.core.template_worker import END, START

__all__ = ["ChatTemplate", "Conversation", "END", "Rendering", "RunawayTemplate", "START", "TemplateFault"]


class TemplateFault(InputError):
    """The template itself is to blame, not what it was given: it does not parse, or it ran away."""


class RunawayTemplate(TemplateFault):
    """The template outgrew its time or memory."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is rendered: messages whose content is a string, tools, and whether the prompt for an answer follows.

    `before` are numbers of messages: up to each of them the conversation is rendered as well, with such a prompt.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Any] = ()
    prompt: bool = False
    before: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Rendering:
    """The text, with `START` and `END` around generation blocks; or `error`, what the template refused it with.

    `starts`, where there are no such blocks: for each of `before` the length of what was rendered, -1 where the text
    does not begin with it.
    """

    text: str = ""
    starts: tuple[int, ...] = ()
    error: str | None = None


_FIELDS = [field.name for field in fields(Conversation)]


class ChatTemplate:
    """A Jinja chat template, with the names that Hugging Face templates expect, in a process that is started when used.

    Each instance has one process, which ends with it; calls must come from one thread at a time.
    """

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """`special` holds `bos_token`, `eos_token` ..."""
        self.source = source
        self._job = {"source": source, "special": dict(special)}
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, conversations: Sequence[Conversation]) -> list[Rendering]:
        """One rendering each. Raises `TemplateFault`; the next call starts the process anew."""
        answers = self._ask([{name: getattr(one, name) for name in _FIELDS} for one in conversations])
        return [Rendering(a.get("text", ""), tuple(a.get("starts", ())), a.get("error")) for a in answers]

    def _ask(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        process = self._process or self._start()
        answer = _exchange(process, items)
        if answer is None:
            self._process = None
            raise _runaway(process)
        found: list[dict[str, Any]] = answer
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", template_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ},
            start_new_session=True,  # Ctrl-C is for the reader, whose end ends this process too
        )
        answer = _exchange(process, self._job)
        if answer is None:
            raise _runaway(process)
        if answer:
            _end(process)
            raise TemplateFault(
                f"the chat template does not parse: {answer['broken']}", fix="correct chat_template.jinja"
            )
        weakref.finalize(self, _end, process)
        self._process = process
        return process


def _exchange(process: subprocess.Popen[bytes], value: Any) -> Any:
    """The answer to one line of JSON; None where the process died of it."""
    with contextlib.suppress(BrokenPipeError):
        _pipe(process.stdin).write(json.dumps(value, default=str).encode() + b"\n")
        _pipe(process.stdin).flush()
    answer = _pipe(process.stdout).readline()
    return json.loads(answer) if answer.endswith(b"\n") else None


def _runaway(process: subprocess.Popen[bytes]) -> RunawayTemplate:
    _end(process)
    limits = f"{template_worker.SECONDS:g} s of processor time or {template_worker.MEMORY >> 20} MB"
    return RunawayTemplate(f"the chat template outgrows {limits}", fix="replace chat_template.jinja")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            _pipe(pipe).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
