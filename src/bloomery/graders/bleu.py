"""BLEU (Papineni et al. 2002) as sacrebleu has it by default (arXiv 1804.08771): of a corpus, and of one sentence.

Tokens are mteval-v13a's, in the case in which they stand; orders without a match are smoothed by halving (NIST's `exp`,
Chen & Cherry 2014).
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ORDER = 4
"""Longest n-gram."""
_13A = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""mteval-v13a's tokens: punctuation stands alone, but not inside numbers."""


def ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each run of `order` tokens occurs."""
    return Counter(tuple(tokens[at : at + order]) for at in range(len(tokens) - order + 1))


def counts(answer: str, references: Sequence[str]) -> list[float]:
    """What one answer adds to a corpus: n-grams that match, n-grams, its length and the nearest reference's; [10]."""
    found = _tokens(answer)
    wanted = [_tokens(reference) for reference in references]
    matched, total = [], []
    for n in range(1, ORDER + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for tokens in wanted:
            most |= ngrams(tokens, n)
        grams = ngrams(found, n)
        matched.append(float(sum((grams & most).values())))
        total.append(float(sum(grams.values())))
    nearest = min((abs(len(tokens) - len(found)), len(tokens)) for tokens in wanted)[1]
    return [*matched, *total, float(len(found)), float(nearest)]


def corpus_bleu(sums: Array) -> Array:
    """[draws, 10] sums of `counts` -> BLEU of each draw, 0 to 1; 0 where no answer has four words."""
    whole = (sums[:, ORDER : 2 * ORDER] > 0).all(axis=1)
    return np.asarray(np.where(whole, _bleu(sums), 0.0))


def sentence_bleu(answer: str, reference: str) -> float:
    """BLEU of one answer, 0 to 1, by the orders that it is long enough for; 1 where both are empty."""
    sums = np.array([counts(answer, [reference])])
    return float(_bleu(sums)[0]) if sums[0, -2] else float(not sums[0, -1])


def _bleu(sums: Array) -> Array:
    """BLEU of each draw over the orders that occur in it."""
    matched, total = sums[:, :ORDER], sums[:, ORDER : 2 * ORDER]
    with np.errstate(divide="ignore", invalid="ignore"):
        halved = 0.5 ** np.cumsum((matched == 0) & (total > 0), axis=1)
        logs = np.log(np.where(matched > 0, matched, halved) / total)
        mean = np.where(total > 0, logs, 0.0).sum(axis=1) / (total > 0).sum(axis=1)
        found = np.exp(mean + np.minimum(1 - sums[:, -1] / sums[:, -2], 0))
    return np.asarray(np.where((matched > 0).any(axis=1), found, 0.0))


def _tokens(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    text = f" {html.unescape(text) if '&' in text else text} "
    for pattern, put in _13A:
        text = pattern.sub(put, text)
    return text.split()
