"""The engine's contract over a vLLM server: answers and scores by token ids, whole or as they stream.

The server is one that `VllmServer` started, or anybody's, named by its URL. It must speak vLLM's `/v1/completions` with
`return_token_ids`; tried with vLLM 0.32. Text never crosses: a prompt that is tokenised twice trains another model.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.rows import Floats, TokenRow
from bloomery.engine.protocol import Busy, Completion, Request, Sampling, Token
from bloomery.engine.vllm_wire import (
    Mode,
    check,
    completion_body,
    read_completion,
    read_scores,
    read_tokens,
    score_body,
)

Result = TypeVar("Result")

AT_ONCE = 64
"""Requests under way at once; vLLM batches them by itself. Ours."""
IDLE = 1.0
"""Seconds for which an unused connection is kept: vLLM closes it after five, and a request sent then is lost."""
PATIENCE = 600.0
"""Longest wait in seconds for a whole answer, or between two tokens of one that streams."""


class VllmClient:
    """What the engine and the service share: one model of one server, and its errors as ours.

    `exact` refuses requests whose log-probabilities vLLM tells otherwise than the contract says (`vllm_wire`); without
    it they come as vLLM tells them. `mode` is the server's `--logprobs-mode`, which no request can find out. `scores`
    is False for a server that takes adapters: on a CPU, vLLM 0.32 with `--enable-lora` dies of a request for scores.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        model: str | None = None,
        mode: Mode = "processed_logprobs",
        exact: bool = True,
        scores: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        # Not `core/http.py`: it reads whole replies and connects anew for each, while answers stream here over
        # connections that are kept. The address is a program's own or its recipe's, never one that a row names.
        headers = {"authorization": f"Bearer {token}"} if token else {}
        limits = httpx2.Limits(max_connections=AT_ONCE, keepalive_expiry=IDLE)
        self.http = httpx2.Client(
            base_url=url,
            headers=headers,
            timeout=httpx2.Timeout(patience, connect=10.0),
            limits=limits,
            trust_env=False,
        )
        self.url, self.token, self.mode, self.exact, self.scores = url, token, mode, exact, scores
        self.model, self._context = self._find(model)

    @property
    def context(self) -> int:
        """Most tokens that a prompt with its answer may have: the server's `--max-model-len`."""
        return self._context

    def close(self) -> None:
        """Close the connections; the server goes on."""
        self.http.close()

    def load_adapter(self, name: str, folder: Path, *, new: bool = False) -> None:
        """Load a LoRA adapter from a folder that the server sees, in place of one of the same name.

        A `new` name is refused where there is one already. What may be replaced, vLLM 0.32 reads again for every batch.
        Raises `InputError` where the server was started without `--enable-lora`, or refuses the adapter.
        """
        body = {"lora_name": name, "lora_path": str(folder.resolve())}
        self._have("/v1/load_lora_adapter", body if new else {**body, "load_inplace": True})

    def drop_adapter(self, name: str) -> None:
        """Unload an adapter."""
        self._have("/v1/unload_lora_adapter", {"lora_name": name})

    def body(self, prompt: Sequence[int], sampling: Sampling, number: int, adapter: str = "") -> dict[str, Any]:
        """The request for one answer. Raises `InputError` for what cannot be honoured, and a prompt without room."""
        check(sampling, self.mode, self.exact)
        if not 0 < len(prompt) < self.context:
            raise InputError(
                f"prompt {number} has {len(prompt):,} tokens; the context holds {self.context:,} with the answer",
                fix="shorten the prompt" if len(prompt) else "give it at least one token",
            )
        return completion_body(adapter or self.model, prompt, sampling, self.context - len(prompt), number)

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """A POST's JSON, or its text. Raises as `told` says, and `BloomeryError` where no answer comes."""
        try:
            answer = self.http.post(path, json=body)
        except httpx2.HTTPError as error:
            raise self.silent(error) from None
        self.told(answer)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def told(self, answer: httpx2.Response) -> None:
        """Raise what an answer that is no success says: `Busy`, `InputError` for our fault, `BloomeryError` for its."""
        if answer.status_code < 400:
            return
        said = _message(answer.read())
        if answer.status_code in (429, 503):
            raise Busy(said)
        if answer.status_code in (401, 403):
            raise InputError(f"the vLLM server at {self.url} refuses the token", fix="give the one it was started with")
        if answer.status_code == 404 and "/v1/completions" not in str(answer.url) and "adapter" not in said.lower():
            fix = "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            raise InputError(f"the vLLM server at {self.url} has no {answer.url.path}", fix=fix)
        if answer.status_code < 500:
            raise InputError(f"the vLLM server refuses the request: {said}")
        raise BloomeryError(f"the vLLM server at {self.url} failed: {said}", fix="see its log, and start it again")

    def silent(self, error: Exception) -> BloomeryError:
        """What to raise where no whole answer came."""
        return BloomeryError(
            f"the vLLM server at {self.url} does not answer: {str(error) or type(error).__name__}",
            fix="see whether it runs, and its log",
        )

    def _have(self, path: str, body: Mapping[str, Any]) -> None:
        """Have something done that is no answer: nobody queues for it, so a server that is full is one that fails."""
        try:
            self.ask(path, body)
        except Busy as error:
            raise self.silent(error) from None

    def _find(self, wanted: str | None) -> tuple[str, int]:
        """The model to ask, and its context."""
        try:
            answer = self.http.get("/v1/models")
            self.told(answer)
        except (httpx2.HTTPError, Busy) as error:
            raise self.silent(error) from None
        served = self._read(lambda: {m["id"]: m.get("max_model_len") for m in answer.json()["data"]})
        name = wanted or next(iter(served), "")
        if name not in served or not served[name]:
            raise InputError(
                f"the vLLM server at {self.url} has no model `{name}`", fix=f"name one of {', '.join(served)}"
            )
        return name, int(served[name])

    def _read(self, read: Callable[[], Result]) -> Result:
        """What `read` makes of an answer. Raises `BloomeryError` where it is none of vLLM's."""
        try:
            return read()
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise BloomeryError(f"the server at {self.url} answers otherwise than vLLM: {error}") from None


