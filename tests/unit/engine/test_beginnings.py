"""What several requests begin with is kept once, and each answers as if it had read everything itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import tiny
from engines import SHAPES, TOKEN, answered, read_tokens, write
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.engine import batch
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Request, Sampling
from bloomery.engine.slots import Slot, Slots

PROMPT = list(range(3, 43))


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginnings of any length are kept."""
    monkeypatch.setattr(batch, "KEPT", batch.SHARED)


def sampled(prompt: list[int], length: int, number: int) -> Request:
    return Request(prompt, Sampling(length, temperature=1.0, stop_ids=()), number=number)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gpt_oss", "gpt_neox", "gpt2"])
def test_groups_and_others_answer_as_each_alone(architecture: str) -> None:
    engine = NativeEngine(tiny(architecture))
    scheduler = engine.scheduler()
    counts = read_tokens(engine, scheduler)
    longer, other = [*PROMPT[:30], 50, 51, 52, 53], list(range(60, 85))
    requests = [sampled(PROMPT, 3 + i % 5, i) for i in range(6)]
    requests += [sampled(longer, 6, i) for i in range(2)] + [sampled(other, 9, i) for i in range(3)]
    requests.append(sampled([7, 8, 9], 8, 0))
    together = answered(engine, requests, scheduler)
    assert sum(counts) <= len(PROMPT) + 4 + len(other) + 3 + sum(len(one.ids) for one in together) + 3
    alone = [answered(engine, [request])[0] for request in requests]
    assert [one.ids for one in together] == [one.ids for one in alone]
    for one, lonely in zip(together, alone, strict=True):
        assert np.allclose(one.logprobs, lonely.logprobs, atol=1e-4)
    assert scheduler.backend.slots.used == 0  # type: ignore[attr-defined]


def test_one_that_comes_later_goes_on_from_one_that_answers() -> None:
    engine = NativeEngine(tiny("llama"), batch_rows=4)
    scheduler = engine.scheduler()
    requests = [sampled(PROMPT, 20, 0), *(sampled([5 + i, 6], 2, 0) for i in range(3))]
    requests += [sampled([*PROMPT, 9, 9], 4, 1), sampled(PROMPT, 4, 2), sampled([*PROMPT[:20], 8], 30, 3)]
    counts = read_tokens(engine, scheduler)
    together = answered(engine, requests, scheduler)
    assert sum(counts) < 3 * len(PROMPT) + sum(len(one.ids) for one in together)
    assert [one.ids for one in together] == [answered(engine, [request])[0].ids for request in requests]
    assert scheduler.backend.slots.used == 0  # type: ignore[attr-defined]


def test_a_group_holds_its_prompt_once() -> None:
    engine = NativeEngine(tiny("llama"))
    backend = engine.scheduler().backend
    tokens = 64 * backend.slots.token_bytes  # type: ignore[attr-defined]
    engine = NativeEngine(tiny("llama"), memory=64 * tokens)
    scheduler = engine.scheduler()
    most = 0
    for number in range(20):
        scheduler.waiting.append(engine.accept(sampled(PROMPT, 30, number), lambda _: None, scheduler.backend.fits))
    while scheduler.busy:
        scheduler.step()
        most = max(most, scheduler.backend.slots.used)  # type: ignore[attr-defined]
    assert most <= 22 * tokens  # a row of 64 each, the beginning, and for a moment the row that read it


def test_without_room_for_a_beginning_prompts_are_read_again() -> None:
    whole = NativeEngine(tiny("llama"))
    row = 64 * whole.scheduler().backend.slots.token_bytes  # type: ignore[attr-defined]
    engine = NativeEngine(tiny("llama"), memory=2 * row)
    requests = [sampled(PROMPT, 4, number) for number in range(5)]
    alone = [answered(whole, [request])[0].ids for request in requests]
    assert [one.ids for one in answered(engine, requests)] == alone


def marks(slot: Slot) -> list[float]:
    """What a request's tokens are marked with, those of its beginning first."""
    rows = [] if slot.beginning is None else [(slot.beginning, slot.skipped)]
    return [
        float(row.slab.layers[0][0][row.row, 0, at, 0])
        for row, count in [*rows, (slot, slot.length)]
        for at in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "share", "shorten", "ready", "give"]), st.integers(0, 200)), max_size=50
    )
)
def test_every_request_keeps_its_tokens_and_its_beginning(moves: list[tuple[str, int]]) -> None:
    slots = Slots(SHAPES, 64 * 40 * TOKEN, torch.device("cpu"))
    live: dict[int, tuple[Slot, list[float]]] = {}
    for number, (move, size) in enumerate(moves, 1):
        key = sorted(live)[size % len(live)] if live else 0
        if move == "take":
            slot = slots.take(1 + size)
            if slot is not None:
                write(slot, number, 1 + size // 2)
                live[number] = (slot, [float(number)] * slot.length)
        elif key and move in ("share", "shorten") and live[key][0].past:
            source, told = live[key]
            tokens = 1 + size % source.past
            beginning = slots.begin(source, tokens)
            if beginning is None:
                continue
            if move == "shorten" and beginning is not source.beginning:
                live[key] = (slots.shorten(source, beginning, tokens, source.slab.size), told)
            new = slots.take(40)
            if new is not None:
                slots.go_on(new, beginning, tokens)
                new.slab.widen(5)
                write(new, number, 5)
                live[number] = (new, told[:tokens] + [float(number)] * 5)
            else:
                slots.spare(beginning)
        elif key and move == "ready" and live[key][0].row >= live[key][0].slab.ready:
            slots.ready(live[key][0])
        elif key and move == "give":
            slots.give(live.pop(key)[0])
        assert slots.used <= slots.held <= slots.budget
        assert all(marks(slot) == told for slot, told in live.values())
    for slot, _ in live.values():
        slots.give(slot)
    assert slots.used == 0
