"""SageMaker's clients against the gateway, by requests that were recorded from them, and whatever may go wrong.

`client_requests.json` holds what six clients sent when `bench/rl_clients.py --record` had them drive a run.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rl_stage import PROJECT, RlStage, play

from bloomery.rl.gateway import Rights
from bloomery.rl.leases import Claim, Terms, digest
from bloomery.rl.sagemaker import OVER, TRAJECTORY
from bloomery.rl.sigv4 import Signers
from bloomery.serve.access import key_of

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "client_requests.json").read_text())
PAIR = {"AKIDLAB": "the-secret-of-the-lab"}
BODY = {"model": "default", "messages": [{"role": "user", "content": "Hello?"}]}
CALLS = [(client, path) for client, calls in RECORDED.items() for path in calls]


def stage_at(folder: Path, at: float, pair: dict[str, str] = PAIR, **options: Any) -> RlStage:
    """A gateway whose clock stands at the time of a recording."""
    return RlStage(folder, rights=Rights(PROJECT, signers=Signers(pair, lambda: at)), **options)


async def named(stage: RlStage, name: str) -> Claim:
    """A claimed attempt whose session key has the digest `name`, as the one in a recording had."""
    claim = await stage.claim()
    work = lambda db: db.execute("update attempt set key = ? where id = ?", (name, claim.attempt.id))  # noqa: E731
    await asyncio.wrap_future(stage.journal._writer.do(work))
    return claim


async def replay(stage: RlStage, path: str, told: dict[str, Any], **changed: str) -> httpx2.Response:
    async with stage.http("", timeout=30) as http:
        return await http.post(path, content=told["body"], headers=told["headers"] | changed)


def name_of(told: dict[str, Any]) -> str:
    """The digest by which a recorded request names its attempt."""
    body = json.loads(told["body"])
    return str(told["headers"].get(TRAJECTORY) or body.get("TrajectoryId") or digest(key_of(told["headers"])))


@pytest.mark.parametrize(("client", "path"), CALLS)
def test_what_a_client_sent_is_answered(tmp_path: Path, client: str, path: str) -> None:
    told = RECORDED[client][path]

    async def story() -> None:
        stage = stage_at(tmp_path, told["at"])
        claim = await named(stage, name_of(told))
        found = await replay(stage, path, told)
        assert found.status_code == 200, found.text
        if path in ("/complete-rollout", "/update-reward"):
            assert found.json() == {}
        else:
            assert "Hello there." in found.text and len((await stage.tree(claim)).turns) == 1
            again = await replay(stage, path, told, **{"x-stainless-retry-count": "1"})
            assert again.content == found.content and len(stage.service.held) == 1

    play(story())


@pytest.mark.parametrize(("client", "path"), [("boto3", "/sample"), ("sagemaker", "/update-reward")])
def test_only_who_holds_a_pair_of_the_run_is_let_in(tmp_path: Path, client: str, path: str) -> None:
    told = RECORDED[client][path]

    async def story() -> None:
        for number, (pair, at, change) in enumerate([
            ({"AKIDLAB": "another-secret"}, 0.0, {}), ({"OTHER": PAIR["AKIDLAB"]}, 0.0, {}), (PAIR, 50_000.0, {}),
            (PAIR, -50_000.0, {}), (PAIR, 0.0, {"authorization": "Bearer guess"}), (PAIR, 0.0, {"authorization": ""}),
            (PAIR, 0.0, {"authorization": "Bearer sagemaker-api-key-!"}),
            (PAIR, 0.0, {"authorization": "AWS4-HMAC-SHA256 Credential=AKIDLAB"}),
        ]):  # fmt: skip
            stage = stage_at(tmp_path / str(number), told["at"] + at, pair)
            await named(stage, name_of(told))
            found = await replay(stage, path, told, **change)
            assert (found.status_code, found.headers["x-amzn-errortype"]) == (403, "AccessDeniedException"), number
            assert found.json()["Message"] and stage.service.held == []

    play(story())


def test_a_signature_covers_the_body_and_the_trajectory(tmp_path: Path) -> None:
    told = RECORDED["boto3"]["/sample"]

    async def story() -> None:
        stage = stage_at(tmp_path, told["at"])
        await named(stage, name_of(told))
        assert (await replay(stage, "/sample", told | {"body": told["body"] + " "})).status_code == 403
        assert (await replay(stage, "/sample", told, **{TRAJECTORY: "0" * 64})).status_code == 403
        assert (await replay(stage, "/sample-with-response-stream", told)).status_code == 403
        assert (await replay(stage, "/sample", told, **{"x-amz-later": "1"})).status_code == 403
        assert (await replay(stage, "/sample", told, **{"x-amzn-trace-id": "of a proxy"})).status_code == 200

    play(story())


async def call(stage: RlStage, path: str, body: Any, trajectory: str = "") -> httpx2.Response:
    async with stage.http() as http:
        return await http.post(path, json=body, headers={TRAJECTORY: trajectory} if trajectory else {})


def test_complete_and_reward_are_forgiving_of_repeats_and_of_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, tasks=2)
        claim = await stage.claim()
        name = {"TrajectoryId": digest(claim.key), "JobArn": "arn:aws:any", "ClientToken": "c"}
        for path in ("/sample", "/v1/chat/completions", "/chat/completions"):
            assert (await call(stage, path, BODY, name["TrajectoryId"])).status_code == 200
        for bad in ([], ["1"], [True], [1.0, 2.0], None):
            found = await call(stage, "/update-reward", name | {"Rewards": bad})
            assert (found.status_code, found.headers["x-amzn-errortype"]) == (400, "ValidationException"), bad
        for _ in range(2):
            assert (await call(stage, "/complete-rollout", name)).status_code == 200
            assert (await call(stage, "/update-reward", name | {"Rewards": [0.5, 0.25, 0]})).status_code == 200
        other = await call(stage, "/complete-rollout", name | {"Status": "failed"})
        assert (other.status_code, other.headers["x-amzn-errortype"]) == (409, "ConflictException")
        assert OVER in other.json()["Message"] and other.json()["error"]["retryable"] is False
        assert (
            await call(stage, "/update-reward", name | {"Rewards": [9]})
        ).status_code == 200  # the whole beside turns
        late = await call(stage, "/v1/chat/completions", BODY, name["TrajectoryId"])
        assert late.status_code == 409 and OVER in late.text
        stage.service.full = True
        second = await stage.claim()
        busy = await call(stage, "/sample", BODY, digest(second.key))
        assert (busy.status_code, busy.headers["x-amzn-errortype"]) == (429, "ThrottlingException")
        assert busy.headers["x-amz-retry-after"] == "1000" and busy.headers["retry-after"] == "1"
        nobody = await call(stage, "/complete-rollout", name | {"TrajectoryId": "0" * 64})
        assert (nobody.status_code, nobody.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")

    play(story())


def test_a_reward_after_failed_is_never_trained(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, terms=Terms(attempts=1))
        claim = await stage.claim()
        name = {"TrajectoryId": digest(claim.key)}
        assert (await call(stage, "/sample", BODY, name["TrajectoryId"])).status_code == 200
        assert (await call(stage, "/complete-rollout", name | {"Status": "failed"})).status_code == 200
        assert (
            await call(stage, "/update-reward", name | {"Rewards": [0.0]})
        ).status_code == 200  # as the SDK sends it
        told = await stage.status()
        assert (told["train_state"], told["train_status"]) == ("unscorable", "dropped")
        assert await asyncio.wrap_future(stage.journal.settled()) == {}

    play(story())


def test_a_call_that_boto3_sends_again_is_one_turn_and_a_stream_is_one_by_its_route(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        names = {TRAJECTORY: digest(claim.key), "amz-sdk-invocation-id": "one"}
        async with stage.http(claim.key) as http:  # the session's own key opens its trajectory, too
            first, again = [await http.post("/sample", content=json.dumps(BODY), headers=names) for _ in range(2)]
            assert first.content == again.content and len(stage.service.held) == 1
            names["amz-sdk-invocation-id"] = "two"
            stream = await http.post("/sample-with-response-stream", content=json.dumps(BODY), headers=names)
            assert stream.headers["content-type"].startswith("text/event-stream") and "[DONE]" in stream.text
        assert len((await stage.tree(claim)).turns) == 2

    play(story())


def test_a_run_that_keeps_the_right_to_reward_keeps_it_from_session_keys_here_too(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, rights=Rights(PROJECT, sessions_reward=False))
        claim = await stage.claim()
        name = {"TrajectoryId": digest(claim.key), "Rewards": [1.0]}
        async with stage.http(claim.key) as http:
            assert (await http.post("/update-reward", json=name)).json()["error"]["code"] == "reward_withheld"
        assert (await call(stage, "/update-reward", name)).status_code == 200

    play(story())
