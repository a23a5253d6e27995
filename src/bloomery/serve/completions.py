"""`/v1/completions` and `/v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
import codecs
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from bloomery.core.errors import InputError
from bloomery.serve import limits
from bloomery.serve.desk import Desk, Model, stops_of
from bloomery.serve.errors import Refusal, refused
from bloomery.serve.forms import structured
from bloomery.serve.policy.decision import Decision
from bloomery.serve.run import Blocked, Delta, Run, Work
from bloomery.serve.speech import finite
from bloomery.serve.stream import ALIVE, DONE, Events, event, reply, whole_of
from bloomery.serve.text import token_bytes
from bloomery.serve.wire.completions import (
    Completion,
    CompletionRequest,
    Embedding,
    EmbeddingRequest,
    Embeddings,
    EmbeddingUsage,
    TextChoice,
    TextLogprobs,
)
from bloomery.serve.wire.request import Usage

DEFAULT_TOKENS = 16
"""Most tokens of an answer where the request does not say, as OpenAI's API has it."""


async def complete(desk: Desk, body: CompletionRequest, request: Request, headers: dict[str, str]) -> Response:
    """The route of completions: one body, or a stream."""
    run = await _begun(desk, body)
    model = desk.model
    if body.stream:
        return Events(run, _chunks(body, run, model), desk.limits.stall_seconds, headers)
    return await whole_of(run, request, lambda: _whole(body, run, model), headers)


async def _begun(desk: Desk, body: CompletionRequest) -> Run | Blocked:
    adapter = desk.adapter(body.model)
    count, rows = body.n or 1, _rows(body.prompt)
    if body.best_of is not None and body.best_of != count:
        raise Refusal(400, "`best_of` must equal `n`: answers are not ranked", param="best_of", code="invalid_value")
    if len(rows) * count > limits.ANSWERS:
        message = f"{len(rows)} prompts with {count} answers each are more than {limits.ANSWERS} answers"
        raise Refusal(400, message, param="prompt", code="invalid_value")
    if body.logprobs is not None and not desk.exact:
        raise Refusal(400, "`logprobs` would show what the policy masks", param="logprobs", code="invalid_value")
    grammar, form = structured(body.structured_outputs) if body.structured_outputs else (None, None)
    async with desk.place(len(rows) * count) as place:
        prompts, messages, verdict = await _checked(desk, rows, "prompt")
        longest = max(map(len, prompts))
        most, top = body.max_tokens or DEFAULT_TOKENS, body.logprobs or 0
        sampling = desk.sampling(body, most, longest, top_logprobs=top, grammar=grammar)
        tells, guarded = body.logprobs is not None, desk.guarded(messages)
        work = Work(prompts, sampling, count, stops_of(body), adapter, tells=tells, form=form, **guarded)
        return await desk.begin(work, verdict, place)


def _rows(given: Any) -> list[Any]:
    """The prompts of one text, several, one row of ids, or several."""
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


async def _checked(
    desk: Desk, rows: Sequence[Any], param: str
) -> tuple[list[list[int]], Sequence[Mapping[str, Any]], Decision]:
    """The ids of each text as the model may read it, the texts as messages, and what the policy says to them."""
    prompts = [await desk.text(row, param) if isinstance(row, str) else desk.ids(row, param) for row in rows]
    decode = desk.model.tokenizer.decode
    given = [{"role": "user", "content": row if isinstance(row, str) else decode(row)} for row in rows]
    messages, verdict = await desk.checked(given)
    if messages is not given:
        prompts = [
            prompt if one == other else await desk.text(other["content"], param)
            for prompt, one, other in zip(prompts, given, messages, strict=True)
        ]
    return prompts, messages, verdict


