"""Sets of labels that hold the true one as often as promised, for each label by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError
from bloomery.review.scores import Array, Labels


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """Split conformal sets with a threshold a label: y is in the set where 1 - p(y) is at most `threshold[y]`.

    Class-conditional (Mondrian) coverage: of the texts whose true label is y at least 1 - alpha have y in their set,
    whatever the model is worth, as long as they come like those it was fitted on (Vovk 2005; arXiv 2107.07511).
    """

    threshold: tuple[float, ...]
    alpha: float

    def __call__(self, p: Array) -> npt.NDArray[np.bool_]:
        """bool[n, labels] of probabilities [n, labels]."""
        found: npt.NDArray[np.bool_] = (1 - p) <= np.array(self.threshold)
        return found


def fit_sets(p: Array, truth: Labels, alpha: float, names: Sequence[str] = ()) -> ConformalSets:
    """Thresholds from held-out answers: the ceil((n + 1)(1 - alpha))-th smallest 1 - p(true) of each label.

    A label with fewer than 1 / alpha - 1 answers is always in the set: no less keeps the promise. Raises `InputError`
    for a label without any.
    """
    thresholds = []
    for label in range(p.shape[1]):
        costs = np.sort(1 - p[truth == label, label])
        if not len(costs):
            told = names[label] if names else str(label)
            raise InputError(f"no answer of the label `{told}` to calibrate on", fix="add rows with it")
        rank = math.ceil((len(costs) + 1) * (1 - alpha))
        thresholds.append(float(costs[rank - 1]) if rank <= len(costs) else 1.0)
    return ConformalSets(tuple(thresholds), alpha)


def coverage(sets: npt.NDArray[np.bool_], truth: Labels) -> tuple[float, list[float]]:
    """Part of the texts whose set holds the true label: over all, and of each label (NaN where it has no text)."""
    held = sets[np.arange(len(truth)), truth]
    each = [float(held[truth == k].mean()) if (truth == k).any() else math.nan for k in range(sets.shape[1])]
    return float(held.mean()), each
