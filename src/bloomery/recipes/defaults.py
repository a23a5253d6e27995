"""What a recipe leaves out: learning rate, schedule, batch, share. Each default names its source.

Paper numbers are arXiv ids; Nova Forge, OLMo, SmolLM and Marin are their published configurations.
"""

from __future__ import annotations

from typing import Literal

from bloomery.families.scaffold import WARMUP
from bloomery.recipes.plan import Value
from bloomery.recipes.start import Start

Objective = Literal["text", "sft", "dpo", "ipo", "kto", "orpo", "rl"]

PREFERENCES = ("dpo", "ipo", "kto", "orpo")
"""Objectives that learn from what is better; all but ORPO compare with the start."""

DOMAIN_SHARE = 0.5
"""Nova Forge's sample mixes half customer data; the largest share without any rise of general loss is 30-48 % at
0.5-3B parameters (CMR law, 2407.17467)."""

CONTEXT = 8192
"""Longest row unless asked otherwise. Checkpoints made for 32k to 131k are fine-tuned at 4k to 8k (Tulu 3, 2411.15124;
SmolLM3): memory grows with the longest row, and few documents of a domain are longer."""

HOLDOUT = 0.02
HOLDOUT_LEAST = 200
REWARM = 0.3
"""A cold checkpoint is re-warmed to this part of its peak: full re-warming raises both losses first (2308.04014)."""

REWARM_STEPS = 0.01
"""Longer warm-ups do not help (2308.04014)."""

SFT_PEAK = 0.1
"""Fine-tuning rate as part of the pre-training peak: OLMo 2 and Olmo 3 used 0.03-0.27 of it."""

PREFERENCE_PART = {"dpo": 0.05, "ipo": 0.05, "kto": 0.05, "orpo": 0.25}
"""Rate for preferences as part of the fine-tuning rate: SmolLM3 1e-6 of 2e-5; Olmo 3 1e-6 of 8e-5; TRL 1e-6 of 2e-5.
ORPO, which learns the chosen answers too, used 5e-6 (2403.07691) where 2e-5 is usual for fine-tuning."""

PREFERENCE_WARMUP = 0.1
"""Zephyr (2310.16944) and Tulu 3 (2411.15124) warm up over a tenth of the steps."""

RL_WARMUP = 0.1
"""Measured on ember: with 1 % the first steps cost a tenth of the reward, which takes fifty more to come back."""

RL_PART = 0.1
"""Rate for rewards as part of the fine-tuning rate: TRL, prime-rl and Nova take 7e-7 to 1e-6 where 1e-5 to 2e-5 is
usual for fine-tuning."""

LORA_FACTOR = 10
"""Adapters want about ten times the rate of full fine-tuning (2405.09673); of continued training, see below."""

BETAS = (0.9, 0.95)
"""AdamW's momenta: OLMo 2, SmolLM3."""

SETTLE_PART = 0.15
"""Largest part of a run that filling AdamW's moments may be. They take 1 / (1 - beta2) steps, the length of the second
one's memory. Ember from its hot checkpoint on its own data: general loss rises by 0.09 nats within 40 steps with empty
moments, back after 300; by 0.05 with 30 such steps, and not at all with 100. From its warm one it rises by 0.016."""

ANNEAL = 0.2
"""The last 10-20 % decay (SmolLM3, Nemotron 3)."""

LEAST_STEPS = 100
"""A derived batch is made small enough that the budget gives this many steps."""


def context(own: int | None) -> Value:
    """The longest row in tokens, from the context of the checkpoint where that is known."""
    if own is None:
        return Value(2048, "derived", "the checkpoint's own context is not known here")
    if own > CONTEXT:
        why = f"of the checkpoint's own {own:,}: longer rows take memory that few documents need; or set `data.context`"
        return Value(CONTEXT, "stage default", why)
    return Value(own, "family", "the checkpoint's own context")


def peak_by_size(parameters: int) -> float:
    """A peak rate for a model of unknown schedule: 3e-4 at 7B, falling with the fourth root of the size.

    Within a factor of four of every published peak between 135M and 32B parameters (SmolLM2 3e-3, OLMo 2 1B 4e-4,
    OLMo 2 7B 3e-4, Olmo 3 32B 6e-4), and never above 4e-3.
    """
    return float(min(4e-3, 3e-4 * (7e9 / max(parameters, 1)) ** 0.25))


