"""What was fitted on held-out answers, kept beside the classifier: priors, scalings, conformal sets, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import read_json, write_json
from bloomery.review.conformal import ConformalSets, fit_sets
from bloomery.review.measures import best_cut
from bloomery.review.scaling import Scaling, fit
from bloomery.review.scores import Array, Labels
from bloomery.review.selective import threshold_for
from bloomery.review.spec import ClassifierSpec

RISKS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Risks that a threshold is looked for."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """One question. `cut` is the probability of the positive label with the best F1; `thresholds` gives the confidence
    to answer at for each target risk that could be kept; `tried` the cross-validated NLL of each kind of scaling."""

    scaling: Scaling
    sets: ConformalSets
    cut: float
    thresholds: Mapping[str, float]
    tried: Mapping[str, float]
    answers: int

    def __call__(self, scores: Array) -> Array:
        """Probabilities [n, labels] of log-probabilities [n, labels]."""
        found: Array = np.exp(self.scaling(scores))
        return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """All questions of one classifier on one model, which other models and other prompts may not use."""

    classifier: str
    model: str
    questions: Mapping[str, Fitted]

    def probabilities(self, question: str, scores: Array) -> Array:
        """Probabilities [n, labels] of a question's log-probabilities."""
        return self.questions[question](scores)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, asdict(self))


def calibrate(
    spec: ClassifierSpec, model: str, scores: Mapping[str, Array], truth: Mapping[str, Labels]
) -> Calibration:
    """Fit every question on held-out answers; -1 in `truth` int64[n] marks a text without one.

    `scores` are log-probabilities [n, labels] after the prior was removed. Scalings are fitted on half of the answers
    of each label, drawn at random: rows that take turns would otherwise all be of a kind. Sets and thresholds are
    fitted on the rest, whose probabilities the scaling has not seen: else they promise too much. A cut, and the sets
    of two labels, depend on the order of texts alone, which a scaling keeps there: they are fitted on all.
    Raises `InputError` where a question has too few answers, or a label none.
    """
    found = {}
    for question in spec.questions:
        known = truth[question] >= 0
        try:
            found[question] = _fitted(spec, question, scores[question][known], truth[question][known])
        except InputError as error:
            raise InputError(f"question `{question}`: {error.message}", fix=error.fix) from None
    return Calibration(spec.fingerprint, model, found)


def load_calibration(path: Path, spec: ClassifierSpec, model: str) -> Calibration:
    """Read a calibration. Raises `InputError` where it belongs to another model or classifier."""
    if not path.is_file():
        raise InputError("is not there", where=Where(path), fix="fit it: bloomery review fit")
    data = read_json(path)
    try:
        questions = {name: _read(one) for name, one in data["questions"].items()}
        found = Calibration(data["classifier"], data["model"], questions)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedError(f"is no calibration of ours: {error!r}", where=Where(path)) from None
    for told, was, now in (("model", found.model, model), ("classifier", found.classifier, spec.fingerprint)):
        if was != now:
            raise InputError(
                f"was fitted on another {told} ({was[:12]}, this one is {now[:12]}): its probabilities would be wrong",
                where=Where(path),
                fix="fit it again: bloomery review fit",
            )
    return found


def _fitted(spec: ClassifierSpec, question: str, scores: Array, truth: Labels) -> Fitted:
    first = _halved(truth)
    scaling, tried = fit(scores[first], truth[first])
    every = np.exp(scaling(scores))
    p, rest = every[~first], truth[~first]
    two = scores.shape[1] == 2
    sets = fit_sets(every if two else p, truth if two else rest, spec.alpha, spec.names(question))
    right = (p.argmax(axis=1) == rest).astype(np.float64)
    thresholds = {f"{risk:g}": threshold_for(p.max(axis=1), right, risk) for risk in RISKS}
    positive = spec.positive(question)
    cut = best_cut(every[:, positive], (truth == positive).astype(np.float64))
    kept = {risk: value for risk, value in thresholds.items() if value is not None}
    return Fitted(scaling, sets, cut, kept, tried, len(truth))


def _halved(truth: Labels) -> npt.NDArray[np.bool_]:
    """Which answers are of the first half: of every label one more than half at most."""
    order = np.random.default_rng(0).permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]  # label by label
    first = np.zeros(len(truth), bool)
    first[order[::2]] = True
    return first


def _read(data: Mapping[str, Any]) -> Fitted:
    scaling = Scaling(float(data["scaling"]["temperature"]), tuple(data["scaling"]["bias"]))
    sets = ConformalSets(tuple(data["sets"]["threshold"]), float(data["sets"]["alpha"]))
    numbers = (
        *scaling.bias,
        *sets.threshold,
        *data["thresholds"].values(),
        scaling.temperature,
        sets.alpha,
        data["cut"],
    )
    if not np.isfinite(numbers).all():
        raise ValueError("a number of it is none")
    return Fitted(scaling, sets, float(data["cut"]), data["thresholds"], data["tried"], int(data["answers"]))
