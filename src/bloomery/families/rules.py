"""`start: auto` by rule: which checkpoint suits a kind and volume of data.

The table is reference evidence, not measurement: Nova Forge's published thresholds, the talk on it, and
the studies named beside each row. `bloomery explain` prints the reason it gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bloomery.core.errors import InputError
from bloomery.families.registry import Family

Kind = Literal["text", "mixed", "sft"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Data of `kind` with fewer than `below` domain tokens starts from a checkpoint of `stage`."""

    kind: Kind
    below: float
    stage: Literal["pre", "mid", "post"]
    why: str


RULES = (
    # Nova Forge: 1K+ demonstrations -> SFT from the aligned checkpoint; DMT (arXiv 2310.05492): replay keeps the rest.
    Rule("sft", 10e6, "post", "few instruction pairs: the post-trained checkpoint already follows instructions"),
    # "Large SFT set -> mid" (Nova Forge talk); WSO (arXiv 2603.16127): less annealed weights fine-tune better.
    Rule("sft", float("inf"), "mid", "many instruction pairs: the mid-trained checkpoint leaves more room to learn"),
    # Midtraining Bridges (arXiv 2510.14865): mid-training beats continued pre-training on specialised data alone.
    Rule("mixed", 10e9, "mid", "text with instruction pairs: mid-training takes both (arXiv 2510.14865)"),
    Rule("mixed", float("inf"), "pre", "over 10B tokens: enough to move the pre-trained checkpoint"),
    # Nova Forge: continued pre-training above 10B tokens starts from an intermediate checkpoint.
    Rule("text", 300e6, "mid", "under 300M tokens of text: mid-training with replay (arXiv 2510.14865)"),
    Rule("text", float("inf"), "pre", "much text: the pre-trained checkpoint has the most learning rate left"),
)


def choose_start(family: Family, kind: Kind, tokens: float) -> tuple[str, str]:
    """(stage name, reason) for `tokens` domain tokens of `kind`; a family without that stage gives its nearest.

    Among checkpoints of the same stage the hotter one is taken for text, because it adapts best
    ("loss potential", arXiv 2505.07796), and the last one for instruction pairs.
    """
    rule = next(rule for rule in RULES if rule.kind == kind and tokens < rule.below)
    usable = {name: c for name, c in family.file.checkpoints.items() if not c.empty and c.auto}
    if not usable:
        raise InputError(f"the family `{family.name}` has no trained checkpoint", fix="use `start: scaffold`")
    found = [name for name, checkpoint in usable.items() if checkpoint.stage == rule.stage]
    if not found:
        return family.instead_of(rule.stage), f"{rule.why}; the family has no such checkpoint, this is the nearest"
    heat: Callable[[str], int] = lambda name: ("cold", "warm", "hot").index(usable[name].heat())  # noqa: E731
    return (found[-1] if kind == "sft" else max(found, key=heat)), rule.why
