"""The queue: places are given in order, nobody waits longer than told, and no place is ever lost."""

from __future__ import annotations

import asyncio

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
