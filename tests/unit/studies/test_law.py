"""The law finds what made the points, knows when it is wrong, and says when it is asked beyond what it has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.studies.law import LARGEST_SHARE, JointLaw, fit
from bloomery.studies.micro import Point

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
Truth = Callable[[float, float], tuple[float, float]]


def of_the_family(share: float, length: float) -> tuple[float, float]:
    """Log changes of domain and general loss that a law of our form can say."""
    domain = 0.02 * length**0.5 - 0.03 * ((1 + 100 * share * length) ** 0.25 - 1) / 0.25
    return domain, 0.03 * length**0.25 + 0.06 * share**1.5 * length**0.25


def threshold(share: float, length: float) -> tuple[float, float]:
    """A world in which the domain is learnt from a share of 15 % on, all at once, and forgets as suddenly."""
    return (-0.4, 0.3) if share > 0.15 else (0.0, 0.0)


def points(truth: Truth, shares: Sequence[float] = SHARES, noise: float = 0.0, start: str = "toy/hot") -> list[Point]:
    rng = np.random.default_rng(3)
    found = []
    for tokens in (20_000, 40_000):
        for share in shares:
            domain, general = (math.exp(x + noise * rng.normal()) for x in truth(share, tokens / 40_000))
            run = f"{share}-{tokens}"
            found += [
                Point(start, share, 0, 2.5, 1.6, ended=False, run=run),
                Point(start, share, tokens // 2, 9.9, 9.9, ended=False, run=run),
                Point(start, share, tokens, 2.5 * domain, 1.6 * general, run=run),
            ]
    return found


def test_the_law_recovers_what_made_the_points() -> None:
    law = fit(points(of_the_family, noise=0.002))
    for share in (0.05, 0.25, 0.6, 0.9):
        for tokens in (20_000, 40_000, 80_000):
            domain, general = (math.exp(x) for x in of_the_family(share, tokens / 40_000))
            found = law.predict("toy/hot", share, tokens)
            assert found.domain.estimate == pytest.approx(2.5 * domain, rel=0.01)
            assert found.general.estimate == pytest.approx(1.6 * general, rel=0.01)
            assert found.domain.low <= 2.5 * domain <= found.domain.high
    assert law.holds and max(law.leave_one_out.values()) < 0.004
    rise = law.rise("toy/hot", 0.5, 40_000)
    assert rise.low <= math.expm1(0.06 * 0.5**1.5) <= rise.high


def test_points_half_way_are_left_out_of_the_fit() -> None:
    """They stand at 9.9, where no law of the ends would."""
    assert fit(points(of_the_family)).leave_one_out["domain"] < 0.005


def test_leaving_runs_out_shows_that_a_law_is_wrong() -> None:
    law = fit(points(threshold))
    assert not law.holds and law.leave_one_out["domain"] > 0.03 and law.leave_one_out["general"] > 0.03


def test_one_run_that_went_astray_moves_the_law_little() -> None:
    good = points(of_the_family)
    bad = [replace(p, domain=p.domain * 1.3) if p.run == "0.5-40000" else p for p in good]
    found, meant = (fit(some).predict("toy/hot", 0.6, 40_000).domain.estimate for some in (bad, good))
    assert found == pytest.approx(meant, rel=0.02)


def test_starts_share_exponents_and_keep_their_own_size() -> None:
    def halved(share: float, length: float) -> tuple[float, float]:
        domain, general = of_the_family(share, length)
        return domain / 2, general / 2

    law = fit([*points(of_the_family), *points(halved, (0.1, 0.5), start="toy/cold")])
    for start, truth in (("toy/hot", of_the_family), ("toy/cold", halved)):
        expected = 2.5 * math.exp(truth(0.9, 1.0)[0])
        assert law.predict(start, 0.9, 40_000).domain.estimate == pytest.approx(expected, rel=0.01)


def test_the_share_for_a_budget_is_the_largest_that_keeps_it() -> None:
    law = fit(points(of_the_family, noise=0.001))
    share = law.share_for("toy/hot", 0.01, 40_000)
    assert share is not None and 0.15 < share < 0.35  # 0.06 r^1.5 = 1 % at 30 %
    assert law.rise("toy/hot", share, 40_000).high <= 0.01 < law.rise("toy/hot", share + 0.01, 40_000).high
    assert law.share_for("toy/hot", 1.0, 40_000) == LARGEST_SHARE
    assert law.share_for("toy/hot", -0.5, 40_000) is None


def test_a_prediction_beyond_the_runs_says_how_far() -> None:
    law = fit(points(of_the_family, noise=0.002))
    assert law.predict("toy/hot", 0.5, 40_000).beyond == ()
    told = str(law.predict("toy/hot", 0.99, 400_000))
    assert "10 times the 40,000 tokens of the longest micro-run" in told and "outside the 0% to 90%" in told
    near, far = (law.rise("toy/hot", 0.5, tokens) for tokens in (40_000, 640_000))
    assert far.high - far.low > 2 * (near.high - near.low)  # 16 ** 0.25
    assert "1/4 of the 20,000 tokens" in str(law.predict("toy/hot", 0.5, 5_000))


def test_without_general_text_only_the_domain_has_a_law() -> None:
    law = fit([replace(point, general=math.nan) for point in points(of_the_family)])
    assert law.general is None and [*law.leave_one_out] == ["domain"]
    assert math.isnan(law.predict("toy/hot", 0.5, 40_000).general.estimate)
    with pytest.raises(InputError, match="no general text"):
        law.share_for("toy/hot", 0.01, 40_000)


def test_too_few_runs_and_unknown_starts_are_refused() -> None:
    with pytest.raises(InputError, match="2 micro-runs from `toy/hot` are too few"):
        fit(points(of_the_family, (0.5,)))
    with pytest.raises(InputError, match="no finished micro-run"):
        fit([point for point in points(of_the_family) if point.tokens == 0])
    with pytest.raises(InputError, match="no micro-run began at `toy/cold`"):
        fit(points(of_the_family)).predict("toy/cold", 0.5, 40_000)


@pytest.fixture(scope="module")
def noisy() -> list[JointLaw]:
    """Laws of good and of senseless points."""
    rng = np.random.default_rng(0)
    wild = [
        replace(point, domain=point.domain * math.exp(rng.normal()), general=point.general * math.exp(rng.normal()))
        for point in points(of_the_family)
    ]
    return [fit(points(of_the_family, noise=0.003)), fit(points(threshold)), fit(wild)]


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1_000, 10_000_000))
def test_more_domain_never_raises_its_loss_nor_lowers_the_general_one(
    noisy: list[JointLaw], one: float, other: float, tokens: int
) -> None:
    less, more = sorted((one, other))
    for law in noisy:
        below, above = (law.predict("toy/hot", share, tokens) for share in (less, more))
        assert above.domain.estimate <= below.domain.estimate * (1 + 1e-9)
        assert above.general.estimate >= below.general.estimate * (1 - 1e-9)
        assert 0 < above.domain.low <= above.domain.estimate <= above.domain.high
