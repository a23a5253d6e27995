"""Laws of shares, steps and learning rates, over arbitrary sources and schedules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.families.lr import FamilySchedule, lr_at_tokens
from bloomery.recipes import defaults
from bloomery.recipes.memory import ModelShape, training_bytes
from bloomery.recipes.mixing import shares
from bloomery.recipes.plan import Plan, Source, Value
from bloomery.recipes.start import Start

ROLES = st.sampled_from(["domain", "curated"])
SOURCES = st.lists(st.tuples(ROLES, st.integers(1, 10**9), st.booleans()), min_size=1, max_size=8)


@given(SOURCES, st.floats(0, 1))
def test_shares_sum_to_one_and_each_role_gets_its_part(drawn: list[tuple[str, int, bool]], part: float) -> None:
    sources = [Source(f"s{i}", role, {}, 0.01 if fixed else None) for i, (role, _, fixed) in enumerate(drawn)]  # type: ignore[arg-type]
    tokens = {f"s{i}": float(count) for i, (_, count, _) in enumerate(drawn)}
    found = shares(sources, part, tokens)
    roles = {source.role for source in sources}
    assert sum(found.values()) == pytest.approx(1)
    assert all(share > 0 for share in found.values())
    domain = sum(found.get(source.name, 0.0) for source in sources if source.role == "domain")
    assert domain == pytest.approx(part if len(roles) == 2 else float(roles == {"domain"}))


@given(st.dictionaries(st.integers(0, 20).map("s{}".format), st.integers(1, 10**9), min_size=2, max_size=8))
def test_sources_without_a_share_are_read_equally_often(tokens: dict[str, int]) -> None:
    sources = [Source(name, "domain", {}) for name in tokens]
    epochs = [share / tokens[name] for name, share in shares(sources, 1.0, dict(tokens)).items()]
    assert max(epochs) == pytest.approx(min(epochs))


KINDS = st.sampled_from(["constant", "linear", "cosine", "wsd"])
SHAPES = st.sampled_from(["linear", "1-sqrt", "cosine"])


@given(KINDS, SHAPES, st.floats(0, 1), st.lists(st.integers(0, 2000), min_size=2))
def test_after_warm_up_a_rate_never_rises_and_stays_between_floor_and_peak(
    kind: str, shape: str, floor: float, places: list[int]
) -> None:
    schedule = FamilySchedule(
        kind=kind,
        peak=3e-4,
        warmup=100,
        anneal_from=500,
        horizon=1000,
        shape=shape,
        floor=floor,  # type: ignore[arg-type]
    )
    rates = [lr_at_tokens(schedule, place) for place in sorted(places) if place >= 100]
    assert all(later <= earlier + 1e-18 for earlier, later in zip(rates, rates[1:], strict=False))
    assert all(floor * 3e-4 - 1e-12 <= rate <= 3e-4 + 1e-12 for rate in rates)


HEAT = st.sampled_from(["hot", "warm", "cold"])


@settings(max_examples=200)
@given(HEAT, st.floats(1e-6, 1e-2), st.floats(0, 1), st.sampled_from(["text", "sft"]), st.integers(1, 64))
def test_the_derived_rate_never_exceeds_the_peak_and_never_rises_when_the_batch_shrinks(
    heat: str, peak: float, left: float, objective: str, rows: int
) -> None:
    start = Start("x", "checkpoint", "mid", plasticity=heat, lr=peak * left, peak_lr=peak, batch_tokens=64 * 128)  # type: ignore[arg-type]
    rate, smaller = (
        defaults.learning_rate(start, objective, "full", tokens).value  # type: ignore[arg-type]
        for tokens in (rows * 128, max(1, rows // 2) * 128)
    )
    assert smaller <= rate <= peak * 1.00001


@given(st.integers(1, 10**9), st.integers(8, 65536), st.sampled_from([None, 4096, 2**21]))
def test_a_derived_batch_holds_a_row_and_gives_enough_steps(budget: int, context: int, own: int | None) -> None:
    start = Start("x", "checkpoint", "mid", batch_tokens=own)
    batch = defaults.batch_tokens(start, "text", float(budget), context).value
    assert batch >= min(context, own or context)
    assert budget / batch >= defaults.LEAST_STEPS or batch <= max(context, own or 0)


SIZES = st.integers(1, 64)


@given(SIZES, SIZES, SIZES, st.integers(1, 4096), st.booleans())
def test_a_step_never_takes_fewer_bytes_for_more_tokens_or_without_recomputing(
    vocab: int, width: int, layers: int, tokens: int, bf16: bool
) -> None:
    shape = ModelShape(vocab, width * 8, layers, 8, 4, width, width * 16, True, True)
    less, more = (training_bytes(shape, count, bf16=bf16).total for count in (tokens, tokens + 1))
    again = training_bytes(shape, tokens, bf16=bf16, checkpointing=True).total
    assert again <= less or layers == 1
    assert less <= more


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=9), st.tuples(JSON, st.sampled_from(["user", "derived"]), st.text()))
)
def test_any_plan_survives_json(values: dict[str, tuple[object, str, str]]) -> None:
    plan = Plan({key: Value(*fields) for key, fields in values.items()})  # type: ignore[arg-type]
    assert Plan.from_json(plan.to_json()) == plan
