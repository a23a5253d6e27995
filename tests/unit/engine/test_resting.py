"""What has ended rests in its row until the place is needed, and the next turn goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from architectures import tiny
from engines import answered, read_tokens

from bloomery.engine import batch
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Request, Sampling
from bloomery.engine.scheduler import Scheduler
from bloomery.engine.service import NativeService
from bloomery.models.lora import LoraSettings, add_lora, save_lora

PROMPT = list(range(3, 33))
SAMPLING = Sampling(6, temperature=1.0, stop_ids=())


@pytest.fixture(params=[16, 1000], ids=["kept once", "copied"], autouse=True)
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batch, "KEPT", request.param)
    monkeypatch.setattr(batch, "RESTS", batch.SHARED)
    yield


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_the_next_turn_reads_what_is_new(architecture: str) -> None:
    engine, fresh = NativeEngine(tiny(architecture), keep=True), NativeEngine(tiny(architecture))
    scheduler, asked = engine.scheduler(), [PROMPT, [*PROMPT[:20], 60, 61, 62]]
    counts = read_tokens(engine, scheduler)
    for turn in range(3):
        counts.clear()
        requests = [Request(prompt, SAMPLING, number=number) for number, prompt in enumerate(asked)]
        found = answered(engine, requests, scheduler)
        assert [one.ids for one in found] == [answered(fresh, [request])[0].ids for request in requests]
        if turn:  # the last answer's last token, what is new, and five tokens that are fed back
            assert sum(counts) == len(asked) * (1 + 3 + 5)
        asked = [[*prompt, *one.ids, 70, 71 + turn, 72] for prompt, one in zip(asked, found, strict=True)]


def test_two_go_on_from_one_and_one_goes_back() -> None:
    engine, fresh = NativeEngine(tiny("llama"), keep=True), NativeEngine(tiny("llama"))
    scheduler = engine.scheduler()
    [first] = answered(engine, [Request(PROMPT, SAMPLING)], scheduler)
    so_far = [*PROMPT, *first.ids]
    requests = [Request([*so_far, 80 + number], SAMPLING, number=number) for number in range(2)]
    requests += [Request([*PROMPT[:18], 90, 91], SAMPLING), Request(PROMPT, SAMPLING, number=5)]
    found = answered(engine, requests, scheduler)
    assert [one.ids for one in found] == [answered(fresh, [request])[0].ids for request in requests]


def test_changed_weights_are_not_mixed_with_older_ones() -> None:
    loaded = tiny("llama")
    engine = NativeEngine(loaded, keep=True)
    [first] = engine.generate([PROMPT], SAMPLING)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.mul_(1.5)
    engine.forget()
    again = [*PROMPT, *first.ids]
    [kept], [fresh] = engine.generate([again], SAMPLING), NativeEngine(loaded).generate([again], SAMPLING)
    assert kept.ids == fresh.ids and np.allclose(kept.logprobs, fresh.logprobs, atol=1e-6)


def test_what_runs_when_weights_change_is_no_beginning_of_others() -> None:
    loaded = tiny("llama")
    engine = NativeEngine(loaded, keep=True)
    scheduler, answers = engine.scheduler(), [Answer() for _ in range(3)]
    longer = Sampling(12, temperature=1.0, stop_ids=())

    def ask(answer: Answer, prompt: list[int]) -> None:
        scheduler.waiting.append(engine.accept(Request(prompt, longer), answer.take, scheduler.backend.fits))

    ask(answers[0], PROMPT)
    for _ in range(4):
        scheduler.step()
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.mul_(1.5)
    scheduler.backend.forget()
    ask(answers[1], [*PROMPT, 40])
    while scheduler.busy:
        scheduler.step()
    ask(answers[2], [*PROMPT, *answers[0].ids, 41])
    while scheduler.busy:
        scheduler.step()
    fresh = NativeEngine(loaded)
    for answer, prompt in zip(answers[1:], ([*PROMPT, 40], [*PROMPT, *answers[0].ids, 41]), strict=True):
        [wanted] = answered(fresh, [Request(prompt, longer)])
        assert answer.ids == wanted.ids and np.allclose(answer.logprobs, wanted.logprobs, atol=1e-5)
    scheduler.backend.forget()
    assert held(scheduler) == 0


@pytest.mark.parametrize(("rows", "memory"), [(3, None), (4, 6), (None, None)])
def test_conversations_answer_as_each_alone_whatever_rests(rows: int | None, memory: int | None) -> None:
    fresh = NativeEngine(tiny("llama"))
    row = 64 * fresh.scheduler().backend.slots.token_bytes  # type: ignore[attr-defined]
    engine = NativeEngine(tiny("llama"), batch_rows=rows, memory=memory and memory * row, keep=True)
    scheduler, draw = engine.scheduler(), np.random.default_rng(0)
    talks = [draw.integers(3, 97, draw.integers(1, 30)).tolist() for _ in range(3)]
    talks += [[*PROMPT[:20], *draw.integers(3, 97, 4).tolist()] for _ in range(3)]
    for turn in range(4):
        chosen = draw.choice(len(talks), 4, replace=False).tolist()
        requests = [
            Request(talks[one], Sampling(5, temperature=1.0, seed=turn, stop_ids=()), number=one) for one in chosen
        ]
        for request, one, answer in zip(requests, chosen, answered(engine, requests, scheduler), strict=True):
            assert answer.ids == answered(fresh, [request])[0].ids
            talks[one] = [*talks[one], *answer.ids, 50 + turn]
    scheduler.backend.forget()
    assert scheduler.backend.slots.used == 0  # type: ignore[attr-defined]


def held(scheduler: Scheduler) -> int:
    used: int = scheduler.backend.slots.used  # type: ignore[attr-defined]
    return used


def test_what_rests_is_told_apart_from_what_is_used() -> None:
    service = NativeService(tiny("llama"))
    [model] = service._models

    def ask(prompt: list[int]) -> None:
        request = Request(prompt, SAMPLING)
        model.scheduler.waiting.append(model.engine.accept(request, Answer().take, model.scheduler.backend.fits))

    for turn in range(2):
        for number in range(3):
            ask([*PROMPT, 40 + number])
        for _ in range(3):
            model.scheduler.step()
        stats = service.stats()
        assert stats.cache_used > 0 and stats.running == 3
        assert (stats.cache_resting > 0) == (turn == 1)
        while model.scheduler.busy:
            model.scheduler.step()
        stats = service.stats()
        assert (stats.cache_used, stats.cache_resting) == (0, held(model.scheduler)) and stats.cache_resting > 0
        ask([9] * 20)  # another beginning: it rests while the next turn runs
        while model.scheduler.busy:
            model.scheduler.step()


def test_a_service_forgets_what_an_adapter_said_when_it_is_replaced(tmp_path: Path) -> None:
    for number in range(2):
        adapted = tiny("llama")
        add_lora(adapted.model, LoraSettings(rank=4), seed=number)
        with torch.no_grad():
            for name, parameter in adapted.model.named_parameters():
                if ".lora_B." in name:
                    parameter.fill_(0.05 * (number + 1))
        save_lora(adapted.model, tmp_path / str(number), "base")
    service = NativeService(tiny("llama"))
    service.load_adapter("own", tmp_path / "0")
    scheduler = service._models[0].scheduler
    engine = service._models[0].engine
    answer = Answer()
    scheduler.waiting.append(engine.accept(Request(PROMPT, SAMPLING, "own"), answer.take, scheduler.backend.fits))
    while scheduler.busy:
        scheduler.step()
    assert held(scheduler)
    service.load_adapter("own", tmp_path / "1")
    assert not held(scheduler)


def test_a_short_row_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "RESTS", len(PROMPT) + 6)
    engine = NativeEngine(tiny("llama"), keep=True)
    scheduler = engine.scheduler()
    answered(engine, [Request(PROMPT, SAMPLING)], scheduler)
    assert not scheduler.backend._resting  # type: ignore[attr-defined]
    answered(engine, [Request([*PROMPT, 60], SAMPLING)], scheduler)
    assert len(scheduler.backend._resting) == 1  # type: ignore[attr-defined]
