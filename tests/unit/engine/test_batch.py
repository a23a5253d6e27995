"""What requests share in a step, and what they do not."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import tiny
from engines import answered, read_tokens

from bloomery.core.errors import InputError
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Request, Sampling
from bloomery.engine.running import Running
from bloomery.models.lora import LoraSettings, add_lora, merge_lora, save_lora

PROMPT = list(range(3, 43))


def test_a_group_of_sixteen_reads_its_prompt_once() -> None:
    engine = NativeEngine(tiny("llama"))
    scheduler = engine.scheduler()
    counts = read_tokens(engine, scheduler)
    sampling = Sampling(3, temperature=1.0, stop_ids=())
    answers = answered(engine, [Request(PROMPT, sampling, number=i) for i in range(16)], scheduler)
    # the fifteen others begin with the first one's logits while it goes on; then all answer, it one token ahead
    assert counts == [len(PROMPT), 1, 16, 15]
    alone = [answered(engine, [Request(PROMPT, sampling, number=i)])[0] for i in range(16)]
    assert [a.ids for a in answers] == [a.ids for a in alone]
    assert np.allclose([a.logprobs[0] for a in answers], [a.logprobs[0] for a in alone], atol=1e-5)


def test_a_group_larger_than_the_batch_answers_as_each_alone() -> None:
    engine = NativeEngine(tiny("llama"), batch_rows=3)
    scheduler = engine.scheduler()
    counts = read_tokens(engine, scheduler)
    requests = [Request(PROMPT, Sampling(1 + i % 4, temperature=1.0, stop_ids=()), number=i) for i in range(11)]
    together = answered(engine, requests, scheduler)
    assert counts.count(len(PROMPT)) == 1 and sum(counts) < 2 * len(PROMPT)
    assert [a.ids for a in together] == [answered(engine, [one])[0].ids for one in requests]
    assert scheduler.backend.slots.used == 0  # type: ignore[attr-defined]


def test_others_read_the_prompt_when_the_one_that_read_it_is_cancelled() -> None:
    engine = NativeEngine(tiny("llama"))
    scheduler, answers = engine.scheduler(), [Answer() for _ in range(3)]
    scheduler.backend.chunk = 16  # type: ignore[attr-defined]
    rows = [
        engine.accept(Request(PROMPT, Sampling(5, stop_ids=())), answer.take, scheduler.backend.fits)
        for answer in answers
    ]
    scheduler.waiting.extend(rows)
    scheduler.step()
    rows[0].cancel()
    while scheduler.busy:
        scheduler.step()
    assert [a.ended for a in answers] == ["cancelled", "length", "length"]
    assert answers[1].ids == answers[2].ids == answered(engine, [Request(PROMPT, Sampling(5, stop_ids=()))])[0].ids


def test_prompts_that_begin_alike_share_that_part() -> None:
    engine = NativeEngine(tiny("llama"))
    scheduler = engine.scheduler()
    counts = read_tokens(engine, scheduler)
    other = [*PROMPT[:30], 50, 51, 52, 53]
    pair = answered(engine, [Request(PROMPT, Sampling(4)), Request(other, Sampling(4))], scheduler)
    assert counts[:2] == [40, 1 + 4]
    assert [a.ids for a in pair] == [answered(engine, [Request(p, Sampling(4))])[0].ids for p in (PROMPT, other)]


def test_a_long_prompt_is_read_in_chunks_while_others_answer() -> None:
    engine = NativeEngine(tiny("llama"))
    scheduler = engine.scheduler()
    scheduler.backend.chunk = 8  # type: ignore[attr-defined]
    counts = read_tokens(engine, scheduler)
    short, long = answered(engine, [Request([5, 6], Sampling(9)), Request(PROMPT, Sampling(3))], scheduler)
    assert max(counts) <= 9 and len(short.ids) == 9
    assert long.ids == answered(engine, [Request(PROMPT, Sampling(3))])[0].ids


def test_each_request_is_sampled_by_its_own_settings() -> None:
    engine = NativeEngine(tiny("llama"))
    settings = [
        Sampling(6),
        Sampling(6, temperature=1.0, seed=1),
        Sampling(6, temperature=0.5, top_p=0.5, seed=2),
        Sampling(6, temperature=2.0, top_k=3, seed=3),
        Sampling(6, temperature=1.0, min_p=0.3, frequency_penalty=1.0, seed=4),
        Sampling(6, repetition_penalty=1.5, logit_bias=((9, 3.0),), top_logprobs=4),
    ]
    together = answered(engine, [Request(PROMPT, one) for one in settings])
    apart = [answered(engine, [Request(PROMPT, one)])[0] for one in settings]
    assert [a.ids for a in together] == [a.ids for a in apart]
    assert [len(top) for top in together[5].top] == [4] * 6
    assert together[5].top[0][0] == (together[5].ids[0], pytest.approx(together[5].logprobs[0], abs=1e-5))


def test_rows_come_and_go_as_others_go_on() -> None:
    engine = NativeEngine(tiny("llama"), batch_rows=3)
    draw = np.random.default_rng(0)
    requests = [
        Request(draw.integers(3, 97, draw.integers(1, 60)).tolist(), Sampling(int(draw.integers(1, 30)), stop_ids=()))
        for _ in range(20)
    ]
    together = answered(engine, requests)
    assert [a.ids for a in together] == [answered(engine, [one])[0].ids for one in requests]


def test_little_memory_makes_requests_wait_and_too_little_refuses_them() -> None:
    whole = NativeEngine(tiny("llama"))
    row = 64 * whole.scheduler().backend.slots.token_bytes  # type: ignore[attr-defined]
    engine = NativeEngine(tiny("llama"), memory=2 * row)
    asked = [[7 + i, 8] for i in range(5)]
    answers = engine.generate(asked, Sampling(5))
    assert [a.ids for a in answers] == [a.ids for a in whole.generate(asked, Sampling(5))]
    with pytest.raises(InputError, match="more than the memory"):
        NativeEngine(tiny("llama"), memory=row).generate([PROMPT], Sampling(60))


def test_a_cancelled_request_frees_its_place_and_says_so() -> None:
    engine = NativeEngine(tiny("llama"), batch_rows=1)
    scheduler, answers = engine.scheduler(), [Answer() for _ in range(3)]
    rows = [
        engine.accept(Request(PROMPT, Sampling(20, stop_ids=())), answer.take, scheduler.backend.fits)
        for answer in answers
    ]
    scheduler.waiting.extend(rows)
    scheduler.step()
    rows[0].cancel()
    rows[1].cancel()
    while scheduler.busy:
        scheduler.step()
    assert [a.ended for a in answers] == ["cancelled", "cancelled", "length"]
    assert len(answers[0].ids) == 1 and not answers[1].ids and len(answers[2].ids) == 20
    assert scheduler.backend.slots.used == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("rslora", [False, True])
def test_adapters_of_one_step_answer_as_if_each_were_merged(tmp_path: Path, rslora: bool) -> None:
    engine = NativeEngine(tiny("llama"))
    merged = []
    for number in range(2):
        adapted = tiny("llama")
        add_lora(adapted.model, LoraSettings(rank=4, alpha=16.0, rslora=rslora), seed=number)
        draw = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, parameter in adapted.model.named_parameters():
                if ".lora_B." in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.1)
        save_lora(adapted.model, tmp_path / f"a{number}", "base")
        engine.adapters.load(f"a{number}", tmp_path / f"a{number}")
        merge_lora(adapted.model)
        merged.append(NativeEngine(adapted))
    requests = [Request(PROMPT, Sampling(8, stop_ids=()), name) for name in ("a0", "", "a1", "a0")]
    answers = answered(engine, requests)
    wanted = [merged[0], NativeEngine(tiny("llama")), merged[1], merged[0]]
    for answer, one in zip(answers, wanted, strict=True):
        [alone] = one.generate([PROMPT], Sampling(8, stop_ids=()))
        assert tuple(answer.ids) == alone.ids
        assert np.allclose(answer.logprobs, alone.logprobs, atol=1e-4)
    assert len({tuple(a.ids) for a in answers}) == 3


def test_an_unknown_adapter_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    engine = NativeEngine(tiny("llama"))
    adapted = tiny("llama")
    add_lora(adapted.model, LoraSettings(rank=2), seed=0)
    save_lora(adapted.model, tmp_path / "legal", "base")
    engine.adapters.load("legal", tmp_path / "legal")
    with pytest.raises(InputError, match=r"no adapter `leagl`.*legal"):
        engine.generate([PROMPT], Sampling(), "leagl")


def test_after_a_step_that_failed_texts_are_read_without_its_adapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, adapted = NativeEngine(tiny("llama")), tiny("llama")
    add_lora(adapted.model, LoraSettings(rank=2), seed=0)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(0.1)
    save_lora(adapted.model, tmp_path / "legal", "base")
    engine.adapters.load("legal", tmp_path / "legal")
    before = engine.embed([PROMPT])

    def fails(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("bloomery.engine.lean.attend", fails)
        with pytest.raises(MemoryError):
            engine.generate([PROMPT], Sampling(2), "legal")
    assert np.array_equal(engine.embed([PROMPT]), before)


def test_a_failed_step_ends_what_ran_and_nothing_else() -> None:
    engine = NativeEngine(tiny("llama"))
    scheduler, answer = engine.scheduler(), Answer()
    running: deque[Running] = scheduler.waiting
    running.append(engine.accept(Request(PROMPT, Sampling(5)), answer.take, scheduler.backend.fits))
    scheduler.step()
    scheduler.abandon("no more memory")
    assert answer.ended == "error" and answer.error == "no more memory" and not scheduler.busy
    assert answered(engine, [Request(PROMPT, Sampling(5))])[0].ended is not None
