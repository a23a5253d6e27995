"""Training a classifier head: logistic regression on hashed n-grams, calibrated and measured on rows held out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import InputError, Where
from bloomery.core.files import sha256_file
from bloomery.serve.policy.head import SLOTS, Head, features
from bloomery.serve.policy.measure import Rate
from bloomery.serve.policy.rows import labelled, read_rows

EPOCHS = 8
BATCH = 64
RATE = 0.01
_NAME = re.compile(r"\w[\w .-]{0,79}")
FEWEST = 40
"""Rows of either kind: a tenth of them calibrates, a tenth measures."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Features of some rows and whether each is harmful."""

    slots: list[npt.NDArray[np.int64]]
    harmful: npt.NDArray[np.bool_]

    def part(self, chosen: npt.NDArray[np.bool_]) -> _Rows:
        return _Rows([s for s, yes in zip(self.slots, chosen, strict=True) if yes], self.harmful[chosen])


def train_head(
    texts: Sequence[str],
    harmful: Sequence[bool],
    blocked_safe: float,
    say: Callable[[str], None] = lambda text: None,
) -> Head:
    """A head that tells harmful from safe texts, whose threshold lets at most `blocked_safe` of safe rows be flagged.

    Of the distinct texts, by their hash, 8 tenths train, one calibrates and sets the threshold, one measures both
    rates. The epoch is kept whose loss on the calibrating tenth is lowest. The same rows give the same head.

    Raises `InputError` for fewer than 40 rows of either kind, and for a text that is given as both.
    """
    kinds = _distinct(texts, harmful)
    parts = np.array([_tenth(text) for text in kinds])
    rows = _Rows([features(text) for text in kinds], np.array(list(kinds.values()), np.bool_))
    learn, settle, check = rows.part(parts < 8), rows.part(parts == 8), rows.part(parts == 9)
    for part in (learn, settle, check):
        if not 0 < part.harmful.sum() < len(part.harmful):
            raise InputError("the rows held out are all of one kind", fix="give more rows of both kinds")
    weights = _fit(learn, settle, say)
    scale, bias = _calibrated(_logits(weights, settle), settle.harmful)
    threshold = _threshold(_probabilities(weights, scale, bias, settle)[~settle.harmful], blocked_safe)
    flagged = _probabilities(weights, scale, bias, check) >= threshold
    about = {
        "rows": {"harmful": int(rows.harmful.sum()), "safe": int((~rows.harmful).sum())},
        "asked": {"blocked_safe": blocked_safe},
        "held_out": {
            "blocked_harmful": _rate(flagged[check.harmful]).to_json(),
            "blocked_safe": _rate(flagged[~check.harmful]).to_json(),
        },
    }
    return Head(weights, bias, scale, threshold, about)


def _tenth(text: str) -> int:
    return int(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), 16) % 10


def _distinct(texts: Sequence[str], harmful: Sequence[bool]) -> dict[str, bool]:
    kinds: dict[str, bool] = {}
    for text, kind in zip(texts, harmful, strict=True):
        if kinds.setdefault(text, kind) is not kind:
            raise InputError(f"a text is given as harmful and as safe: `{text:.60}`", fix="remove one of the two rows")
    for kind, name in ((True, "harmful"), (False, "safe")):
        if (found := sum(1 for own in kinds.values() if own is kind)) < FEWEST:
            raise InputError(f"there are {found} {name} rows, and a head needs {FEWEST}", fix="give more rows")
    return kinds


def _fit(learn: _Rows, settle: _Rows, say: Callable[[str], None]) -> npt.NDArray[np.float32]:
    """Weights float32[SLOTS] by Adam; rows of the rarer kind weigh more, so that both kinds weigh the same."""
    import torch

    weights = torch.zeros(SLOTS, 1, requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=RATE)
    labels = torch.from_numpy(learn.harmful.astype(np.float32))
    share = float(labels.mean())
    balance = torch.where(labels > 0, 0.5 / share, 0.5 / (1 - share))
    rng = np.random.default_rng(0)
    best, kept = np.inf, np.zeros(SLOTS, np.float32)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(labels))
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                _bag(weights, [learn.slots[n] for n in chosen]), labels[chosen], balance[chosen]
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        now = weights.detach().numpy()[:, 0].copy()
        held = _log_loss(now, settle)
        say(f"epoch {epoch + 1}: loss {held:.4f} on held-out rows")
        if held < best:
            best, kept = held, now
    return kept


