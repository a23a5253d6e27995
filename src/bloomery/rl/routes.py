"""The gateway's routes; errors are OpenAI's, with `retryable` beside the rest."""

from __future__ import annotations

import asyncio
import json
import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from bloomery import __version__
from bloomery.rl import sagemaker
from bloomery.rl.answering import answered
from bloomery.rl.dialects import CHAT, DIALECTS, read
from bloomery.rl.gateway import Gateway
from bloomery.rl.tables import Attempt
from bloomery.rl.wire import (
    ClaimedTask,
    ClaimRequest,
    CompleteRequest,
    OfAttempt,
    RewardFields,
    RewardRequest,
    RolloutStatus,
)
from bloomery.serve.access import LOOPBACK, Access, Door
from bloomery.serve.app import Health
from bloomery.serve.errors import Refusal, unfit
from bloomery.serve.wire.completions import ModelCard, ModelList

PREFIX = "/v1/orchestrator"
_log = logging.getLogger("bloomery.rl")


def make_app(gateway: Gateway, hosts: tuple[str, ...] = LOOPBACK) -> Door:
    """The gateway as an ASGI app, called by these host names; () for any."""
    api = FastAPI(
        title="Bloomery gateway",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    _speaking(api, gateway)
    _claiming(api, gateway)
    _ending(api, gateway)
    _failing(api)

    @api.get("/health")
    async def health() -> Health:
        if gateway.draining:
            raise Refusal(503, "the gateway is stopping", code="unavailable")
        return Health(status="ok", guard="none")

    return Door(api, gateway, Access(None, hosts=hosts))


def _speaking(api: FastAPI, gateway: Gateway) -> None:
    async def spoken(request: Request, path: str, key: str = "") -> Response:
        session = await gateway.session(request.headers, key)
        return await answered(gateway, session, read(path, await request.body()), request.headers)

    def route(path: str) -> None:
        @api.post(path)
        async def by_header(request: Request) -> Response:
            if path == CHAT and sagemaker.speaks(request):
                return await sagemaker.called(gateway, request)
            return await spoken(request, path)

        @api.post("/s/{key}" + path)
        async def by_path(request: Request, key: str) -> Response:
            return await spoken(request, path, key)

    for path in DIALECTS:
        route(path)
    sagemaker.add_routes(api, gateway)

    @api.get("/v1/models")
    async def models(request: Request) -> ModelList:
        await gateway.session(request.headers)
        return ModelList(data=[ModelCard(id=gateway.model.name, created=gateway.model.created)])


def _claiming(api: FastAPI, gateway: Gateway) -> None:
    journal = gateway.journal

    @api.post(f"{PREFIX}/tasks:claim", response_model=None)
    async def claim(body: ClaimRequest, request: Request) -> Response:
        gateway.project(request.headers)
        found = await gateway.claim(body.worker_id, body.max, body.wait_s)
        base = (gateway.base_url or str(request.base_url)).rstrip("/")
        told = [ClaimedTask.of(one, base, journal.terms, gateway.forced.to_json()).model_dump() for one in found]
        return Response(json.dumps(told), media_type="application/json") if told else Response(status_code=204)

    @api.post(PREFIX + "/rollouts/{rollout}:heartbeat")
    async def heartbeat(rollout: str, request: Request, body: OfAttempt | None = None) -> dict[str, float]:
        attempt = await gateway.worker(request.headers, rollout, body.attempt if body else None)
        await asyncio.wrap_future(journal.heartbeat(attempt.id))
        return {"lease_s": journal.terms.lease}


def _ending(api: FastAPI, gateway: Gateway) -> None:
    journal = gateway.journal

    async def rewarded(attempt: Attempt, body: RewardFields) -> None:
        told = body.reported(await gateway.target(attempt, body.target))
        await asyncio.wrap_future(journal.reward(attempt.id, told, body.supersedes))

    async def status_of(rollout: str) -> RolloutStatus:
        return RolloutStatus(**await asyncio.wrap_future(journal.status(rollout)))

    @api.post(PREFIX + "/rollouts/{rollout}:complete")
    async def complete(rollout: str, body: CompleteRequest, request: Request) -> RolloutStatus:
        attempt = await gateway.worker(request.headers, rollout, body.attempt, rewards=body.told)
        if body.told:  # first, so that no reader sees a sealed rollout without the reward that came with it
            await rewarded(attempt, body)
        failure = body.error.failure() if body.error else None
        waits = not gateway.rights.sessions_reward  # for a grader, or whoever has the project's key
        await asyncio.wrap_future(journal.seal(attempt.id, body.status, failure, waits))
        gateway.forget(attempt)
        return await status_of(rollout)

    @api.post(PREFIX + "/rollouts/{rollout}:reward")
    async def reward(rollout: str, body: RewardRequest, request: Request) -> RolloutStatus:
        attempt = await gateway.worker(request.headers, rollout, body.attempt, rewards=True)
        await rewarded(attempt, body)
        return await status_of(rollout)

    @api.get(PREFIX + "/rollouts/{rollout}")
    async def status(rollout: str, request: Request) -> RolloutStatus:
        await gateway.worker(request.headers, rollout, None)
        return await status_of(rollout)


def _failing(api: FastAPI) -> None:
    @api.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> Response:
        told = error.body().model_dump()
        told["error"]["retryable"] = error.status in (408, 429, 500, 502, 503, 504)
        headers = error.headers
        if sagemaker.speaks(request):
            told, headers = sagemaker.shaped(error, told)
        elif request.url.path.endswith("/v1/messages"):
            told = {"type": "error", **told}
        return Response(json.dumps(told), error.status, headers=headers, media_type="application/json")

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await refusal(
            request, unfit(error.errors(), {*CompleteRequest.model_fields, *ClaimRequest.model_fields})
        )

    @api.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        message = {404: "there is no such route", 405: "the route has no such method"}.get(error.status_code, "unread")
        return await refusal(request, Refusal(error.status_code, message, headers=error.headers))

    @api.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return await refusal(request, Refusal(500, "the gateway failed at this request", code="internal_error"))
