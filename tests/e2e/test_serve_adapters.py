"""LoRA adapters as models, over HTTP: listed, asked beside their base, many in one batch."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from served import ADMIN, TOKEN, served
from tiny import bloomery

from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Sampling
from bloomery.evals.prompts import Prompter
from bloomery.models.load import load_model
from bloomery.models.lora import LoraSettings, add_lora, load_lora, merge_lora, save_lora

NAMES = ("tiny", "legal", "medical")
ASKED = "Which form is number 7?"
NO_END = {"0": -100, "2": -100}


def adapter(model: Path, folder: Path, seed: int) -> Path:
    """An adapter of the model that changes what it says."""
    loaded = load_model(model)
    add_lora(loaded.model, LoraSettings(rank=4, alpha=16), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in loaded.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    save_lora(loaded.model, folder, base="tiny")
    return folder


def merged_answer(model: Path, folder: Path | None, tokens: int) -> str:
    """What the model says with an adapter merged into it."""
    loaded = load_model(model)
    if folder is not None:
        load_lora(loaded.model, folder)
        merge_lora(loaded.model)
    ids = Prompter(loaded.tokenizer, "auto").prompt([{"role": "user", "content": ASKED}])
    bias = tuple((int(token), float(value)) for token, value in NO_END.items())
    [answer] = NativeEngine(loaded).generate([ids], Sampling(tokens, logit_bias=bias))
    return str(loaded.tokenizer.decode(answer.body, skip_special_tokens=True))


def test_adapters_answer_as_models_beside_their_base_in_one_batch(here: Path, model: Path) -> None:
    folders = {name: adapter(model, here / name, seed) for seed, name in enumerate(NAMES[1:], 1)}
    wanted = {name: merged_answer(model, folders.get(name), 40) for name in NAMES}
    assert len(set(wanted.values())) == 3
    options = [part for name, folder in folders.items() for part in ("--adapter", f"{name}={folder}")]
    with served("tiny", *options, within=here) as (http, _):
        url = f"{http.base_url}/v1"
        found = asyncio.run(_asked(url, http))
        assert found["answers"] == {name: [wanted[name]] * 4 for name in NAMES}
        assert found["together"] > len(NAMES)  # in one step, so more than one of each
        client = openai.OpenAI(api_key=TOKEN, base_url=url, max_retries=0)
        assert [card.id for card in client.models.list()] == list(NAMES)
        assert json.loads(http.get("/v1/models/legal").text)["parent"] == "tiny"
        with pytest.raises(openai.NotFoundError) as told:
            client.chat.completions.create(model="leagl", messages=[{"role": "user", "content": "x"}])
        assert told.value.param == "model" and told.value.code == "model_not_found"
        swapped = http.post("/admin/models/swap", json={"model": "tiny"}, headers={"authorization": f"Bearer {ADMIN}"})
        assert swapped.status_code == 200
        again = asyncio.run(_asked(url, http))
        assert again["answers"] == found["answers"]  # adapters go with new weights


async def _asked(url: str, http: httpx2.Client) -> dict[str, Any]:
    """Four requests to each at once: what they were answered, and the most answers that were worked on together."""
    most, done = 0, False

    async def watch() -> None:
        nonlocal most
        while not done:
            text = (await asyncio.to_thread(http.get, "/metrics")).text
            most = max(most, int(float(text.partition("\nbloomery_engine_running ")[2].split("\n")[0])))

    async with openai.AsyncOpenAI(api_key=TOKEN, base_url=url, max_retries=0) as client:
        watching = asyncio.create_task(watch())
        asked: Any = {"messages": [{"role": "user", "content": ASKED}], "temperature": 0, "max_tokens": 40}
        calls = [
            client.chat.completions.create(model=name, logit_bias=NO_END, **asked) for _ in range(4) for name in NAMES
        ]
        found = await asyncio.gather(*calls)
        done = True
        await watching
    answers: dict[str, list[str | None]] = {name: [] for name in NAMES}
    for one in found:
        answers[one.model].append(one.choices[0].message.content)
    return {"answers": answers, "together": most}


def test_an_adapter_that_cannot_be_served_is_named_before_the_server_starts(here: Path, model: Path) -> None:
    folder = adapter(model, here / "legal", 1)
    told = bloomery("serve", "tiny", "--adapter", f"tiny={folder}", within=here)
    assert told.status == 2 and "has the model's own name" in told.err
    told = bloomery("serve", "ember/posttrained", "--adapter", f"legal={folder}", within=here)
    assert told.status == 2 and "does not fit the model" in told.err
