"""Ember on its own held-out data, stage by stage, beside `xz -9` and a 5-gram model of its training text.

    .venv/bin/python bench/ember.py [stage ...]

Bits per byte on documentation; accuracy by skill for the post-trained stage.
"""

from __future__ import annotations

import json
import lzma
import math
import sys
from collections import Counter

from bloomery.core.resources import families_dir
from bloomery.data.builtin import generate
from bloomery.recipes.measuring import Asked, evaluate

EMBER = families_dir() / "ember"
TRAINING_BYTES = 12_000_000


def texts() -> list[str]:
    """The frozen documentation slice."""
    with open(EMBER / "heldout" / "documentation.jsonl") as file:
        return [json.loads(line)["text"] for line in file]


def xz_bits(training: bytes, documents: list[str]) -> float:
    """Bits per byte that xz -9 needs for the held-out text after the training text: the difference in size."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 64 << 20}]
    both = lzma.compress(training + "\n".join(documents).encode(), lzma.FORMAT_RAW, filters=filters)
    alone = lzma.compress(training, lzma.FORMAT_RAW, filters=filters)
    return 8 * (len(both) - len(alone)) / len("\n".join(documents).encode())


def five_gram_bits(training: bytes, documents: list[str]) -> float:
    """Bits per byte of a byte 5-gram with interpolated Witten-Bell smoothing (Bell, Cleary, Witten 1990)."""
    counts = [Counter(training[i : i + n + 1] for i in range(len(training) - n)) for n in range(5)]
    totals: list[Counter[bytes]] = [Counter() for _ in range(5)]
    kinds: list[Counter[bytes]] = [Counter() for _ in range(5)]
    for n, found in enumerate(counts):
        for gram, count in found.items():
            totals[n][gram[:-1]] += count
            kinds[n][gram[:-1]] += 1
    bits, size = 0.0, 0
    for document in documents:
        data = document.encode()
        size += len(data)
        for i in range(len(data)):
            chance = 1 / 256
            for n in range(min(i, 4) + 1):
                history = data[i - n : i]
                seen, new = totals[n][history], kinds[n][history]
                if seen:
                    chance = (counts[n][data[i - n : i + 1]] + new * chance) / (seen + new)
            bits -= math.log2(chance)
    return bits / size


def main() -> None:
    stages = sys.argv[1:] or ["pretrained", "midtrained-warm", "midtrained", "posttrained"]
    training, documents = b"", texts()
    for row in generate("documentation"):
        training += row["text"].encode() + b"\n"
        if len(training) > TRAINING_BYTES:
            break
    print(f"xz -9 after {len(training):,} bytes of training text: {xz_bits(training, documents):.3f} bits per byte")
    print(f"byte 5-gram of the same: {five_gram_bits(training, documents):.3f}")
    for stage in stages:
        found = evaluate(f"ember/{stage}", Asked())
        print(found, flush=True)
        skills: dict[str, list[float]] = {}
        for suite in found.result.suites.values():
            for record in suite.records:
                if suite.kind == "generate" and record.score is not None:
                    skills.setdefault(record.part or suite.name, []).append(record.score)
        for name, scores in sorted(skills.items(), key=lambda item: -sum(item[1]) / len(item[1])):
            print(f"    {name:20} {sum(scores) / len(scores):6.1%} of {len(scores)}")


if __name__ == "__main__":
    main()
