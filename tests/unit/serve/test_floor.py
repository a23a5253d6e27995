"""The floor at an endpoint that nobody gave a policy, and calls of functions under any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import ASKED, Scripted, Stage, ask, chunks, said

from bloomery.core.errors import InputError
from bloomery.graders.ask import Said
from bloomery.graders.load import Given
from bloomery.serve.asking import Asking
from bloomery.serve.policy.load import load_guard

CARD, HIDDEN = "4111 1111 1111 1111", "[removed]"
ESCAPED = "\\u0034111 1111 1111 1111"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PAY = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}


def asked(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def prompt_of(stage: Stage) -> str:
    text: str = stage.service.tokenizer.decode(stage.service.held[-1].request.prompt)
    return text


def test_without_a_policy_the_floor_blocks_and_masks_and_says_that_it_is_there() -> None:
    stage = Stage()
    assert stage.get("/health", token=None).json() == {"status": "ok", "guard": "floor"}
    found = ask(stage, **asked(f"What is this? {KEY}"))
    assert found["choices"][0]["finish_reason"] == "content_filter" and stage.service.held == []
    ask(stage, **asked(f"My card is {CARD}."))
    assert CARD not in prompt_of(stage) and HIDDEN in prompt_of(stage)
    told = stage.get("/metrics").text
    assert 'decisions_total{action="block",category="private_keys",side="input"} 1.0' in told
    assert 'decisions_total{action="mask",category="payment_cards",side="input"} 1.0' in told


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_the_floor_looks_at_every_dialect(path: str) -> None:
    stage = Stage(Scripted(lambda request: f"It is {CARD}, I think."))
    body = {
        "/v1/completions": {"prompt": f"So {CARD}", "max_tokens": 99},
        "/v1/responses": {"input": f"So {CARD}"},
    }.get(path, asked(CARD))
    found = stage.post(path, {"model": "ember"} | body)
    assert found.status_code == 200 and CARD not in found.text and HIDDEN in found.text
    assert CARD not in prompt_of(stage)


def test_texts_to_embed_are_masked_or_refused_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, seen = Stage(), []
    embed = stage.service.embed
    monkeypatch.setattr(stage.service, "embed", lambda prompts: seen.append(prompts) or embed(prompts))
    texts = [f"My card is {CARD}.", "A bath bomb."]
    assert len(stage.post("/v1/embeddings", {"model": "ember", "input": texts}).json()["data"]) == 2
    first, second = (stage.service.tokenizer.decode(ids) for ids in seen[0])
    assert CARD not in first and HIDDEN in first and second == "A bath bomb."
    refused = stage.post("/v1/embeddings", {"model": "ember", "input": ["A bath bomb.", f"What is this? {KEY}"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
    assert refused.json()["error"]["message"] == "the policy blocks this text: private_keys" and len(seen) == 1
    assert 'decisions_total{action="block",category="private_keys",side="input"} 1.0' in stage.get("/metrics").text


def test_an_answer_is_masked_while_it_streams_and_any_other_word_comes_at_once() -> None:
    stage = Stage(Scripted(lambda request: f"You paid with {CARD} in May."))
    assert said(chunks(stage)) == f"You paid with {HIDDEN} in May."
    plain = Stage(Scripted(lambda request: "Write a story, show it to the child and find pictures.", pause=0.01))
    words = [choice["delta"].get("content") for chunk in chunks(plain) for choice in chunk["choices"]]
    assert "".join(word for word in words if word) == "Write a story, show it to the child and find pictures."
    assert len([word for word in words if word]) > 10


def test_log_probabilities_are_told_but_for_what_is_hidden() -> None:
    answer = f"Pay {CARD} now."
    open_, hidden = Stage(Scripted(lambda request: answer.replace(CARD, "it"))), Stage(Scripted(lambda request: answer))

    def tokens(found: list[dict[str, Any]]) -> str:
        return "".join(one["token"] for one in found)

    assert tokens(ask(open_, logprobs=True)["choices"][0]["logprobs"]["content"]) == "Pay it now."
    told = tokens(ask(hidden, logprobs=True, top_logprobs=1)["choices"][0]["logprobs"]["content"])
    assert told.replace(" ", "") == "Paynow."
    parts = [
        c["logprobs"]["content"] for chunk in chunks(hidden, logprobs=True) for c in chunk["choices"] if c["logprobs"]
    ]
    assert tokens([one for part in parts for one in part]) == told
    whole = hidden.post("/v1/completions", {"model": "ember", "prompt": "x", "logprobs": 1, "max_tokens": 99}).json()
    assert "".join(whole["choices"][0]["logprobs"]["tokens"]) == told


def call(arguments: str) -> str:
    return f'<tool_call>\n{{"name": "pay", "arguments": {arguments}}}\n</tool_call>'


def test_places_of_tokens_are_those_of_the_text_that_is_shown() -> None:
    stage = Stage(Scripted(lambda request: f"Pay {CARD} at once, then go."))
    body = {"model": "ember", "prompt": "x", "logprobs": 0, "max_tokens": 99}
    found = stage.post("/v1/completions", body).json()["choices"][0]
    told = found["logprobs"]
    assert found["text"] == f"Pay {HIDDEN} at once, then go." and len(told["tokens"]) > 5
    for token, place in zip(told["tokens"], told["text_offset"], strict=True):
        assert found["text"][place:].startswith(token), (token, place)


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_call_says_is_masked_however_it_is_escaped(stream: bool) -> None:
    stage = Stage(Scripted(lambda request: call(f'{{"card": "{ESCAPED}", "note": "rent", "sum": 12.5}}')))
    if stream:
        deltas = [choice["delta"] for chunk in chunks(stage, tools=[PAY]) for choice in chunk["choices"]]
        [made] = [one for delta in deltas for one in delta.get("tool_calls") or []]
    else:
        [made] = ask(stage, tools=[PAY])["choices"][0]["message"]["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {"card": HIDDEN, "note": "rent", "sum": 12.5}
    assert 'category="payment_cards",side="output"} 1.0' in stage.get("/metrics").text


def test_a_call_that_must_not_be_made_is_not() -> None:
    key = json.dumps({"text": KEY}).replace("-----BEGIN", "\\u002d\\u002d---BEGIN")
    found = ask(Stage(Scripted(lambda request: call(key))), tools=[PAY])["choices"][0]
    assert found["finish_reason"] == "content_filter" and "tool_calls" not in found["message"]
    assert found["message"]["content"] == "This holds a private key, which is never let through."


def test_arguments_and_results_of_earlier_calls_are_masked_before_the_model_reads_them() -> None:
    stage = Stage()
    made = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": f'{{"card": "{ESCAPED}"}}'}}
    turns: list[dict[str, Any]] = [
        *ASKED["messages"],
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c1", "content": f'{{"paid": true, "with": "{ESCAPED}"}}'},
        {"role": "tool", "tool_call_id": "c1", "content": f"paid with {CARD}"},
    ]
    ask(stage, messages=turns, tools=[PAY])
    read = prompt_of(stage)
    assert CARD not in read and "\\u0034" not in read and read.count(HIDDEN) == 3
    assert '"paid": true' in read


def test_a_policy_sees_calls_and_results_as_text(tmp_path: Path) -> None:
    policy = "categories:\n  heron: {message: Not that., applies: %s, detectors: [{words: [project heron]}]}\n"
    made = call('{"to": "press", "body": ["About pro\\u006aect heron"]}')
    result = [{"role": "tool", "tool_call_id": "c1", "content": '{"found": "pro\\u006aect heron"}'}]
    for side in ("output", "input"):
        (tmp_path / "p.yaml").write_text(policy % side)
        events: list[dict[str, Any]] = []
        guard = load_guard(tmp_path / "p.yaml", events.append)
        stage = Stage(Scripted(lambda request: made), guard=guard)
        plain, answered = (
            ask(stage, tools=[PAY], messages=[*ASKED["messages"], *more])["choices"][0] for more in ([], result)
        )
        assert (plain["finish_reason"] == "content_filter") == (side == "output")
        assert answered["message"]["content"] == "Not that."
        assert {event["side"] for event in events} == {side}
        assert len(stage.service.held) == (2 if side == "output" else 1)
    assert stage.get("/health").json()["guard"] == "floor and policy"


def test_what_is_too_long_for_the_model_is_refused_before_a_guard_reads_it() -> None:
    class Counting:
        asked = 0

        def check_input(self, messages: Any) -> Any:
            Counting.asked += 1

        def watch(self, messages: Any) -> Any:
            raise AssertionError

    stage = Stage(guard=Counting())
    found = stage.post("/v1/chat/completions", ASKED | asked("word " * 3000))
    assert found.json()["error"]["code"] == "context_length_exceeded" and Counting.asked == 0
    assert stage.get("/health").json()["guard"] == "own"


ASKS = """categories:
  own:
    message: Not that.
    applies: input
    on_failure: review
    detectors:
      - ask: "Is this about Heron? {text}"
        labels: ["yes", "no"]
        flagged: ["yes"]
