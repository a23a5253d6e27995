"""One answer from the engine, with every token that was sampled for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bloomery.core.rows import Floats
from bloomery.engine.protocol import Answer, Request, Sampling, Service, Ticket, Token
from bloomery.serve.run import Run, Work
from bloomery.serve.speech import Said, spoken
from bloomery.serve.tools import plain
from bloomery.serve.wire.chat import Message, Tool
from bloomery.serve.wire.request import Usage


@dataclass(frozen=True, slots=True)
class Sampled:
    """A whole answer: what is said in it, and its ids with the log-probability of each."""

    heard: Said
    usage: Usage
    ids: tuple[int, ...]
    logp: Floats

    async def said(self) -> AsyncIterator[Said | None]:
        """All of it at once."""
        yield self.heard

    @property
    def reply(self) -> dict[str, Any]:
        """The answer as a message of the conversation."""
        told: dict[str, Any] = {"role": "assistant", "content": self.heard.text, "tool_calls": self.heard.calls or None}
        return plain(Message.model_construct(**told))  # without a limit on calls: the model was not told of one


class _Tap:
    """A service that keeps what it tells."""

    def __init__(self, service: Service) -> None:
        self._service, self.context, self.answer = service, service.context, Answer()

    def submit(self, request: Request, told: Callable[[Token], None]) -> Ticket:
        """Pass the request on, and listen."""

        def both(token: Token) -> None:
            self.answer.take(token)
            told(token)

        return self._service.submit(request, both)


async def sample(
    service: Service, tokenizer: Any, prompt: Sequence[int], sampling: Sampling, *,
    stops: tuple[str, ...], tools: Sequence[Tool], seconds: float,
) -> Sampled:  # fmt: skip
    """The answer to a prompt. Raises `Refusal` as `Run` does.

    An answer that is cut at one of the client's `stops` holds the ids up to the token that completes it: the text that
    the client gets is shorter than what was sampled and is trained.
    """
    tap = _Tap(service)
    run = Run(tap, tokenizer, Work([prompt], sampling, stops=stops), seconds)
    whole = Said(0)
    await run.start()
    try:
        async for said in spoken(run, tools, must_call=False):
            if said is not None:
                whole.text += said.text
                whole.tokens += said.tokens
                whole.calls += said.calls
                whole.finish = said.finish or whole.finish
    finally:
        run.close()
    count = run.completion_tokens  # the engine may have gone on beyond a stop string before it heard
    ids, logp = tuple(tap.answer.ids[:count]), np.array(tap.answer.logprobs[:count], np.float32)
    return Sampled(whole, Usage.of(len(prompt), count), ids, logp)
