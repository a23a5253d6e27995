"""A share divided among sources, within bounds of each."""

from __future__ import annotations

from collections.abc import Mapping


def portions(
    total: float, weights: Mapping[str, float], least: Mapping[str, float], most: Mapping[str, float]
) -> dict[str, float]:
    """`total` in proportion to `weights`, none below its `least` or above its `most`.

    Where the bounds together do not let the sum be `total`, it is the nearest that they allow.
    """

    def cut(level: float) -> dict[str, float]:
        return {name: min(max(level * weight, least[name]), most[name]) for name, weight in weights.items()}

    low, high = 0.0, 1.0
    while sum(cut(high).values()) < total and high < 1e12:
        high *= 2
    for _ in range(100):  # halving a double's range: exact, and the same everywhere
        middle = (low + high) / 2
        low, high = (middle, high) if sum(cut(middle).values()) < total else (low, middle)
    return cut(high)
