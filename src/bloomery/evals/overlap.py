"""How much two texts have in common: SQuAD's F1 and ROUGE.

Definitions are those of the programs that published figures come from: SQuAD's evaluation script (arXiv 1606.05250),
google-research's `rouge_score` without stemming (ROUGE, Lin 2004).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from bloomery.graders.bleu import ngrams
from bloomery.graders.similarity import f1, shared_in_order

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NOT_ROUGE = re.compile(r"[^a-z0-9]+")


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


def _rouge_tokens(text: str) -> list[str]:
    return _NOT_ROUGE.sub(" ", text.lower()).split()
