"""What a model says, told apart: text that can be shown, and calls of functions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bloomery.engine.protocol import Token
from bloomery.serve.run import Blocked, Run
from bloomery.serve.text import token_bytes
from bloomery.serve.tools import may_begin_call, read_calls
from bloomery.serve.wire.chat import Logprobs, TokenLogprob, Tool, ToolCall, TopLogprob

LEAST_LOGPROB = -9999.0
"""What stands for minus infinity, which JSON cannot say; OpenAI's API and vLLM use the same number."""
TAG = "<tool_call>"


@dataclass(slots=True)
class Said:
    """What is new in answer `index`."""

    index: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    finish: Literal["stop", "length", "content_filter", "tool_calls"] | None = None


async def spoken(run: Run | Blocked, tools: Sequence[Tool], must_call: bool) -> AsyncIterator[Said | None]:
    """`run.deltas` with calls told apart; what may become one is held back. None after a silence."""
    ears: dict[int, _Ear] = {}
    async for delta in run.deltas():
        if delta is None:
            yield None
            continue
        said = Said(delta.index, delta.text, delta.tokens, finish=delta.finish)
        if tools:
            ear = ears.setdefault(delta.index, _Ear(tools, must_call))
            said.text, said.calls = ear.hear(delta.text, delta.finish)
            if said.calls:
                await _inspected(run, said)
            if said.calls and delta.finish == "stop":
                said.finish = "tool_calls"
        if said.text or said.tokens or said.calls or said.finish:
            yield said


async def _inspected(run: Run | Blocked, said: Said) -> None:
    """Calls as the policy leaves them: their arguments say, once they are read, what their JSON may have escaped."""
    decision, kept = await run.inspected([json.loads(call.function.arguments) for call in said.calls])
    if decision.action == "block":
        said.text, said.calls, said.finish = said.text + decision.text, [], "content_filter"
        return
    for call, value in zip(said.calls, kept, strict=True):
        call.function.arguments = json.dumps(value, ensure_ascii=False)


class _Ear:
    """Listens to one answer."""

    def __init__(self, tools: Sequence[Tool], must_call: bool) -> None:
        self._tools, self._must_call = tools, must_call
        self._held, self._shown = "", False

    def hear(self, text: str, finish: str | None) -> tuple[str, list[ToolCall]]:
        self._held += text
        if finish == "content_filter":
            return self._held, []
        if finish:
            return read_calls(self._held, self._tools)
        if self._must_call or (not self._shown and may_begin_call(self._held)):
            return "", []
        at = self._held.find(TAG)
        if at < 0:
            held = (size for size in range(len(TAG) - 1, 0, -1) if self._held.endswith(TAG[:size]))
            at = len(self._held) - next(held, 0)
        shown, self._held = self._held[:at], self._held[at:]
        self._shown = self._shown or bool(shown)
        return shown, []


def logprobs_of(tokenizer: Any, tokens: Sequence[Token]) -> Logprobs:
    """Log-probabilities as chat completions show them."""
    return Logprobs(content=[_shown(tokenizer, token) for token in tokens])


def _shown(tokenizer: Any, token: Token) -> TokenLogprob:
    top = [TopLogprob(**_one(tokenizer, token_id, logprob)) for token_id, logprob in token.top]
    return TokenLogprob(**_one(tokenizer, token.id, token.logprob), top_logprobs=top)


def _one(tokenizer: Any, token_id: int, logprob: float) -> dict[str, Any]:
    shown = token_bytes(tokenizer, token_id)
    return {"token": shown.decode(errors="replace"), "logprob": finite(logprob), "bytes": list(shown)}


def finite(logprob: float) -> float:
    """A log-probability that JSON can hold."""
    return float(logprob) if logprob > LEAST_LOGPROB else LEAST_LOGPROB
