"""Laws of the learning rate at a checkpoint: published values are computed from published schedules."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bloomery.families.lr import Count, FamilySchedule, lr_at_tokens, plasticity

TOKENS_PER_STEP = 4096
APERTUS = FamilySchedule(
    kind="wsd", peak=1.1e-4, anneal_from=13_346_000_000_000, horizon=15_000_000_000_000, shape="1-sqrt", floor=0.1
)


def cosine(peak: float, horizon: float, warmup: float = 8.39e9) -> FamilySchedule:
    return FamilySchedule(kind="cosine", peak=peak, warmup=round(warmup), horizon=round(horizon), floor=0.1)


@pytest.mark.parametrize(
    ("schedule", "tokens", "published"),
    [
        (cosine(4e-4, 5e12), 1_907_359 * 512 * TOKENS_PER_STEP, 7.4487e-5),  # OLMo 2 1B: its stage-2 start
        (cosine(3e-4, 5e12), 928_646 * 1024 * TOKENS_PER_STEP, 6.1499e-5),  # OLMo 2 7B
        (cosine(9e-4, 5e12), 596_057 * 2048 * TOKENS_PER_STEP, 9e-5),  # OLMo 2 13B, at the horizon
        (FamilySchedule(kind="constant", peak=2e-4), 8_100_000_000_000, 2e-4),  # SmolLM3 3B stage 1
        (FamilySchedule(kind="constant", peak=1.7e-3), 11_100_000_000_000, 1.7e-3),  # Marin 8B phoenix
        # Apertus 8B: 1-sqrt from 1.1e-4 to 1.1e-5 over 1.654T tokens from 13.35T.
        (
            FamilySchedule(
                kind="wsd",
                peak=1.1e-4,
                anneal_from=13_346_000_000_000,
                horizon=15_000_000_000_000,
                shape="1-sqrt",
                floor=0.1,
            ),
            15_000_000_000_000,
            1.1e-5,
        ),
    ],
)
def test_published_rates_are_met_within_half_a_per_cent(
    schedule: FamilySchedule, tokens: int, published: float
) -> None:
    assert lr_at_tokens(schedule, tokens) == pytest.approx(published, rel=5e-3)


def test_olmo_2_1b_is_met_to_five_digits() -> None:
    assert f"{lr_at_tokens(cosine(4e-4, 5e12), 1_907_359 * 512 * TOKENS_PER_STEP):.4e}" == "7.4487e-05"


def test_the_rate_rises_in_warm_up_holds_and_ends_at_the_floor() -> None:
    for kind in ("linear", "cosine", "wsd"):
        schedule = FamilySchedule(kind=kind, peak=1.0, warmup=100, anneal_from=600, horizon=1000, floor=0.2)
        assert lr_at_tokens(schedule, 50) == pytest.approx(0.5)
        assert lr_at_tokens(schedule, 100) == pytest.approx(1.0)
        assert lr_at_tokens(schedule, 1000) == pytest.approx(0.2)
        assert lr_at_tokens(schedule, 5000) == pytest.approx(0.2)
    assert lr_at_tokens(FamilySchedule(kind="wsd", peak=1.0, anneal_from=600, horizon=1000), 600) == 1.0


def test_a_stretched_decay_is_the_planned_one_up_to_the_turn_and_ends_at_the_later_horizon() -> None:
    planned = FamilySchedule(kind="cosine", peak=1.0, horizon=1000, floor=0.1)
    stretched = FamilySchedule(
        kind="cosine",
        peak=1.0,
        horizon=1500,
        floor=0.1,
        stretch={"begin": 500, "planned": 1000},  # type: ignore[arg-type]
    )
    for tokens in (0, 250, 500):
        assert lr_at_tokens(stretched, tokens) == pytest.approx(lr_at_tokens(planned, tokens))
    assert lr_at_tokens(stretched, 1000) == pytest.approx(lr_at_tokens(planned, 750))
    assert lr_at_tokens(stretched, 1500) == lr_at_tokens(stretched, 9000) == pytest.approx(0.1)


def test_one_minus_sqrt_lies_below_linear() -> None:
    shapes = [FamilySchedule(kind="wsd", peak=1.0, anneal_from=0, horizon=100, shape=s) for s in ("1-sqrt", "linear")]
    below, above = (lr_at_tokens(schedule, 25) for schedule in shapes)
    assert (below, above) == (pytest.approx(1 - math.sqrt(0.25)), pytest.approx(0.75))


def test_a_count_is_a_whole_number_from_zero() -> None:
    count = TypeAdapter(Count)
    assert [count.validate_python(value) for value in (0, 1.2e9, "4001B")] == [0, 1_200_000_000, 4_001_000_000_000]
    for value in (-3, float("inf"), float("nan"), True, "-3"):
        with pytest.raises(ValueError):
            count.validate_python(value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kind": "cosine"}, "a schedule of `kind: cosine` needs `horizon`"),
        ({"kind": "linear"}, "needs `horizon`"),
        ({"kind": "wsd", "horizon": 10}, "a schedule of `kind: wsd` needs `anneal_from`"),
        ({"kind": "cosine", "horizon": 10, "warmup": 10}, "the decay goes from 10 to 10 tokens"),
        ({"kind": "wsd", "horizon": 10, "anneal_from": 10}, "the decay goes from 10 to 10 tokens"),
        ({"kind": "wsd", "horizon": 10, "anneal_from": 11}, "the decay goes from 11 to 10 tokens"),
        ({"kind": "wsd", "horizon": 10, "anneal_from": 4, "warmup": 5}, "after a warm-up of 5"),
        ({"kind": "cosine", "horizon": 10, "stretch": {"begin": 10, "planned": 10}}, "from 10 to 10 tokens"),
        ({"kind": "cosine", "horizon": 10, "stretch": {"begin": 5, "planned": 12}}, "from 5 to 12 tokens"),
    ],
)
def test_a_schedule_whose_numbers_allow_no_decay_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        FamilySchedule.model_validate({"peak": 1e-3, **keys})


def test_advice_on_a_schedule_names_no_key_against_itself() -> None:
    with pytest.raises(ValidationError) as caught:
        FamilySchedule.model_validate({"kind": "cosine", "peak": 1e-3, "horizon": 10, "warmup": 10})
    assert caught.value.errors()[0]["ctx"]["error"].fix == "make `warmup` less than `horizon`"


@pytest.mark.parametrize(("left", "heat"), [(1.0, "hot"), (0.9, "hot"), (0.2, "warm"), (0.02, "warm"), (0.0, "cold")])
def test_plasticity_follows_the_rate_that_is_left(left: float, heat: str) -> None:
    assert plasticity(left * 3e-4, 3e-4) == heat