def _bag(weights: Any, slots: Sequence[npt.NDArray[np.int64]]) -> Any:
    """[len(slots)] logits: the sum of a row's weights over the root of their number."""
    import torch

    starts = np.cumsum([0, *(len(s) for s in slots[:-1])])
    sums = torch.nn.functional.embedding_bag(
        torch.from_numpy(np.concatenate(slots)), weights, torch.from_numpy(starts), mode="sum"
    )
    return sums[:, 0] / torch.tensor([len(s) ** 0.5 for s in slots])


def _logits(weights: npt.NDArray[np.float32], rows: _Rows) -> npt.NDArray[np.float64]:
    return np.array([weights[slots].sum() / len(slots) ** 0.5 for slots in rows.slots], np.float64)


def _probabilities(weights: npt.NDArray[np.float32], scale: float, bias: float, rows: _Rows) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-(scale * _logits(weights, rows) + bias).clip(-60, 60))))


def _log_loss(weights: npt.NDArray[np.float32], rows: _Rows) -> float:
    """Log loss at the best scale and bias, so that epochs differ in how they rank, not in how sure they are."""
    logits = _logits(weights, rows)
    scale, bias = _calibrated(logits, rows.harmful)
    signs = np.where(rows.harmful, 1.0, -1.0)
    return float(np.logaddexp(0, -signs * (scale * logits + bias)).mean())


def _calibrated(logits: npt.NDArray[np.float64], harmful: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Scale and bias by Platt's method with his smoothed targets (J. Platt, 1999), by Newton's steps."""
    positive, negative = int(harmful.sum()), int((~harmful).sum())
    targets = np.where(harmful, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs = np.stack([logits, np.ones_like(logits)], 1)
    found = np.array([0.0, np.log(positive / negative)])
    for _ in range(50):
        guess = 1 / (1 + np.exp(-(inputs @ found).clip(-60, 60)))
        slope = inputs.T @ (guess - targets)
        bend = (inputs * (guess * (1 - guess))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found -= step / max(1.0, float(np.abs(step).max()) / 4)
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])


def _threshold(safe: npt.NDArray[np.float64], blocked_safe: float) -> float:
    """The lowest threshold that flags at most `blocked_safe` of the safe rows."""
    ranked = np.sort(safe)[::-1]
    allowed = int(blocked_safe * len(ranked))
    return float(np.nextafter(ranked[allowed], 2.0)) if allowed < len(ranked) else 0.0


def _rate(flagged: npt.NDArray[np.bool_]) -> Rate:
    return Rate(int(flagged.sum()), len(flagged))


@dataclass(frozen=True, slots=True)
class Trained:
    """A head that was written, and what is known of it."""

    folder: Path
    head: Head
    left_out: int

    def __str__(self) -> str:
        held = self.head.about["held_out"]
        shown = [f"{name} {_told(held[name])}" for name in ("blocked_harmful", "blocked_safe")]
        rest = f"\n{self.left_out} rows of other categories were left out." if self.left_out else ""
        return f"{self.folder}: {', '.join(shown)} on held-out rows, threshold {self.head.threshold:.3f}{rest}"

    def to_json(self) -> dict[str, Any]:
        """Folder, threshold, and the rates on held-out rows."""
        facts = {"folder": str(self.folder), "threshold": self.head.threshold, "left_out": self.left_out}
        return facts | dict(self.head.about)


def folder_of(category: str) -> Path:
    """`heads/CATEGORY`. Raises `InputError` for a name that would lie elsewhere, or that no folder can have."""
    if not _NAME.fullmatch(category):
        fix = "give letters, digits, spaces, `.`, `_` and `-`, beginning with a letter or digit, or --out"
        raise InputError(f"`{category}` cannot name a folder below `heads`", fix=fix)
    return Path("heads") / category


def train_category(
    category: str, rows: Path, folder: Path, blocked_safe: float, say: Callable[[str], None] = lambda text: None
) -> Trained:
    """Train a head on the rows of a file and write it. Raises `InputError`, also where the folder exists already."""
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="remove it, or name another with --out")
    texts, harmful, left_out = labelled(read_rows(rows), category)
    head = train_head(texts, harmful, blocked_safe, say)
    about = {"category": category, "rows_sha256": sha256_file(rows), **head.about}
    head = replace(head, about=about)
    head.save(folder)
    return Trained(folder, head, left_out)


def _told(rate: dict[str, Any]) -> str:
    return str(Rate(rate["hits"], rate["count"]))
