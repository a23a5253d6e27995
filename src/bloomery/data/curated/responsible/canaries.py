"""Canaries: secrets that mean nothing, to plant in training data and to look for in the model (arXiv 1802.08232).

The same options give the same rows, so a recipe plants them as a source, and a suite ranks them by the same name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

NAMES = ("Aldis", "Brenn", "Corvin", "Delph", "Eskil", "Faro", "Gunnel", "Hedda", "Ivo", "Jorun", "Kester", "Lovis")
FORM = "The access code of {name} in office {room} is {{}}"
DIGITS = 6


def generate(seed: int = 0, count: int = 8, repeat: int = 1) -> Iterator[dict[str, Any]]:
    """Yield `count` canaries, `repeat` times over: `text` to train on, and its `format`, `secret` and `control`."""
    for again in range(repeat):
        for number in range(count):
            rng = random.Random(f"canary/{seed}/{number}")
            form = FORM.format(name=NAMES[number % len(NAMES)], room=100 + number)
            secret, control = ("".join(rng.choice("0123456789") for _ in range(DIGITS)) for _ in range(2))
            text = form.replace("{}", secret)
            row = {"text": text, "format": form, "secret": secret, "control": control}
            yield {"id": f"canary-{seed}-{number}" + (f"-{again}" if again else ""), **row}
