"""How much two texts have in common: SQuAD's F1, ROUGE, and the counts that BLEU is made of.

Definitions are those of the programs that published figures come from: SQuAD's evaluation script (arXiv 1606.05250),
google-research's `rouge_score` without stemming (ROUGE, Lin 2004), sacrebleu's default (arXiv 1804.08771).
"""

from __future__ import annotations

import html
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from bloomery.evals.bootstrap import Array
from bloomery.graders.similarity import f1, ngrams, shared_in_order

ORDER = 4
"""Longest n-gram of BLEU."""
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NOT_ROUGE = re.compile(r"[^a-z0-9]+")
_13A = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""mteval-v13a's tokens: punctuation stands alone, but not inside numbers."""


def best(rule: Callable[[str, str], float], answer: str, references: Sequence[str]) -> float:
    """The rule's figure for the reference that the answer is nearest to."""
    return max(rule(answer, reference) for reference in references)


def plain(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces."""
    kept = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact(answer: str, reference: str) -> float:
    """1 where both have one normal form, else 0."""
    return float(plain(answer) == plain(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the tokens of the normal forms; 1 where both are empty."""
    found, wanted = plain(answer).split(), plain(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    return f1(sum((Counter(found) & Counter(wanted)).values()), len(found), len(wanted))


def rouge_n(n: int) -> Callable[[str, str], float]:
    """ROUGE-n as an F1 over n-grams."""

    def rule(answer: str, reference: str) -> float:
        found, wanted = (ngrams(_rouge_tokens(text), n) for text in (answer, reference))
        return f1(sum((found & wanted).values()), sum(found.values()), sum(wanted.values()))

    return rule


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L as an F1 over the longest common subsequence of tokens."""
    found, wanted = _rouge_tokens(answer), _rouge_tokens(reference)
    return f1(shared_in_order(found, wanted), len(found), len(wanted))


def bleu_counts(answer: str, references: Sequence[str]) -> list[float]:
    """What one answer adds to a corpus: n-grams that match, n-grams, its length and the nearest reference's; [10]."""
    found = _bleu_tokens(answer)
    wanted = [_bleu_tokens(reference) for reference in references]
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


def bleu(sums: Array) -> Array:
    """[draws, 10] sums of `bleu_counts` -> BLEU of each draw, 0 to 1; precisions of 0 smoothed by sacrebleu's `exp`."""
    matched, total = sums[:, :ORDER], sums[:, ORDER : 2 * ORDER]
    with np.errstate(divide="ignore", invalid="ignore"):
        halved = 0.5 ** np.cumsum((matched == 0) & (total > 0), axis=1)
        precision = np.where(matched > 0, matched, halved) / total
        short = np.minimum(1 - sums[:, -1] / sums[:, -2], 0)
        found = np.exp(np.log(precision).mean(axis=1) + short)
    whole = (total > 0).all(axis=1) & (matched > 0).any(axis=1)
    return np.asarray(np.where(whole, found, 0.0))


def _rouge_tokens(text: str) -> list[str]:
    return _NOT_ROUGE.sub(" ", text.lower()).split()


def _bleu_tokens(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    text = f" {html.unescape(text) if '&' in text else text} "
    for pattern, put in _13A:
        text = pattern.sub(put, text)
    return text.split()
