"""Our losses of preferences beside TRL's, on the same log-probabilities: their difference, and that of the gradients.

    PYTHONPATH=src:tests/support .venv-peer/bin/python bench/preference.py [--write]

TRL's own code computes the loss: its trainers are made without their constructors, over a model that says what
`tests/support/answers.py` tells. `--write` freezes TRL's losses in `tests/golden/preference.json`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from answers import PAIRS, SETTINGS, Speaker, judged, rotated, rows_of, said, start_said
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

from bloomery.train.batch import denominators, make_micro_batch
from bloomery.train.config import Preference
from bloomery.train.parallel import World
from bloomery.train.preference import against_baseline, preference

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "preference.json"
CPU = torch.device("cpu")


class Peer(torch.nn.Module):
    """A model as TRL's trainers see one: log-probabilities of the labels, 0 where there is none."""

    asked: torch.Tensor

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **_: Any) -> SimpleNamespace:
        there = (labels[:, 1:] >= 0).float()
        found = said(input_ids[:, :1], labels[:, 1:]).float()
        if torch.is_grad_enabled():
            self.asked = found.requires_grad_()
        nothing = torch.zeros_like(there)
        return SimpleNamespace(log_probs=found * there, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


def trainer(kind: type, **settings: Any) -> Any:
    """A trainer of TRL's that can only compute its loss."""
    made = object.__new__(kind)
    same = {"device": CPU, "gather_for_metrics": lambda x: x, "gather": lambda x: x}
    usual = {
        "accelerator": SimpleNamespace(**same), "_metrics": {"train": defaultdict(list)}, "_tp_size": 1,
        "_total_train_tokens": 0, "aux_loss_enabled": False, "precompute_ref_logps": True, "model": Peer(),
    }  # fmt: skip
    made.__dict__.update(usual | settings)
    return made


def padded(rows: list[tuple[list[int], list[int]]], prefix: str = "") -> dict[str, torch.Tensor]:
    """Prompts and answers as TRL's collators lay them out."""
    width = max(len(p) + len(a) for p, a in rows)
    ids, mask = (torch.zeros(len(rows), width, dtype=torch.int64) for _ in range(2))
    attention = torch.zeros_like(ids)
    for n, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[n, :end], mask[n, len(prompt) : end], attention[n, :end] = torch.tensor(prompt + answer), 1, 1
    return {f"{prefix}input_ids": ids, f"{prefix}completion_mask": mask, f"{prefix}attention_mask": attention}


def start_sums(rows: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """The start's log-probability of each answer."""
    return torch.tensor([sum(start_said(prompt[0], token) for token in answer) for prompt, answer in rows])


def theirs(name: str, told: dict[str, float]) -> tuple[float, float]:
    """TRL's loss, and the sum of the sizes of its gradient by each log-probability."""
    model = Peer().train()
    chosen, rejected = ([(row[0], row[side]) for row in PAIRS] for side in (1, 2))
    if name == "kto":
        rows = [(p, a) for p, a, _ in judged()]
        label = torch.tensor([good for _, _, good in judged()])
        inputs = padded(rows) | padded(rotated(), "KL_") | {"label": label}
        inputs |= {"ref_logps": start_sums(rows), "ref_KL_logps": start_sums(rotated())}
        loss = trainer(KTOTrainer, calculate_KL=True, loss_type="kto", **told)._compute_loss(model, inputs, False)
    elif name == "orpo":
        means = []
        for rows in (chosen, rejected):
            labels = padded(rows)["input_ids"].masked_fill(padded(rows)["completion_mask"] == 0, -100)
            there = labels[:, 1:] != -100
            logp = said(padded(rows)["input_ids"][:, :1], labels[:, 1:]).float() * there
            means.append((logp.sum(1) / there.sum(1)).requires_grad_())
        losses, *_ = trainer(ORPOTrainer, **told).odds_ratio_loss(*means)
        loss = -losses.mean()
        loss.backward()  # the mean's own gradient is 1 / length a token: the sizes sum to those by the means
        return loss.item(), sum(float(mean.grad.abs().sum()) for mean in means)
    else:
        kind = {"dpo": "sigmoid", "dpo robust": "robust", "ipo": "ipo"}[name]
        inputs = padded(chosen + rejected)
        inputs |= {"ref_chosen_logps": start_sums(chosen), "ref_rejected_logps": start_sums(rejected)}
        more = {"ld_alpha": None, "f_divergence_type": "reverse_kl", "use_weighting": False, "label_smoothing": 0.0}
        made = trainer(DPOTrainer, loss_types=[kind], loss_weights=[1.0], **{**more, **told})
        loss = made._compute_loss(model, inputs, False)
    loss.backward()
    assert model.asked.grad is not None
    return loss.item(), float(model.asked.grad.abs().sum())


def ours(name: str, told: dict[str, float]) -> tuple[float, float]:
    """The same of our loss."""
    objective, speaker = name.split()[0], Speaker()
    rows = against_baseline(speaker, rows_of(objective), 10_000, World(0, 1, CPU))  # type: ignore[arg-type]
    batch = make_micro_batch(rows, CPU, "packed", rows[0])
    logp, _ = speaker.score(batch)
    loss, _ = preference(logp, batch, Preference(objective, **told))  # type: ignore[arg-type]
    loss = loss / denominators(rows)["pref"]
    loss.backward()
    assert logp.grad is not None
    return loss.item(), float(logp.grad.abs().sum())


def main() -> None:
    """Print both, and freeze TRL's where asked to."""
    golden = {}
    print(f"TRL {trl.__version__}\n{'':12}{'loss':>12}{'difference':>12}{'gradient':>12}{'difference':>12}")
    for name, told in SETTINGS.items():
        (their_loss, their_gradient), (our_loss, our_gradient) = theirs(name, told), ours(name, told)
        golden[name] = {"loss": their_loss, "gradient": their_gradient}
        apart = our_loss - their_loss, our_gradient - their_gradient
        print(f"{name:12}{their_loss:12.6f}{apart[0]:12.1e}{their_gradient:12.6f}{apart[1]:12.1e}")
    if "--write" in sys.argv:
        GOLDEN.write_text(json.dumps({"trl": trl.__version__, "losses": golden}, indent=2) + "\n")


if __name__ == "__main__":
    main()