def learning_rate(start: Start, objective: Objective, method: str, batch: int) -> Value:
    """The rate a run holds or decays from.

    Hot and warm checkpoints continue at their own rate (OLMo 2, SmolLM2, Apertus), scaled by the square root of
    the batch when it is smaller than the checkpoint's (2205.10343); cold ones are re-warmed. Adapters take more only
    where full training takes little, in fine-tuning: ten times a hot checkpoint's rate took ember from 3.2 to 10.9
    nats within five steps.
    """
    factor, adapter = (LORA_FACTOR, f", x {LORA_FACTOR} for adapters") if method != "full" else (1, "")
    peak, known = start.peak_lr, "the checkpoint's peak"
    if start.configuration and start.kind == "scaffold":
        ratio = _smaller(start, batch)
        return Value(
            _round((peak or 0) * ratio), "derived", f"the peak for this size{_said(ratio)}: see scaffold.peak_lr"
        )
    if peak is None:
        peak, known = peak_by_size(start.parameters or 1_000_000_000), "a peak estimated from the model's size"
    if objective != "text":
        own = "the family's fine-tuning rate" if start.sft_lr is not None else f"{SFT_PEAK:g} x {known} for fine-tuning"
        rate = (SFT_PEAK * peak if start.sft_lr is None else start.sft_lr) * factor
        if objective in PREFERENCE_PART:
            part = PREFERENCE_PART[objective]
            return Value(_round(part * rate), "derived", f"{part:g} x {own}{adapter}: preferences take small steps")
        if objective == "rl":
            return Value(_round(RL_PART * rate), "derived", f"{RL_PART:g} x {own}{adapter}: rewards say little each")
        return Value(_round(rate), "derived" if start.sft_lr is None else "family", f"{own}{adapter}")
    if start.kind == "scaffold":
        return Value(_round(peak), "family", "the family's peak: training starts from nothing")
    if start.plasticity == "cold" or start.lr is None:
        return Value(_round(REWARM * peak), "derived", f"cold: re-warmed to {REWARM:g} x {known}")
    ratio = _smaller(start, batch)
    why = f"{start.plasticity}: continues at the rate the checkpoint was saved at{_said(ratio)}"
    return Value(_round(start.lr * ratio), "derived", why)


def _smaller(start: Start, batch: int) -> float:
    """What a batch below the start's own does to a rate: its square root (2205.10343)."""
    return min(1.0, (batch / start.batch_tokens) ** 0.5) if start.batch_tokens else 1.0


def _said(ratio: float) -> str:
    return f", x {ratio:.3g} for the smaller batch (square root)" if ratio < 0.999 else ""


def schedule_shape(start: Start, objective: Objective) -> dict[str, Value]:
    """Kind, warm-up, anneal, shape and final rate by the checkpoint's plasticity.

    Hot: hold, then anneal by 1-sqrt (2405.18392). Warm: linear to zero without warm-up (OLMo 2 mid-training).
    Cold and fine-tuning: 1 % warm-up, then linear to zero.
    """
    rewarmed = objective != "text" or start.plasticity == "cold" or start.kind == "scaffold"
    hot = start.plasticity == "hot" and objective == "text"
    heat = "an empty model" if start.kind == "scaffold" else f"a {start.plasticity} checkpoint"
    task = " fine-tuning" if objective != "text" else ""
    kind = Value(
        "wsd" if hot else "linear", "stage default", f"{heat}{task}: {'hold, then anneal' if hot else 'decay'}"
    )
    warm_why = "re-warmed over 1 % of the steps" if rewarmed else "continues without warm-up"
    warmup = REWARM_STEPS if rewarmed else 0.0
    if start.configuration and start.kind == "scaffold":
        warmup, warm_why = WARMUP, "40 of about 2,500 steps (nanochat at depth 12)"
    if objective in PREFERENCES:
        warmup, warm_why = PREFERENCE_WARMUP, "preferences: a tenth of the steps (Zephyr, Tulu 3)"
    if objective == "rl":
        warmup, warm_why = RL_WARMUP, "rewards: a tenth of the steps (docs/LOG.md)"
    return {
        "schedule.kind": kind,
        "schedule.warmup": Value(warmup, "stage default", warm_why),
        "schedule.anneal": Value(ANNEAL, "stage default", "the last fifth decays (SmolLM3)"),
        "schedule.anneal_by": Value("decay", "stage default", "the rate falls"),
        "schedule.shape": Value("1-sqrt", "stage default", "arXiv 2405.18392"),
        "schedule.final": Value(0.0, "stage default", "decays to zero"),
        "schedule.start": Value(0.0, "stage default", "warm-up rises from zero"),
    }


