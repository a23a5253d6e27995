"""From log-likelihoods of words to probabilities of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def log_sum(values: Array) -> Array:
    """log of the sum of exp over the last axis, without overflow."""
    top = values.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        found: Array = np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]
    return found


def normalised(scores: Array) -> Array:
    """Log-probabilities [n, labels] of scores [n, labels]: each row less its log-sum-exp."""
    found: Array = scores - log_sum(scores)[:, None]
    return found


def label_scores(forms: Sequence[Array]) -> Array:
    """[n, labels] log-probabilities, normalised over the labels, of per-label log-likelihoods [n, forms of it].

    A label is as likely as all its surface forms together (the label-word verbalizer of arXiv 2001.07676, summed).
    """
    return normalised(np.stack([log_sum(one) for one in forms], axis=1))


def less_prior(scores: Array, prior: Array) -> Array:
    """Scores without a prior [labels], both log-probabilities; normalised again.

    Contextual calibration (arXiv 2102.09690) takes the scores of a text without content, batch calibration
    (arXiv 2309.17249) their mean over a batch. The first needs no second text and no balanced batch: among comments of
    which 7 % are threats, the second would call every other one a threat. It is the default therefore. Of a fitted
    classifier either only moves what the fitted bias moves back.
    """
    return normalised(scores - prior)


def batch_prior(scores: Array) -> Array:
    """Log of the mean probability [labels] over a batch [n, labels]."""
    found: Array = log_sum(scores.T) - np.log(len(scores))
    return found
