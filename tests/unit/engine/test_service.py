"""The engine in its thread: requests from several threads, other weights while it answers, and its end."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from architectures import tiny

from bloomery.core.errors import InputError
from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Busy, Request, Sampling, Token
from bloomery.engine.running import Running
from bloomery.engine.service import NativeService
from bloomery.models.lora import LoraSettings, add_lora, save_lora

PROMPT = [5, 6, 7, 8]
SECONDS = 30


class Waiter(Answer):
    """An answer that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.done, self.begun = threading.Event(), threading.Event()

    def take(self, token: Token) -> None:
        super().take(token)
        self.begun.set()
        if token.ended is not None:
            self.done.set()


@pytest.fixture
def service() -> Iterator[NativeService]:
    service = NativeService(tiny("llama"), rows=2, most_waiting=3)
    service.start()
    yield service
    service.stop()


def ask(service: NativeService, most: int = 8, prompt: list[int] = PROMPT) -> Waiter:
    waiter = Waiter()
    service.submit(Request(prompt, Sampling(most, stop_ids=())), waiter.take)
    return waiter


def test_answers_equal_the_engines_own(service: NativeService) -> None:
    waiters = [ask(service, prompt=[5 + i, 6]) for i in range(5)]
    assert all(waiter.done.wait(SECONDS) for waiter in waiters)
    wanted = NativeEngine(tiny("llama")).generate([[5 + i, 6] for i in range(5)], Sampling(8, stop_ids=()))
    assert [tuple(waiter.ids) for waiter in waiters] == [one.ids for one in wanted]
    stats = service.stats()
    assert (stats.requests, stats.prompt_tokens, stats.tokens_out) == (5, 10, 40)


def test_a_full_queue_turns_requests_away_and_cancelled_ones_make_room(service: NativeService) -> None:
    # Held before its first step, so that how full the queue is does not depend on how fast it answers.
    service._work.acquire()
    try:
        tickets = [service.submit(Request(PROMPT, Sampling(100, stop_ids=())), Answer().take) for _ in range(5)]
        with pytest.raises(Busy):
            for _ in range(3):
                ask(service)
        for ticket in tickets:
            ticket.cancel()
    finally:
        service._work.release()
    waiter = Waiter()
    for _ in range(1000):
        try:
            service.submit(Request(PROMPT, Sampling(2, stop_ids=())), waiter.take)
            break
        except Busy:
            threading.Event().wait(0.01)
    assert waiter.done.wait(SECONDS) and waiter.ended == "length"


def test_running_requests_end_with_the_weights_they_began_with(service: NativeService) -> None:
    old = NativeEngine(tiny("llama")).generate([PROMPT], Sampling(90, stop_ids=()))[0]
    running = ask(service, 90)
    assert running.begun.wait(SECONDS)
    other = tiny("qwen3")
    service.swap(other)
    new = ask(service, 8)
    assert running.done.wait(SECONDS) and new.done.wait(SECONDS)
    assert tuple(running.ids) == old.ids
    assert tuple(new.ids) == NativeEngine(tiny("qwen3")).generate([PROMPT], Sampling(8, stop_ids=()))[0].ids


