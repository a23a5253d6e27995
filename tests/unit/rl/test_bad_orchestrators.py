"""What orchestrators do that they should not: each costs at most their own rollout, and says why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rl_stage import PROJECT, RlStage, play

from bloomery.rl.gateway import Rights
from bloomery.rl.leases import Terms
from bloomery.rl.turns import rows

Messages = list[dict[str, Any]]


async def turn(stage: RlStage, key: str, messages: Messages) -> dict[str, Any]:
    async with stage.http(key) as http:
        found = await http.post("/v1/chat/completions", json={"model": "any", "messages": messages})
    assert found.status_code == 200, found.text
    return dict(found.json()["choices"][0]["message"])


def asks(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_history_that_was_edited_branches_and_every_sampled_token_is_trained_once(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        first = await turn(stage, claim.key, [asks("One?")])
        second = await turn(stage, claim.key, [asks("One?"), first, asks("Two?")])
        for edited in (
            [asks("Another one?"), first, asks("Two?"), second, asks("Three?")],  # the question, afterwards
            [asks("One?"), first | {"content": "I never said that."}, asks("Two?")],  # the answer
            [asks("One?"), asks("So far: One, Two."), asks("Three?")],  # compacted
            [asks("One?"), first, asks("Two?"), second, first, second, asks("Three?")],  # answers put in twice
        ):
            await turn(stage, claim.key, edited)
        done = await stage.act("r0", "complete", claim.key, status="ready", reward=1.0)
        assert done.json()["turns"] == 6 and done.json()["turn_kinds"]["clean"] >= 2
        tree = await stage.tree(claim)
        trained = rows(tree, "r0", source="rl", example_id="e", group_id="g")
        assert sum(np.count_nonzero(row.weight["pg"]) for row in trained) == tree.sampled_tokens
        assert sum(float(row.weight["pg"].sum()) for row in trained) == pytest.approx(1.0)  # as any other rollout

    play(story())


def test_what_is_reported_after_a_deadline_is_told_so_and_never_scored(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, terms=Terms(deadline=1000, lease=5000, reward=100), tasks=2)
        late, unrewarded = await stage.claim(), await stage.claim()
        for claim in (late, unrewarded):
            await turn(stage, claim.key, [asks("One?")])
        sealed = await stage.act("r1", "complete", unrewarded.key, status="ready")
        assert sealed.json()["train_state"] == "pending"
        now = stage.journal.clock
        stage.journal.clock = lambda: now() + 2000
        await asyncio.wrap_future(stage.journal.sweep())
        for act, body in (
            ("complete", {"status": "ready", "reward": 1.0}),
            ("reward", {"reward": 1.0}),
            ("heartbeat", {}),
        ):
            found = await stage.act("r0", act, late.key, **body)
            assert (found.status_code, found.json()["error"]["code"]) == (410, "lease_expired"), act
        found = await stage.act("r1", "reward", unrewarded.key, reward=1.0)
        assert (found.status_code, found.json()["error"]["code"]) == (410, "reward_deadline")
        reasons = [(await stage.status(name))["reason"] for name in ("r0", "r1")]
        assert reasons == ["it was not completed before its deadline", "no reward came before its deadline"]
        assert await asyncio.wrap_future(stage.journal.settled()) == {}

    play(story())


@pytest.mark.parametrize(
    ("before", "told", "sessions_reward", "state"),
    [
        ({}, {}, True, "unscorable"),  # at once: nobody else sends one
        ({}, {"reward": 0.25}, True, "scored"),
        ({"reward": 0.25}, {}, True, "scored"),
        ({}, {}, False, "pending"),  # a grader scores it
    ],
)
def test_a_failure_of_the_models_waits_for_no_reward_that_its_worker_did_not_send(
    tmp_path: Path, before: dict[str, Any], told: dict[str, Any], sessions_reward: bool, state: str
) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, rights=Rights(PROJECT, sessions_reward=sessions_reward))
        claim = await stage.claim()
        await turn(stage, claim.key, [asks("One?")])
        if before:
            await stage.act("r0", "reward", claim.key, **before)
        fault = {"kind": "model", "message": "gave up"}
        found = await stage.act("r0", "complete", claim.key, status="failed", error=fault, **told)
        assert found.status_code == 200 and found.json()["train_state"] == state
        if state == "unscorable":
            wanted = "model failure without a reward, which comes with complete or before it: gave up"
            late = await stage.act("r0", "reward", claim.key, reward=1.0)
            assert (late.json()["train_state"], late.json()["reason"]) == ("unscorable", wanted)

    play(story())


def test_a_key_ends_no_other_rollout(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, tasks=2)
        mine, other = await stage.claim(), await stage.claim()
        await turn(stage, other.key, [asks("One?")])
        for act, body in (("complete", {"status": "failed"}), ("reward", {"reward": 9.0}), ("heartbeat", {})):
            found = await stage.act("r1", act, mine.key, **body)
            assert (found.status_code, found.json()["error"]["code"]) == (403, "wrong_session"), act
        assert (await stage.status("r1"))["state"] == "running" and (await stage.status("r1"))["reward"] is None

    play(story())
