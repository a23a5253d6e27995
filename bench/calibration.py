"""How far calibration and conformal sets are off on real comments, over many splits: one split's figure is half chance.

    PYTHONPATH=src:bench python bench/calibration.py DATA [--splits 8]

DATA as for `bench/moderation.py`, whose six policies and parts these are. The scorer is naive Bayes on words, fitted on
the training part in seconds: as overconfident as such scorers are, and nobody's model. Calibration and test are then
drawn anew from what those two parts hold, in their sizes; nothing is chosen by any of them. `chance` is the ECE that a
classifier of these confidences would have if every one of them were true. Sets of two labels do not depend on the
scaling, so that theirs are looked at over many more splits: fitted on `half` of the answers, and on `all`.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from moderation import POLICIES, spec_of, split

from bloomery.review.calibration import calibrate
from bloomery.review.conformal import coverage, fit_sets
from bloomery.review.measures import ece
from bloomery.review.scores import normalised

DRAWS, SETS = 20, 500
"""Sets of answers drawn from the confidences themselves; splits that conformal sets are looked at over."""
ALPHA, NEAR = 0.1, 0.015
"""What sets may miss, and how far their coverage may be off to count as near."""


def words(text: str) -> set[str]:
    """Words and pairs of neighbours."""
    found = re.findall(r"\w+", text.lower())
    return {*found, *map(" ".join, zip(found, found[1:], strict=False))}


def scored(train: list[Any], rows: list[Any], policy: str) -> Any:
    """Log-probabilities [n, 2] of yes and no by naive Bayes."""
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    texts = Counter(row["labels"][policy] for row in train)
    for row in train:
        counts[row["labels"][policy]].update(words(row["text"]))
    known = [word for word in {**counts[True], **counts[False]} if counts[True][word] + counts[False][word] > 2]
    weight = {
        word: np.log((counts[True][word] + 1) / (texts[True] + 2) * (texts[False] + 2) / (counts[False][word] + 1))
        for word in known
    }
    odds = np.array([sum(weight.get(word, 0.0) for word in words(row["text"])) for row in rows])
    odds += np.log(texts[True] / texts[False])
    return normalised(np.stack([odds, np.zeros_like(odds)], axis=1))


def eces(scores: Any, truth: Any, size: int, splits: int, policy: str) -> Any:
    """[splits, 2]: ECE after scaling, and by chance alone."""
    rng, spec, found = np.random.default_rng(0), spec_of((policy,)), []
    for _ in range(splits):
        order = rng.permutation(len(truth))
        fit, test = order[:size], order[size:]
        fitted = calibrate(spec, "m", {policy: scores[fit]}, {policy: truth[fit]}).questions[policy]
        p = fitted(scores[test])
        sure, right = p.max(axis=1), (p.argmax(axis=1) == truth[test]).astype(float)
        chance = [ece(sure, (rng.random(len(sure)) < sure).astype(float)) for _ in range(DRAWS)]
        found.append([ece(sure, right), np.mean(chance)])
    return np.array(found)


def offs(scores: Any, truth: Any, size: int) -> Any:
    """[SETS, 2, 2]: how far coverage is off, of all texts and of `yes`, with sets of half of the answers and of all."""
    rng, p, found = np.random.default_rng(1), np.exp(scores), []
    for _ in range(SETS):
        order = rng.permutation(len(truth))
        test = order[size:]
        each = [fit_sets(p[one], truth[one], ALPHA)(p[test]) for one in (order[: size // 2], order[:size])]
        held = [coverage(one, truth[test]) for one in each]
        found.append([[abs(one - (1 - ALPHA)) for one in (over_all, by[0])] for over_all, by in held])
    return np.array(found)


def main() -> None:
    """A line for each policy, and the worst."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--splits", type=int, default=8)
    given = options.parse_args()
    parts = split(given.data)
    rows, size = parts["calibration"] + parts["test"], len(parts["calibration"])
    table, off = [], []
    print(f"{'':10} ECE    chance | off, half: all, yes | off, all: all, yes")
    for name in POLICIES:
        scores = scored(parts["train"], rows, name)
        truth = np.array([0 if row["labels"][name] else 1 for row in rows])
        table.append(eces(scores, truth, size, given.splits, name))
        off.append(offs(scores, truth, size))
        figures = (*table[-1].mean(axis=0), *off[-1].mean(axis=0).ravel())
        print(f"{name:10} " + "  ".join(f"{value:.3f}" for value in figures), flush=True)
    every = np.array(table)
    print(f"mean ECE {every[..., 0].mean():.3f}, by chance {every[..., 1].mean():.3f}; ", end="")
    worst, chance = every.max(axis=0).mean(axis=0)
    print(f"worst policy of a split {worst:.3f}, by chance {chance:.3f}")
    for number, kind in enumerate(("half", "all")):
        one = np.array(off)[:, :, number, 0]
        print(f"sets of {kind}: worst policy of a split {one.max(axis=0).mean():.4f} off; ", end="")
        print(f"all six within {NEAR:.1%} in {(one.max(axis=0) <= NEAR).mean():.0%} of splits")


if __name__ == "__main__":
    main()
