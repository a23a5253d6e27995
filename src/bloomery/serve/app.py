"""The routes. What they say about themselves (`/openapi.json`) is held to by a fuzzer in the tests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.exceptions import HTTPException

from bloomery import __version__
from bloomery.core.errors import BloomeryError
from bloomery.serve import chat, completions, messages, responses
from bloomery.serve.access import Access, Door, refusal_response
from bloomery.serve.desk import Desk
from bloomery.serve.errors import ErrorBody, Refusal, unfit
from bloomery.serve.stream import Gone
from bloomery.serve.wire.chat import ChatCompletion, ChatRequest
from bloomery.serve.wire.completions import (
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    ModelCard,
    ModelList,
)
from bloomery.serve.wire.messages import MessageAnswer, MessageRequest
from bloomery.serve.wire.request import Wire
from bloomery.serve.wire.responses import ResponseObject, ResponseRequest

IGNORED = "x-bloomery-ignored"
"""Header that lists parameters of a request that change nothing here."""
MESSAGES = "/v1/messages"
Swap = Callable[[str], Awaitable[None]]
_log = logging.getLogger("bloomery.serve")
_errors: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
_REFUSED = {
    ChatRequest: {
        "functions": "use `tools`",
        "function_call": "use `tool_choice`",
        "audio": "text only",
        "web_search_options": "there is no search here",
        "chat_template": "templates come with the model only",
        "chat_template_kwargs": "templates come with the model only",
    }
}


class Health(Wire):
    """Whether the server takes requests, and what guards it: `floor`, `floor and policy`, or `own`."""

    status: str
    guard: str


class Version(Wire):
    """What runs."""

    version: str


class SwapRequest(Wire):
    """A run, a folder or FAMILY/STAGE on the server's machine."""

    model: Annotated[str, Field(min_length=1, max_length=1024)]


class Swapped(Wire):
    """What is served now."""

    model: str
    system_fingerprint: str


def make_app(desk: Desk, access: Access, swap: Swap | None = None) -> Door:
    """The server as an ASGI app. `swap` changes the served weights to those of a model by name."""
    api = FastAPI(
        title="Bloomery",
        version=__version__,
        docs_url=None,  # the page that shows them loads scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    guarded = APIRouter(dependencies=[Depends(HTTPBearer(auto_error=False))])  # for openapi.json; `Door` checks
    _answering(guarded, desk)
    _telling(guarded, desk)
    if swap is not None:
        _managing(guarded, desk, swap)
    api.include_router(guarded)

    @api.head("/health", include_in_schema=False)
    @api.get("/health", responses=_errors)
    async def health() -> Health:
        if desk.draining:
            raise Refusal(503, "the server is stopping", code="unavailable")
        return Health(status="ok", guard=desk.guarded_by)

    _failing(api)
    return Door(api, desk, access)


def _answering(api: APIRouter, desk: Desk) -> None:
    @api.post("/v1/chat/completions", response_model=None, responses=_with(ChatCompletion))
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return await chat.complete(desk, body, request, _headers(body))

    @api.post("/v1/completions", response_model=None, responses=_with(Completion))
    async def text_completions(body: CompletionRequest, request: Request) -> Response:
        return await completions.complete(desk, body, request, _headers(body))

    @api.post("/v1/responses", response_model=None, responses=_with(ResponseObject))
    async def create_response(body: ResponseRequest, request: Request) -> Response:
        return await responses.create(desk, body, request, _headers(body))

    @api.post(MESSAGES, response_model=None, responses=_with(MessageAnswer))
    async def create_message(body: MessageRequest, request: Request) -> Response:
        return await messages.create(desk, body, request, _headers(body))

    @api.post("/v1/embeddings", response_model=None, responses=_with(Embeddings))
    async def embeddings(body: EmbeddingRequest) -> Response:
        return await completions.embed(desk, body, _headers(body))


def _telling(api: APIRouter, desk: Desk) -> None:
    def cards() -> list[ModelCard]:
        model = desk.model
        adapters = [ModelCard(id=name, created=model.created, parent=model.name) for name in desk.service.adapters]
        return [ModelCard(id=model.name, created=model.created), *adapters]

    @api.get("/v1/models", responses=_errors)
    async def models() -> ModelList:
        return ModelList(data=cards())

    @api.get("/v1/models/{name:path}", responses=_errors)
    async def one_model(name: str) -> ModelCard:
        desk.adapter(name)
        return next(card for card in cards() if card.id == name)

    @api.get("/version", responses=_errors)
    async def version() -> Version:
        return Version(version=__version__)

    @api.get("/metrics", response_model=None, responses=_errors | {200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4")


def _managing(api: APIRouter, desk: Desk, swap: Swap) -> None:
    turn = asyncio.Lock()

    @api.post("/admin/models/swap", responses=_errors)
    async def swap_model(body: SwapRequest) -> Swapped:
        if turn.locked():
            raise Refusal(409, "another swap is under way", code="conflict")
        async with turn:
            try:
                await swap(body.model)
            except BloomeryError as error:
                raise Refusal(400, error.message, param="model", code="invalid_value") from None
        desk.metrics.swaps.inc()
        return Swapped(model=desk.model.name, system_fingerprint=desk.model.fingerprint)


def _failing(api: FastAPI) -> None:
    @api.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> Response:
        return refusal_response(error, typed=request.url.path == MESSAGES)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refusal_response(_unfit(error), typed=request.url.path == MESSAGES)

    @api.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> Response:
        message = {404: "there is no such route", 405: "the route has no such method"}.get(
            error.status_code, "the body cannot be read"
        )
        return refusal_response(Refusal(error.status_code, message, headers=error.headers))

    @api.exception_handler(Gone)
    async def gone(_: Request, error: Gone) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is nginx's, for the metrics

    @api.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return refusal_response(Refusal(500, "the server failed at this request", code="internal_error"))


def _unfit(error: RequestValidationError) -> Refusal:
    """What is wrong with a body; parameters that are refused by name say why."""
    problems = error.errors()
    for problem in problems:
        reasons = _REFUSED[ChatRequest]
        name = str(problem["loc"][-1])
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 2 and name in reasons:
            return Refusal(400, f"`{name}` is refused: {reasons[name]}", param=name, code="unsupported_parameter")
    return unfit(problems, _KNOWN)


_KNOWN = {
    name for shape in (ChatRequest, CompletionRequest, ResponseRequest, MessageRequest) for name in shape.model_fields
}


def _with(shape: type[Wire]) -> dict[int | str, dict[str, Any]]:
    return _errors | {200: {"model": shape, "content": {"text/event-stream": {}}}}


def _headers(body: Wire) -> dict[str, str]:
    ignored = body.ignored()
    return {IGNORED: ", ".join(ignored)} if ignored else {}
