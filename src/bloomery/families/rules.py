"""Where to start, by rule: which checkpoint and method suit a kind, volume and distance of data, and which share.

The tables are reference evidence, not measurement: Nova Forge's published thresholds, the talk on it, and the studies
named beside each row. `start: auto` and `bloomery advise` read them, and print the reason they give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Literal

from bloomery.core.errors import InputError
from bloomery.families.registry import Family

Kind = Literal["text", "mixed", "sft", "reasoning", "tools", "preference", "judged", "reward"]
"""What the rows are: text, text with pairs, pairs, chains of thought, tool calls, preferences, judged, questions."""

Distance = Literal["near", "far", "unknown"]
Stage = Literal["pre", "mid", "post"]
ENDLESS = float("inf")

FAR = 1.25
"""Data is far from the family's general text where a checkpoint needs this many times the bits per byte for it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Data of `kind` with fewer than `below` domain tokens starts from a checkpoint of `stage`.

    `distance` limits the rule to data known to be near or far. `first` is what to do before training, or instead.
    """

    kind: Kind
    below: float
    stage: Stage
    why: str
    distance: Literal["near", "far", "any"] = "any"
    method: Literal["full", "lora"] = "full"
    epochs: float = 1
    first: str = ""


_KEEP = "little text, near to what the model knows: keep what it can do"
_REPLAY = "little text, far from what the model knows: mid-training with replay"
_LOOK_UP = "facts from under a million tokens are better looked up (retrieval) than trained in"
_SYNTHESISE = "have a model restate it in many ways first: accuracy grows with synthetic tokens (EntiGraph, 2409.07431)"
_GRADE = "where answers can be checked, make pairs and fine-tune on those"
_NO_RL = "learning from rewards is not available yet: write or generate answers, keep the right ones, fine-tune on them"

RULES = (
    # Nova Forge: 1K+ demonstrations -> SFT from the aligned checkpoint; LoRA forgets less (arXiv 2405.09673).
    Rule("sft", 1e6, "post", "few instruction pairs: adapters on the post-trained checkpoint", method="lora", epochs=2),
    # DMT (arXiv 2310.05492): replay keeps the rest.
    Rule("sft", 10e6, "post", "instruction pairs: the post-trained checkpoint already follows instructions", epochs=2),
    # "Large SFT set -> mid" (Nova Forge talk); WSO (arXiv 2603.16127): less annealed weights fine-tune better.
    Rule("sft", 10e9, "mid", "many instruction pairs: the mid-trained checkpoint has more room to learn", epochs=2),
    Rule("sft", ENDLESS, "pre", "over 10B tokens of pairs: enough to move the pre-trained checkpoint"),
    # Midtraining Bridges (arXiv 2510.14865): mid-training beats continued pre-training on specialised data alone.
    Rule("mixed", 10e9, "mid", "text with instruction pairs: mid-training takes both (arXiv 2510.14865)"),
    Rule("mixed", ENDLESS, "pre", "over 10B tokens: enough to move the pre-trained checkpoint"),
    # Olmo 3 put traces and instructions into mid-training (+1.9 points on average, some 14 % of the final mix).
    Rule("reasoning", 1e6, "post", "few chains of thought: the post-trained checkpoint already answers", epochs=2),
    Rule("reasoning", ENDLESS, "mid", "chains of thought belong in mid-training (Olmo 3, Nova Forge)"),
    Rule("tools", 1e6, "post", "few tool calls: the post-trained checkpoint already knows its turns", epochs=2),
    Rule("tools", ENDLESS, "mid", "many tool calls belong in mid-training (Olmo 3, Nova Forge talk)"),
    Rule("preference", ENDLESS, "post", "preferences are about answers that a model gives already"),
    Rule("judged", ENDLESS, "post", "judgements are about answers that a model gives already"),
    Rule("reward", ENDLESS, "post", "rewards are given to answers, which only the last stage writes", first=_NO_RL),
    # Nova Forge: continued pre-training on under 10B tokens starts from the finished model.
    Rule("text", 1e6, "post", _KEEP, "near", first=_LOOK_UP),
    Rule("text", 10e6, "post", _KEEP, "near", first=_SYNTHESISE),
    Rule("text", 10e9, "mid", "text near to what it knows: mid-training with replay (arXiv 2510.14865)", "near"),
    Rule("text", ENDLESS, "pre", "over 10B tokens: enough to move the pre-trained checkpoint", "near"),
    # The gain of mid-training grows with the distance (2510.14865); repeated up to 4 times, text is as good as fresh.
    Rule("text", 1e6, "mid", _REPLAY, "far", epochs=4, first=_GRADE),
    Rule("text", 10e6, "mid", _REPLAY, "far", epochs=4, first=_SYNTHESISE),
    # The Finetuner's Fallacy (arXiv 2603.16177): a small far domain repeated early beats fine-tuning late.
    Rule("text", 300e6, "pre", "text far from what it knows: early, and repeated (arXiv 2603.16177)", "far", epochs=4),
    Rule("text", ENDLESS, "pre", "text far from what it knows: the pre-trained checkpoint adapts best", "far"),
    # Not measured against the family's general text: Nova Forge's threshold of 10B tokens, lowered by 2510.14865.
    Rule("text", 300e6, "mid", "under 300M tokens of text: mid-training with replay (arXiv 2510.14865)"),
    Rule("text", ENDLESS, "pre", "much text: the pre-trained checkpoint has the most learning rate left"),
)
"""In order of volume within a kind and distance: the first that fits holds."""


def rule_for(kind: Kind, tokens: float, distance: Distance = "unknown") -> Rule:
    """The rule for `tokens` domain tokens of `kind`."""
    return next(
        rule for rule in RULES if rule.kind == kind and tokens < rule.below and rule.distance in (distance, "any")
    )


def choose_start(family: Family, kind: Kind, tokens: float, distance: Distance = "unknown") -> tuple[str, str]:
    """(stage name, reason) for `tokens` domain tokens of `kind`; a family without that stage gives its nearest.

    Among checkpoints of the same stage the hotter one is taken for text, because it adapts best
    ("loss potential", arXiv 2505.07796), and the last one for everything with answers in it.
    """
    rule = rule_for(kind, tokens, distance)
    usable = {name: c for name, c in family.file.checkpoints.items() if not c.empty and c.auto}
    if not usable:
        raise InputError(f"the family `{family.name}` has no trained checkpoint", fix="use `start: scaffold`")
    found = [name for name, checkpoint in usable.items() if checkpoint.stage == rule.stage]
    if not found:
        return family.instead_of(rule.stage), f"{rule.why}; the family has no such checkpoint, this is the nearest"
    heat: Callable[[str], int] = lambda name: ("cold", "warm", "hot").index(usable[name].heat())  # noqa: E731
    return (max(found, key=heat) if kind in ("text", "mixed") else found[-1]), rule.why


STRICT = 0.01
"""A forgetting budget up to here asks for no rise that can be told from none."""


CMR = ((460e6, 0.298), (3.1e9, 0.478))
"""Parameters, and the largest share of domain tokens without a rise of general loss, after 20B tokens (2407.17467)."""


def domain_share(keep: float | None, distance: Distance, parameters: int | None) -> tuple[float, str]:
    """(share of domain tokens, reason): what a strict `keep` bears, else what replay suffices for."""
    if keep is not None and keep <= STRICT:
        (small, low), (large, high) = CMR
        part = log((parameters or small) / small) / log(large / small)
        known = "between them by size" if 0 <= part <= 1 else "this size lies outside, and takes the nearer"
        held = f"{low:.1%} domain tokens raise no general loss at {small / 1e6:.0f}M parameters, {high:.1%} at 3.1B"
        share = round(low + (high - low) * min(1.0, max(0.0, part)), 2)
        return share, f"`keep` is strict: {held} (CMR law, arXiv 2407.17467); {known}"
    if distance == "near":
        return 0.9, "a tenth of replay suffices for near data (5 % did in arXiv 2403.08763)"
    return 0.75, "a quarter of replay, as a strong shift needs (arXiv 2403.08763)"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A recorded relative rise of general loss, `low` to `high`, at shares up to `share` and `parameters` or more."""

    share: float
    parameters: int
    low: float
    high: float
    source: str


FORGETTING = (
    Evidence(0.298, 460_000_000, 0.0, 0.0, "no rise at 460M parameters (CMR law, arXiv 2407.17467)"),
    Evidence(0.478, 3_000_000_000, 0.0, 0.0, "no rise at 3.1B parameters (CMR law, arXiv 2407.17467)"),
    Evidence(0.5, 0, 0.01, 0.066, "1 to 6.6 % in 8 runs of ember: two domains, four stages, 50k tokens, half replay"),
    Evidence(1.0, 0, 0.0, 0.54, "54 % without any replay in a trial at 3.4M parameters; larger models lose less"),
)
"""By domain share, ascending. They bound what to expect; they do not predict it for other data."""


def forgetting(share: float, parameters: int | None) -> Evidence:
    """What is on record about forgetting at a domain share and a size."""
    size = parameters or 0
    return next(one for one in FORGETTING if share <= one.share + 0.01 and size >= one.parameters)