def betas(asked: tuple[float, float] | None, start: Start, objective: Objective) -> Value:
    """AdamW's momenta: of continued training those that led to the checkpoint, where they are known."""
    if asked is not None:
        return Value(list(asked), "user")
    if start.betas is not None and objective == "text":
        return Value(list(start.betas), "family", "the checkpoint's own")
    return Value(list(BETAS), "stage default", "OLMo 2, SmolLM3")


def settle_steps(start: Start, objective: Objective, method: str, beta2: float, warms_up: bool, steps: int) -> Value:
    """Steps that fill the optimiser's moments: where a run continues at a hot checkpoint's rate."""
    if objective != "text" or method != "full" or start.kind == "scaffold" or start.plasticity != "hot" or warms_up:
        return Value(0, "stage default", "only where a run continues at a hot checkpoint's rate")
    memory = 1 / (1 - beta2)
    count = min(round(memory), int(SETTLE_PART * steps))
    return Value(count, "derived", "hot: AdamW's moments are filled first, else its first updates are too large")


def z_loss(kind: str, lr: float, final: float) -> Value:
    """1e-5 (OLMo 2), 1e-4 where the rate falls more than tenfold (Marin: logits drift in a deep decay)."""
    if kind != "constant" and final < lr / 10:
        return Value(1e-4, "stage default", "the rate falls more than tenfold (Marin)")
    return Value(1e-5, "stage default", "OLMo 2")


def batch_tokens(start: Start, objective: Objective, budget: float | None, context: int) -> Value:
    """The checkpoint's batch, or whole rows of `context` that give `LEAST_STEPS` steps where the budget is small."""
    row = longest_row(objective, context)
    own = max(row, start.batch_tokens or (64 if objective == "text" else 16) * row)
    known = (
        "the batch for this size, see scaffold.batch_tokens," if start.configuration else "the checkpoint's own batch"
    )
    why = known if start.batch_tokens else "a usual batch for this context"
    if budget is not None and budget / own < LEAST_STEPS:
        fewer = max(1, int(budget / LEAST_STEPS / row)) * row
        if fewer < own:
            return Value(
                fewer, "derived", f"{why} is {own:,}: smaller, so that the budget gives at least {LEAST_STEPS} steps"
            )
    return Value(own, "family" if start.batch_tokens and not start.configuration else "derived", why.rstrip(","))


def longest_row(objective: str, context: int) -> int:
    """Tokens that stay together: one conversation, or the two of a preference."""
    return 2 * context if objective in PREFERENCES else context


def lora_rank(rank: int | None, hidden: int | None) -> Value:
    """256 on all linear layers (2405.09673), at most half the hidden width."""
    if rank is not None:
        return Value(rank, "user")
    width = hidden or 512
    return Value(max(1, min(256, width // 2)), "derived", "256, at most half the hidden width (arXiv 2405.09673)")


def lora_alpha(alpha: float | None, rank: int, rslora: bool) -> Value:
    """Twice the rank, a scale of 2; where the scale is alpha / sqrt(rank) QLoRA's 16 (arXiv 2305.14314)."""
    if alpha is not None:
        return Value(alpha, "user")
    return (
        Value(16.0, "derived", "over the rank's square root")
        if rslora
        else Value(2.0 * rank, "derived", "twice the rank")
    )


def _round(rate: float) -> float:
    """Six significant digits: more would claim a precision that no rate has."""
    return float(f"{rate:.6g}")
