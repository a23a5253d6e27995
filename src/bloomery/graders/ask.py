"""How a judge is asked: any OpenAI-compatible server by its address, or whatever the caller passes, such as an engine.

`Ask` takes a batch, so that an engine on this machine can answer all of it at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.core.http import Access, Caps, Http, HttpError, check_url
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
Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""One embedding for each text, all of one length."""


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible server as a file names one, and what is asked of it."""

    url: str
    model: str = ""
    key: Secret | None = None
    private: bool = False
    hosts: tuple[str, ...] = ()

    def client(self, seconds: float, tries: int, concurrency: int, clock: Clock) -> OpenAIClient:
        """What speaks with it; `seconds` are what one request may take."""
        http = Http(Access(self.private, self.hosts), Caps(read=seconds, total=seconds))
        return OpenAIClient(
            self.url, self.key, http, tries, concurrency, Rate(clock=clock), Breaker(clock=clock), clock
        )


def named(given: Any, what: str) -> str | Server:
    """A model of this machine by its name, or a server by `{url, model, key, private, hosts}`, under the key `what`.

    Raises `InputError` for anything else, and for an address that cannot be asked.
    """
    if isinstance(given, str) and given.strip() and "://" not in given:
        return given
    forms = (
        f"write a run, a folder or FAMILY/STAGE, or `{what}: {{url: https://.../v1, model: NAME, key: {{env: NAME}}}}`"
    )
    if not isinstance(given, Mapping):
        raise InputError(f"`{what}: {given}` names no model", fix=forms)
    for key in given:
        if key not in SERVER:
            raise InputError(f"`{what}` has no key `{key}`{nearest(str(key), SERVER)}", fix="change it")
    url, model, hosts = given.get("url"), given.get("model"), given.get("hosts", ())
    if not isinstance(url, str) or not isinstance(model, str) or not model:
        raise InputError(f"`{what}` names no `{'model' if isinstance(url, str) else 'url'}`", fix=forms)
    check_url(url)
    if not isinstance(given.get("private", False), bool) or not isinstance(hosts, list | tuple):
        raise InputError(f"`{what}`: `private` is true or false, `hosts` a list of names", fix="correct it")
    key = None if given.get("key") is None else Secret.parse(given["key"])
    return Server(url, model, key, given.get("private", False), tuple(map(str, hosts)))


SERVER = ("url", "model", "key", "private", "hosts")


@dataclass(frozen=True)
class OpenAIClient:
    """Posts to a server's routes, with pauses, retries and a breaker."""

    url: str
    api_key: Secret | None
    http: Http
    tries: int = 4
    concurrency: int = 8
    rate: Rate = field(default_factory=Rate)
    breaker: Breaker = field(default_factory=Breaker)
    clock: Clock = field(default_factory=Clock)

    def post_all(self, route: str, bodies: Sequence[Mapping[str, Any]]) -> list[bytes | str]:
        """The reply to each body, in order; a text says why there is none."""
        with ThreadPoolExecutor(max(1, min(self.concurrency, len(bodies)))) as pool:
            return list(pool.map(lambda body: self._post(route, body), bodies))

    def _post(self, route: str, body: Mapping[str, Any]) -> bytes | str:
        said: bytes | str = "it was not asked"
        again, asked = True, None
        for attempt in range(self.tries):
            if attempt:
                self.clock.sleep(backoff(attempt - 1, self.clock, asked))
            try:
                self.breaker.enter()
            except Outage as outage:
                return f"the judge is down: {outage}"
            said, again, asked = self._try(route, body)
            self.breaker.note(answered=not again)
            if not again:
                break
        return said

    def _try(self, route: str, body: Mapping[str, Any]) -> tuple[bytes | str, bool, float | None]:
        """The reply, whether another try may help, and how long the server asked to wait."""
        self.rate.wait()
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key.reveal()}"
        try:
            reply = self.http.send("POST", f"{self.url.rstrip('/')}/{route}", headers, json.dumps(body).encode())
        except HttpError as error:
            return f"the judge: {error}", error.kind not in ("refused", "size"), None
        if reply.status != 200:
            again = reply.status in (408, 425, 429) or reply.status >= 500
            return f"the judge answered with status {reply.status}", again, retry_after(reply.headers)
        return reply.body, False, None


@dataclass(frozen=True)
class OpenAIJudge:
    """An `Ask` over `POST {url}/chat/completions`. Its `model`, where it has one, goes before a question's."""

    client: OpenAIClient
    model: str = ""

    def __call__(self, questions: Sequence[Question]) -> list[Said]:
        """The replies; `problem` where all tries failed."""
        replies = self.client.post_all("chat/completions", [self._body(question) for question in questions])
        return [Said(problem=one) if isinstance(one, str) else _said(one) for one in replies]

    def _body(self, question: Question) -> dict[str, Any]:
        form = {"name": "verdict", "strict": True, "schema": dict(question.schema)}
        return {
            "model": self.model or question.model,
            "messages": [dict(message) for message in question.messages],
            "response_format": {"type": "json_schema", "json_schema": form},
            **question.sampling,
        }


@dataclass(frozen=True)
class OpenAIEmbed:
    """An `Embed` over `POST {url}/embeddings`. Raises ValueError where the server gives none."""

    client: OpenAIClient
    model: str = ""

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """The embeddings, in order."""
        parts = [texts[at : at + EMBEDDED] for at in range(0, len(texts), EMBEDDED)]
        replies = self.client.post_all("embeddings", [{"model": self.model, "input": [*part]} for part in parts])
        return [row for part, reply in zip(parts, replies, strict=True) for row in _embedded(reply, len(part))]


EMBEDDED = 64
"""Texts of one request for embeddings."""


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


def _embedded(reply: bytes | str, count: int) -> list[list[float]]:
    """The embeddings in a server's reply, by their index."""
    if isinstance(reply, str):
        raise ValueError(reply)
    try:
        rows = sorted(json.loads(reply)["data"], key=lambda row: row["index"])
        found = [[float(value) for value in row["embedding"]] for row in rows]
        if [row["index"] for row in rows] != list(range(count)):
            raise ValueError(f"{len(rows)} embeddings of {count}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the server sent no embeddings: {str(error)[:80]}") from None
    return found
