"""Orchestrators against the gateway: openai's own client, three dialects, and everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from rl_stage import ADD, CALL, PROJECT, RlStage, play
from scripted import Scripted

from bloomery.engine.protocol import Token
from bloomery.rl.forced import Forced
from bloomery.rl.gateway import Rights
from bloomery.rl.leases import Task, Terms
from bloomery.rl.turns import rows

USER: Any = {"role": "user", "content": "Hello?"}
BODY: dict[str, Any] = {"model": "any", "messages": [USER]}


def test_openais_client_drives_tools_over_several_turns(tmp_path: Path) -> None:
    answers = iter([f"I add.\n{CALL}", "It is 3.", "Bye."])

    async def story() -> None:
        stage = RlStage(tmp_path, Scripted(lambda request: next(answers)))
        async with stage.http() as http:
            asked = await http.post("/v1/orchestrator/tasks:claim", json={"worker_id": "w", "max": 4})
        [task] = asked.json()
        assert task["task"] == {"question": "0 + 1?"} and task["limits"]["max_turns"] == 256
        client = stage.openai(task["session_key"])
        messages: list[Any] = [{"role": "user", "content": task["task"]["question"]}]
        for _ in range(3):
            found = await client.chat.completions.create(model="x", messages=messages, tools=[ADD], temperature=1)
            message = found.choices[0].message
            messages.append(message.model_dump())  # as harnesses do, with every null
            for call in message.tool_calls or []:
                value = str(sum(json.loads(call.function.arguments).values()))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": value})
            if not message.tool_calls:
                messages.append(USER)
        done = await stage.act("r0", "complete", task["session_key"], status="ready", reward=1.0)
        assert done.status_code == 200 and done.json()["turn_kinds"] == {"clean": 3, "realign": 0, "fork": 0}
        assert (done.json()["train_state"], done.json()["reward"]) == ("scored", 1.0)
        [outcome] = (await asyncio.wrap_future(stage.journal.settled()))["g"]
        tree = await asyncio.wrap_future(stage.journal.tree(outcome.attempt.id))
        [row] = rows(tree, "r0", source="rl", example_id="e", group_id="g")
        held = stage.service.held
        assert row.ids[: len(held[2].request.prompt)].tolist() == list(held[2].request.prompt)
        end = stage.service.tokenizer.eos_token_id
        for one in held:
            sampled = row.ids[len(one.request.prompt) :]
            assert sampled[: sampled.tolist().index(end) + 1].tolist()[-1] == end
        assert np.count_nonzero(row.weight["pg"]) == tree.sampled_tokens == sum(len(t.sampled) for t in tree.turns)
        text = stage.service.tokenizer.decode(row.ids)
        assert text.count("You may call functions") == 1 and "<tool_response>\n3\n</tool_response>" in text

    play(story())


def test_dialects_share_a_session_and_its_history(tmp_path: Path) -> None:
    answers = iter([f"I add.\n{CALL}", "It is 3.", "So?", "Yes."])

    async def story() -> None:
        stage = RlStage(tmp_path, Scripted(lambda request: next(answers)))
        claim = await stage.claim()
        client = stage.openai(claim.key)
        tool = {"type": "function", "name": "add", "parameters": ADD["function"]["parameters"]}
        items: list[Any] = [{"role": "user", "content": "1 + 2?"}]
        first = await client.responses.create(model="x", input=items, tools=[tool])  # type: ignore[list-item]
        assert [item.type for item in first.output] == ["message", "function_call"]
        items += [item.model_dump(exclude_none=True) for item in first.output]
        items.append({"type": "function_call_output", "call_id": first.output[1].call_id, "output": "3"})  # type: ignore[union-attr]
        second = await client.responses.create(model="x", input=items, tools=[tool])  # type: ignore[list-item]
        assert second.output_text == "It is 3."
        blocks = [
            {"type": "text", "text": "I add."},
            {"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1, "b": 2}},
        ]  # fmt: skip
        turns: list[Any] = [
            {"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": blocks},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "3"}]},
            {"role": "assistant", "content": "It is 3."}, {"role": "user", "content": "Sure?"},
        ]  # fmt: skip
        anthropic = {"name": "add", "input_schema": ADD["function"]["parameters"]}
        async with stage.http("") as http:
            body = {"model": "x", "max_tokens": 50, "messages": turns, "tools": [anthropic]}
            third = await http.post("/v1/messages", json=body, headers={"x-api-key": claim.key})
        assert third.json()["content"] == [{"type": "text", "text": "So?"}], third.text
        async with stage.http("") as http:
            fourth = await http.post(f"/s/{claim.key}/v1/chat/completions", json=BODY)
        assert fourth.json()["choices"][0]["message"]["content"] == "Yes."
        tree = await stage.tree(claim)
        assert [(turn.kind, turn.parent) for turn in tree.turns] == [
            ("clean", None), ("clean", 0), ("clean", 1), ("fork", None)
        ]  # fmt: skip

    play(story())


def test_streams_say_what_was_journaled(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, Scripted())
        claim = await stage.claim()
        client = stage.openai(claim.key)
        stream = await client.chat.completions.create(model="x", messages=[USER], stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello there."
        async with client.responses.stream(model="x", input="Hi") as events:
            assert (await events.get_final_response()).output_text == "Hello there."
        async with stage.http(claim.key) as http:
            body = {"model": "x", "max_tokens": 9, "messages": [USER], "stream": True}
            text = (await http.post("/v1/messages", json=body)).text
        kinds = [line[7:] for line in text.split("\n") if line.startswith("event: ")]
        assert kinds == [
            "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
            "message_stop",
        ]  # fmt: skip
        sent = await asyncio.wrap_future(stage.journal.sent(claim.attempt.id))
        assert sent[0].completion == chunks[0].id and sent[2].body.decode() == text
        assert sent[1].completion.startswith("resp_") and sent[2].completion.startswith("msg_")

    play(story())


def test_a_lost_reply_is_sent_again_and_not_sampled_again(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            first = await http.post("/v1/chat/completions", json=BODY)
            again = await http.post("/v1/chat/completions", json=BODY, headers={"x-stainless-retry-count": "1"})
            assert again.content == first.content and len(stage.service.held) == 1
            new = await http.post("/v1/chat/completions", json=BODY)
            assert new.json()["id"] != first.json()["id"] and len(stage.service.held) == 2
            named = {"idempotency-key": "one"}
            third = await http.post("/v1/chat/completions", json=BODY, headers=named)
            fourth = await http.post("/v1/chat/completions", json=BODY, headers=named)
            assert third.content == fourth.content and len(stage.service.held) == 3
            other = await http.post("/v1/chat/completions", json=BODY | {"max_tokens": 3}, headers=named)
            assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")
            await stage.act("r0", "complete", claim.key, status="ready")
            late = await http.post("/v1/chat/completions", json=BODY, headers=named)
            assert late.content == third.content
            never = await http.post("/v1/chat/completions", json=BODY)
            assert (never.status_code, never.json()["error"]["code"]) == (409, "sealed")
            assert never.headers["x-should-retry"] == "false"

    play(story())


def test_a_retry_while_the_first_is_answered_waits_for_it_even_if_the_first_hung_up(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, Scripted(lambda request: None))
        claim = await stage.claim()
        with pytest.raises(TimeoutError):
            async with stage.http(claim.key) as http, asyncio.timeout(0.5):
                await http.post("/v1/chat/completions", json=BODY)
        async with stage.http(claim.key, timeout=30) as http:
            retry = {"x-stainless-retry-count": "1"}
            waiting = asyncio.ensure_future(http.post("/v1/chat/completions", json=BODY, headers=retry))
            await asyncio.sleep(0.1)
            [held] = stage.service.held
            held.tell(Token(40, -0.5))
            held.tell(Token(stage.service.tokenizer.eos_token_id, -0.1, ended="stop"))
            assert (await waiting).status_code == 200
        assert len((await stage.tree(claim)).turns) == 1 and len(stage.service.held) == 1

    play(story())


def test_an_answer_cut_at_a_stop_string_is_trained_as_it_was_sampled(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        client = stage.openai(claim.key)
        found = await client.chat.completions.create(model="x", messages=[USER], stop=["there"], max_tokens=40)
        assert (found.choices[0].message.content, found.choices[0].finish_reason) == ("Hello ", "stop")
        cut = await client.chat.completions.create(model="x", messages=[USER], max_tokens=2)
        assert cut.choices[0].finish_reason == "length"
        stopped, short = (await stage.tree(claim)).turns
        assert "there" in stage.service.tokenizer.decode(stopped.sampled) and stopped.sampled[-1] != 0
        assert len(short.sampled) == len(short.logp) == 2

    play(story())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 0.5}, "temperature"), ({"top_p": 0.9}, "top_p"), ({"presence_penalty": 1}, "presence_penalty"),
        ({"n": 2}, "n"), ({"logit_bias": {"5": 1}}, "logit_bias"), ({"response_format": {"type": "json_object"}},
        "response_format"), ({"tools": [ADD], "tool_choice": "required"}, "tool_choice"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
    ],
)  # fmt: skip
def test_sampling_is_the_runs_to_say(tmp_path: Path, fields: dict[str, Any], param: str) -> None:
    async def story() -> None:
        for lenient in (False, True):
            folder = tmp_path / str(lenient)
            stage = RlStage(folder, forced=Forced(1.0, 20, lenient))
            claim = await stage.claim()
            async with stage.http(claim.key) as http:
                found = await http.post("/v1/chat/completions", json=BODY | fields)
            if lenient and param != "n":
                assert found.status_code == 200 and found.headers["x-bloomery-overridden"] == param
                sampling = stage.service.held[0].request.sampling
                assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (1.0, 1.0, 20)
                assert sampling.logit_bias == () and sampling.grammar is None and sampling.presence_penalty == 0
            else:
                assert (found.status_code, found.json()["error"]["param"]) == (400, param)
                assert found.json()["error"]["retryable"] is False and stage.service.held == []

    play(story())


def test_unknown_parameters_are_ignored_and_told_and_every_call_has_its_own_seed(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            for _ in range(2):
                found = await http.post("/v1/chat/completions", json=BODY | {"temprature": 1, "user": "x", "seed": 7})
        assert found.headers["x-bloomery-ignored"] == "user, temprature"
        assert found.headers["x-bloomery-overridden"] == "seed"
        one, other = (held.request.sampling.seed for held in stage.service.held)
        assert one != other

    play(story())


def test_keys_open_their_own_rollout_only(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, tasks=2)
        one, other = await stage.claim(), await stage.claim()
        async with stage.http("wrong") as http:
            assert (await http.post("/v1/chat/completions", json=BODY)).status_code == 401
            assert (await http.post("/v1/orchestrator/tasks:claim", json={"worker_id": "w"})).status_code == 401
        async with stage.http(PROJECT) as http:
            assert (await http.post("/v1/chat/completions", json=BODY)).status_code == 401
        async with stage.http(one.key) as http:
            assert (await http.post("/v1/orchestrator/tasks:claim", json={"worker_id": "w"})).status_code == 401
            assert (await http.get("/v1/orchestrator/rollouts/r1")).status_code == 403
            assert (await http.get("/v1/orchestrator/rollouts/r0")).json()["state"] == "leased"
            assert (await http.get("/v1/models")).json()["data"][0]["id"] == "ember"
        assert (await stage.act("r1", "reward", one.key, reward=1)).status_code == 403
        assert (await stage.act("r1", "heartbeat", other.key)).json() == {"lease_s": 120.0}
        assert (await stage.act("r1", "heartbeat", attempt=1)).status_code == 200
        assert (await stage.act("r1", "heartbeat", attempt=2)).status_code == 410
        assert (await stage.act("r9", "heartbeat")).status_code == 404

    play(story())


def test_a_run_may_keep_the_right_to_reward_from_session_keys(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, rights=Rights(PROJECT, sessions_reward=False))
        claim = await stage.claim()
        assert (await stage.act("r0", "reward", claim.key, reward=1)).json()["error"]["code"] == "reward_withheld"
        assert (await stage.act("r0", "complete", claim.key, status="ready", reward=1)).status_code == 403
        assert (await stage.act("r0", "complete", claim.key, status="ready")).status_code == 200
        assert (await stage.act("r0", "reward", reward=1)).status_code == 200

    play(story())


@pytest.mark.parametrize(
    "body",
    [
        '{"reward": NaN}', '{"reward": Infinity}', '{"reward": true}', '{"reward": "1"}', '{"reward": null}', "{}",
        '{"rewards": [1, null]}', '{"components": {"a": NaN}}', '{"reward": 1, "rewards": [1]}', '{"target": "x"}',
        '{"reward": 1, "target": "no such answer"}', '{"rewards": [1, 2, 3]}', "[1]", "reward=1",
    ],
)  # fmt: skip
def test_a_reward_that_is_no_number_is_refused_and_never_read_as_zero(tmp_path: Path, body: str) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            await http.post("/v1/chat/completions", json=BODY)
            headers = {"content-type": "application/json"}
            found = await http.post("/v1/orchestrator/rollouts/r0:reward", content=body, headers=headers)
        assert found.status_code == 400 and found.json()["error"]["message"], found.text
        assert (await stage.status())["reward"] is None

    play(story())


def test_rewards_for_turns_and_for_one_answer(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            names = [(await http.post("/v1/chat/completions", json=BODY)).json()["id"] for _ in range(2)]
        assert (await stage.act("r0", "reward", claim.key, rewards=[0.5, 0.25])).status_code == 200
        assert (await stage.act("r0", "reward", claim.key, reward=2, target=names[1])).status_code == 200
        found = await stage.act("r0", "complete", claim.key, status="ready", components={"style": 1.0})
        assert found.json()["reward"] == 3.75 and found.json()["components"] == {"style": 1.0}
        [outcome] = (await asyncio.wrap_future(stage.journal.settled()))["g"]
        assert outcome.score is not None and outcome.score.turns == (0.5, 2.25)
        again = await stage.act("r0", "complete", claim.key, status="ready")
        assert again.status_code == 200
        assert (await stage.act("r0", "complete", claim.key, status="failed")).status_code == 409

    play(story())


def test_a_worker_that_was_given_up_hears_410_and_its_late_turn_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, Scripted(lambda request: None), Terms(lease=0.05, call=0.05))
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            asking = asyncio.ensure_future(http.post("/v1/chat/completions", json=BODY))
            while not stage.service.held:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            await asyncio.wrap_future(stage.journal.sweep())
            stage.service.held[0].tell(Token(0, -0.1, ended="stop"))
            late = await asking
        assert (late.status_code, late.json()["error"]["code"]) == (410, "lease_expired")
        assert (await stage.tree(claim)).turns == [] and (await stage.status())["attempt"] == 2

    play(story())


def test_claims_wait_for_tasks_and_stop_at_the_window(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, tasks=0, window=1)
        async with stage.http() as http:
            ask = {"worker_id": "w", "max": 5}
            assert (await http.post("/v1/orchestrator/tasks:claim", json=ask)).status_code == 204
            waiting = asyncio.ensure_future(http.post("/v1/orchestrator/tasks:claim", json=ask | {"wait_s": 20}))
            await asyncio.sleep(0.05)
            await asyncio.wrap_future(stage.journal.put([Task("a", "g", {}), Task("b", "g", {})]))
            stage.gateway.told_of_tasks()
            assert [one["rollout_id"] for one in (await waiting).json()] == ["a"]
            full = await http.post("/v1/orchestrator/tasks:claim", json=ask)
            assert full.status_code == 429 and full.headers["retry-after"] == "5"
            assert full.json()["error"]["retryable"] is True

    play(story())


def test_weights_change_between_answers_only_and_turns_say_whose_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, Scripted(lambda request: None))
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            first = asyncio.ensure_future(http.post("/v1/chat/completions", json=BODY))
            while not stage.service.held:
                await asyncio.sleep(0.01)
            holding = asyncio.ensure_future(stage.gateway.valve.hold())
            await asyncio.sleep(0.02)
            second = asyncio.ensure_future(http.post("/v1/chat/completions", json=BODY))
            await asyncio.sleep(0.1)
            assert not holding.done() and len(stage.service.held) == 1
            stage.service.held[0].tell(Token(0, -0.1, ended="stop"))
            await holding
            await first
            assert len(stage.service.held) == 1
            stage.gateway.valve.release(7)
            while len(stage.service.held) < 2:
                await asyncio.sleep(0.01)
            stage.service.held[1].tell(Token(0, -0.1, ended="stop"))
            await second
        assert [turn.version for turn in (await stage.tree(claim)).turns] == [0, 7]

    play(story())


def test_errors_of_the_engine_and_the_context_reach_the_client_as_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        client = stage.openai(claim.key)
        with pytest.raises(openai.BadRequestError) as told:
            await client.chat.completions.create(model="x", messages=[{"role": "user", "content": "word " * 2000}])
        assert told.value.code == "context_length_exceeded"
        stage.service.full = True
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="x", messages=[USER])
        stage.service.full = False
        assert (await client.chat.completions.create(model="x", messages=[USER])).choices
        async with stage.http(claim.key) as http:
            bad = await http.post("/v1/messages", json={"model": "x", "messages": []})
        assert bad.status_code == 400 and bad.json()["type"] == "error"
        assert stage.gateway.gate.taken == 0 and len((await stage.tree(claim)).turns) == 1

    play(story())


def test_many_sessions_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path, tasks=40)

        async def worker() -> None:
            claim = await stage.claim()
            messages = [USER]
            async with stage.http(claim.key, timeout=60) as http:
                for _ in range(3):
                    found = await http.post("/v1/chat/completions", json=BODY | {"messages": messages})
                    messages = [*messages, found.json()["choices"][0]["message"], USER]
            await stage.act(claim.attempt.rollout_id, "complete", claim.key, status="ready", reward=1)

        await asyncio.gather(*(worker() for _ in range(40)))
        outcomes = (await asyncio.wrap_future(stage.journal.settled()))["g"]
        assert len(outcomes) == 40 and {one.attempt.turns for one in outcomes} == {3}
        assert len(stage.service.held) == 120

    play(story())


def test_sessions_that_fell_silent_are_let_go_and_read_again(tmp_path: Path) -> None:
    async def story() -> None:
        stage = RlStage(tmp_path)
        claim = await stage.claim()
        async with stage.http(claim.key) as http:
            first = (await http.post("/v1/chat/completions", json=BODY)).json()["choices"][0]["message"]
            [session] = stage.gateway._sessions.values()
            stage.gateway._tidy()
            assert len(stage.gateway._sessions) == 1
            session.used -= 1000
            stage.gateway._tidy()
            assert stage.gateway._sessions == {}
            found = await http.post("/v1/chat/completions", json=BODY | {"messages": [USER, first, USER]})
        assert found.status_code == 200
        assert [(turn.kind, turn.parent) for turn in (await stage.tree(claim)).turns] == [("clean", None), ("clean", 0)]

    play(story())
