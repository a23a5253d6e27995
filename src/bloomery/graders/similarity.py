"""How alike two texts are, in [0, 1]: the metrics of OpenAI's `text_similarity`, by their published formulas.

But for BLEU, words are runs of letters and digits in lower case, and each other visible character for itself. Scores of
packages that stem or split otherwise differ a little.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from bloomery.graders.bleu import ngrams, sentence_bleu

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_", re.UNICODE)
LONGEST = 4
"""Longest n-gram of GLEU, as in its paper."""
MOST = 20_000
"""Characters that are compared; two texts of n words take n² steps for what they share in order."""


def words(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return _WORD.findall(text[:MOST].lower())


def fuzzy_match(answer: str, reference: str) -> float:
    """Ratio of characters in common, in order: 2·LCS / (|a| + |b|), as rapidfuzz's `fuzz.ratio` / 100 (InDel)."""
    a, b = answer[:MOST].lower(), reference[:MOST].lower()
    return 1.0 if not a and not b else 2 * shared_in_order(a, b) / (len(a) + len(b))


def gleu(answer: str, reference: str) -> float:
    """Google's GLEU (Wu et al. 2016): the lower of precision and recall over all n-grams up to four words."""
    a, b = words(answer), words(reference)
    if not a or not b:
        return float(a == b)
    mine, wanted = _up_to(a), _up_to(b)
    return sum((mine & wanted).values()) / max(sum(mine.values()), sum(wanted.values()))


def rouge_n(answer: str, reference: str, order: int) -> float:
    """ROUGE-N (Lin 2004) as F1; texts with fewer than `order` words share no n-gram."""
    mine, wanted = ngrams(words(answer), order), ngrams(words(reference), order)
    return f1(sum((mine & wanted).values()), sum(mine.values()), sum(wanted.values()))


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of words."""
    a, b = words(answer), words(reference)
    return f1(shared_in_order(a, b), len(a), len(b))


def word_f1(answer: str, reference: str) -> float:
    """F1 of the words in common, whatever their order, as SQuAD scores answers (Rajpurkar et al. 2016)."""
    return rouge_n(answer, reference, 1)


def meteor(answer: str, reference: str) -> float:
    """METEOR (Banerjee & Lavie 2005) on exact words only, without stems and synonyms: they need word lists.

    F = 10PR / (R + 9P); penalty 0.5 · (chunks / matches)³.
    """
    a, b = words(answer), words(reference)
    pairs = _aligned(a, b)
    if not pairs:
        return float(not a and not b)
    precision, recall = len(pairs) / len(a), len(pairs) / len(b)
    chunks = 1 + sum(after != (i + 1, j + 1) for (i, j), after in zip(pairs, pairs[1:], strict=False))
    mean = 10 * precision * recall / (recall + 9 * precision)
    penalty = 0.0 if a == b else 0.5 * (chunks / len(pairs)) ** 3
    return mean * (1 - penalty)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Cosine of two embeddings, those that point apart counted as 0. Raises ValueError for unequal or zero ones."""
    if len(a) != len(b):
        raise ValueError(f"the embeddings have {len(a)} and {len(b)} numbers")
    lengths = math.hypot(*a) * math.hypot(*b)
    if lengths == 0 or not math.isfinite(lengths):
        raise ValueError("an embedding has no direction")
    return min(1.0, max(0.0, sum(x * y for x, y in zip(a, b, strict=True)) / lengths))


def shared_in_order(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, 64 and more columns at a time (Hyyrö 2004, as bits of one integer)."""
    places: dict[str, int] = {}
    for at, token in enumerate(a):
        places[token] = places.get(token, 0) | (1 << at)
    row = full = (1 << len(a)) - 1
    for token in b:
        met = row & places.get(token, 0)
        row = ((row + met) | (row - met)) & full
    return len(a) - row.bit_count()


def _up_to(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for order in range(1, LONGEST + 1):
        found += ngrams(tokens, order)
    return found


def f1(same: int, mine: int, wanted: int) -> float:
    """Harmonic mean of precision and recall where `same` of `mine` and of `wanted` agree; 0 where there are none."""
    return 2 * same / (mine + wanted) if mine + wanted else 0.0


def _aligned(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Equal words paired once each, next to the pair before where there is a choice."""
    free: dict[str, list[int]] = {}
    for at, token in enumerate(b):
        free.setdefault(token, []).append(at)
    pairs: list[tuple[int, int]] = []
    for at, token in enumerate(a):
        if places := free.get(token):
            following = pairs[-1][1] + 1 if pairs else 0
            place = following if following in places else places[0]
            places.remove(place)
            pairs.append((at, place))
    return pairs


METRICS: dict[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": lambda a, b: sentence_bleu(a[:MOST], b[:MOST]),
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{order}": lambda a, b, order=order: rouge_n(a, b, order) for order in range(1, 6)},  # type: ignore[misc]
    "rouge_l": rouge_l,
    "f1": word_f1,
}
"""By OpenAI's names, and `f1`; `cosine` needs embeddings instead of texts."""
