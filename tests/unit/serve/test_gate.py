"""The queue: places are given in order, nobody waits longer than told, and no place is ever lost."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.serve.errors import Refusal
from bloomery.serve.gate import Gate
from bloomery.serve.limits import Limits


def test_a_request_waits_for_its_places_and_gets_them_in_order() -> None:
    async def go() -> list[int]:
        gate, order = Gate(Limits(running=2, patience=5)), list[int]()

        async def one(number: int, count: int) -> None:
            taken = await gate.enter(count)
            order.append(number)
            await asyncio.sleep(0)
            gate.leave(taken)

        await gate.enter(1)
        waiting = [asyncio.create_task(one(number, count)) for number, count in enumerate((2, 1, 1))]
        await asyncio.sleep(0)
        assert gate.waiting == 3 and order == []  # a small one does not overtake a large one
        gate.leave(1)
        await asyncio.gather(*waiting)
        assert gate.taken == 0
        return order

    assert asyncio.run(go()) == [0, 1, 2]


def test_who_finds_the_queue_full_is_refused_at_once_and_who_waits_too_long_after_that() -> None:
    async def go() -> None:
        gate = Gate(Limits(running=1, queue=1, patience=0.02))
        await gate.enter(1)
        late = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(0)
        assert gate.full
        for refused in (gate.enter(1), late):
            with pytest.raises(Refusal) as told:
                await refused
            assert told.value.status == 429 and told.value.headers["retry-after"] == "1"
        assert (gate.taken, gate.waiting) == (1, 0)

    asyncio.run(go())


def test_the_queue_becomes_no_longer_than_what_comes_out_of_it_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)  # the event loop's clock, too

    async def go() -> None:
        gate = Gate(Limits(running=1, queue=100, patience=10))
        await gate.enter(1)
        tasks: list[asyncio.Task[int]] = []

        async def at(seconds: float, come: int = 0, go: int = 0) -> None:
            nonlocal now
            now = seconds
            tasks.extend(asyncio.create_task(gate.enter(1)) for _ in range(come))
            for _ in range(5):
                await asyncio.sleep(0)
            for _ in range(go):
                gate.leave(1)
                await asyncio.sleep(0)

        await at(0.0, come=8)
        await at(9.0, come=3, go=3)
        assert gate.waiting == 8 and not gate.full  # nobody has been waiting for long
        await at(10.5)
        assert gate.waiting == 3 and gate.full  # five were refused, three came out
        await at(10.6, go=1)
        assert gate.waiting == 2 and not gate.full
        await at(19.0)
        assert gate.waiting == 0 and not gate.full
        await at(30.0, come=50)
        assert gate.waiting == 50 and not gate.full  # a new queue begins without a past
        await at(41.0)
        assert gate.waiting == 0
        refused = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Refusal)]
        assert len(refused) == len(tasks) - 4 and gate.taken == 1

    asyncio.run(go())


def test_a_request_for_more_answers_than_places_takes_them_all() -> None:
    async def go() -> None:
        gate = Gate(Limits(running=2))
        assert await gate.enter(16) == 2

    asyncio.run(go())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["stay", "leave", "cancel"])), max_size=12))
def test_places_come_back_whatever_becomes_of_the_requests(plan: list[tuple[int, str]]) -> None:
    async def go() -> None:
        gate = Gate(Limits(running=3, queue=100, patience=0.01))

        async def one(count: int, what: str) -> None:
            taken = await gate.enter(count)
            try:
                await asyncio.sleep(0.002 if what == "stay" else 0)
            finally:
                gate.leave(taken)

        tasks = [asyncio.create_task(one(count, what)) for count, what in plan]
        await asyncio.sleep(0)
        for task, (_, what) in zip(tasks, plan, strict=True):
            if what == "cancel":
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (gate.taken, gate.waiting) == (0, 0)

    asyncio.run(go())


@pytest.mark.parametrize("name", ["running", "queue"])
def test_limits_that_let_nobody_in_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        Limits(**{name: 0})
