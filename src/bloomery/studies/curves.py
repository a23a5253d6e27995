"""The curve behind the law: what training does to a log loss over share and length, fitted by a grid of exponents and
least squares. `law.py` says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NOISE = 0.003
"""Scatter of a run around its law, in log loss, that priors are weighed against: ember's runs of 40k tokens have 0.3 to
0.5 %."""


@dataclass(frozen=True, slots=True)
class Form:
    """Exponents tried, their priors (mean, width), and the sign of what the domain adds."""

    u: Array
    v: Array
    w: Array | None
    """None: the same as v."""
    g: Array
    prior: tuple[tuple[float, float], ...]
    sign: int

    def grid(self) -> tuple[Array, Array, Array, Array]:
        """Every combination, each [G]."""
        first = self.v[:1] if self.w is None else self.w
        u, v, w, g = (axis.ravel() for axis in np.meshgrid(self.u, self.v, first, self.g))
        return (u, v, v, g) if self.w is None else (u, v, w, g)


PRIOR_WIDTH = 0.25
"""Of exponents of the length."""
_STEPS = np.linspace(0, 1, 5)
DOMAIN = Form(_STEPS, np.linspace(0.2, 1.2, 21), None, np.zeros(1), (*((0.5, PRIOR_WIDTH),) * 3, (0.0, 1.0)), -1)
GENERAL = Form(
    _STEPS,
    np.linspace(0.5, 3, 11),
    np.linspace(0, 1, 9),
    np.linspace(0, 1, 9),
    ((0.25, PRIOR_WIDTH), (1.0, 0.5), (0.25, PRIOR_WIDTH), (0.5, 0.25)),
    1,
)
LEAST_REPLAY = 0.01
"""Added to the replay share: what 1 % of it changes is seen, and none at all stays finite."""
C_WIDTH, A_WIDTH = 0.1, 0.5
"""Widths of the priors of c and a, around 0."""


@dataclass(frozen=True, slots=True)
class Runs:
    """End points as arrays [n]: start, share, tokens over `unit`, and log of the loss over the start's."""

    start: npt.NDArray[np.str_]
    share: Array
    length: Array
    change: Array

    def without(self, index: int) -> Runs:
        """All but one run."""
        return Runs(*(np.delete(getattr(self, name), index) for name in ("start", "share", "length", "change")))


@dataclass(frozen=True, slots=True)
class Curve:
    """One fit: exponents u, v, w, g, and (c, a) by start."""

    exponents: tuple[float, float, float, float]
    own: Mapping[str, tuple[float, float]]

    def change(self, start: str, share: float, length: float) -> float:
        """Log of the loss over the start's; `length` in units of the fit."""
        return self.without_domain(start, length) + self.of_domain(start, share, length)

    def without_domain(self, start: str, length: float) -> float:
        """The first term: what training on general text alone does."""
        return float(self.own[start][0] * length ** self.exponents[0])

    def of_domain(self, start: str, share: float, length: float) -> float:
        """The second term: what the domain adds to it."""
        _, v, w, g = self.exponents
        return float(self.own[start][1] * share**v * (1 - share + LEAST_REPLAY) ** -g * length**w)


def fitted(runs: Runs, form: Form) -> Curve:
    """Exponents from the grid, coefficients by least squares; a run that lies far off the rest counts less (Huber)."""
    weight = np.ones(len(runs.share))
    for _ in range(3):
        curve = _least_squares(runs, form, weight)
        told = zip(runs.start, runs.share, runs.length, strict=True)
        off = np.abs([curve.change(str(s), float(r), float(d)) for s, r, d in told] - runs.change)
        scale = max(float(np.median(off)) / 0.6745, NOISE)
        weight = np.minimum(1.0, 2 * scale / np.maximum(off, 1e-12))
    return curve


def _least_squares(runs: Runs, form: Form, weight: Array) -> Curve:
    """Two coefficients of each start in closed form, for every combination of exponents at once; the best wins."""
    u, v, w, g = form.grid()
    h = runs.length ** u[:, None]
    k = runs.share ** v[:, None] * (1 - runs.share + LEAST_REPLAY) ** -g[:, None] * runs.length ** w[:, None]
    cost = sum(
        (NOISE * (x - mean) / width) ** 2 for x, (mean, width) in zip((u, v, w, g), form.prior, strict=True)
    )  # [G], in squares of log loss
    own: dict[str, tuple[Array, Array]] = {}
    for start in dict.fromkeys(map(str, runs.start)):
        here = np.where(runs.start == start, weight, 0.0)
        c, a = _two(h, k, runs.change, here, form.sign)
        cost = cost + (here * (c[:, None] * h + a[:, None] * k - runs.change) ** 2).sum(1)
        cost = cost + (NOISE * c / C_WIDTH) ** 2 + (NOISE * a / A_WIDTH) ** 2
        own[start] = (c, a)
    best = int(np.argmin(cost))
    return Curve(
        (float(u[best]), float(v[best]), float(w[best]), float(g[best])),
        {start: (float(c[best]), float(a[best])) for start, (c, a) in own.items()},
    )


def _two(h: Array, k: Array, y: Array, weight: Array, sign: int) -> tuple[Array, Array]:
    """c, a [G] of y = c h + a k by weighted ridge; where a has the wrong sign it is 0, and c alone is fitted."""
    hh, kk = (weight * h * h).sum(1) + (NOISE / C_WIDTH) ** 2, (weight * k * k).sum(1) + (NOISE / A_WIDTH) ** 2
    hk, hy, ky = (weight * h * k).sum(1), (weight * h * y).sum(1), (weight * k * y).sum(1)
    determinant = hh * kk - hk * hk
    c, a = (kk * hy - hk * ky) / determinant, (hh * ky - hk * hy) / determinant
    wrong = sign * a < 0
    return np.where(wrong, hy / hh, c), np.where(wrong, 0.0, a)