class VllmEngine(VllmClient):
    """`Engine` over a vLLM server: many requests under way, answers in the order of the prompts."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, adapter: str = "") -> list[Completion]:
        """One answer for each prompt; an answer is cut where the context ends. `seconds` holds its queue too."""
        return self.answer([Request(prompt, sampling, adapter, number) for number, prompt in enumerate(prompts)])

    def answer(self, requests: Sequence[Request]) -> list[Completion]:
        """One answer for each request, in order: `generate` where each is sampled in its own way."""
        return self._all(
            self._answer, [self.body(one.prompt, one.sampling, one.number, one.adapter) for one in requests]
        )

    def find_mode(self) -> Mode:
        """The server's `--logprobs-mode`, which nothing tells: whether a temperature changes log-probabilities."""
        both = [self.body([0], Sampling(1, temperature=heat, top_logprobs=1), 0) for heat in (1.0, 2.0)]
        try:
            plain, hot = (max(logp for _, logp in self._answer(body).top[0]) for body in both)
        except Busy as error:
            raise self.silent(error) from None
        return "raw_logprobs" if abs(plain - hot) < 1e-3 else "processed_logprobs"

    def score(self, rows: Sequence[TokenRow], adapter: str = "") -> list[Floats]:
        """float32[T] for each row: log-probability of `ids[t]` given `ids[:t]`; 0 at t = 0."""
        if not self.scores:
            fix = "start another without adapters to score with"
            raise InputError("a vLLM server that takes adapters may die of a request for scores", fix=fix)
        for row in rows:
            if not 0 < len(row) <= self.context:
                raise InputError(f"row `{row.row_id}` has {len(row):,} tokens; the context holds 1 to {self.context:,}")
        return self._all(lambda row: self._score(row, adapter), rows)

    def _answer(self, body: Mapping[str, Any]) -> Completion:
        began = time.perf_counter()
        answer = self.ask("/v1/completions", body)
        return self._read(lambda: read_completion(answer, time.perf_counter() - began))

    def _score(self, row: TokenRow, adapter: str) -> Floats:
        ids = [int(token) for token in row.ids]
        if len(ids) == 1:
            return np.zeros(1, np.float32)
        answer = self.ask("/v1/completions", score_body(adapter or self.model, ids))
        return self._read(lambda: read_scores(answer, ids))

    def _all(self, work: Callable[[Any], Any], given: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(given)) or 1) as pool:
            return list(pool.map(work, given))


class VllmService(VllmClient):
    """`Service` over a vLLM server: each request streams in a thread of its own, at most `most` at once."""

    def __init__(self, url: str, token: str = "", *, most: int = AT_ONCE, exact: bool = False, **options: Any) -> None:
        super().__init__(url, token, exact=exact, **options)
        self._free = threading.BoundedSemaphore(most)

    def submit(self, request: Request, told: Callable[[Token], None]) -> _Stream:
        """Take in a request; `told` is called in its thread for each token. Raises `InputError`, or `Busy`."""
        body = self.body(request.prompt, request.sampling, request.number, request.adapter)
        if not self._free.acquire(blocking=False):
            raise Busy("as many requests as the vLLM server is given are under way")
        stream = _Stream(self, {**body, "stream": True}, told, self._free.release)
        stream.start()
        return stream


class _Stream(threading.Thread):
    """One streaming answer. vLLM frees what a request holds once its connection is closed."""

    def __init__(
        self, client: VllmClient, body: Mapping[str, Any], told: Callable[[Token], None], done: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True, name="vllm-stream")
        self.client, self.body, self.told, self.done = client, body, told, done
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop before the next token."""
        self.cancelled.set()

    def run(self) -> None:
        """Tell every token; the last one says how the answer ended."""
        last = Token(-1, 0.0, ended="error", error="the stream ended early")
        try:
            for token in self._tokens():
                if token.ended is not None:
                    last = token
                    break
                self.told(token)
        except (BloomeryError, Busy, httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            last = Token(-1, 0.0, ended="error", error=str(error) or type(error).__name__)
        finally:
            self.done()
        self.told(Token(-1, 0.0, ended="cancelled") if self.cancelled.is_set() and last.ended == "error" else last)

    def _tokens(self) -> Iterator[Token]:
        with self.client.http.stream("POST", "/v1/completions", json=self.body) as response:
            self.client.told(response)
            for line in response.iter_lines():
                if self.cancelled.is_set():
                    return
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield from self._piece(json.loads(line.removeprefix("data: ")))

    def _piece(self, piece: Mapping[str, Any]) -> list[Token]:
        if "error" in piece:
            raise BloomeryError(str(piece["error"].get("message", "the server failed")))
        return [token for choice in piece["choices"] for token in read_tokens(choice)]


def _message(raw: bytes) -> str:
    """The words of an error's body."""
    try:
        error = json.loads(raw)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:500]
    except (ValueError, KeyError, TypeError):
        return raw[:200].decode(errors="replace")