async def _whole(body: CompletionRequest, run: Run | Blocked, model: Model) -> Completion:
    choices = [
        TextChoice(index=i, text="", logprobs=_logprobs(body, model, Delta(i), 0), finish_reason=None)
        for i in range(run.work.answers)
    ]
    async for delta in run.deltas():
        if delta is not None:
            one = choices[delta.index]
            more = _logprobs(body, model, delta, len(one.text))
            one.text, one.finish_reason = one.text + delta.text, delta.finish
            if one.logprobs is not None and more is not None:
                one.logprobs.add(more)
    usage = Usage.of(run.prompt_tokens, run.completion_tokens)
    return Completion(choices=choices, usage=usage, **_head(body, model))


async def _chunks(body: CompletionRequest, run: Run | Blocked, model: Model) -> AsyncIterator[bytes]:
    head = _head(body, model)
    offsets = [0] * run.work.answers
    async for delta in run.deltas():
        if delta is None:
            yield ALIVE
            continue
        logprobs = _logprobs(body, model, delta, offsets[delta.index])
        offsets[delta.index] += len(delta.text)
        choice = TextChoice(index=delta.index, text=delta.text, logprobs=logprobs, finish_reason=delta.finish)
        yield event(Completion(choices=[choice], **head))
    if body.stream_options and body.stream_options.include_usage:
        yield event(Completion(choices=[], usage=Usage.of(run.prompt_tokens, run.completion_tokens), **head))
    yield DONE


def _logprobs(body: CompletionRequest, model: Model, delta: Delta, offset: int) -> TextLogprobs | None:
    """Those of the tokens, which are looked for in the text: what a policy put in place of others is no token's."""
    if body.logprobs is None:
        return None

    def shown(token: int) -> str:
        return token_bytes(model.tokenizer, token).decode(errors="replace")

    found = TextLogprobs(top_logprobs=[] if body.logprobs else None)
    characters, place = codecs.getincrementaldecoder("utf-8")("replace"), 0  # one may be of several tokens
    for token in delta.tokens:
        said = characters.decode(token_bytes(model.tokenizer, token.id))
        place = max(place, delta.text.find(said, place))
        found.tokens.append(shown(token.id))
        found.token_logprobs.append(finite(token.logprob))
        found.text_offset.append(offset + place)
        place += len(said)
        if found.top_logprobs is not None:
            found.top_logprobs.append({shown(one): finite(logprob) for one, logprob in token.top})
    return found


def _head(body: CompletionRequest, model: Model) -> dict[str, Any]:
    return {
        "id": f"cmpl-{uuid.uuid4().hex[:24]}",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": model.fingerprint,
    }


async def embed(desk: Desk, body: EmbeddingRequest, headers: dict[str, str]) -> Response:
    """The route of embeddings: vectors of length 1, so that a dot product is the cosine."""
    if desk.adapter(body.model):
        raise Refusal(400, "adapters do not embed; name the model itself", param="model", code="invalid_value")
    async with desk.place(1):
        prompts, _, verdict = await _checked(desk, _rows(body.input), "input")
        if verdict.action == "block":
            message = f"the policy blocks this text: {verdict.category}"
            raise Refusal(400, message, param="input", code="content_filter")
        try:
            found = await asyncio.to_thread(desk.service.embed, prompts)
        except InputError as error:
            raise refused(error, "input") from None
    width = len(found[0])
    if body.dimensions not in (None, width):
        raise Refusal(400, f"`dimensions`: this model's vectors have {width}", param="dimensions", code="invalid_value")
    count = sum(map(len, prompts))
    desk.metrics.prompt_tokens.inc(count)
    data = [Embedding(index=i, embedding=_coded(row, body.encoding_format)) for i, row in enumerate(found)]
    usage = EmbeddingUsage(prompt_tokens=count, total_tokens=count)
    return reply(Embeddings(model=body.model, data=data, usage=usage), headers)


def _coded(row: Any, form: str | None) -> list[float] | str:
    vector = np.asarray(row, dtype="<f4")
    vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    if form == "base64":
        return base64.b64encode(vector.tobytes()).decode()
    return [float(value) for value in vector]
