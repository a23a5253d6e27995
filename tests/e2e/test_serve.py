"""`bloomery serve` as a user runs it: on a socket, over a file, killed and told to stop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from killed import begin, wait
from served import ADMIN, TOKENS, served
from tiny import bloomery, write_rows


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Which form?"}], "temperature": 0} | fields


def test_a_model_is_served_swapped_and_stopped(here: Path, model: Path) -> None:
    with served("tiny", within=here) as (client, process):
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny"]
        found = client.post("/v1/chat/completions", json=chat(max_tokens=5, logprobs=True, top_logprobs=2)).json()
        assert found["usage"]["completion_tokens"] == 5 and found["choices"][0]["finish_reason"] == "length"
        assert found == found | {"model": "tiny"} and str(here) not in json.dumps(found)
        streamed = client.post("/v1/chat/completions", json=chat(max_tokens=5, stream=True)).text
        deltas = [json.loads(line[6:]) for line in streamed.split("\n\n") if line.startswith("data: {")]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in deltas)
        assert text == found["choices"][0]["message"]["content"]
        vectors = client.post("/v1/embeddings", json={"model": "tiny", "input": ["a", "b"]}).json()["data"]
        assert len(vectors) == 2 and len(vectors[0]["embedding"]) == 32
        admin = {"authorization": f"Bearer {ADMIN}"}
        assert client.post("/admin/models/swap", json={"model": "nowhere"}, headers=admin).status_code == 400
        swapped = client.post("/admin/models/swap", json={"model": "tiny"}, headers=admin).json()
        assert swapped["model"] == "tiny" and swapped["system_fingerprint"] != found["system_fingerprint"]
        again = client.post("/v1/chat/completions", json=chat(max_tokens=5)).json()
        assert again["choices"][0]["message"]["content"] == text
        process.terminate()
        assert wait(process) == 0


def test_an_answer_under_way_is_finished_when_the_server_is_told_to_stop(here: Path) -> None:
    body = chat(max_tokens=60, stream=True, logit_bias={"0": -100})
    with (
        served("tiny", within=here) as (client, process),
        client.stream("POST", "/v1/chat/completions", json=body) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        process.terminate()
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert wait(process) == 0


def _batch(here: Path, count: int) -> Path:
    body = {"model": "tiny", "prompt": "the order", "max_tokens": 4, "temperature": 0}
    rows = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/completions", "body": body | {"model": "tiny"}}
        for n in range(count)
    ]
    rows[3]["body"] = {"model": "tiny", "prompt": "x", "temprature": 1}
    return write_rows(here / "in.jsonl", rows)


@pytest.mark.slow
def test_a_batch_that_was_killed_goes_on_and_every_line_is_answered_once(here: Path) -> None:
    source, out = _batch(here, 300), here / "out.jsonl"
    words = ("serve", "tiny", "--batch", str(source), "--out", str(out), "--running", "2")
    one, _ = begin("bloomery", *words, within=here, **TOKENS)
    while (not out.exists() or out.stat().st_size < 2000) and one.is_alive():
        time.sleep(0.005)
    one.kill()
    one.join()
    before = out.read_bytes()
    assert 0 < before.count(b"\n") < 300
    out.write_bytes(before + b'{"id": "half a li')
    told = bloomery("serve", "tiny", "--batch", str(source), "--out", str(out), within=here)
    assert told.status == 0 and "300 of 300 answered, 1 of them refused" in told.out, told.err
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(record["custom_id"] for record in records) == sorted(f"r{n}" for n in range(300))
    assert out.read_bytes().startswith(before)
    by_name = {record["custom_id"]: record["response"] for record in records}
    assert by_name["r3"]["status_code"] == 400 and by_name["r4"]["body"]["choices"][0]["text"]
    other = write_rows(here / "other.jsonl", [json.loads(source.read_text().splitlines()[0]) | {"custom_id": "z"}])
    assert "does not ask" in bloomery("serve", "tiny", "--batch", str(other), "--out", str(out), within=here).err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "in.jsonl:1: is no JSON object"),
        ('{"custom_id": "a", "url": "/v1/chat/completion", "body": {}}', "did you mean `/v1/chat/completions`"),
        ('{"custom_id": 1, "url": "/v1/completions", "body": {}}', "custom_id"),
        ('{"custom_id": "a", "url": "/v1/completions", "body": {"stream": true}}', "does not stream"),
        ('{"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {}}', "must be POST"),
    ],
)
def test_a_line_that_cannot_be_asked_is_named_before_anything_is_loaded(here: Path, line: str, words: str) -> None:
    write_rows(here / "in.jsonl", [line])
    told = bloomery("serve", "no-model-at-all", "--batch", "in.jsonl", "--out", "out.jsonl", within=here)
    assert told.status == 2 and words in told.err and not (here / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["--host", "0.0.0.0"], {}, "no token is set"),
        ([], {"BLOOMERY_TOKEN": "short"}, "shorter than 16"),
        (["--adapter", "x"], {}, "--adapter NAME=PLACE"),
        (["--adapter", "x=nowhere"], {}, "no LoRA run"),
        (["--batch", "in.jsonl"], {}, "go together"),
        (["--memory", "some"], {}, "some"),
    ],
)
def test_what_cannot_be_served_is_refused(
    here: Path, arguments: list[str], environ: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLOOMERY_TOKEN", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    told = bloomery("serve", "tiny", *arguments, within=here)
    assert told.status == 2 and words in told.err


def test_a_family_by_name_is_its_newest_stage() -> None:
    from bloomery.recipes.find import find_model

    assert find_model("ember").folder.name == "posttrained"
