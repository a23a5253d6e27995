"""How a judge is asked: any OpenAI-compatible server by its address, or whatever the caller passes, such as an engine.

`Ask` takes a batch, so that an engine on this machine can answer all of it at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bloomery.core.http import Http, HttpError
from bloomery.core.secret import Secret
from bloomery.graders.pace import Breaker, Clock, Outage, Rate, backoff, retry_after
from bloomery.graders.payload import text_of

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a judge: chat messages, the JSON schema of its reply, and how to sample."""

    messages: Sequence[Message]
    schema: Mapping[str, Any]
    model: str = ""
    """Which model a server should use; a judge passed by the caller is one model and may ignore it."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """temperature, top_p, seed, max_completion_tokens, reasoning_effort, as OpenAI's `sampling_params`."""


@dataclass(frozen=True, slots=True)
class Said:
    """A judge's reply; or `problem`: why there is none."""

    text: str = ""
    problem: str = ""


Ask = Callable[[Sequence[Question]], Sequence[Said]]
"""One reply for each question, in order. What it raises leaves the whole batch without scores."""


@dataclass(frozen=True)
class OpenAIJudge:
    """An `Ask` over `POST {url}/chat/completions`."""

    url: str
    api_key: Secret | None
    http: Http
    tries: int = 4
    concurrency: int = 8
    rate: Rate = field(default_factory=Rate)
    breaker: Breaker = field(default_factory=Breaker)
    clock: Clock = field(default_factory=Clock)

    def __call__(self, questions: Sequence[Question]) -> list[Said]:
        """The replies; `problem` where all tries failed."""
        with ThreadPoolExecutor(max(1, min(self.concurrency, len(questions)))) as pool:
            return list(pool.map(self._one, questions))

    def _one(self, question: Question) -> Said:
        said, again, asked = Said(problem="it was not asked"), True, None
        for attempt in range(self.tries):
            if attempt:
                self.clock.sleep(backoff(attempt - 1, self.clock, asked))
            try:
                self.breaker.enter()
            except Outage as outage:
                return Said(problem=f"the judge is down: {outage}")
            said, again, asked = self._try(question)
            self.breaker.note(answered=not again)
            if not again:
                break
        return said

    def _try(self, question: Question) -> tuple[Said, bool, float | None]:
        """The reply, whether another try may help, and how long the server asked to wait."""
        self.rate.wait()
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key.reveal()}"
        try:
            url = f"{self.url.rstrip('/')}/chat/completions"
            reply = self.http.send("POST", url, headers, json.dumps(_body(question)).encode())
        except HttpError as error:
            return Said(problem=f"the judge: {error}"), error.kind not in ("refused", "size"), None
        if reply.status != 200:
            again = reply.status in (408, 425, 429) or reply.status >= 500
            return Said(problem=f"the judge answered with status {reply.status}"), again, retry_after(reply.headers)
        return _said(reply.body), False, None


def _body(question: Question) -> dict[str, Any]:
    form = {"name": "verdict", "strict": True, "schema": dict(question.schema)}
    return {
        "model": question.model,
        "messages": [dict(message) for message in question.messages],
        "response_format": {"type": "json_schema", "json_schema": form},
        **question.sampling,
    }


def _said(body: bytes) -> Said:
    """The text of a chat completion that ended by itself."""
    try:
        choice = json.loads(body)["choices"][0]
        message = choice["message"]
        if choice.get("finish_reason") == "length":
            return Said(problem="the judge's reply was cut at its length limit")
        if message.get("refusal"):
            return Said(problem="the judge refused")
        return Said(text_of(message))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Said(problem="the judge's server sent no chat completion")
