"""A classifier head: logistic regression over hashed character n-grams, as a folder of safetensors and JSON.

Small enough to look at every answer on one core: about 1 ms for a thousand characters, 1 MB of weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import building_folder, read_json, verify_folder
from bloomery.serve.policy.fold import fold

SLOTS = 1 << 18
SIZES = (2, 3, 4, 5)
"""Characters of an n-gram, word bounds included as spaces."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_FORMAT = 1


def features(text: str) -> npt.NDArray[np.int64]:
    """The slots of a text's n-grams, each once, sorted. Whatever the text, at least one."""
    words = " ".join(fold(text).split())
    codes = np.frombuffer(f" {words} ".encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    found = [_hashes(codes, size) for size in SIZES if len(codes) >= size]
    return np.unique(np.concatenate(found) if found else np.zeros(1, np.int64))


def _hashes(codes: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.int64]:
    """A multiplicative hash of every n-gram (Knuth's constant), its upper bits folded down."""
    value = np.full(len(codes) - size + 1, size, np.uint64)
    for place in range(size):
        value = (value ^ codes[place : place + len(value)]) * _PRIME
        value ^= value >> np.uint64(29)
    return ((value >> np.uint64(20)) % np.uint64(SLOTS)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Head:
    """Weights float32[SLOTS], a bias, and the scale that calibrates them on rows that were held out."""

    weights: npt.NDArray[np.float32]
    bias: float
    scale: float
    threshold: float
    about: Mapping[str, Any]

    def probability(self, text: str) -> float:
        """Calibrated probability that the text belongs to the category; 0 for blank text."""
        if not text.strip():
            return 0.0
        slots = features(text)
        logit = self.scale * float(self.weights[slots].sum()) / math.sqrt(len(slots)) + self.bias
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))

    def save(self, folder: Path) -> None:
        """Write a new folder, whole or not at all. Raises `InputError` where it exists."""
        from safetensors.numpy import save

        if folder.exists():
            raise InputError("exists already", where=Where(folder), fix="remove it, or name another")
        facts = {"format": _FORMAT, "slots": SLOTS, "sizes": list(SIZES), "bias": self.bias, "scale": self.scale}
        with building_folder(folder) as building:
            (building / "head.safetensors").write_bytes(save({"weights": self.weights}))
            text = json.dumps(facts | {"threshold": self.threshold, "about": dict(self.about)}, indent=2)
            (building / "head.json").write_text(text + "\n")


def load_head(folder: Path) -> Head:
    """Read a head that `save` wrote.

    Raises `InputError` where there is none, `DamagedError` where its bytes changed or it is of another format.
    """
    from safetensors.numpy import load_file

    if not (folder / "head.json").is_file():
        raise InputError(f"`{folder}` is no classifier head", fix="train one: bloomery policy train NAME --rows ...")
    verify_folder(folder)
    facts = read_json(folder / "head.json")
    if (facts.get("format"), facts.get("slots"), facts.get("sizes")) != (_FORMAT, SLOTS, list(SIZES)):
        raise DamagedError("is of another format than this version reads", where=Where(folder / "head.json"))
    weights = load_file(folder / "head.safetensors")["weights"]
    return Head(weights, facts["bias"], facts["scale"], facts["threshold"], facts["about"])
