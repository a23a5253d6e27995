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
    """Exponents tried, their priors (mean, width), and the sign of what the domain adds.

    Where it is `shifted`, what counts are domain tokens beside `WORTH`, and w and g have no meaning.
    """

    u: Array
    v: Array
    w: Array
    g: Array
    prior: tuple[tuple[float, float], ...]
    sign: int
    shifted: bool

    def grid(self) -> tuple[Array, ...]:
        """Every combination of u, v, w, g, each [G]."""
        return tuple(axis.ravel() for axis in np.meshgrid(self.u, self.v, self.w, self.g))

    def added(self, share: Array | float, length: Array | float, v: Array, w: Array, g: Array) -> Array:
        """What the domain adds to a log loss, but for its coefficient; arguments broadcast."""
        if self.shifted:
            tokens = np.log1p(share * length / WORTH)
            return np.asarray(np.where(v > 0, np.expm1(v * tokens) / np.maximum(v, 1e-12), tokens))
        return np.asarray(share**v * (1 - share + LEAST_REPLAY) ** -g * length**w)

    def unlikely(self, u: Array, v: Array, w: Array, g: Array) -> Array:
        """How far exponents are from their priors, in squares of widths, [G]."""
        told = zip((u, v, w, g), self.prior, strict=True)
        return np.asarray(sum(((x - mean) / width) ** 2 for x, (mean, width) in told))


PRIOR_WIDTH = 0.25
"""Of exponents of the length."""
_STEPS = np.linspace(0, 1, 5)
_FREE = (0.0, 1.0)
DOMAIN = Form(
    _STEPS,
    np.linspace(0, 1, 21),
    np.zeros(1),
    np.zeros(1),
    ((0.5, PRIOR_WIDTH), (0.25, 0.5), _FREE, _FREE),
    -1,
    shifted=True,
)
GENERAL = Form(
    _STEPS,
    np.linspace(0.5, 3, 11),
    np.linspace(0, 1, 9),
    np.linspace(0, 1, 9),
    ((0.25, PRIOR_WIDTH), (1.0, 0.5), (0.25, PRIOR_WIDTH), (0.5, 0.25)),
    1,
    shifted=False,
)
WORTH = 0.01
"""Domain tokens that the start is worth, in lengths of a micro-run: half and twice as many miss runs left out by as
much, within 0.1 %, on ember's hot and warm checkpoints and three domains."""
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
    """One fit: its form, exponents u, v, w, g, and (c, a) by start."""

    form: Form
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
        v, w, g = (np.asarray(x) for x in self.exponents[1:])
        return self.own[start][1] * float(self.form.added(share, length, v, w, g))


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
    k = form.added(runs.share, runs.length, v[:, None], w[:, None], g[:, None])
    cost = NOISE**2 * form.unlikely(u, v, w, g)  # [G], in squares of log loss
    own: dict[str, tuple[Array, Array]] = {}
    for start in dict.fromkeys(map(str, runs.start)):
        here = np.where(runs.start == start, weight, 0.0)
        c, a = _two(h, k, runs.change, here, form.sign)
        cost = cost + (here * (c[:, None] * h + a[:, None] * k - runs.change) ** 2).sum(1)
        cost = cost + (NOISE * c / C_WIDTH) ** 2 + (NOISE * a / A_WIDTH) ** 2
        own[start] = (c, a)
    best = int(np.argmin(cost))
    return Curve(
        form,
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