def test_a_request_is_accepted_by_the_weights_that_answer_it(
    service: NativeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_lora((adapted := tiny("llama")).model, LoraSettings(rank=2), seed=0)
    save_lora(adapted.model, tmp_path, "base")
    service.load_adapter("shop", tmp_path)
    engine, other = service._models[-1].engine, tiny("qwen3")
    other.config.max_position_embeddings = 32
    accept = engine.accept

    def interrupted(change: Callable[[], None]) -> Callable[..., Running]:
        def accepted(*given: Any) -> Running:
            monkeypatch.setattr(engine, "accept", accept)
            found = accept(*given)
            change()
            return found

        return accepted

    monkeypatch.setattr(engine, "accept", interrupted(lambda: service.drop_adapter("shop")))
    with pytest.raises(InputError, match="no adapter `shop`"):
        service.submit(Request(PROMPT, Sampling(), "shop"), Answer().take)
    monkeypatch.setattr(engine, "accept", interrupted(lambda: service.swap(other)))
    with pytest.raises(InputError, match="the context holds 32"):
        service.submit(Request(PROMPT * 10, Sampling()), Answer().take)
    assert ask(service).done.wait(SECONDS)


def test_weights_that_nobody_asks_any_more_are_let_go_at_once(tmp_path: Path) -> None:
    """Without a search for rings of objects: a server never looks through those that were there when it began."""
    adapted = tiny("llama")
    add_lora(adapted.model, LoraSettings(rank=2), seed=0)
    save_lora(adapted.model, tmp_path, "base")
    gc.collect()
    gc.disable()
    service = NativeService(tiny("llama"))
    service.load_adapter("shop", tmp_path)
    weights = [weakref.ref(weight) for weight in service._models[0].engine.model.parameters()]
    service.start()
    try:
        assert ask(service).done.wait(SECONDS)
        service.swap(tiny("llama"))
        deadline = time.monotonic() + SECONDS
        while any(weight() is not None for weight in weights) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(weight() is not None for weight in weights)
    finally:
        service.stop()
        gc.enable()


def test_refusals_come_from_submit_and_not_from_the_thread(service: NativeService) -> None:
    for request in (Request([], Sampling()), Request(PROMPT, Sampling(), "none"), Request([5] * 128, Sampling())):
        with pytest.raises(InputError):
            service.submit(request, Answer().take)
    assert ask(service).done.wait(SECONDS)


def test_a_stopped_service_ends_its_requests_and_takes_no_more(service: NativeService) -> None:
    waiters = [ask(service, 100) for _ in range(3)]
    service.stop()
    service.stop()
    assert all(waiter.done.wait(SECONDS) for waiter in waiters)
    assert all(waiter.ended in ("error", "length") for waiter in waiters)
    with pytest.raises(Busy):
        ask(service)


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(service: NativeService) -> None:
    texts = [[5, 6, 7], [9] * 20, [11]]
    together = service.embed(texts)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, one in zip(texts, together, strict=True):
        assert np.allclose(service.embed([text])[0], one, atol=1e-5)


def test_a_step_that_fails_ends_what_it_had_and_nothing_else(
    service: NativeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = service._models[-1].scheduler.backend
    waiters = [ask(service, 200), ask(service, 200), ask(service, 200)]
    waiters[0].begun.wait(SECONDS)

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(backend, "advance", fail)
    for waiter in waiters:
        assert waiter.done.wait(SECONDS) and waiter.ended == "error" and "MemoryError" in waiter.error
    again = ask(service)
    assert again.done.wait(SECONDS) and again.ended == "length" and len(again.ids) == 8


def test_a_program_that_fails_at_a_token_hears_no_more_and_others_are_answered(
    service: NativeService, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Token] = []

    def fails(token: Token) -> None:
        heard.append(token)
        raise KeyError("its own")

    service.submit(Request(PROMPT, Sampling(5, stop_ids=())), fails)
    other = ask(service)
    assert other.done.wait(SECONDS) and other.ended == "length" and len(heard) == 1
    assert "it is told no more" in caplog.text and "its own" in caplog.text


def test_requests_of_many_threads_come_and_go_while_others_are_answered(service: NativeService) -> None:
    """`waiting` is the engine's own: other threads appended to it while it was read, and the engine died."""
    ended: list[str | None] = []

    def client(number: int) -> None:
        for turn in range(20):
            waiter = Waiter()
            try:
                ticket = service.submit(Request([5 + number, 6], Sampling(3, stop_ids=())), waiter.take)
            except Busy:
                continue
            if turn % 3 == 0:
                ticket.cancel()
            assert waiter.done.wait(SECONDS)
            ended.append(waiter.ended)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert set(ended) <= {"length", "cancelled"} and ended.count("length") > 20
