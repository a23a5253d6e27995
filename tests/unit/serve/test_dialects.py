"""Completions, embeddings, responses and models, over a service that answers by a script."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from scripted import ADMIN, Scripted, Stage

from bloomery.core.errors import InputError, Where


def test_completions_answer_texts_and_ids() -> None:
    stage = Stage()
    ids = stage.service.tokenizer("The end", add_special_tokens=False)["input_ids"]
    for prompt, count in (("The end", 1), (["The end", "x"], 2), (ids, 1), ([ids, ids], 2)):
        found = stage.post("/v1/completions", {"model": "ember", "prompt": prompt}).json()
        assert [choice["text"] for choice in found["choices"]] == ["Hello there."] * count
    assert [list(held.request.prompt) for held in stage.service.held][::3][:1] == [
        stage.model.prompting.text("The end")
    ]
    assert stage.service.held[0].request.sampling.max_new_tokens == 16


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"echo": True}, "echo"), ({"suffix": "x"}, "suffix"), ({"best_of": 2}, "best_of"), ({"prompt": []}, "prompt"),
        ({"prompt": ["a"] * 17}, "prompt"), ({"prompt": [1 << 20]}, "prompt"), ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ""}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"logprobs": 21}, "logprobs"),
    ],
)  # fmt: skip
def test_completions_refuse_by_parameter(fields: dict[str, Any], param: str) -> None:
    found = Stage().post("/v1/completions", {"model": "ember", "prompt": "x"} | fields)
    assert found.status_code == 400 and found.json()["error"]["param"].split(".")[0] == param, found.text


def test_a_whole_number_may_be_written_with_a_point_as_some_clients_do() -> None:
    stage = Stage()
    body = {"model": "ember", "prompt": "x", "max_tokens": 2.0, "n": 1.0, "seed": 9223372036854776000}
    assert stage.post("/v1/completions", body).json()["usage"]["completion_tokens"] == 2
    refused = stage.post("/v1/completions", body | {"max_tokens": 2.5})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "max_tokens"


def test_an_empty_text_is_called_empty_by_the_name_it_came_under() -> None:
    for path, fields, param in (
        ("completions", {"prompt": ""}, "prompt"),
        ("embeddings", {"input": ["", "x"]}, "input"),
    ):
        error = Stage().post(f"/v1/{path}", {"model": "ember"} | fields).json()["error"]
        assert (error["message"], error["param"], error["code"]) == (f"`{param}` is empty", param, "invalid_value")


def test_log_probabilities_of_completions_point_into_the_text() -> None:
    found = Stage().post("/v1/completions", {"model": "ember", "prompt": "x", "logprobs": 1}).json()["choices"][0]
    told = found["logprobs"]
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert found["text"][offset:].startswith(token)
    assert len(told["top_logprobs"]) == len(told["token_logprobs"]) == len(told["tokens"])


def test_characters_of_several_tokens_move_no_offset() -> None:
    stage = Stage(Scripted(lambda request: "A \U0001f438 and \u6f22\u5b57 end."))
    body = {"model": "ember", "prompt": "x", "logprobs": 0, "max_tokens": 99}
    found = stage.post("/v1/completions", body).json()["choices"][0]
    told = found["logprobs"]
    whole = [pair for pair in zip(told["tokens"], told["text_offset"], strict=True) if "\ufffd" not in pair[0]]
    assert len(whole) < len(told["tokens"]) and whole[-1][1] == len(found["text"]) - len(whole[-1][0])
    assert all(found["text"][offset:].startswith(token) for token, offset in whole)


def test_completions_stream() -> None:
    body = {"model": "ember", "prompt": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}}
    text = Stage().post("/v1/completions", body).text
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    for index in (0, 1):
        parts = [c for event in events for c in event["choices"] if c["index"] == index]
        assert "".join(c["text"] for c in parts) == "Hello there." and parts[-1]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == 12 and text.endswith("data: [DONE]\n\n")


def test_embeddings_have_length_one_in_both_formats() -> None:
    stage = Stage()
    plain = stage.post("/v1/embeddings", {"model": "ember", "input": ["a", "a b c"]}).json()
    vectors = np.array([one["embedding"] for one in plain["data"]])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1) and plain["usage"]["prompt_tokens"] > 2
    coded = stage.post(
        "/v1/embeddings", {"model": "ember", "input": ["a", "a b c"], "encoding_format": "base64"}
    ).json()
    raw = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in coded["data"]]
    assert np.allclose(raw, vectors)
    refused = stage.post("/v1/embeddings", {"model": "ember", "input": "a", "dimensions": 2})
    assert refused.json()["error"]["param"] == "dimensions"
    assert stage.post("/v1/embeddings", {"model": "polite", "input": "a"}).status_code == 400


ADD = {"type": "function", "name": "add", "parameters": {"type": "object"}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def _events(stage: Stage, **fields: Any) -> list[Any]:
    text = stage.post("/v1/responses", {"model": "ember", "input": "Hi", "stream": True} | fields).text
    parts = [part.split("\n") for part in text.strip().split("\n\n")]
    told = [json.loads(lines[1][6:]) for lines in parts]
    assert [lines[0][7:] for lines in parts] == [event["type"] for event in told]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


def test_responses_answer_a_text_and_items() -> None:
    stage = Stage()
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Add 1"}]},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "7", "annotations": []}]},
        {"role": "user", "content": "Thanks"},
    ]
    body = {"model": "ember", "input": items, "instructions": "Be brief.", "max_output_tokens": 3, "store": True}
    found = stage.post("/v1/responses", body)
    told = found.json()
    assert told["status"] == "incomplete" and told["incomplete_details"] == {"reason": "max_output_tokens"}
    assert told["store"] is False and found.headers["x-bloomery-ignored"] == "store"
    assert told["usage"]["output_tokens"] == 3
    prompt = stage.service.tokenizer.decode(stage.service.held[0].request.prompt)
    assert prompt.startswith("<|im_start|>system\nBe brief.") and "<tool_response>\n7" in prompt


def test_the_events_of_a_response_put_together_are_the_response() -> None:
    told = _events(Stage())
    text = "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
    last = told[-1]["response"]
    assert text == "Hello there." == last["output"][0]["content"][0]["text"] and last["status"] == "completed"
    assert [event["type"].removeprefix("response.") for event in told if "delta" not in event["type"]] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip


def test_a_response_that_calls_says_so_item_by_item() -> None:
    told = _events(Stage(Scripted(lambda request: CALL)), tools=[ADD])
    [call] = told[-1]["response"]["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "add", {"a": 1})
    done = next(event for event in told if event["type"] == "response.function_call_arguments.done")
    assert done["item_id"] == call["id"] and done["arguments"] == call["arguments"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("previous_response_id", "resp_1"), ("background", True), ("conversation", "c"), ("truncation", "auto")],
)
def test_responses_keep_nothing_and_say_so(field: str, value: Any) -> None:
    found = Stage().post("/v1/responses", {"model": "ember", "input": "x", field: value})
    assert found.status_code == 400 and found.json()["error"]["param"] == field


def test_a_response_in_json_is_forced_by_its_schema() -> None:
    stage = Stage(Scripted(lambda request: "{}"))
    schema = {"type": "object"}
    form = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}
    stage.post("/v1/responses", {"model": "ember", "input": "x", "text": {"format": form}})
    grammar = stage.service.held[0].request.sampling.grammar
    assert grammar is not None and json.loads(grammar.text) == schema


def test_models_and_adapters_are_listed() -> None:
    stage = Stage()
    assert [card["id"] for card in stage.get("/v1/models").json()["data"]] == ["ember", "polite"]
    assert stage.get("/v1/models/polite").json()["parent"] == "ember"
    assert stage.get("/v1/models/..%2f..%2fetc%2fpasswd").status_code == 404


def test_a_swap_is_asked_for_by_name_and_errors_show_no_place() -> None:
    asked: list[str] = []

    async def swap(model: str) -> None:
        asked.append(model)
        if model == "bad":
            raise InputError("is no model", where=Where("/secret/place"))

    stage = Stage(swap=swap)
    found = stage.post("/admin/models/swap", {"model": "runs/new"}, token=ADMIN)
    assert found.status_code == 200 and asked == ["runs/new"] and found.json()["model"] == "ember"
    refused = stage.post("/admin/models/swap", {"model": "bad"}, token=ADMIN)
    assert refused.status_code == 400 and "secret" not in refused.text
    assert "bloomery_model_swaps_total 1.0" in stage.get("/metrics").text


def test_metrics_count_what_was_asked_and_said() -> None:
    stage = Stage()
    usage = stage.post("/v1/completions", {"model": "ember", "prompt": "x"}).json()["usage"]
    stage.get("/made/up/by/a/client")
    text = stage.get("/metrics").text
    assert f"bloomery_prompt_tokens_total {float(usage['prompt_tokens'])}" in text
    assert f"bloomery_completion_tokens_total {float(usage['completion_tokens'])}" in text
    assert 'bloomery_requests_total{route="/v1/completions",status="200"} 1.0' in text
    assert 'route="other",status="404"' in text and "made/up" not in text
    assert "bloomery_cache_resting 25.0" in text and "bloomery_cache_total 100.0" in text
    assert "bloomery_first_token_seconds_count 1.0" in text
