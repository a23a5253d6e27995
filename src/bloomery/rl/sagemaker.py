"""SageMaker's runtime for agents under its own names, so that a program written for it needs another address only.

A trajectory is an attempt of ours; its id is the digest of the attempt's session key. Whoever names one must come with
a key pair of the run (boto3 signs each request, the SDK sends a signed bearer token), the project's key, or the session
key itself. Where AWS's clients read an error decides what it looks like: see `shaped`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import ConfigDict, Field, ValidationError

from bloomery.rl.answering import answered
from bloomery.rl.dialects import CHAT, read
from bloomery.rl.gateway import Gateway
from bloomery.rl.leases import digest
from bloomery.rl.scores import Failure, Reported
from bloomery.rl.sigv4 import ALGORITHM, PREFIX, Asked, denied
from bloomery.rl.tables import Attempt
from bloomery.rl.wire import Number
from bloomery.serve.access import key_of, same
from bloomery.serve.errors import Refusal, unfit
from bloomery.serve.wire.request import Name, Wire

TRAJECTORY = "x-amzn-sagemaker-trajectory-id"
INVOCATION = "amz-sdk-invocation-id"
"""boto3's name of a call, the same on every try."""
WAIT = "x-amz-retry-after"
"""Milliseconds after which boto3 tries again."""
ROUTES = ("/sample", "/sample-with-response-stream", "/complete-rollout", "/update-reward")
KINDS = {
    400: "ValidationException", 401: "AccessDeniedException", 403: "AccessDeniedException",
    404: "ResourceNotFoundException", 409: "ConflictException", 410: "ConflictException", 429: "ThrottlingException",
}  # fmt: skip
OVER = "the trajectory is not in valid status"
"""Words by which the SDK knows that it should stop and report nothing."""


class _OfTrajectory(Wire):
    model_config = ConfigDict(extra="ignore", strict=True)

    TrajectoryId: Name


class CompleteRollout(_OfTrajectory):
    """Seals a trajectory."""

    Status: Literal["ready", "failed"] = "ready"


class UpdateReward(_OfTrajectory):
    """One value for the whole trajectory, or one for each turn."""

    Rewards: list[Number] = Field(min_length=1, max_length=4096)


def speaks(request: Request) -> bool:
    """Whether a request is of this dialect."""
    return TRAJECTORY in request.headers or request.url.path in ROUTES


def add_routes(api: FastAPI, gateway: Gateway) -> None:
    """The four calls of `sagemakerjobruntime`, and its OpenAI form without `/v1`."""
    journal = gateway.journal

    def sampling(path: str, streams: bool | None) -> None:
        @api.post(path)
        async def sample(request: Request) -> Response:
            return await called(gateway, request, streams)

    sampling("/sample", None)
    sampling("/sample-with-response-stream", True)
    sampling("/chat/completions", None)

    @api.post("/complete-rollout")
    async def complete(request: Request) -> dict[str, Any]:
        told = _read(CompleteRollout, await request.body())
        attempt = await _attempt(gateway, request, told.TrajectoryId)
        failure = Failure(message="the orchestrator reported a failure") if told.Status == "failed" else None
        await asyncio.wrap_future(journal.seal(attempt.id, told.Status, failure))
        gateway.forget(attempt)
        return {}

    @api.post("/update-reward")
    async def reward(request: Request) -> dict[str, Any]:
        told = _read(UpdateReward, await request.body())
        attempt = await _attempt(gateway, request, told.TrajectoryId, rewards=True)
        whole = told.Rewards[0] if len(told.Rewards) == 1 else None
        reported = Reported(whole, None if whole is not None else tuple(told.Rewards))
        await asyncio.wrap_future(journal.reward(attempt.id, reported))
        return {}


async def called(gateway: Gateway, request: Request, streams: bool | None = None) -> Response:
    """A call to the model by a trajectory's id; `streams` where the route says so."""
    trajectory = request.headers.get(TRAJECTORY, "")
    await _attempt(gateway, request, trajectory)
    asked = read(CHAT, await request.body(), streams)
    invocation = request.headers.get(INVOCATION)
    again = {"idempotency-key": invocation} if invocation else {}
    return await answered(gateway, await gateway.session_of(trajectory), asked, {**request.headers, **again})


async def _attempt(gateway: Gateway, request: Request, trajectory: str, *, rewards: bool = False) -> Attempt:
    """The attempt of a trajectory. Raises `Refusal` 403 for a caller who proves nothing, 404 for an unknown id."""
    by_session = _let_in(gateway, request, trajectory, await request.body())
    if rewards and by_session and not gateway.rights.sessions_reward:
        raise Refusal(403, "rewards of this run need the project's key", code="reward_withheld")
    found = await asyncio.wrap_future(gateway.journal.trajectory(trajectory))
    if found is None:
        raise Refusal(404, "there is no such trajectory", code="not_found")
    return found


def _let_in(gateway: Gateway, request: Request, trajectory: str, body: bytes) -> bool:
    """Whether the caller came with the session key. Raises `Refusal` 403 for one with neither that nor another key."""
    headers: Mapping[str, str] = request.headers
    if headers.get("authorization", "").startswith(ALGORITHM):
        query = request.url.query
        gateway.rights.signers.check(Asked(request.method, request.url.path, query, headers, body))
        return False
    key = key_of(headers)
    if key.startswith(PREFIX):
        gateway.rights.signers.check_token(key)
        return False
    if key and same(digest(key), trajectory):
        return True
    if not same(key, gateway.rights.token):
        raise denied("a trajectory needs a signature by a key pair of this run")
    return False


def _read(shape: type[Any], raw: bytes) -> Any:
    try:
        return shape.model_validate(json.loads(raw))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise unfit(error.errors(), shape.model_fields) from None
        raise Refusal(400, "the body is no JSON object", code="invalid_json") from None


def shaped(refusal: Refusal, told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """(body, headers) of an error as both kinds of client read it.

    boto3 finds the exception's class in a header and its text in `Message`; openai's client puts the whole body into
    its text, where the SDK looks for the words that say that a trajectory is over.
    """
    over = f"{OVER}: " if refusal.status in (409, 410) else ""
    told["error"]["message"] = over + refusal.message
    headers = {"x-amzn-errortype": KINDS.get(refusal.status, "InternalServiceError")}
    if refusal.headers.get("retry-after", "").isdecimal():  # which boto3 does not read
        headers[WAIT] = f"{refusal.headers['retry-after']}000"
    return {**told, "Message": told["error"]["message"][:1024]}, {**refusal.headers, **headers}
