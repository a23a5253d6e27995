"""Whatever is measured, a decision keeps its bounds; whatever is asked, a division keeps the bounds of each source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.data.portions import portions
from bloomery.train.hold import Limits, Seen, decide

rises = st.floats(-0.5, 5.0)
small = st.floats(0.0, 0.5)


@given(
    st.lists(st.tuples(rises, small, small), min_size=1, max_size=12),
    st.floats(0.0, 1.0),
    st.floats(0.1, 1.0),
    st.floats(1e-4, 0.1),
    st.tuples(st.floats(0.01, 0.5), st.floats(0.51, 0.99)),
)
def test_decisions_stay_within_their_bounds(
    looks: list[tuple[float, float, float]],
    replay: float,
    rate: float,
    budget: float,
    bounds: tuple[float, float],
) -> None:
    seen = [Seen(k, k / 12, rise, noise, drift, noise / 2) for k, (rise, noise, drift) in enumerate(looks, 1)]
    found = decide(replay, rate, seen, Limits(budget, bounds, 0.1))
    assert bounds[0] - 1e-9 <= found.replay <= bounds[1] + 1e-9
    assert 0.1 <= found.rate <= 1.0
    if found.did == "more replay":
        assert found.replay >= min(max(replay, bounds[0]), bounds[1])
    if found.did in ("kept", "falling", "quickening", "at its bounds"):
        assert found.rate == rate


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(0.01, 1), st.floats(0, 0.3), st.floats(0.3, 1))),
    st.floats(0, 1),
)
def test_portions_keep_every_bound_and_the_sum_where_they_can(
    parts: dict[str, tuple[float, float, float]], total: float
) -> None:
    weights, least, most = ({name: part[i] for name, part in parts.items()} for i in range(3))
    found = portions(total, weights, least, most)
    assert all(least[name] - 1e-12 <= share <= most[name] + 1e-12 for name, share in found.items())
    reachable = min(max(total, sum(least.values())), sum(most.values()))
    assert sum(found.values()) == pytest.approx(reachable if parts else 0.0, abs=1e-9)


def test_portions_without_bounds_are_proportions() -> None:
    free = dict.fromkeys("ab", 0.0), dict.fromkeys("ab", 1.0)
    assert portions(0.5, {"a": 3, "b": 1}, *free) == pytest.approx({"a": 0.375, "b": 0.125})
