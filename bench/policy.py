"""Our losses of rollouts beside TRL's, on the same log-probabilities: the largest differences of losses and gradients.

    PYTHONPATH=src:tests/support .venv-peer/bin/python bench/policy.py [--write]

TRL's own code computes advantages, correction, divergence and loss: its trainer is made without its constructor, over
log-probabilities that `tests/support/rollouts.py` tells. `--write` freezes TRL's figures in `tests/golden/policy.json`.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from rollouts import ANSWERS, GROUP, LONGEST, REWARDS, VARIANTS, before, now, ours, sampler, settings, start
from trl.trainer.grpo_trainer import GRPOTrainer

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "policy.json"
SCALES = {"mean": "none", "std": "group"}


class Peer(GRPOTrainer):
    """TRL's trainer as far as its loss: what it would sample, score and ask a model for is given."""

    def __init__(self, name: str) -> None:
        variant, told = VARIANTS[name], settings(name)
        same = {"device": torch.device("cpu"), "process_index": 0, "num_processes": 1, "gather": lambda x: x}
        self.__dict__.update(
            accelerator=SimpleNamespace(**same, gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x),
            args=SimpleNamespace(
                steps_per_generation=1, gradient_accumulation_steps=GROUP + 1, gradient_checkpointing_kwargs=None,
                per_device_train_batch_size=len(ANSWERS), delta=None, use_bias_correction_kl=False, report_to=[],
            ),
            model=SimpleNamespace(training=True, is_gradient_checkpointing=False), ref_model="start",
            processing_class=None, environments=None,
            environment_factories=None, tools=None, mask_truncated_completions=False, pad_to_multiple_of=None,
            _tokenizer=SimpleNamespace(pad_token_id=0), num_generations=GROUP, num_iterations=2, _is_vlm=False,
            reward_funcs=[None], reward_func_names=["given"], reward_weights=torch.ones(1), log_multimodal=False,
            multi_objective_aggregation="sum_then_normalize", scale_rewards=SCALES[variant.get("advantage", "std")],
            use_vllm="old" in variant, vllm_importance_sampling_correction="old" in variant,
            vllm_importance_sampling_mode="token_truncate", vllm_importance_sampling_clip_min=None,
            vllm_importance_sampling_clip_max=told.correct, beta=variant.get("kl", 0.0), loss_type=variant["rows"],
            importance_sampling_level=told.level, epsilon_low=told.clip_low,
            epsilon_high=told.clip_high + (told.loss == "cispo"), max_completion_length=LONGEST,
            off_policy_mask_threshold=None, top_entropy_quantile=1.0, aux_loss_enabled=False,
            _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1, _step=0,
            _metrics={"train": defaultdict(list)}, _pending_extra_logs={}, _pending_metrics={},
            _logs=defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list)),
        )  # fmt: skip
        self.old = now if variant.get("old") == "now" else before

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        asked, answered = ([row[side] for row in ANSWERS] for side in (0, 1))
        said = [[sampler(prompt[0], token) for token in answer] for prompt, answer in ANSWERS]
        return asked, answered, None, [""] * len(ANSWERS), said if self.use_vllm else None, {}, None, []

    def _calculate_rewards(self, *_: Any) -> torch.Tensor:
        return torch.tensor(REWARDS)[:, None]

    def _get_per_token_logps_and_entropies(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, kept: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        say = start if model == "start" else now if torch.is_grad_enabled() else self.old
        logp = say(ids[:, :1], ids[:, -kept:]).float()
        if say is now and torch.is_grad_enabled():
            self.asked = logp.requires_grad_()
        return logp, torch.zeros_like(logp), None

    def computed(self) -> tuple[float, list[float], list[float]]:
        """Loss, gradient by each answer token in turn, and advantages."""
        batch = self._generate_and_score_completions([{"prompt": ""} for _ in ANSWERS])
        loss = self._compute_loss(self.model, batch)
        loss.backward()
        assert self.asked.grad is not None
        return loss.item(), self.asked.grad[batch["completion_mask"].bool()].tolist(), batch["advantages"].tolist()


def main() -> None:
    """Print both, and freeze TRL's where asked to."""
    golden, worst = {}, [0.0, 0.0]
    columns = "loss", "difference", "gradient", "difference", "clipped", "capped"
    print(f"TRL {trl.__version__}\n{'':18}" + "".join(f"{column:>12}" for column in columns))
    for name in VARIANTS:
        loss, gradient, advantages = Peer(name).computed()
        our_loss, our_gradient, sums = ours(name, advantages)
        golden[name] = {"loss": loss, "advantages": advantages, "gradient": gradient}
        size = math.sqrt(sum(value**2 for value in gradient))
        apart = abs(our_loss - loss), max(abs(a - b) for a, b in zip(our_gradient, gradient, strict=True))
        worst = [max(pair) for pair in zip(worst, apart, strict=True)]
        shares = "".join(f"{sums[key] / sums['policy_tokens']:12.0%}" for key in ("policy_clipped", "policy_capped"))
        print(f"{name:18}{loss:12.6f}{apart[0]:12.1e}{size:12.6f}{apart[1]:12.1e}{shares}")
    print(f"largest difference: loss {worst[0]:.1e}, gradient by one token {worst[1]:.1e}")
    if "--write" in sys.argv:
        lines = ",\n".join(f'"{name}": {json.dumps(figures)}' for name, figures in golden.items())
        GOLDEN.write_text(f'{{"trl": "{trl.__version__}", "losses": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main()
