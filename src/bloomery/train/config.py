"""What a training run is told: plain data, importable without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ScheduleKind = Literal["constant", "linear", "cosine", "wsd"]
AnnealShape = Literal["linear", "1-sqrt", "cosine"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate over a run of `steps` optimiser steps; see `train/schedule.py` for the formulas.

    `warmup` and `anneal` are fractions of the run; `start` is the rate at step 0 of the warm-up and
    `final` the rate that the decay ends at, both absolute. With `anneal_by: merge` the rate is held to the end, and
    the weights of the run are their mean over the anneal.
    """

    kind: ScheduleKind
    lr: float
    steps: int
    warmup: float = 0.0
    anneal: float = 0.2
    shape: AnnealShape = "linear"
    start: float = 0.0
    final: float = 0.0
    anneal_by: Literal["decay", "merge"] = "decay"


@dataclass(frozen=True, slots=True)
class Preference:
    """What the preference part of the loss is; formulas and sources in `train/preference.py`.

    `beta` is ORPO's lambda and IPO's tau. `label_smoothing` is the part of the pairs whose answers are taken to be the
    wrong way round (DPO); the weights are of desirable and undesirable answers (KTO).
    """

    objective: Literal["dpo", "ipo", "kto", "orpo"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the policy-gradient part of the loss is; formulas and sources in `train/policy.py`.

    The ratio is that of the policy to the one it is compared with: at `level` token, or the geometric mean over a row
    (GSPO). It is bounded by 1 - `clip_low` and 1 + `clip_high`; `cispo` has the upper bound alone. `proximal` says what
    is compared with: `current`, the step's own policy, so that the ratio is 1 (one update a batch) and tokens are
    weighted by policy over sampler instead, at most `correct`, from 1 up (0: not weighted); or `sampled`, the sampler,
    where that weight is 1. `temperature` is the one that was sampled at: the policy is the model at that temperature.
    """

    loss: Literal["clip", "cispo"] = "clip"
    level: Literal["token", "sequence"] = "token"
    clip_low: float = 0.2
    clip_high: float = 0.28
    correct: float = 2.0
    proximal: Literal["current", "sampled"] = "current"
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Optim:
    """AdamW and what surrounds it. Defaults: OLMo 2 and SmolLM3 pre-training configurations.

    `z_loss` weighs the squared log-partition (PaLM, arXiv 2204.02311, section 5); `clip` is the largest
    global gradient norm. `coefficient` weighs each loss part by name; a part not named counts 1. `preference` says
    what the part `pref` is, `policy` what `pg` is. `lora_plus` is the rate of adapters' B over that of A (LoRA+, arXiv
    2402.12354).
    """

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    z_loss: float = 1e-5
    coefficient: dict[str, float] = field(default_factory=dict)
    state_dtype: Literal["fp32", "bf16"] = "fp32"
    preference: Preference = Preference()
    policy: Policy = Policy()
    lora_plus: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything the loop needs that is not a tensor.

    `micro_tokens` is the largest number of tokens in one forward pass; rows of a step are packed into as
    many micro-batches of at most that size as they need. `precision` auto is bf16 where the hardware
    multiplies it natively, else fp32; weights and optimiser state are fp32 in both. `settle` is the number of first
    steps whose gradients fill the optimiser's moments before the first update (`Trainer.settle`).
    """

    schedule: Schedule
    optim: Optim = field(default_factory=Optim)
    micro_tokens: int = 4096
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    activation_checkpointing: bool = False
    checkpoint_every: int = 200
    keep_last: int = 2
    validate_every: int = 0
    log_every: int = 1
    seed: int = 0
    settle: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON value; `from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainConfig:
        """Rebuild from `to_json`; unknown fields are a TypeError."""
        preference = Preference(**value["optim"].get("preference", {}))
        policy = Policy(**value["optim"].get("policy", {}))
        optim = dict(value["optim"], betas=tuple(value["optim"]["betas"]), preference=preference, policy=policy)
        return cls(**{**value, "schedule": Schedule(**value["schedule"]), "optim": Optim(**optim)})
