"""Laws of the blend: exact shares at every step boundary, resumption, independence of sources."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import Lengths

from bloomery.core.rows import Segment
from bloomery.data.blend import Blend, RowRef
from bloomery.data.cursor import Cursor

NAMES = [f"s{i}" for i in range(8)]


@st.composite
def blends(draw: st.DrawFn, least: int = 1) -> tuple[dict[str, Lengths], dict[str, float], int]:
    """Tables of any lengths, shares of any unevenness, and a step size."""
    names = NAMES[: draw(st.integers(least, len(NAMES)))]
    longest = [draw(st.sampled_from([1, 5, 60, 400])) for _ in names]
    tables = {
        name: Lengths.of(*draw(st.lists(st.integers(1, top), min_size=1, max_size=25)))
        for name, top in zip(names, longest, strict=True)
    }
    parts = [draw(st.integers(1, 1000)) ** draw(st.integers(1, 3)) for _ in names]
    return tables, {n: part / sum(parts) for n, part in zip(names, parts, strict=True)}, draw(st.integers(1, 300))


def build(tables: dict[str, Lengths], share: dict[str, float], batch: int, *more: Segment) -> Blend:
    return Blend(tables, [Segment(0, share), *more], batch, 7, 1e12)


def longest_row(tables: dict[str, Lengths]) -> int:
    return max(int(table.lengths.max()) for table in tables.values())


@settings(max_examples=150, deadline=None)
@given(given=blends())
def test_realised_is_asked_within_one_row_at_every_step_boundary(given: tuple) -> None:  # type: ignore[type-arg]
    tables, share, batch = given
    blend = build(tables, share, batch)
    for step in range(40):
        blend.step(step)
        asked, realised = blend.asked(), blend.realised()
        assert all(abs(asked[name] - realised[name]) <= longest_row(tables) + 1e-6 for name in tables)


@settings(max_examples=100, deadline=None)
@given(given=blends())
def test_steps_use_the_budget_to_within_one_row(given: tuple) -> None:  # type: ignore[type-arg]
    tables, share, batch = given
    blend = build(tables, share, batch)
    longest = longest_row(tables)
    for step in range(40):
        blend.step(step)
        taken = sum(blend.realised().values())
        if longest <= batch:
            assert (step + 1) * batch - longest < taken <= (step + 1) * batch


@settings(max_examples=100, deadline=None)
@given(given=blends(), other=st.data(), start=st.integers(1, 20))
def test_shares_that_change_stay_exact_within_two_rows(given: tuple, other: st.DataObject, start: int) -> None:  # type: ignore[type-arg]
    tables, share, batch = given
    parts = {name: other.draw(st.integers(0, 5)) for name in tables} | {"s0": 1}
    later = {name: part / sum(parts.values()) for name, part in parts.items()}
    blend = build(tables, share, batch, Segment(start, later))
    for step in range(40):
        blend.step(step)
        asked, realised = blend.asked(), blend.realised()
        assert all(abs(asked[name] - realised[name]) <= 2 * longest_row(tables) + 1e-6 for name in tables)


@settings(max_examples=80, deadline=None)
@given(given=blends(), stop=st.integers(0, 30))
def test_resuming_at_any_step_equals_never_stopping(given: tuple, stop: int) -> None:  # type: ignore[type-arg]
    tables, share, batch = given
    whole = build(tables, share, batch)
    straight = [whole.step(step) for step in range(40)]
    first, second = build(tables, share, batch), build(tables, share, batch)
    for step in range(stop):
        first.step(step)
    second.restore(json.loads(json.dumps(first.state())))
    assert [second.step(step) for step in range(stop, 40)] == straight[stop:]
    assert second.realised() == whole.realised()


def reads(tables: dict[str, Lengths], share: dict[str, float], name: str, rows: int) -> list[RowRef]:
    """The first rows that a blend takes from one source."""
    blend = build(tables, share, 500)
    taken: list[RowRef] = []
    step = 0
    while len(taken) < rows:
        taken += [ref for ref in blend.step(step) if ref.source == name]
        step += 1
    return taken[:rows]


@settings(max_examples=50, deadline=None)
@given(given=blends(least=2))
def test_adding_a_source_reorders_no_other(given: tuple) -> None:  # type: ignore[type-arg]
    tables = given[0]
    fewer = dict(sorted(tables.items())[:-1])
    before = reads(fewer, dict.fromkeys(fewer, 1 / len(fewer)), "s0", 60)
    assert reads(tables, dict.fromkeys(tables, 1 / len(tables)), "s0", 60) == before


@settings(max_examples=50, deadline=None)
@given(given=blends(), names=st.permutations(NAMES))
def test_the_order_in_which_sources_are_written_changes_nothing(given: tuple, names: list[str]) -> None:  # type: ignore[type-arg]
    tables, share, batch = given
    turned = {name: tables[name] for name in names if name in tables}
    one, other = build(tables, share, batch), build(turned, {name: share[name] for name in turned}, batch)
    assert [one.step(step) for step in range(10)] == [other.step(step) for step in range(10)]


@settings(max_examples=100, deadline=None)
@given(
    long=st.lists(st.integers(65, 600), min_size=1, max_size=25),
    short=st.lists(st.integers(1, 64), min_size=1, max_size=25),
    share=st.sampled_from([0.34, 0.3, 0.05]),
    batch=st.sampled_from([64, 600, 1800]),
    begin=st.integers(0, 10),
)
def test_a_late_source_never_has_more_than_its_share_since_it_began(
    long: list[int], short: list[int], share: float, batch: int, begin: int
) -> None:
    tables = {"long": Lengths.of(*long), "short": Lengths.of(*short), "other": Lengths.of(*reversed(short))}
    late = {"long": share, "short": (1 - share) / 2, "other": (1 - share) / 2}
    parts = [Segment(0, {"short": 0.5, "other": 0.5}), Segment(begin, late)] if begin else [Segment(0, late)]
    blend = Blend(tables, parts, batch, 7, 1e12, {"long"})
    before = 0
    for step in range(60):
        if step == begin:
            before = sum(blend.realised().values())
        blend.step(step)
        taken = blend.realised()
        since = sum(taken.values()) - before
        if step >= begin:
            assert taken["long"] <= share * since + 1e-6
            assert share * since - taken["long"] <= max(long) + 2 * max(short)


@settings(max_examples=100, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=20), epoch=st.integers(0, 3)
)
def test_neighbours_of_one_group_are_drawn_one_after_the_other(groups: list[tuple[int, int]], epoch: int) -> None:
    named = np.concatenate([np.full(count, name, np.uint64) for name, count in groups])
    cursor = Cursor("s", Lengths(np.arange(1, len(named) + 1), named), seed=7)
    drawn = [cursor.take() for _ in range((epoch + 1) * len(named))][epoch * len(named) :]
    order = [index for _, index in drawn]
    assert sorted(order) == list(range(len(named))) and {at for at, _ in drawn} == {epoch}
    for before, after in zip(order, order[1:], strict=False):
        if named[before] and before + 1 < len(named) and named[before + 1] == named[before]:
            assert after == before + 1