"""


def test_a_policys_question_is_put_to_the_model_that_is_served(tmp_path: Path) -> None:
    def answer(request: Any) -> str:
        asked = stage.service.tokenizer.decode(request.prompt)
        return json.dumps("yes" if "the heron" in asked else "no") if request.sampling.grammar else "An answer."

    (tmp_path / "p.yaml").write_text(ASKS)
    events: list[dict[str, Any]] = []
    asking = Asking()
    stage = Stage(Scripted(answer), guard=load_guard(tmp_path / "p.yaml", events.append, asking))
    assert ask(stage, **asked("anything"))["choices"][0]["message"]["content"] == "An answer."
    assert [one["reason"] for one in events] == ["failed: the served model was not asked"]
    asking.desk = stage.desk
    assert ask(stage, **asked("Where is the heron?"))["choices"][0]["finish_reason"] == "content_filter"
    assert ask(stage, **asked("Where is the crane?"))["choices"][0]["message"]["content"] == "An answer."
    assert events[1]["reason"] == "the served model says `yes`" and len(events) == 2
    grammar = stage.service.held[1].request.sampling.grammar
    assert grammar is not None and json.loads(grammar.text) == {"enum": ["yes", "no"]}


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ("judge: {input: Rate it, judge: ember/posttrained}", "`ember/posttrained` is not loaded beside the model"),
        ("judge: {input: Rate it}", "the grader has no judge to ask"),
        ("label_model: {input: x, labels: [a], passing_labels: [a]}", "the grader has no judge to ask"),
    ],
)
def test_a_judge_that_an_endpoint_does_not_have_is_refused_with_its_line(
    tmp_path: Path, detector: str, said: str
) -> None:
    (tmp_path / "p.yaml").write_text(f"categories:\n  own:\n    detectors:\n      - {detector}\n")
    with pytest.raises(InputError, match=said) as refused:
        load_guard(tmp_path / "p.yaml", print)
    assert str(refused.value.where).endswith("p.yaml:4") and "use `ask`" in str(refused.value.fix)
    (tmp_path / "p.yaml").write_text(
        "categories:\n  own:\n    detectors:\n"
        "      - judge: {input: Rate it, judge: {url: 'https://x.example/v1', model: m}}\n"
    )
    assert load_guard(tmp_path / "p.yaml", print).name == "floor and policy"


def test_a_judge_of_this_machine_looks_beside_the_model_that_is_served(tmp_path: Path) -> None:
    judge_of_ours = "{judge: {input: 'Rate {{ sample.output_text }}', judge: my/judge}}"
    (tmp_path / "p.yaml").write_text(f"categories:\n  rude: {{message: No., detectors: [{judge_of_ours}]}}\n")
    names: list[str] = []
    questions: list[Any] = []

    def judge(name: str) -> Any:
        names.append(name)

        def says(given: Any) -> list[Said]:
            questions.extend(given)
            rude = "idiot" in str(given[0].messages)
            return [Said(json.dumps({"reasoning": "", "score": float(rude)}))]

        return says

    stage = Stage(guard=load_guard(tmp_path / "p.yaml", print, given=Given(judges=judge)))
    assert ask(stage, **asked("You idiot."))["choices"][0]["message"]["content"] == "No."
    assert ask(stage, **asked("You friend."))["choices"][0]["finish_reason"] == "stop"
    assert names == ["my/judge"] and len(questions) == 3  # two messages and an answer
