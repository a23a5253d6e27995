"""Learning rate is a pure function of the step, with the textbook values at its corners."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.train.config import Schedule
from bloomery.train.schedule import lr_at


def test_constant_never_changes() -> None:
    assert {lr_at(k, Schedule("constant", 3e-4, 50)) for k in range(50)} == {3e-4}


def test_linear_first_step_is_peak_and_step_after_last_is_final() -> None:
    schedule = Schedule("linear", 1.0, 10, final=0.1)
    assert lr_at(0, schedule) == 1.0
    assert lr_at(10, schedule) == pytest.approx(0.1)


def test_cosine_is_halfway_in_the_middle() -> None:
    assert lr_at(50, Schedule("cosine", 1.0, 100)) == pytest.approx(0.5)


def test_wsd_holds_until_the_anneal_begins() -> None:
    schedule = Schedule("wsd", 1.0, 100, anneal=0.2, shape="1-sqrt")
    assert lr_at(79, schedule) == 1.0
    assert lr_at(90, schedule) == pytest.approx(1 - math.sqrt(0.5))


def test_warmup_rises_from_start_to_peak() -> None:
    schedule = Schedule("wsd", 1.0, 100, warmup=0.1, start=0.5)
    assert lr_at(0, schedule) == pytest.approx(0.55)
    assert lr_at(9, schedule) == 1.0


@given(
    st.sampled_from(["constant", "linear", "cosine", "wsd"]),
    st.integers(1, 400),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.sampled_from(["linear", "1-sqrt", "cosine"]),
)
def test_rate_never_leaves_its_bounds(kind: str, steps: int, warmup: float, anneal: float, shape: str) -> None:
    schedule = Schedule(kind, 1.0, steps, warmup, anneal, shape, final=0.1)  # type: ignore[arg-type]
    assert all(0 < lr_at(k, schedule) <= 1.0 for k in range(steps))
