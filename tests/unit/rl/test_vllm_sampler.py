"""A vLLM server samples for a policy in training: against what a real one answered (`bench/record_vllm.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from vllm_replay import PROMPTS, RECORDED, SAMPLING, TOKEN, VERSIONS, Replay, move, policy, replaying, sampled

from bloomery.core.errors import BloomeryError, InputError
from bloomery.core.rows import TokenRow
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Completion
from bloomery.engine.vllm import VllmEngine
from bloomery.models.load import Loaded
from bloomery.rl.published import Published
from bloomery.rl.vllm_sampler import VllmSampler


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return policy()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[VllmEngine]:
    with replaying("policy", str(tmp_path)) as url:
        yield VllmEngine(url, TOKEN, scores=False)


def far(answers: list[Completion], loaded: Loaded) -> float:
    """The largest difference of a told log-probability from that of the model in training, as it is now."""
    pairs = [*zip(PROMPTS, answers, strict=True)]
    rows = [TokenRow(np.array([*p, *a.ids], np.int32), {}, "", "", "") for p, a in pairs]
    scored = NativeEngine(loaded).score(rows, SAMPLING.temperature)
    return max(float(np.abs(s[len(p) :] - a.logprobs).max()) for (p, a), s in zip(pairs, scored, strict=True))


def test_each_version_is_sampled_by_its_own_weights_though_the_server_keeps_its_cache(
    engine: VllmEngine, loaded: Loaded, tmp_path: Path
) -> None:
    assert engine.find_mode() == "processed_logprobs"
    heard = []
    for answers in sampled(engine, loaded, tmp_path / "policy"):
        assert far(answers, loaded) < 1e-4
        heard.append([answer.ids for answer in answers])
    assert len(heard) == len(VERSIONS) and heard[0][0] != heard[0][1], "answers of a group differ"
    moved = [json.loads(one["text"]) for one in RECORDED["seen"] if one["server"] == "policy" and "load" in one["path"]
             and one["status"] != 200]  # fmt: skip
    assert moved == []


def test_an_adapters_name_never_comes_twice_and_the_one_before_is_dropped(loaded: Loaded, tmp_path: Path) -> None:
    names: list[str] = []
    for _ in range(2):
        with replaying("policy") as url:
            Replay.instead |= {f"/v1/{verb}load_lora_adapter": (200, '"done"') for verb in ("", "un")}
            sampler = VllmSampler(VllmEngine(url, TOKEN), Published(loaded, tmp_path / "policy"), loaded, 1.0)
            sampler._compare = lambda: None  # type: ignore[method-assign]
            for version in (3, 3, 4):
                sampler.renew(version)
                names.append(sampler.adapter)
            assert [path.name for path in (tmp_path / "policy").iterdir()] == ["v00000004"]
            sampler.close()
    assert len(set(names)) == 4 and names[0] == names[1]
    assert not (tmp_path / "policy").exists()


def test_a_server_with_another_model_is_refused(engine: VllmEngine, loaded: Loaded, tmp_path: Path) -> None:
    sampler = VllmSampler(engine, Published(loaded, tmp_path / "policy"), loaded, SAMPLING.temperature, tag="first")
    move(loaded, 0)
    embedding = loaded.model.get_input_embeddings().weight  # type: ignore[operator]
    kept = embedding.detach().clone()
    with torch.no_grad():
        embedding.copy_(embedding.flip(0))
    try:
        with pytest.raises(InputError, match=r"answers with another model than the one in training: .* nats apart"):
            sampler.renew(0)
    finally:
        with torch.no_grad():
            embedding.copy_(kept)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (503, '{"error": {"message": "full"}}', "takes no more: full"),
        (200, "aborted", "broke an answer off"),
        (200, "impossible", "tells no probability"),
    ],
)
def test_an_answer_that_is_none_ends_the_run(loaded: Loaded, tmp_path: Path, status: int, text: str, said: str) -> None:
    logp = "-Infinity" if text == "impossible" else "-0.5"
    reason = "abort" if text == "aborted" else "stop"
    told = f'{{"token_logprobs": [{logp}], "top_logprobs": [null]}}'
    whole = f'{{"choices": [{{"token_ids": [5], "logprobs": {told}, "finish_reason": "{reason}"}}]}}'
    with replaying("policy") as url:
        sampler = VllmSampler(VllmEngine(url, TOKEN), Published(loaded, tmp_path / "policy"), loaded, 1.0)
        Replay.instead["/v1/completions"] = (status, text if status != 200 else whole)
        with pytest.raises(BloomeryError, match=said):
            sampler.generate(PROMPTS[:1], SAMPLING)


@pytest.mark.parametrize("verb", ["", "un"])
def test_a_server_that_takes_no_adapter_is_named_and_everything_is_let_go(
    loaded: Loaded, tmp_path: Path, verb: str
) -> None:
    ended: list[bool] = []
    with replaying("policy") as url:
        Replay.instead |= {f"/v1/{one}load_lora_adapter": (200, '"done"') for one in ("", "un")}
        Replay.instead[f"/v1/{verb}load_lora_adapter"] = (503, '{"error": {"message": "full"}}')
        published = Published(loaded, tmp_path / "policy")
        sampler = VllmSampler(VllmEngine(url, TOKEN), published, loaded, 1.0, lambda: ended.append(True))
        sampler._compare = lambda: None  # type: ignore[method-assign]
        sampler.renew(1) if verb else None
        with pytest.raises(BloomeryError, match="does not answer: full"):
            sampler.renew(2)
        sampler.close()
    assert ended == [True] and not (tmp_path / "policy").exists()


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (503, "{}", "does not answer"),
        (200, "<html>", "answers otherwise than vLLM"),
        (200, "{}", "answers otherwise than vLLM"),
        (200, '{"data": ["a"]}', "answers otherwise than vLLM"),
    ],
)
def test_an_address_of_something_else_is_no_traceback(status: int, text: str, said: str) -> None:
    with replaying("policy") as url:
        Replay.instead["/v1/models"] = (status, text)
        with pytest.raises(BloomeryError, match=said):
            VllmEngine(url, TOKEN)
